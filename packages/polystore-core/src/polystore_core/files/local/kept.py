"""Directories that stay open for the length of a batch."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import PathOutsideRootError
from ..pending import Place
from .places import Places, RootedPlaces, read_link_text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeptPlaces"]

_MOST_KEPT = 64


class KeptPlaces(Places):
    """The places below a root for the length of a batch: walks to each directory once.

    A directory is used again only while the system finds the same one at its path. It was
    inside the root when it was walked to, even if its path leads through a link by now.

    ``_mutex`` guards ``_kept`` and ``_users``.
    """

    def __init__(self, places: RootedPlaces) -> None:
        self._places = places
        self._mutex = threading.Lock()
        self._kept: dict[str, tuple[int, os.stat_result]] = {}
        self._users: dict[str, int] = {}

    @contextmanager
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> Iterator[Place]:
        folder, _, name = path.rpartition("/")
        descriptor = self._taken(folder) if folder and name not in ("", ".", "..") else -1
        if descriptor < 0:
            with self._places.at(path, follow=follow, create=create, durable=durable) as place:
                yield place
            return
        try:
            if follow and read_link_text(name, descriptor) is not None:
                with self._places.at(path, create=create, durable=durable) as place:
                    yield place
            else:
                yield Place(name, descriptor)
        finally:
            self._given_back(folder)

    def _taken(self, folder: str) -> int:
        """Return the descriptor of ``folder``, in use until it is given back; -1 for none."""
        with self._mutex:
            kept = self._kept.get(folder)
            if kept is not None:
                self._users[folder] += 1
        if kept is not None:
            if self._places.is_at(folder, kept[1]):
                return kept[0]
            self._given_back(folder)
            return -1
        try:
            descriptor = self._places.folder(folder)
        except (OSError, PathOutsideRootError):
            return -1  # the walk to the name makes it, or says why not
        try:
            found = os.fstat(descriptor)
            with self._mutex:
                self._make_room()
                if folder not in self._kept and len(self._kept) < _MOST_KEPT:
                    self._users[folder] = 1
                    self._kept[folder] = descriptor, found
                    return descriptor
        finally:  # also if fstat fails, or Ctrl-C strikes
            if self._kept.get(folder, (-1,))[0] != descriptor:
                os.close(descriptor)
        return -1

    def _given_back(self, folder: str) -> None:
        with self._mutex:
            self._users[folder] -= 1

    def _make_room(self) -> None:
        """Close the directory that was walked to first, if no other thread is in it."""
        if len(self._kept) < _MOST_KEPT:
            return
        oldest = next((folder for folder in self._kept if not self._users[folder]), None)
        if oldest is not None:
            os.close(self._kept.pop(oldest)[0])
            del self._users[oldest]

    def link_text(self, source: str, link: str) -> str:
        return self._places.link_text(source, link)

    def close(self) -> None:
        with self._mutex:
            while self._kept:
                os.close(self._kept.popitem()[1][0])
