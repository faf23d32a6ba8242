"""Formats over a store of bytes: one backend for all stores."""

from .backend import FileBackend

__all__ = ["FileBackend"]
