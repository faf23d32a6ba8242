"""New locks in forked children, where no thread could release the locks of the parent."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from .backend import MemoryBackend

__all__ = ["unlock_after_fork"]

# Weak references, so that a backend and its values are freed with their registry.
_backends: WeakSet[MemoryBackend] = WeakSet()


def unlock_after_fork(backend: MemoryBackend) -> None:
    """Give a backend new locks in every child that is forked from now on."""
    _backends.add(backend)


def _unlock() -> None:
    for backend in _backends:
        # At the fork, a thread of the parent may have held the lock. Here, it would never
        # release it.
        backend._lock = threading.RLock()
        backend._locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)
