"""The files of one array: whether they are still the same, which chunks exist, and its lock."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from .layout import address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..grid import Cut, Part, Parts

__all__ = ["existing_chunks", "has_chunk", "identify_array", "name_lock"]


def identify_array(metadata: str) -> tuple[int, int]:
    """Return what no array that is saved later shares: inode numbers are given again."""
    status = os.stat(metadata)
    return status.st_ino, status.st_mtime_ns


def name_lock(directory: str) -> str:
    """Return the path whose lock all writers of parts of the array take.

    Next to the store: inside, other readers would stumble over it. The same for all names of
    the array: a store or a group may be a symbolic link.
    """
    real = os.path.realpath(directory)
    found = address(real)
    store, inner = (found.store, found.inner) if found.in_store else (real, ())
    return f"{store}!{'!'.join(inner) or '.'}"


def has_chunk(directory: str, name: str) -> bool:
    """Whether a chunk or shard has a file, and one that is not empty.

    zarr 3.1 takes an empty shard for one that nobody wrote.
    """
    try:
        status = os.stat(os.path.join(directory, name))
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def existing_chunks(
    directory: str, prefix: str, separator: str, axes: Sequence[Cut]
) -> Iterator[Parts]:
    """Yield what each chunk that has a file has of a region.

    Chunks are called ``c/0/1`` (``prefix`` "c", ``separator`` "/"), "c.0.1", "0/1" or "0.1".
    """
    if separator == "/":
        yield from _below(os.path.join(directory, prefix) if prefix else directory, axes)
        return
    for name in _names(directory):
        numbers = name.split(separator)
        if prefix and numbers.pop(0) != prefix:
            continue
        if len(numbers) == len(axes):
            parts = [_part(axis, number) for axis, number in zip(axes, numbers, strict=True)]
            if None not in parts:
                yield tuple(part for part in parts if part is not None)


def _below(folder: str, axes: Sequence[Cut]) -> Iterator[Parts]:
    if not axes:
        yield ()
        return
    for name in _names(folder):
        part = _part(axes[0], name)
        if part is not None:
            for rest in _below(os.path.join(folder, name), axes[1:]):
                yield (part, *rest)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _part(axis: Cut, name: str) -> Part | None:
    if not (name.isascii() and name.isdecimal() and len(name) < 20) or name != str(int(name)):
        return None
    number = int(name)
    return axis.at(number) if number in axis.numbers else None
