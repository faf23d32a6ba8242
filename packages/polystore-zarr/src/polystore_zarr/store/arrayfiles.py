"""The files of one array: its existing chunks, and its lock."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from polystore_core.errors import UnsupportedFileError

from .layout import split_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..grid import Cut, Part, Parts
    from .base import StorePath

__all__ = ["existing_chunks", "has_chunk", "key_parts", "name_lock", "size_text"]


_LONGEST = 200
"""The most bytes of a name. A lock adds a few, and file systems accept 255."""


def name_lock(directory: StorePath) -> str:
    """Return the key of the lock for all writers of parts of the array.

    It is next to the store, because other programs would find it inside. It is the same for all
    names of the array, also if the store or a group is a symbolic link.
    """
    store, inner = split_key(directory.files.resolve(directory.key))
    folder, slash, name = store.rpartition("/")
    # If a name contains "!", two arrays may have the same lock. Then one only waits longer.
    name = f"{name}!{'!'.join(inner) or '.'}"
    # surrogateescape, because Python reads a file name that is not UTF-8 in this way.
    if len(name.encode(errors="surrogateescape")) > _LONGEST:
        # Two long names could only have the same lock if their digests were equal.
        name = sha256(name.encode(errors="surrogateescape")).hexdigest()
    return f"{folder}{slash}{name}"


def has_chunk(directory: StorePath, name: str) -> bool:
    """Return whether a chunk or shard has a file that is not empty.

    zarr 3.1 takes an empty shard for one that was never written.
    """
    return bool(directory.files.size((directory / name).key))


def key_parts(metadata: Any, path: str, backend: str) -> tuple[str, str]:
    """Return the start of the names of chunks, and the separator of their numbers."""
    if metadata.zarr_format == 2:
        return "", metadata.dimension_separator
    encoding = metadata.chunk_key_encoding
    if encoding.name not in ("default", "v2"):
        reason = (
            f"it has too many chunks for names of type {encoding.name!r}: load a region of it"
        )
        raise UnsupportedFileError(reason, "zarr", path, backend)
    return "c" if encoding.name == "default" else "", encoding.separator


def size_text(nbytes: int) -> str:
    """Return a number of bytes as text, such as "4 TiB"."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    power = min(int(math.log(max(nbytes, 1), 1024)), len(units) - 1)
    return f"{nbytes / 1024**power:.3g} {units[power]}"


def existing_chunks(
    directory: StorePath, prefix: str, separator: str, axes: Sequence[Cut]
) -> Iterator[Parts]:
    """Yield the parts of a region for each chunk that has a file.

    Names of chunks are "c/0/1" (``prefix`` "c", ``separator`` "/"), "c.0.1", "0/1" or "0.1".
    """
    if separator == "/":
        yield from _below(directory / prefix if prefix else directory, axes)
        return
    for name in _names(directory):
        numbers = name.split(separator)
        if prefix and numbers.pop(0) != prefix:
            continue
        if len(numbers) == len(axes):
            parts = [_part(axis, number) for axis, number in zip(axes, numbers, strict=True)]
            if None not in parts:
                yield tuple(part for part in parts if part is not None)


def _below(folder: StorePath, axes: Sequence[Cut]) -> Iterator[Parts]:
    if not axes:
        yield ()
        return
    for name in _names(folder):
        part = _part(axes[0], name)
        if part is not None:
            for rest in _below(folder / name, axes[1:]):
                yield (part, *rest)


def _names(folder: StorePath) -> list[str]:
    try:
        return [entry.name for entry in folder.files.store.entries(folder.key)]
    # Folders are made with their first chunk, so that a missing one has only fill values.
    except (FileNotFoundError, NotADirectoryError):
        return []


def _part(axis: Cut, name: str) -> Part | None:
    # int() would accept "1_0", " 1" and digits of other scripts, and "01" is not a chunk's
    # name. The length comes first, because int() raises an error for more than 4,300 digits.
    if not (name.isascii() and name.isdecimal() and len(name) < 20) or name != str(int(name)):
        return None
    number = int(name)
    return axis.at(number) if number in axis.numbers else None
