"""``Places``: finds the folder and the name of a path, never outside of a root."""

from __future__ import annotations

import errno
import operator
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

from ...errors import PathOutsideRootError, UnsupportedOperationError
from ...paths import full_path
from ..pending import Place
from ..system import (
    MOST_LINKS,
    follow_links,
    make_directories,
    open_held,
    open_regular,
    sync_directory,
)
from .syscalls import lstat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NO_LINK", "FreePlaces", "Places", "RootedPlaces", "read_link_text"]

Result = TypeVar("Result")

_TRIES = 100
"""How often to try again if others delete or replace a folder."""
# O_PATH, because a folder on the way need not be readable, only searchable.
_DIRECTORY = (
    getattr(os, "O_PATH", os.O_RDONLY)
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
NO_LINK = _DIRECTORY | getattr(os, "O_NOFOLLOW", 0)
"""The flags that open a folder, but not a link to one."""


class Places(ABC):
    """Finds the place of a path: its name in an open folder.

    ``LocalStore.places`` is one. For example:

        with store.places.at("plate/a.txt") as place:
            os.utime(place.name, dir_fd=place.dir_fd, follow_symlinks=False)
    """

    @abstractmethod
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> AbstractContextManager[Place]:
        """Return the place of ``path``, which is open during the ``with`` block.

        Args:
            path: A path, relative to the root if there is one.
            follow: Whether the place of a link is the place of its target.
            create: Whether to create missing folders.
            durable: Whether new folders survive a power cut.

        Raises:
            OSError: A folder does not exist or cannot be opened.
            PathOutsideRootError: The path leaves the root.
        """

    def open(self, path: str) -> int:
        """Open a regular file for reading and return its descriptor."""
        held: list[int] = []
        try:
            self._open_into(path, held)
        except BaseException:  # Ctrl-C too, while the folders on the way are closed
            for descriptor in held:
                os.close(descriptor)
            raise
        return held[0]

    @abstractmethod
    def _open_into(self, path: str, held: list[int]) -> None:
        """Open a regular file for reading and append its descriptor to ``held``."""

    @abstractmethod
    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of ``path``, or of the target of a link."""

    @abstractmethod
    def run(self, call: Callable[..., Result], path: str, /, *given: Any) -> Result:
        """Call a function that takes a name and ``dir_fd=`` on ``path``.

        The function must not follow links, because another process may put one at ``path``. For
        example:

            descriptor = places.run(os.open, "plate/a", os.O_RDONLY | os.O_NOFOLLOW)
        """

    @abstractmethod
    def run_both(
        self, call: Callable[..., Result], source: str, target: str, /, **given: Any
    ) -> Result:
        """Call a function that takes two names, ``src_dir_fd=`` and ``dst_dir_fd=``."""

    @abstractmethod
    def resolve(self, path: str) -> str:
        """Return ``path`` without links. It need not exist."""

    @abstractmethod
    def link_text(self, source: str, link: str) -> str:
        """Return the text that a symbolic link at ``link`` needs to lead to ``source``."""

    def close(self) -> None:  # noqa: B027 - only folders below a root are kept open
        """Close the folders that are kept open."""


class _Free(Place):
    """A place without a root. It is its own context manager, as no folder is open."""

    __slots__ = ()

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_new = tuple.__new__  # faster than _Free(…), which is a function of Python


class FreePlaces(Places):
    """Paths as the operating system knows them, relative to the working folder."""

    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> AbstractContextManager[Place]:
        if follow:
            path = follow_links(path)
        if create and (parent := os.path.dirname(path)):
            make_directories(parent, durable=durable)
        return _new(_Free, (path, None))

    # Without a root there is nothing to check, so these are the functions of the system.
    open = staticmethod(open_regular)
    stat = staticmethod(os.stat)
    run: Any = staticmethod(operator.call)
    run_both: Any = staticmethod(operator.call)
    resolve: Any = staticmethod(os.path.realpath)

    def _open_into(self, path: str, held: list[int]) -> None:
        held.append(open_regular(path))

    def link_text(self, source: str, link: str) -> str:
        # Absolute, because a relative text would start at the folder of the link.
        return os.path.realpath(source, strict=True)


class RootedPlaces(Places):
    """Paths below ``root``. Absolute paths, ".." and links that lead out raise an error.

    Every folder is opened by its name in its open parent, without following links, and links are
    read and followed here. So another process cannot lead a call outside by replacing a folder by a
    link. Comparing ``os.path.realpath`` with the root cannot promise that.
    """

    # Locks: _mutex guards changes of root_fd (-1 until the first walk) and of _closed. Walks read
    # root_fd without it.

    def __init__(self, root: str | os.PathLike[str]) -> None:
        if os.open not in os.supports_dir_fd:
            raise UnsupportedOperationError(
                "disk", "root=", "this system cannot open files relative to a directory"
            )
        self.root = full_path(root)
        self.root_fd = -1
        self._mutex = threading.Lock()
        self._closed: Callable[[], object] = _nothing_open

    @contextmanager
    def at(
        self,
        path: str,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> Iterator[Place]:
        opened: list[int] = []
        closing = map(os.close, opened)  # in one call of C, which Ctrl-C cannot divide
        try:
            parts = self._walk_again(path, opened, follow, create, durable)
            yield Place(parts[-1], opened[-1] if opened else self.root_fd)
        finally:
            deque(closing, 0)

    def _open_into(self, path: str, held: list[int]) -> None:
        self.look(path, partial(_open_into, held))

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        return self.look(path, lstat, follow=follow_symlinks)

    def run(self, call: Callable[..., Result], path: str, /, *given: Any) -> Result:
        def on(place: Place) -> Result:
            return call(place.name, *given, dir_fd=place.dir_fd)

        return self.look(path, on, follow=False)

    def run_both(
        self, call: Callable[..., Result], source: str, target: str, /, **given: Any
    ) -> Result:
        with self.at(source, follow=False) as old, self.at(target, follow=False) as new:
            fds = {"src_dir_fd": old.dir_fd, "dst_dir_fd": new.dir_fd}
            return call(old.name, new.name, **fds, **given)

    def look(
        self, path: str, call: Callable[[Place], Result], *, follow: bool = True
    ) -> Result:
        """Return ``call(place)``. If a folder was replaced after the walk, walk again."""
        for _ in range(_TRIES):
            opened: list[int] = []
            closing = map(os.close, opened)  # in one call of C, which Ctrl-C cannot divide
            try:
                parts = self._walk_again(path, opened, follow)
                try:
                    return call(Place(parts[-1], opened[-1] if opened else self.root_fd))
                except FileNotFoundError:
                    if self._stay(parts, opened):
                        raise
            finally:
                deque(closing, 0)
        reason = f"its folder was replaced {_TRIES} times while it was read: stop the writers"
        raise OSError(errno.ESTALE, reason, path)

    def _stay(self, names: list[str], opened: list[int]) -> bool:
        """Return whether the folders of a walk still have their names."""
        above = self.root_fd
        for name, descriptor in zip(names, opened, strict=False):
            try:
                found = os.stat(name, dir_fd=above, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if not os.path.samestat(found, os.fstat(descriptor)):
                return False
            above = descriptor
        return True

    def resolve(self, path: str) -> str:
        # From the longest part that exists: links in it are followed, and the rest has none.
        missing: list[str] = []
        while True:
            try:
                return "/".join(
                    [self._canonical(path, follow=True).removesuffix("/."), *missing]
                )
            except (FileNotFoundError, NotADirectoryError):
                path, slash, name = path.rstrip("/").rpartition("/")
                missing.insert(0, name)
                if not slash:
                    return "/".join(missing)

    def link_text(self, source: str, link: str) -> str:
        folder = os.path.dirname(self._canonical(link, follow=False))
        return os.path.relpath(self._canonical(source, follow=True), folder or ".")

    def _canonical(self, path: str, *, follow: bool) -> str:
        opened: list[int] = []
        closing = map(os.close, opened)  # in one call of C, which Ctrl-C cannot divide
        try:
            return "/".join(self._walk_again(path, opened, follow))
        finally:
            deque(closing, 0)

    def _walk_again(
        self,
        path: str,
        opened: list[int],
        follow: bool,
        create: bool = False,
        durable: bool | None = False,
    ) -> list[str]:
        """Walk until no folder on the way is deleted or replaced by others."""
        for _ in range(_TRIES):
            names: list[str] = []
            try:
                return self._walk(path, names, opened, follow, create, durable)
            except FileNotFoundError:
                if not create and self._stay(names, opened):
                    raise
                while opened:
                    os.close(opened.pop())
        return self._walk(path, [], opened, follow, create, durable)

    def _walk(
        self,
        path: str,
        done: list[str],
        opened: list[int],
        follow: bool,
        create: bool,
        durable: bool | None,
    ) -> list[str]:
        """Open the folders on the way to ``path``, each in its parent.

        Adds their names to ``done``, and returns the parts of the path without links. The last part
        is a name in the folder that was opened last, or "." if the path is this folder.
        """
        if path.startswith("/") or ".." in path.split("/"):
            raise PathOutsideRootError("", path, self.root)
        root = self.open_root(create, durable)
        waiting = deque(_parts(path))
        hops = 0
        while waiting:
            part = waiting.popleft()
            here = opened[-1] if opened else root
            # In the text of a link: go back to the parent, which is still open.
            if part == "..":
                if not done:
                    raise PathOutsideRootError("", path, self.root)
                os.close(opened.pop())
                done.pop()
                continue
            target = None
            # Most are folders, so open first, and look for a link only if that fails.
            if waiting:
                try:
                    opened.append(_open_directory(part, here, create, durable))
                    done.append(part)
                    continue
                except OSError as error:
                    if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    target = read_link_text(part, here)
                    if target is None:
                        if not S_ISDIR(
                            os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
                        ):
                            raise
                        target = part  # it was a link a moment ago, and is a folder again
            elif follow:
                target = read_link_text(part, here)
            if target is None:
                return [*done, part]
            hops += 1
            if hops > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            # An absolute link starts at the root of the system. It may lead below our root.
            if target.startswith("/"):
                if not f"{target}/".startswith(f"{self.root}/"):
                    raise PathOutsideRootError("", path, self.root)
                target = target[len(self.root) :]
                done.clear()
                while opened:
                    os.close(opened.pop())
            waiting.extendleft(reversed(_parts(target)))
        return [*done, "."]

    def open_root(self, create: bool = False, durable: bool | None = False) -> int:
        """Return the descriptor of the present root folder."""
        root = self.root_fd
        if root < 0 or not self._is_root(root):
            # The root was deleted or moved, and there may be a new one. The old descriptor stays
            # open, because another folder could get its number while a thread walks from it.
            with self._mutex:
                if self.root_fd == root:  # no other thread was faster
                    if create:
                        make_directories(self.root, durable=durable)
                    self.root_fd = os.open(self.root, _DIRECTORY)
                    self._closed = finalize(self, os.close, self.root_fd)
                root = self.root_fd
        return root

    def _is_root(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.root), os.fstat(descriptor))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:  # the folders above cannot be searched any more
            return True

    def __reduce__(self) -> tuple[type[RootedPlaces], tuple[str]]:
        return RootedPlaces, (self.root,)  # another process opens the root itself

    def close(self) -> None:
        with self._mutex:
            self._closed()
            self.root_fd = -1


def _nothing_open() -> None:
    """Do nothing. It is the finalizer of a root that is not open."""


def _open_into(held: list[int], place: Place) -> None:
    held.append(open_regular(place.name, dir_fd=place.dir_fd, follow_symlinks=False))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def read_link_text(name: str, dir_fd: int) -> str | None:
    """Return the text of a link, or ``None`` for anything else."""
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):  # it is not a link, or does not exist
            return None
        raise


def _open_directory(name: str, dir_fd: int, create: bool, durable: bool | None) -> int:
    try:
        return open_held(name, NO_LINK, dir_fd=dir_fd)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(name, dir_fd=dir_fd)
        if durable:
            sync_directory(".", dir_fd=dir_fd)
    except FileExistsError:  # another process was faster
        pass
    return open_held(name, NO_LINK, dir_fd=dir_fd)
