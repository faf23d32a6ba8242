"""Read files and trees that other processes may replace at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import StorePath

__all__ = ["read_bytes", "read_whole"]

Result = TypeVar("Result")

_TRIES = 8


def read_whole(directory: StorePath, store: StorePath, read: Callable[[], Result]) -> Result:
    """Retry ``read`` until the directory was not replaced while reading.

    A reader finds the chunks of an array by their paths. If the tree is replaced while reading,
    the result would be a mixture of both. After some tries, writers are kept out by the lock.
    """
    files, key = directory.files, directory.key
    for _ in range(_TRIES):
        try:
            with files.pin_tree(key) as same:
                try:
                    result = read()
                except Exception:
                    # An error is raised only if the tree is the same: that of a mixture means
                    # nothing.
                    if same():
                        raise
                else:
                    if same():
                        return result
        except FileNotFoundError:
            if not files.find_again(store.key, lambda: files.kind(key) == "directory" or None):
                raise
    with files.steady(store.key):
        return read()


def read_bytes(read: Callable[[int], bytes], length: int) -> bytes:
    """Read ``length`` bytes, or fewer at the end of the file.

    Linux reads at most 2 GiB in one call.
    """
    first = read(length)
    if len(first) == length or not first:
        return first
    pieces, left = [first], length - len(first)
    while left and (piece := read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
