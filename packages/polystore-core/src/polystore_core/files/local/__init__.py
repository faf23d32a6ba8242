"""``LocalStore``: the local file system as a store of bytes."""

from .places import Places
from .store import LocalStore

__all__ = ["LocalStore", "Places"]
