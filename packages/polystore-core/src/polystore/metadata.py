"""Metadata documents that many workers add to at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .atomic import atomic_update_json, encode_json
from .errors import DamagedDataError

__all__ = ["AtomicMetadataWriter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtomicMetadataWriter:
    """Merge into JSON metadata files under their lock, from any number of processes."""

    timeout: float | None = 30.0
    """Seconds to wait for the lock; ``None`` waits for ever."""
    durable: bool | None = True
    """``True`` flushes every update to the device before returning; see ``atomic_write``."""

    def merge_subdirectory_metadata(
        self, path: str | os.PathLike[str], updates: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Merge ``{subdirectory: {key: value}}`` into ``"subdirectories"`` of the file.

        Mappings merge key by key at every depth; any other value replaces what stood there.
        The file is created where it is missing.

        Raises ``DamagedDataError`` where the file holds something else (it is left alone),
        ``LockTimeoutError`` and ``StorageError``.
        """
        added = merged({}, {"subdirectories": updates})
        encode_json(added)  # refused before anybody waits for the lock

        def merge(document: Any) -> Any:
            if not isinstance(document, dict) or not isinstance(
                document.get("subdirectories", {}), dict
            ):
                raise DamagedDataError(
                    "no metadata document: 'subdirectories' must be an object",
                    "json",
                    os.fspath(path),
                )
            return merged(document, added)

        atomic_update_json(path, merge, durable=self.durable, timeout=self.timeout, check=False)


def merged(base: Any, updates: Any) -> Any:
    """Return ``base`` with ``updates`` merged in: mappings by key, everything else replaced."""
    if not isinstance(updates, Mapping):
        return updates
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in updates.items():
        result[key] = merged(result.get(key), value)
    return result
