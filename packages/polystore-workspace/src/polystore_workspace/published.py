"""The ``polystore_metadata.json`` of the published package, read as a workspace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from polystore_core import LocalStore
from polystore_core.errors import InvalidOptionError

from .document import Reference, keys_twice
from .plates import planes_of_plate

__all__ = ["read_published"]

_KEYS = {"backend", "backend_address", "source_axis_indices"}


def read_published(document: dict[str, Any], folder: str) -> dict[str, Reference | str]:
    """Return the mappings of all subdirectories, for a workspace in ``folder``.

    A ``str`` is the fault of an entry. The other entries can be used.

    Raises:
        InvalidOptionError: The document has another fault.
    """
    entries: dict[str, Reference | str] = {}
    _check_keys(document, {"subdirectories"}, "the document")
    subdirectories = _object(document["subdirectories"], "subdirectories")
    _check_keys(subdirectories, {*subdirectories}, "subdirectories")
    for name, content in subdirectories.items():
        for path, found in _subdirectory(name, content, folder):
            # Neither source is chosen: this one path is an error when it is used.
            if entries.setdefault(path, found) != found:
                entries[path] = "two subdirectories map it to different sources"
    if not entries:
        fault = "no subdirectory has a workspace_mapping, or a Zarr plate with names of files"
        raise InvalidOptionError("subdirectories", list(subdirectories), "", fault)
    return entries


def _subdirectory(
    name: str, content: object, folder: str
) -> Iterator[tuple[str, Reference | str]]:
    """Yield the virtual paths of one subdirectory, and their sources."""
    field = f"subdirectories.{name}"
    fields = _object(content, field)
    _check_keys(fields, {"workspace_mapping", "available_backends"}, field)
    mapping = _object(fields.get("workspace_mapping", {}), f"{field}.workspace_mapping")
    twice = keys_twice(mapping)
    for path, raw in mapping.items():
        found = "the document has it twice" if path in twice else _reference(raw, folder)
        yield path.replace("\\", "/"), found
    backends = _object(fields.get("available_backends", {}), f"{field}.available_backends")
    # Without a mapping, the file names of the planes are in the arrays of the plate.
    if not mapping and backends.get("zarr") is True:
        inside = "" if name == "." else name
        for file, plane in planes_of_plate(LocalStore(folder), inside).items():
            yield f"{inside}/{file}" if inside else file, plane


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidOptionError(field, value, "an object")
    return value


def _check_keys(document: dict[str, Any], keys: set[str], field: str) -> None:
    for key in keys_twice(document) & keys:
        raise InvalidOptionError(field, document, "", f"{field} has the key {key!r} twice")


def _reference(raw: object, folder: str) -> Reference | str:
    if isinstance(raw, str):  # versions before 0.6 wrote only the path
        return Reference("disk", _relative(raw, folder))
    if not isinstance(raw, dict) or not raw.keys() >= _KEYS or keys_twice(raw) & _KEYS:
        return f"expected {', '.join(sorted(_KEYS))}, got {raw!r:.80}"
    address, indices = raw["backend_address"], raw["source_axis_indices"]
    if not (isinstance(address, str) and isinstance(indices, list)):
        return "backend_address must be text, source_axis_indices a list"
    return Reference(raw["backend"], _relative(address, folder), tuple(indices))


def _relative(address: str, folder: str) -> str:
    """Return an absolute address in the plate as a relative one, because plates are moved."""
    inside = os.path.join(folder, "")
    return address.removeprefix(inside) if os.path.isabs(address) else address
