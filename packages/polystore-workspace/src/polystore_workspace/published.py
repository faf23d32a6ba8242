"""The ``polystore_metadata.json`` of the published package, read as a workspace."""

from __future__ import annotations

import os
from typing import Any

from polystore_core.errors import InvalidOptionError

from .document import Reference, Workspace

__all__ = ["read_published"]

_KEYS = {"backend", "backend_address", "source_axis_indices"}


def read_published(document: dict[str, Any], folder: str) -> Workspace:
    """Return the mappings of all subdirectories as one workspace in ``folder``.

    Raises ``InvalidOptionError`` that names the wrong entry.
    """
    entries: dict[str, Reference] = {}
    subdirectories = _object(document["subdirectories"], "subdirectories")
    for name, content in subdirectories.items():
        field = f"subdirectories.{name}"
        mapping = _object(content, field).get("workspace_mapping", {})
        for path, raw in _object(mapping, f"{field}.workspace_mapping").items():
            virtual = path.replace("\\", "/")
            found = _reference(path, raw, folder)
            if entries.setdefault(virtual, found) != found:
                fault = f"entry {path!r}: two subdirectories map it to different sources"
                raise InvalidOptionError("workspace_mapping", path, "", fault)
    if not entries:
        fault = "no subdirectory has a workspace_mapping: expected one that has entries"
        raise InvalidOptionError("subdirectories", list(subdirectories), "", fault)
    return Workspace(entries, folder)


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
