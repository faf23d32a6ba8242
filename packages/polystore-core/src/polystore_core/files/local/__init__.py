"""The local file system as a store of bytes."""

from .store import LocalStore

__all__ = ["LocalStore"]
