"""``MemoryBackend``: keeps values in this process, under paths as on a disk."""

from __future__ import annotations

import errno
import os
import posixpath
import threading
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from polystore_core import (
    Entry,
    IfExists,
    Image,
    Info,
    StorageBackend,
    array_and_words,
    check_if_exists,
    check_new,
    framework_of,
    is_array,
    natural_order,
    no_words,
    require_local,
    run_batch,
    select,
)
from polystore_core.errors import (
    AlreadyExistsError,
    CopyRequiredError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    StorageError,
    UnsupportedDataError,
    with_context,
)

from .copies import copy_value, hand_out
from .forks import unlock_after_fork
from .handle import MemoryArray

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from polystore_core import Collector, Copy, Path, Progress, Region, Value

    from .store import MemoryStore

__all__ = ["MemoryBackend"]

_NO_NAMES = frozenset(("", ".", ".."))
_MOST_LINKS = 40  # as in the kernel: a longer chain counts as a loop


class MemoryBackend(StorageBackend):
    """Keeps values in this process as they are: a tensor stays a tensor, on its device.

    ``save`` keeps a copy and ``load`` returns a copy, so that you and the backend cannot change
    each other's values. Values that never change, such as text and arrays of JAX, are shared,
    unless ``copy="always"``. ``copy="never"`` keeps and returns the object itself.

    All paths of a disk are valid here, also "../plate/a.tif" and "/data/a.tif". If you pass
    ``root`` (any text), paths cannot leave it, as on a disk with a root.
    """

    # Locks: _lock guards all dicts below. Values are copied without it.

    def __init__(self, *, root: str | None = None) -> None:
        self.root = root
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._files: dict[str, Any] = {}
        self._links: dict[str, str] = {}
        self._folders: dict[str, set[str]] = {"": set(), "/": set()}
        # Versions of values for which ``store`` was asked, until they change.
        self._versions: dict[str, int] = {}
        self._locks: WeakValueDictionary[str, Any] = WeakValueDictionary()
        unlock_after_fork(self)

    @property
    def store(self) -> MemoryStore:
        """The values that are ``bytes``, as a store of bytes under the same names."""
        from .store import MemoryStore

        return MemoryStore(self)

    # ── values ───────────────────────────────────────────────────────────────────────────

    def save(
        self,
        data: Value,
        path: Path,
        /,
        *,
        if_exists: IfExists = "replace",
        copy: Copy = "auto",
    ) -> None:
        value = data.copy("K") if type(data) is np.ndarray and copy == "auto" else None
        if value is None or value.dtype.hasobject:
            value = copy_value(data, copy)
        with self._lock:
            # A path that is a key already needs no resolving.
            if path.__class__ is str and path in self._files and if_exists == "replace":
                self._files[path] = value
                if self._versions:
                    self._versions.pop(path, None)
            else:
                self._place(self._resolve(check_new(path)), value, if_exists)

    def _identity(self, path: Path) -> Hashable:
        with self._lock:
            return self._resolve(path)

    def _place(self, place: str, value: Value, if_exists: IfExists) -> None:
        check_if_exists(if_exists)
        if place in self._folders:
            raise NotAFileError(self.name, place or ".", "save")
        if place not in self._files:
            self._attach(place)
        elif if_exists == "error":
            raise AlreadyExistsError(self.name, place, "save")
        elif if_exists == "skip":
            return
        self._set(place, value)

    def _set(self, place: str, value: Value) -> None:
        self._files[place] = value
        self._versions.pop(place, None)

    def load(
        self, path: Path, /, *, region: Region | None = None, copy: Copy = "auto"
    ) -> Value:
        try:
            value = self._files[path]  # type: ignore[index]
        except (KeyError, TypeError):
            value = self._value(path, "load")
        if value.__class__ is Image:
            value = value.data
        if region is not None:
            value = self._part(value, region, path, copy)
        if type(value) is np.ndarray and copy == "auto" and not value.dtype.hasobject:
            return value.copy("K")
        return hand_out(value, copy)

    def load_batch_into(  # type: ignore[override]
        self,
        paths: Sequence[Path],
        collector: Collector,
        /,
        *,
        progress: Progress = False,
        region: Region | None = None,
        copy: Copy = "auto",
    ) -> list[Value]:
        def load(index: int) -> Value:
            path = paths[index]
            value, _ = array_and_words(self._value(path, "load"))
            if type(value) is np.ndarray and not value.dtype.hasobject and copy != "never":
                part = value if region is None else self._part(value, region, path, copy)
                memory = collector.memory(index, part.shape, part.dtype)
                if memory is not None:  # only one copy, into the memory of the caller
                    memory[...] = part
                    return collector.put(index, memory)
            return collector.put(index, self.load(path, region=region, copy=copy))

        return run_batch(self.name, "load", paths, load, progress=progress)

    def load_image(
        self, path: Path, /, *, region: Region | None = None, copy: Copy = "auto"
    ) -> Image:
        array, words = array_and_words(self._value(path, "load"))
        if words is None:
            raise with_context(no_words(), self.name, os.fspath(path), "load")
        if region is not None:
            words = words.select(region, array.shape)
            array = self._part(array, region, path, copy)
        return Image(hand_out(array, copy), words)

    def _part(self, value: Value, region: Region, path: Path, copy: Copy) -> Value:
        """Return ``value[region]``, which is a view if ``copy`` is "never"."""
        place = {"path": os.fspath(path), "backend": self.name}
        if is_array(value):
            select(region, tuple(value.shape))  # raises for advanced indexing, which copies
        try:
            part = value[region]
        except (TypeError, KeyError, ValueError) as error:
            reason = f"region={region!r} does not fit a {type(value).__name__} ({error})"
            raise UnsupportedDataError(reason, **place, operation="load") from error
        if copy == "never" and isinstance(part, np.generic):
            reason = f"region={region!r} is one element: add ... at its end for a view"
            raise CopyRequiredError(reason, **place)
        gives_views = isinstance(value, np.ndarray) or framework_of(value) in ("torch", "cupy")
        if copy == "never" and not gives_views:
            reason = f"a part of a {type(value).__name__} is always a copy"
            raise CopyRequiredError(reason, **place)
        return part

    def open(self, path: Path, /) -> MemoryArray:
        value, words = array_and_words(self._value(path, "open"))
        if not isinstance(value, np.ndarray):
            name = type(value).__name__
            reason = f"open() needs a NumPy array, got {name}: use load(path, region=...)"
            raise UnsupportedDataError(reason, path=str(path), backend=self.name)
        return MemoryArray(hand_out(value, "never"), words)

    # ── lists ────────────────────────────────────────────────────────────────────────────

    def info(self, path: Path, /) -> Info:
        with self._lock:
            link = self._links.get(self._resolve(path, follow=False))
            place = self._resolve(path)
            if place in self._folders:
                return Info(path=os.fspath(path), kind="directory", target=link)
            if place not in self._files and link is not None:
                return Info(path=os.fspath(path), kind="symlink", target=link)
            value, words = array_and_words(self._value(path, "describe"))
        dtype = getattr(value, "dtype", None)
        shape = getattr(value, "shape", None)
        return Info(
            path=os.fspath(path),
            kind="file",
            target=link,
            size=getattr(value, "nbytes", None),
            shape=None if shape is None else tuple(shape),
            dtype=getattr(dtype, "str", None) or (None if dtype is None else str(dtype)),
            image=words,
            metadata={"type": f"{type(value).__module__}.{type(value).__qualname__}"},
        )

    def is_file(self, path: Path, /) -> bool:
        return self._resolve_or_none(path) in self._files

    def is_dir(self, path: Path, /) -> bool:
        return self._resolve_or_none(path) in self._folders

    def is_symlink(self, path: Path, /) -> bool:
        return self._resolve_or_none(path, follow=False) in self._links

    def list_dir(self, path: Path, /) -> list[str]:
        with self._lock:
            names = list(self._folders[self._folder(path)])
        return natural_order(names)

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        with self._lock:
            return self._entries(self._folder(directory))

    def _entries(self, folder: str) -> list[Entry]:
        prefix = posixpath.join(folder, "")
        entries = []
        for name in self._folders[folder]:
            place = prefix + name
            is_link = place in self._links
            is_dir = (self._target(place) if is_link else place) in self._folders
            entries.append(Entry(name, is_dir, is_link))
        return entries

    def _target(self, link: str) -> str | None:
        try:
            return self._canonical(link)
        except StorageError:  # the path leads through a file, or the links form a loop
            return None

    # ── changes ──────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, /) -> None:
        with self._lock:
            place = self._resolve(path)
            if place in self._files:
                raise NotADirectoryInPathError(self.name, place, "create the directory")
            self._make_folder(place)

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        with self._lock:
            place = self._resolve(path, follow=False)
            if place in ("", "/"):
                raise InvalidOptionError("path", str(path), "a path inside the root folder")
            if place in self._folders:
                if self._folders[place] and not recursive:
                    raise DirectoryNotEmptyError(self.name, place, "delete")
                self._forget(self._tree(place))
            elif place in self._links or place in self._files:
                self._forget([place])
            else:
                raise self._missing(path, "delete")
            self._detach(place)

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        with self._lock:
            origin = self._resolve(source)
            is_folder = origin in self._folders
            if not is_folder and origin not in self._files:
                raise self._missing(source, "copy")
            place = self._resolve(check_new(target), follow=not is_folder)
            if is_folder:
                self._copy_tree(origin, place, "copy")
            else:
                # Stored values never change, so both paths can have the same one.
                self._place(place, self._files[origin], if_exists)

    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        with self._lock:
            origin = self._resolve(source, follow=False)
            if not any(origin in kept for kept in (self._files, self._links, self._folders)):
                raise self._missing(source, "move")
            self._move(origin, self._resolve(check_new(target), follow=False), if_exists)

    def _move(self, origin: str, place: str, if_exists: IfExists) -> None:
        if origin == place:
            return
        if if_exists == "replace" and origin in self._links and place in self._files:
            self._refuse_own_file(origin, place)
        if origin in self._folders:
            self._forget(self._copy_tree(origin, place, "move"))
        elif self._make_room(place, if_exists, "move"):
            return
        else:
            self._attach(place)
            kept: dict[str, Any] = self._files if origin in self._files else self._links
            kept[place] = kept[origin]
            self._forget([origin])
        self._detach(origin)

    def _refuse_own_file(self, link: str, place: str) -> None:
        """Raise if a link would replace its own target, and only the link would be left."""
        if self._target(link) == place:
            expected = f"a path other than that of the file to which {link!r} leads"
            raise InvalidOptionError("target", place, expected)

    def create_symlink(self, source: Path, link: Path, /, *, overwrite: bool = False) -> None:
        with self._lock:
            origin = self._resolve(source)
            if origin not in self._files and origin not in self._folders:
                raise self._missing(source, "link to")
            place = self._resolve(check_new(link), follow=False)
            if place == origin:  # only a link to itself would be left
                raise InvalidOptionError(
                    "link", os.fspath(link), "a path other than the source"
                )
            self._make_room(place, "replace" if overwrite else "error", "link")
            self._attach(place)
            self._links[place] = origin or "."

    # ── the tree ─────────────────────────────────────────────────────────────────────────

    def _resolve(self, path: Path, *, follow: bool = True) -> str:
        """Return the canonical path: without links, ".." and "."."""
        return self._canonical(require_local(path), follow=follow)

    def _canonical(self, text: str, *, follow: bool = True) -> str:
        folder, slash, name = text.rpartition("/")
        plain = folder in self._folders and bool(folder) == bool(slash) and folder != "/"
        if plain and name not in _NO_NAMES and text not in self._links:
            return text  # the keys of _folders are canonical, so this path is, too
        if self.root is not None and text.startswith("/"):
            raise PathOutsideRootError(self.name, text, self.root)
        return self._follow_links(text, last=follow)

    def _follow_links(self, text: str, *, last: bool) -> str:
        """Follow the links in ``text``, name by name. ``last`` also follows one at the end."""
        waiting = deque(_parts(text))
        place = ""
        hops = 0
        while waiting:
            part = waiting.popleft()
            if part == ".." and place and posixpath.basename(place) != "..":
                place, _ = _split(place)  # the parent of "/" is "/", as in file systems
                continue
            if part == ".." and self.root is not None:
                raise PathOutsideRootError(self.name, text, self.root)
            inner = posixpath.join(place, part)
            target = self._links.get(inner)
            if target is not None and (waiting or last):
                hops += 1
                if hops > _MOST_LINKS:
                    raise StorageError(self.name, text, "follow links", errno=errno.ELOOP)
                place = ""
                waiting.extendleft(reversed(_parts(target)))
            elif waiting and inner in self._files:
                raise NotADirectoryInPathError(self.name, text, "resolve the path")
            else:
                place = inner
        return place

    def _resolve_or_none(self, path: Path, *, follow: bool = True) -> str | None:
        with self._lock:
            try:
                return self._resolve(path, follow=follow)
            except StorageError:  # the path leads through a file, or the links form a loop
                return None

    def _value(self, path: Path, operation: str) -> Value:
        with self._lock:
            place = self._resolve(path)
            if place in self._files:
                return self._files[place]
            if place in self._folders:
                raise NotAFileError(self.name, place or ".", operation)
            raise self._missing(path, operation)

    def _folder(self, path: Path) -> str:
        place = self._resolve(path)
        if place in self._folders:
            return place
        if place in self._files:
            raise NotADirectoryInPathError(self.name, place, "list")
        raise self._missing(path, "list")

    def _missing(self, path: Path, operation: str) -> NotFoundError:
        hint = ""
        if self.context.restored or os.getpid() != self._process:
            hint = "values in memory belong to one process: another process does not see them"
        return NotFoundError(self.name, os.fspath(path), operation, hint=hint)

    def _make_folder(self, place: str) -> None:
        missing = []
        while place not in self._folders:
            missing.append(place)
            place, _ = _split(place)
        for folder in reversed(missing):
            self._attach(folder)
            self._folders[folder] = set()

    def _attach(self, place: str) -> None:
        folder, name = _split(place)
        self._make_folder(folder)
        if name != "..":
            self._folders[folder].add(name)

    def _detach(self, place: str) -> None:
        folder, name = _split(place)
        self._folders[folder].discard(name)

    def _tree(self, folder: str) -> list[str]:
        """Return the paths of a folder and of everything in it, parents first."""
        places = [folder]
        for place in places:  # the list grows during the loop
            places += (f"{place}/{name}" for name in self._folders.get(place, ()))
        return places

    def _copy_tree(self, origin: str, place: str, operation: str) -> list[str]:
        """Copy the folder at ``origin``. Returns the paths that were copied."""
        self._refuse_folder_target(origin, place, operation)
        tree = self._tree(origin)
        new = {old: place + old[len(origin) :] for old in tree}
        self._files.update({new[old]: self._files[old] for old in tree if old in self._files})
        self._links.update({new[old]: self._links[old] for old in tree if old in self._links})
        folders = [old for old in tree if old in self._folders]
        self._folders.update({new[old]: set(self._folders[old]) for old in folders})
        self._attach(place)
        return tree

    def _forget(self, places: Iterable[str]) -> None:
        for place in places:
            self._folders.pop(place, None)
            self._links.pop(place, None)
            self._files.pop(place, None)
            self._versions.pop(place, None)

    def _make_room(self, place: str, if_exists: IfExists, operation: str) -> bool:
        """Make room for a new name at ``place``. Returns whether the old value stays instead."""
        if place in self._folders:
            raise NotAFileError(self.name, place or ".", operation)
        if place not in self._files and place not in self._links:
            return False
        if if_exists == "error":
            raise AlreadyExistsError(self.name, place, operation)
        if if_exists == "replace":
            self._forget([place])
        return if_exists == "skip"

    def _refuse_folder_target(self, origin: str, place: str, operation: str) -> None:
        if origin in ("", "/") or f"{place}/".startswith(f"{origin}/"):
            raise InvalidOptionError("target", place, "a path outside the source folder")
        if place in self._folders or place in self._files or place in self._links:
            raise AlreadyExistsError(self.name, place, operation)

    def __repr__(self) -> str:
        return f"<MemoryBackend {self.name or 'memory'!r}: {len(self._files)} values>"


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ["/", *parts] if path.startswith("/") else parts


def _split(place: str) -> tuple[str, str]:
    folder, slash, name = place.rpartition("/")
    return folder or slash, name
