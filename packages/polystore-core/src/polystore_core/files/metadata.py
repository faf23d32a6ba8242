"""``AtomicMetadataWriter``: JSON documents to which many workers add at once."""

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
    """Merge updates into JSON metadata documents, from any number of processes.

    Each update holds the lock of the document. A document says which backends hold the data, as a
    whole and in each subdirectory:

        {
            "available_backends": {"disk": true},
            "subdirectories": {"TimePoint_1": {"available_backends": {"zarr": true}}}
        }

    It can have any other keys. Keys that an update does not name stay as they are. The documents of
    polystore 0.6 (``polystore_metadata.json``) have the same schema.
    """

    timeout: float | None = 30.0
    """Seconds to wait for the lock. ``None`` waits for ever."""
    durable: bool | None = True
    """Whether each update survives a power cut. See ``atomic_write``."""

    def merge_subdirectory_metadata(
        self,
        path: str | os.PathLike[str],
        updates: Mapping[str, Mapping[str, Value]],
        *,
        replace: Collection[str] = (),
    ) -> None:
        """Merge ``{subdirectory: {key: value}}`` into "subdirectories" of the document.

        Mappings merge key by key at every depth, so that old keys stay:

            {"A01": {"channels": {"1": "DAPI"}}}                     # in the file
            {"A01": {"channels": {"2": "GFP"}}}                      # the update
            {"A01": {"channels": {"1": "DAPI", "2": "GFP"}}}         # merged
            {"A01": {"channels": {"2": "GFP"}}}                      # replace=["channels"]

        All other values, lists too, replace the old value. If an error is raised, the file is left
        as it is.

        Args:
            path: The document. It is created if it does not exist.
            updates: New keys and values of each subdirectory.
            replace: Keys whose old value is replaced and not merged.

        Raises:
            UnsupportedDataError: The update does not follow the schema, or JSON cannot hold it.
            InvalidOptionError: No update has a key in ``replace``.
            DamagedDataError: The file is not JSON, or does not follow the schema in its own fields
                or in these subdirectories.
            LockTimeoutError: Another process holds the lock.
            StorageError: The file cannot be read or written.
        """
        self._merge(path, {"subdirectories": updates}, replace)

    def update_available_backends(
        self,
        path: str | os.PathLike[str],
        available_backends: Mapping[str, bool],
        *,
        subdirectory: str | None = None,
    ) -> None:
        """Set which backends hold the data of the document, or of one subdirectory.

        For example:

            writer.update_available_backends("meta.json", {"zarr": True, "disk": False})

        Other backends in the document stay as they are, so that each worker can add its own. The
        file is created if it does not exist. Raises the same errors as
        ``merge_subdirectory_metadata``.
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
            # A plain copy. An update that contains itself raises
            # RecursionError here, before the lock.
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
            # Merged first, then replaced: only keys that this update has are replaced.
            for name, values in names.items():
                for key in values.keys() & replaced:
                    result["subdirectories"][name][key] = values[key]
            return result

        # No second check: ``_check_update`` has encoded the new part, and
        # the rest comes from JSON.
        atomic_update_json(path, merge, durable=self.durable, timeout=self.timeout, check=False)


def _check_update(added: Value, path: str | os.PathLike[str]) -> None:
    """Raise for an update that is not valid, before waiting for the lock."""
    try:
        subdirectories = added.get("subdirectories", {})
        _check_schema(added, subdirectories if isinstance(subdirectories, Mapping) else ())
    except ValueError as error:
        raise UnsupportedDataError(str(error), "json", os.fspath(path)) from None
    encode(added, path, None)


def _check_schema(document: Value, names: Collection[str]) -> None:
    """Raise ``ValueError`` for a wrong field of the document, or of a subdirectory in ``names``."""
    # Other subdirectories are not checked: a fault in one must not stop work on another.
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
    """Return one step of a path of fields for an error: ``.zarr``, or ``["."]``."""
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
    """Return ``base`` with ``updates``: mappings are merged by key, other values are replaced.

    Keys that are members of an enum or texts of NumPy become plain text, and tuples become lists.
    """
    if not isinstance(updates, Mapping):
        return plain_json(updates)
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in updates.items():
        name = plain_name(key) if isinstance(key, str) else key
        result[name] = merge_documents(result.get(name), value)
    return result
