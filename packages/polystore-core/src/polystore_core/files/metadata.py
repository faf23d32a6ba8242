"""Metadata documents that many workers add to at once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DamagedDataError, InvalidOptionError, UnsupportedDataError
from ..paths import check_text
from ..values import plain_name
from .atomic import atomic_update_json
from .json import encode, plain_json

if TYPE_CHECKING:
    from ..values import Value

__all__ = ["AtomicMetadataWriter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomicMetadataWriter:
    """Merge into JSON metadata documents under their lock, from any number of processes.

    A document says which backends hold the data, as a whole and in each subdirectory::

        {
            "available_backends": {"disk": true},
            "subdirectories": {"TimePoint_1": {"available_backends": {"zarr": true}}}
        }

    It may have any other key. A key that an update does not name stays as it is. The documents
    of polystore 0.6 (``polystore_metadata.json``) have this schema, too.
    """

    timeout: float | None = 30.0
    """Seconds to wait for the lock; ``None`` waits for ever."""
    durable: bool | None = True
    """``True`` flushes every update to the device before returning; see ``atomic_write``."""

    def merge_subdirectory_metadata(
        self,
        path: str | os.PathLike[str],
        updates: Mapping[str, Mapping[str, Value]],
        *,
        replace: Collection[str] = (),
    ) -> None:
        """Merge ``{subdirectory: {key: value}}`` into ``"subdirectories"`` of the file.

        Mappings merge key by key at every depth, so a key that was there once stays::

            {"A01": {"channels": {"1": "DAPI"}}}                     # in the file
            {"A01": {"channels": {"2": "GFP"}}}                      # the update
            {"A01": {"channels": {"1": "DAPI", "2": "GFP"}}}         # merged
            {"A01": {"channels": {"2": "GFP"}}}                      # replace=["channels"]

        All other values, lists too, replace the old value. ``replace`` names keys of the
        subdirectories whose old value is replaced whole as well. Keys that ``updates`` does not
        give a subdirectory stay as they are there. The file is created if it is missing.

        Raises ``UnsupportedDataError`` for an update that breaks the schema or that JSON cannot
        hold, ``InvalidOptionError`` for a name in ``replace`` that no update has,
        ``DamagedDataError`` for a file that is not JSON or that breaks the schema in its own
        fields or in these subdirectories, ``LockTimeoutError`` and ``StorageError``. The file is
        then left alone.
        """
        self._merge(path, {"subdirectories": updates}, replace)

    def update_available_backends(
        self,
        path: str | os.PathLike[str],
        available_backends: Mapping[str, bool],
        *,
        subdirectory: str | None = None,
    ) -> None:
        """Say which backends hold the data of the document, or of one ``subdirectory`` of it.

        ``{"zarr": True, "disk": False}`` says that Zarr has the data, and that disk does not.
        Other backends in the document stay as they are, so each worker can add its own. The
        file is created if it is missing.

        Raises as ``merge_subdirectory_metadata`` does.
        """
        updates: Value = {"available_backends": available_backends}
        if subdirectory is not None:
            updates = {"subdirectories": {subdirectory: updates}}
        self._merge(path, updates)

    def _merge(
        self,
        path: str | os.PathLike[str],
        updates: Value,
        replace: Collection[str] = (),
    ) -> None:
        check_text(path)
        try:
            added = merge_documents({}, updates)
        except RecursionError as error:
            raise UnsupportedDataError(str(error), "json", os.fspath(path)) from error
        _check_update(added, path)
        names = added.get("subdirectories", {})
        replaced = _check_replace(replace, names)

        def merge(document: Value) -> Value:
            try:
                _check_schema(document, names)
            except ValueError as error:
                raise DamagedDataError(str(error), "json", os.fspath(path)) from None
            result = merge_documents(document, added)
            for name, values in names.items():
                for key in values.keys() & replaced:
                    result["subdirectories"][name][key] = values[key]
            return result

        atomic_update_json(path, merge, durable=self.durable, timeout=self.timeout, check=False)


def _check_update(added: Value, path: str | os.PathLike[str]) -> None:
    """Refuse an update before anybody waits for the lock."""
    try:
        subdirectories = added.get("subdirectories", {})
        _check_schema(added, subdirectories if isinstance(subdirectories, Mapping) else ())
    except ValueError as error:
        raise UnsupportedDataError(str(error), "json", os.fspath(path)) from None
    encode(added, path, None)


def _check_schema(document: Value, names: Collection[str]) -> None:
    """Raise ``ValueError`` for a field of the document, or of its subdirectories ``names``.

    Other subdirectories are not looked at: a fault of one must not stop work on another.
    """
    _expect_object("the document", document)
    _check_backends("available_backends", document)
    subdirectories = document.get("subdirectories", {})
    _expect_object("subdirectories", subdirectories)
    for name in names:
        if name in subdirectories:
            field = f"subdirectories{_step(name)}"
            _expect_object(field, subdirectories[name])
            _check_backends(f"{field}.available_backends", subdirectories[name])


def _check_backends(field: str, holder: Mapping[str, Value]) -> None:
    backends = holder.get("available_backends", {})
    _expect_object(field, backends)
    for name, available in backends.items():
        if not isinstance(available, bool):
            raise ValueError(
                f"{field}{_step(name)}: expected true or false, got {available!r:.80}"
            )


def _expect_object(field: str, value: Value) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{field}: expected an object, got {value!r:.80}")
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{field}: expected text as keys, got {key!r:.80}")


def _step(name: str) -> str:
    """Return how a path of fields goes on: ``.zarr``, and ``["."]`` for other names."""
    return f".{name}" if re.fullmatch(r"[\w-]+", name) else f"[{json.dumps(name)}]"


def _check_replace(
    replace: Collection[str], updates: Mapping[str, Mapping[str, Value]]
) -> set[str]:
    known = {key for values in updates.values() for key in values}
    if isinstance(replace, str) or not known.issuperset(replace):
        expected = f"a list of keys in updates: {', '.join(sorted(known)) or 'none'}"
        raise InvalidOptionError("replace", replace, expected)
    return set(replace)


def merge_documents(base: Value, updates: Value) -> Value:
    """Return ``base`` with ``updates`` merged in: mappings by key, everything else replaced.

    Members of an enum and texts of NumPy become plain keys, tuples lists.
    """
    if not isinstance(updates, Mapping):
        return plain_json(updates)
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in updates.items():
        name = plain_name(key) if isinstance(key, str) else key
        result[name] = merge_documents(result.get(name), value)
    return result
