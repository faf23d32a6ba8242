"""Directories below a root that stay open for the length of a batch."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..pending import Place
from ..system import is_missing, open_regular
from .places import NO_LINK, Places, RootedPlaces
from .syscalls import lstat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeptPlaces"]

_MOST_KEPT = 64
_NOT_NAMES = ("", ".", "..")


class _Directory(NamedTuple):
    """An open directory, not a link to one. Without a parent it is in the root."""

    name: str
    parent: _Directory | None
    descriptor: int
    identity: tuple[int, int]


class KeptPlaces(Places):
    """The places below a root for the length of a batch: opens each directory once.

    Before each use it checks that every name on the way is still the name of the same directory,
    and not a link. This is as safe as a walk, with one system call for each directory instead of
    four. The walk does everything else: links, missing names, names that something else has now,
    and errors.

    ``_mutex`` guards ``_users`` and changes of the other fields. A descriptor is closed only
    when no other thread is between ``_enter`` and ``_leave``, so a thread may use it there.
    """

    def __init__(self, places: RootedPlaces) -> None:
        self._places = places
        self._mutex = threading.Lock()
        self._kept: dict[str, _Directory] = {}
        self._descriptors: list[int] = []
        self._users = 0

    @contextmanager
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> Iterator[Place]:
        self._enter()
        try:
            place = self._find(path)
            if place is not None and not (follow and _is_link(place)):
                yield place
                return
            with self._places.at(path, follow=follow, create=create, durable=durable) as place:
                yield place
        finally:
            self._leave()

    def _open_into(self, path: str, held: list[int]) -> None:
        self._enter()
        try:
            place = self._find(path)
            if place is not None:
                try:
                    name, dir_fd = place
                    held.append(open_regular(name, dir_fd=dir_fd, follow_symlinks=False))
                    return
                except OSError:  # perhaps a link: the walk finds out
                    pass
            self._places._open_into(path, held)
        finally:
            self._leave()

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        self._enter()
        try:
            place = self._find(path)
            if place is not None:
                try:
                    found = lstat(place)
                except FileNotFoundError:
                    if self._find(path) == place:  # or its folder was replaced
                        raise
                else:
                    if not (follow and stat.S_ISLNK(found.st_mode)):
                        return found
            return self._places.stat(path, follow=follow)
        finally:
            self._leave()

    def resolve(self, path: str) -> str:
        return self._places.resolve(path)

    def link_text(self, source: str, link: str) -> str:
        return self._places.link_text(source, link)

    def close(self) -> None:
        with self._mutex:
            self._close_all()

    # ── which directories are open ───────────────────────────────────────────────────────

    def _enter(self) -> None:
        with self._mutex:
            self._users += 1

    def _leave(self) -> None:
        with self._mutex:
            self._users -= 1

    def _find(self, path: str) -> Place | None:
        """Return the place of ``path`` in a kept directory, or ``None`` if it needs a walk."""
        folder, slash, name = path.rpartition("/")
        if not slash or name in _NOT_NAMES:
            return None
        found = self._kept.get(folder)
        if found is None or not self._is_there(found):
            with self._mutex:
                found = self._keep(folder)
        return None if found is None else Place(name, found.descriptor)

    def _is_there(self, directory: _Directory) -> bool:
        above = directory.parent
        if above is not None and not self._is_there(above):
            return False
        root = self._places.root_fd if above is None else above.descriptor
        try:
            found = os.stat(directory.name, dir_fd=root, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == directory.identity

    def _keep(self, folder: str) -> _Directory | None:
        more = folder.count("/") + 1
        if len(self._descriptors) + more > _MOST_KEPT and self._users == 1:
            self._close_all()
        if len(self._descriptors) + more > _MOST_KEPT:
            return None
        try:
            return self._open(folder)
        except OSError:
            return None

    def _open(self, folder: str) -> _Directory | None:
        found = self._kept.get(folder)
        if found is not None and self._is_there(found):
            return found
        above, slash, name = folder.rpartition("/")
        parent = self._open(above) if slash else None
        if name in _NOT_NAMES or (slash and parent is None):
            return None
        root = self._places.open_root() if parent is None else parent.descriptor
        # One call in C: between two, Ctrl-C could lose the descriptor.
        self._descriptors.extend(map(partial(os.open, dir_fd=root), (name,), (NO_LINK,)))
        descriptor = self._descriptors[-1]
        status = os.fstat(descriptor)
        found = _Directory(name, parent, descriptor, (status.st_dev, status.st_ino))
        self._kept[folder] = found
        return found

    def _close_all(self) -> None:
        self._kept.clear()
        while self._descriptors:
            os.close(self._descriptors.pop())


def _is_link(place: Place) -> bool:
    if is_missing(place.name, dir_fd=place.dir_fd):
        return False
    try:
        found = os.stat(place.name, dir_fd=place.dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(found.st_mode)
