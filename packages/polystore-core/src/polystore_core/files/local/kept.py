"""``KeptPlaces``: keeps the folders below a root open during an operation or a batch."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..pending import Place
from ..system import is_missing, open_regular
from .places import NO_LINK, Places, RootedPlaces
from .syscalls import lstat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .places import Result

__all__ = ["KeptPlaces"]

_MOST_KEPT = 64
"""Open folders, so that a batch over many of them does not run out of descriptors."""
_NOT_NAMES = ("", ".", "..")


class _Directory(NamedTuple):
    """An open folder, not a link to one."""

    name: str
    above: int
    """The descriptor of its parent."""
    descriptor: int
    identity: tuple[int, int]
    """Its device and inode."""


_Way: TypeAlias = tuple[_Directory, ...]
"""The folders from the root to a folder, in this order. Empty for the root."""


class KeptPlaces(Places):
    """The places below a root during a batch. It opens each folder once.

    Before each use it checks that every name on the way is still the name of the same folder, and
    not a link. This is as safe as a walk (``RootedPlaces``), but it needs one system call for each
    folder instead of four. Links, names that have changed, and errors are left to the walk.
    """

    # Locks: _mutex guards _users, and changes of _kept and _descriptors. Threads read _kept without
    # it. A descriptor is closed only when no other thread uses a place (_users), because its number
    # could become that of another folder.

    def __init__(self, places: RootedPlaces) -> None:
        self._places = places
        self._mutex = threading.Lock()
        self._kept: dict[str, _Way] = {}
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
        with self._mutex:
            self._users += 1
        try:
            place = self._find(path, missing_ok=create)
            if place is not None and not (follow and _is_link(place)):
                yield place
                return
            with self._places.at(path, follow=follow, create=create, durable=durable) as place:
                yield place
        finally:
            with self._mutex:
                self._users -= 1

    def run(self, call: Callable[..., Result], path: str, /, *given: Any) -> Result:
        with self._mutex:
            self._users += 1
        try:
            place = self._find(path)
            if place is not None:
                try:
                    return call(place.name, *given, dir_fd=place.dir_fd)
                except FileNotFoundError:
                    # Otherwise its folder was replaced: try the new one.
                    if self._find(path) == place:
                        raise
            return self._places.run(call, path, *given)
        finally:
            with self._mutex:
                self._users -= 1

    def run_both(
        self, call: Callable[..., Result], source: str, target: str, /, **given: Any
    ) -> Result:
        with self._mutex:
            # Two users, so that the search for the second place does not
            # close the folder of the first.
            self._users += 2
        try:
            old, new = self._find(source), self._find(target)
            if old is None or new is None:
                return self._places.run_both(call, source, target, **given)
            fds = {"src_dir_fd": old.dir_fd, "dst_dir_fd": new.dir_fd}
            return call(old.name, new.name, **fds, **given)
        finally:
            with self._mutex:
                self._users -= 2

    def _open_into(self, path: str, held: list[int]) -> None:
        with self._mutex:
            self._users += 1
        try:
            place = self._find(path)
            if place is not None:
                try:
                    name, dir_fd = place
                    held.append(open_regular(name, dir_fd=dir_fd, follow_symlinks=False))
                    return
                except FileNotFoundError:
                    if self._find(path) == place:
                        raise
                except OSError:  # perhaps it is a link: the walk finds out
                    pass
            self._places._open_into(path, held)
        finally:
            with self._mutex:
                self._users -= 1

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        found = self.run(_lstat, path)
        if follow_symlinks and stat.S_ISLNK(found.st_mode):
            return self._places.stat(path)
        return found

    def resolve(self, path: str) -> str:
        """Return ``path`` without links. A folder that was opened by its name is not a link."""
        with self._mutex:
            self._users += 1
        try:
            with suppress(FileNotFoundError):
                place = self._find(path)
                if place is not None and not _is_link(place):
                    return path
            return self._places.resolve(path)
        finally:
            with self._mutex:
                self._users -= 1

    def link_text(self, source: str, link: str) -> str:
        return self._places.link_text(source, link)

    def close(self) -> None:
        with self._mutex:
            self._close_all()

    # ── open folders ─────────────────────────────────────────────────────────────────────

    def _find(self, path: str, *, missing_ok: bool = False) -> Place | None:
        """Return the place of ``path`` in an open folder, or ``None`` if it needs a walk.

        Raises ``FileNotFoundError`` if a folder on the way does not exist, unless ``missing_ok`` is
        true: then the walk creates it.
        """
        folder, slash, name = path.rpartition("/")
        if name in _NOT_NAMES:
            return None
        try:
            if not slash:
                return Place(name, self._places.open_root())
            way = self._kept.get(folder)
            if way is None or not self._is_there(way):
                with self._mutex:
                    way = self._make_way(folder)
        except FileNotFoundError:
            if not missing_ok:
                raise
            return None
        return None if way is None else Place(name, way[-1].descriptor)

    def _is_there(self, way: _Way) -> bool:
        try:
            for name, above, _, identity in way:
                found = os.stat(name, dir_fd=above, follow_symlinks=False)
                if (found.st_dev, found.st_ino) != identity:
                    return False
        except OSError:
            return False
        return True

    def _make_way(self, folder: str) -> _Way | None:
        more = folder.count("/") + 1
        # All of them at once: a batch over many folders seldom returns to the first ones.
        if len(self._descriptors) + more > _MOST_KEPT and self._users == 1:
            self._close_all()
        if len(self._descriptors) + more > _MOST_KEPT:
            return None
        return self._open(folder)

    def _open(self, folder: str) -> _Way | None:
        way = self._kept.get(folder)
        if way is not None and self._is_there(way):
            return way
        outer, slash, name = folder.rpartition("/")
        above = self._open(outer) if slash else ()
        if above is None or name in _NOT_NAMES:
            return None
        parent = above[-1].descriptor if above else self._places.open_root()
        try:
            # In one call of C, because between two Ctrl-C could lose the descriptor.
            self._descriptors.extend(map(partial(os.open, dir_fd=parent), (name,), (NO_LINK,)))
        except FileNotFoundError:
            if self._is_there(above):
                raise
            return None
        except OSError:
            return None
        # The identity, because the name alone could belong to another folder later.
        descriptor = self._descriptors[-1]
        status = os.fstat(descriptor)
        found = _Directory(name, parent, descriptor, (status.st_dev, status.st_ino))
        self._kept[folder] = way = (*above, found)
        return way

    def _close_all(self) -> None:
        self._kept.clear()
        while self._descriptors:
            os.close(self._descriptors.pop())


def _lstat(name: str, *, dir_fd: int) -> os.stat_result:
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def _is_link(place: Place) -> bool:
    if is_missing(place.name, dir_fd=place.dir_fd):
        return False
    try:
        found = lstat(place)
    except FileNotFoundError:
        return False
    return stat.S_ISLNK(found.st_mode)
