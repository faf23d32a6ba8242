"""Formats over a store of bytes: a backend for every store that there is."""

from .backend import FileBackend

__all__ = ["FileBackend"]
