"""System calls on the files of a local store, by their keys: none leads out of its root."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from polystore_core import (
    exchange,
    flush_to_device,
    open_regular,
    path_of,
    remove_tree,
    sync_directory,
)

from .base import Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import LocalStore

__all__ = ["Calls"]

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
_WRITE |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_PIN = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0)
_PEEK = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NOCTTY", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _PEEK |= getattr(os, _flag, 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Calls(Files):
    """The system calls of a :class:`LocalStore`. They act on links, and not on their targets."""

    store: LocalStore

    @contextmanager
    def named(self, key: str, *, follow: bool = False) -> Iterator[str]:
        """Give a path for calls that take no descriptor of a directory."""
        with self.store.at(key, follow=follow) as place:
            yield path_of(*place)

    # ── looking ──────────────────────────────────────────────────────────────────────────

    def lstat(self, key: str) -> os.stat_result:
        return self.store.status(key, follow=False)

    def is_there(self, key: str) -> bool:
        """``os.path.lexists``, but for errors."""
        try:
            self.lstat(key)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_free(self, key: str) -> bool:
        return not self.is_there(key)

    def names(self, key: str) -> list[str]:
        """Return the names in a directory, hidden ones too."""
        with self.store.at(key) as place:
            if place.dir_fd is None:
                return os.listdir(place.name)
            descriptor = os.open(place.name, _FOLDER, dir_fd=place.dir_fd)
        try:
            return os.listdir(descriptor)
        finally:
            os.close(descriptor)

    def pin(self, key: str) -> int:
        """Open a directory, so that its number is given to no other one meanwhile."""
        with self.store.at(key) as place:
            return os.open(place.name, _PIN, dir_fd=place.dir_fd)

    def peek(self, key: str, most: int) -> bytes:
        # A named pipe has no bytes here, and does not wait. Links are left to ``read``.
        with self.store.at(key, follow=False) as place:
            descriptor = os.open(place.name, _PEEK, dir_fd=place.dir_fd)
            try:
                return os.read(descriptor, most)
            finally:
                os.close(descriptor)

    # ── changing ─────────────────────────────────────────────────────────────────────────

    def open_new(self, key: str) -> int:
        """Open a file for writing. Nobody reads it yet."""
        with self.store.at(key, follow=False) as place:
            return os.open(place.name, _WRITE, 0o666, dir_fd=place.dir_fd)

    def mkdir(self, key: str) -> None:
        with self.store.at(key, follow=False) as place:
            os.mkdir(place.name, dir_fd=place.dir_fd)

    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Make a folder and its missing parents."""
        with self.store.at(
            f"{key}/_" if key else "_", follow=False, create=True, durable=durable
        ):
            pass  # the place of a name in it is there: so is the directory

    def rename(self, key: str, target: str) -> None:
        """Give a tree another name. An empty folder may have that name."""
        with (
            self.store.at(key, follow=False) as old,
            self.store.at(target, follow=False) as new,
        ):
            os.rename(old.name, new.name, src_dir_fd=old.dir_fd, dst_dir_fd=new.dir_fd)

    def rename_file(self, key: str, target: str) -> None:
        """Give a file another name. Another file may have that name."""
        with (
            self.store.at(key, follow=False) as old,
            self.store.at(target, follow=False) as new,
        ):
            os.replace(old.name, new.name, src_dir_fd=old.dir_fd, dst_dir_fd=new.dir_fd)

    def exchange(self, one: str, other: str) -> bool:
        """Let two trees change names in one step; ``False`` where the system cannot."""
        with self.named(one) as first, self.named(other) as second:
            return exchange(first, second)

    def link(self, key: str, target: str) -> None:
        """Give a file a second name."""
        with (
            self.store.at(key, follow=False) as old,
            self.store.at(target, follow=False) as new,
        ):
            fds = {"src_dir_fd": old.dir_fd, "dst_dir_fd": new.dir_fd}
            os.link(old.name, new.name, **fds, follow_symlinks=False)

    def unlink(self, key: str) -> None:
        with self.store.at(key, follow=False) as place:
            os.unlink(place.name, dir_fd=place.dir_fd)

    def rmdir(self, key: str) -> None:
        with self.store.at(key, follow=False) as place:
            os.rmdir(place.name, dir_fd=place.dir_fd)

    def remove_tree(self, key: str) -> None:
        with self.store.at(key, follow=False) as place:
            remove_tree(place.name, dir_fd=place.dir_fd, timeout=0)

    # ── flushing ─────────────────────────────────────────────────────────────────────────

    def flush_file(self, key: str) -> None:
        """Flush the bytes of a file to the device."""
        with self.store.at(key, follow=False) as place:
            if os.name == "nt":
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
        with self.store.at(key) as place:
            sync_directory(place.name, dir_fd=place.dir_fd)
