"""The ``polystore_metadata.json`` of the published package, read as a workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from polystore_core import LocalStore
from polystore_core.errors import InvalidOptionError

from .document import Reference, Workspace
from .plates import planes_of_plate

__all__ = ["read_published"]

_KEYS = {"backend", "backend_address", "source_axis_indices"}


def read_published(document: dict[str, Any], folder: str) -> Workspace:
    """Return the mappings of all subdirectories as one workspace in ``folder``.

    Raises ``InvalidOptionError`` that names the wrong entry.
    """
    entries: dict[str, Reference] = {}
    subdirectories = _object(document["subdirectories"], "subdirectories")
    for name, content in subdirectories.items():
        for path, found in _subdirectory(name, content, folder):
            if entries.setdefault(path, found) != found:
                fault = f"entry {path!r}: two subdirectories map it to different sources"
                raise InvalidOptionError("workspace_mapping", path, "", fault)
    if not entries:
        fault = "no subdirectory has a workspace_mapping, or a Zarr plate with names of files"
        raise InvalidOptionError("subdirectories", list(subdirectories), "", fault)
    return Workspace(entries, folder)


def _subdirectory(name: str, content: object, folder: str) -> Iterator[tuple[str, Reference]]:
    """Yield the virtual paths of one subdirectory, and their sources."""
    field = f"subdirectories.{name}"
    fields = _object(content, field)
    mapping = _object(fields.get("workspace_mapping", {}), f"{field}.workspace_mapping")
    for path, raw in mapping.items():
        yield path.replace("\\", "/"), _reference(path, raw, folder)
    backends = _object(fields.get("available_backends", {}), f"{field}.available_backends")
    if not mapping and backends.get("zarr") is True:
        inside = "" if name == "." else name
        for file, plane in planes_of_plate(LocalStore(folder), inside).items():
            yield f"{inside}/{file}" if inside else file, plane


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidOptionError(field, value, "an object")
    return value


def _reference(path: str, raw: object, folder: str) -> Reference:
    if isinstance(raw, str):  # of versions before 0.6
        return Reference("disk", _relative(raw, folder))
    if not isinstance(raw, dict) or raw.keys() != _KEYS:
        fault = f"entry {path!r}: expected {', '.join(sorted(_KEYS))}, got {raw!r:.80}"
        raise InvalidOptionError("workspace_mapping", raw, "", fault)
    address, indices = raw["backend_address"], raw["source_axis_indices"]
    if not (isinstance(address, str) and isinstance(indices, list)):
        fault = f"entry {path!r}: backend_address must be text, source_axis_indices a list"
        raise InvalidOptionError("workspace_mapping", raw, "", fault)
    return Reference(raw["backend"], _relative(address, folder), tuple(indices))


def _relative(address: str, folder: str) -> str:
    """Return an absolute address inside the plate as a relative one: plates are moved."""
    inside = os.path.join(folder, "")
    return address.removeprefix(inside) if os.path.isabs(address) else address
