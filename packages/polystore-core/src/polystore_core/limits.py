"""Memory that is asked for before it is taken."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["allocating"]

_WORTH_A_LOOK = 1 << 28


@contextmanager
def allocating(nbytes: int, format: str, advice: str, *, what: str = "it") -> Iterator[None]:
    """Allocate ``nbytes`` in the block, or raise ``UnsupportedDataError`` with ``advice``.

    More than the memory of the machine is refused before the block: where Linux overcommits,
    the allocation itself would succeed, and the process would be killed when it fills the pages.
    """
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
    """Return the bytes of memory and swap, as far as the system tells."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = dict(line.split(":", 1) for line in lines)
        return sum(int(found[name].split()[0]) << 10 for name in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        return sys.maxsize
