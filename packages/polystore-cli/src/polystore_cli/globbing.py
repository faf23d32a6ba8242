"""Addresses with wildcards: ``disk:plate/*.tif``, ``disk:plate/**/w[12]_*.tif``.

Shells do not expand them, because no file of the working folder is called ``disk:plate``.
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .address import Address, is_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager

__all__ = ["expand_address", "has_wildcards"]

_WILDCARD = re.compile(r"[*?[]")


def has_wildcards(path: str) -> bool:
    """Whether a path has ``*``, ``?`` or ``[``."""
    return _WILDCARD.search(path) is not None


def expand_address(files: FileManager, address: Address) -> list[Address]:
    """Return the addresses that match, in natural order, or ``[address]`` without wildcards.

    ``*``, ``?`` and ``[abc]`` match within a name, and ``**`` any number of folders. As in a
    shell, they do not match the dot that starts a hidden name. A file whose own name is the
    pattern is meant, and nothing else.

    Raises ``NotFoundError`` if nothing matches.
    """
    # "a[1].tif" is a usual name of a copy. It must not delete or hide "a1.tif".
    if not has_wildcards(address.path) or _exists(files, address):
        return [address]
    parts = address.path.split("/")
    first = next(n for n, part in enumerate(parts) if has_wildcards(part))
    # The first part of "/data/*.tif" is empty, and means the root.
    top = "/".join(parts[:first]) or ("/" if first else ".")
    # "**/a/**" finds some paths twice.
    found = dict.fromkeys(_matches(files, address.at(top), parts[first:]))
    if not found:
        from polystore_core.errors import NotFoundError

        hint = "no name matches the pattern"
        raise NotFoundError(address.backend, address.path, "list", hint=hint)
    return list(found)


def _matches(files: FileManager, folder: Address, parts: list[str]) -> Iterator[Address]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not rest:  # all files, also those in folders
            rest = ["*"]
        for below in [folder, *_folders_below(files, folder)]:
            yield from _matches(files, below, rest)
        return
    for name in _names(files, folder, part):
        found = folder / name
        if not rest:
            yield found
        elif rest == [""]:  # "plate/*/" matches folders
            if is_directory(files, found):
                yield found
        elif is_directory(files, found):
            yield from _matches(files, found, rest)


def _names(files: FileManager, folder: Address, part: str) -> list[str]:
    if not has_wildcards(part):
        return [part] if _exists(files, folder / part) else []
    names = files.list_dir(folder.path, backend=folder.backend)
    return [name for name in names if _fits(name, part)]


def _fits(name: str, pattern: str) -> bool:
    is_hidden = name.startswith(".") and not pattern.startswith(".")
    return not is_hidden and fnmatchcase(name, pattern)


def _folders_below(files: FileManager, folder: Address) -> Iterator[Address]:
    found, _ = files.collect_dirs_and_files(folder.path, backend=folder.backend, recursive=True)
    for path in found:
        inside = posixpath.relpath(path, folder.path)
        if not any(part.startswith(".") for part in inside.split("/")):
            yield folder / inside


def _exists(files: FileManager, address: Address) -> bool:
    able = "exists" in files.registry[address.backend].capabilities
    return able and files.exists(address.path, backend=address.backend)
