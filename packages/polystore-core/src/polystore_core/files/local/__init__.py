"""The store of bytes that a file system is."""

from .store import LocalStore

__all__ = ["LocalStore"]
