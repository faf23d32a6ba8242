"""Metadata documents that many workers add to at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DamagedDataError, InvalidOptionError
from .atomic import atomic_update_json
from .json import encode_json

if TYPE_CHECKING:
    from ..values import Value

__all__ = ["AtomicMetadataWriter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomicMetadataWriter:
    """Merge into JSON metadata files under their lock, from any number of processes."""

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

        Raises ``InvalidOptionError`` for a name in ``replace`` that no update has,
        ``DamagedDataError`` where the file holds something else (it is left alone),
        ``LockTimeoutError`` and ``StorageError``.
        """
        added = merged({}, {"subdirectories": updates})
        encode_json(added)  # refused before anybody waits for the lock
        replaced = _checked_replace(replace, updates)

        def merge(document: Value) -> Value:
            if not isinstance(document, dict) or not isinstance(
                document.get("subdirectories", {}), dict
            ):
                raise DamagedDataError(
                    "it must be an object, and 'subdirectories' in it too",
                    "json",
                    os.fspath(path),
                )
            result = merged(document, added)
            for name, values in added["subdirectories"].items():
                for key in replaced.intersection(values if isinstance(values, dict) else ()):
                    result["subdirectories"][name][key] = values[key]
            return result

        atomic_update_json(path, merge, durable=self.durable, timeout=self.timeout, check=False)


def _checked_replace(
    replace: Collection[str], updates: Mapping[str, Mapping[str, Value]]
) -> set[str]:
    known = {
        key for values in updates.values() if isinstance(values, Mapping) for key in values
    }
    if isinstance(replace, str) or not known.issuperset(replace):
        expected = f"a list of keys in updates: {', '.join(sorted(known)) or 'none'}"
        raise InvalidOptionError("replace", replace, expected)
    return set(replace)


def merged(base: Value, updates: Value) -> Value:
    """Return ``base`` with ``updates`` merged in: mappings by key, everything else replaced."""
    if not isinstance(updates, Mapping):
        return updates
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in updates.items():
        result[key] = merged(result.get(key), value)
    return result
