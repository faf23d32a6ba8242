"""System calls on the files of a local store by their keys. None leads out of its root."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from polystore_core import (
    exchange,
    flush_to_device,
    lock_name,
    open_regular,
    remove_tree,
    sync_directory,
)

from .base import Files

if TYPE_CHECKING:
    from polystore_core import LocalStore, Places

__all__ = ["Calls", "new_file"]

# O_PATH needs no permission to list the directory.
_PIN = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0)
_PEEK = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NOCTTY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _PEEK |= getattr(os, _flag, 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class _File(io.FileIO):
    """A file that the garbage collector may close. It closes in C, where Ctrl-C is not lost."""

    __del__ = io.FileIO.close


def new_file(name: str, *, dir_fd: int | None = None) -> io.FileIO:
    """Open a new file for writing."""
    # The object owns the descriptor from the start, so that Ctrl-C cannot lose it. "x" follows no
    # link.
    opener = None if dir_fd is None else partial(os.open, mode=0o666, dir_fd=dir_fd)
    return _File(name, "x", opener=opener)


def _peek(name: str, most: int, *, dir_fd: int | None = None) -> bytes:
    descriptor = os.open(name, _PEEK, dir_fd=dir_fd)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


class Calls(Files):
    """The system calls of a :class:`LocalStore`. They act on links, not on their targets."""

    store: LocalStore
    places: Places

    def lock_of(self, store: str) -> str:
        """Return the key of the lock file of a store, the same for all names of the store."""
        folder, name = os.path.split(self.places.resolve(store))
        return os.path.join(folder, lock_name(name))

    # ── looking ──────────────────────────────────────────────────────────────────────────

    def lstat(self, key: str) -> os.stat_result:
        """Return the status of a name, without following a link."""
        return self.places.stat(key, follow_symlinks=False)

    def is_there(self, key: str) -> bool:
        """Return whether something is at ``key``, like ``os.path.lexists``, but raise errors."""
        return not self.is_free(key)

    def is_free(self, key: str) -> bool:
        try:
            self.places.stat(key, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return True
        return False

    def names(self, key: str) -> list[str]:
        """Return the names in a directory, hidden ones too."""
        with self.places.at(key) as place:
            if place.dir_fd is None:
                return os.listdir(place.name)
            descriptor = os.open(place.name, _FOLDER, dir_fd=place.dir_fd)
        try:
            return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def pin(self, key: str) -> int:
        """Open a directory, so that no other directory gets its inode number."""
        with self.places.at(key) as place:
            return os.open(place.name, _PIN, dir_fd=place.dir_fd)

    def peek(self, key: str, most: int) -> bytes:
        # O_NONBLOCK: a named pipe gives no bytes, and does not wait. O_NOFOLLOW: ``read`` follows.
        return self.places.run(_peek, key, most)

    # ── changing ─────────────────────────────────────────────────────────────────────────

    def mkdir(self, key: str) -> None:
        """Make a directory."""
        self.places.run(os.mkdir, key)

    def make_missing(self, key: str) -> None:
        """Make a folder that is known to be missing, and its parents.

        ``make_folders`` looks at each folder first, which takes more calls.
        """
        with suppress(FileExistsError):  # another thread was faster
            try:
                self.places.run(os.mkdir, key)
            except FileNotFoundError:
                self.make_missing(os.path.dirname(key))
                self.places.run(os.mkdir, key)

    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Make a folder and its missing parents."""
        with self.places.at(
            f"{key}/_" if key else "_", follow=False, create=True, durable=durable
        ):
            pass  # the place of a name in the directory exists, so the directory does too

    def rename(self, key: str, target: str) -> None:
        """Give a tree another name, which is free or that of an empty folder."""
        self.places.run_both(os.rename, key, target)

    def rename_file(self, key: str, target: str) -> None:
        """Give a file another name, and replace another file with this name."""
        self.places.run_both(os.replace, key, target)

    def exchange(self, one: str, other: str) -> bool:
        """Exchange the names of two trees in one step. Return ``False`` if the system cannot."""
        return self.places.run_both(exchange, one, other)

    def link(self, key: str, target: str) -> None:
        """Give a file a second name."""
        self.places.run_both(os.link, key, target, follow_symlinks=False)

    def unlink(self, key: str) -> None:
        """Remove a file or a link."""
        self.places.run(os.unlink, key)

    def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        self.places.run(os.rmdir, key)

    def remove_tree(self, key: str) -> None:
        """Remove a tree that no other process has claimed."""
        with self.places.at(key, follow=False) as place:
            remove_tree(place.name, dir_fd=place.dir_fd, timeout=0)

    # ── flushing ─────────────────────────────────────────────────────────────────────────

    def flush_file(self, key: str) -> None:
        """Flush the bytes of a file to the device."""
        with self.places.at(key, follow=False) as place:
            if os.name == "nt":
                # Windows flushes only files that are open for writing.
                descriptor = os.open(place.name, os.O_RDWR)
            else:
                descriptor = open_regular(
                    place.name, dir_fd=place.dir_fd, follow_symlinks=False
                )
        try:
            flush_to_device(descriptor)
        finally:
            os.close(descriptor)

    def flush_folder(self, key: str) -> None:
        """Flush the names in a directory to the device."""
        with self.places.at(key) as place:
            sync_directory(place.name, dir_fd=place.dir_fd)
