"""``allocating``: checks the size of an array before its memory is allocated."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DIMENSIONS_LIMIT", "allocating"]

DIMENSIONS_LIMIT = 64
"""The most dimensions of a NumPy array. Check it before you multiply the lengths in a file.

The product of 100,000 lengths takes seconds, and that of a million takes minutes.
"""

_WORTH_A_LOOK = 1 << 28
"""Bytes (256 MiB) below which a check takes longer than it is worth."""


@contextmanager
def allocating(nbytes: int, format: str, advice: str, *, what: str = "it") -> Iterator[None]:
    """Raise ``UnsupportedDataError`` if the block cannot allocate ``nbytes``.

    For example, when a stranger has written the header:

        with allocating(header.nbytes, "npy", "load a region="):
            array = np.empty(header.shape, header.dtype)

    Args:
        nbytes: The bytes to allocate.
        format: The name of the format, for the error.
        advice: A way to need less memory, for the error.
        what: The name of the array, for the error.
    """
    # Checked before the block. Linux overcommits, so the allocation itself could succeed, and the
    # process would be killed when it fills the pages.
    if nbytes > _WORTH_A_LOOK and nbytes > _memory():
        raise _no_memory(nbytes, format, advice, what)
    try:
        yield
    except MemoryError as error:
        raise _no_memory(nbytes, format, advice, what) from error


def _no_memory(nbytes: int, format: str, advice: str, what: str) -> UnsupportedDataError:
    return UnsupportedDataError(
        f"{what} needs {nbytes} bytes ({nbytes / (1 << 30):.1f} GiB), more memory than there is: "
        f"{advice}",
        format,
    )


def _memory() -> int:
    """Return the bytes of memory and swap, or a very large number if they are unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = dict(line.split(":", 1) for line in lines)
        return sum(int(found[name].split()[0]) << 10 for name in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        return sys.maxsize
