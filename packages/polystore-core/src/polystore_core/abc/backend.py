"""What a backend is: a source, a sink, or a storage that is both.

The life of a backend:

1. The first use of its name imports its module and constructs it with the options configured
   for that name. ``self.context`` (its name, the registry, the formats) is there before
   ``__init__`` runs. Construction is cheap and touches nothing outside the process.
2. ``load`` and ``save`` are all that an author must write. Every other operation either
   derives from what is implemented or refuses with ``UnsupportedOperationError``;
   ``capabilities`` tells which.
3. Calls come from many threads at once, and from processes forked after construction.
4. ``close`` gives back what the backend holds. It is not used afterwards.

Paths are strings or ``os.PathLike`` with ``/`` between parts. Authors add options to ``load``
and ``save`` as keyword-only parameters with defaults, so that ``FileManager`` can name the
known ones when one is misspelt. ``if_exists`` ("replace", "error", "skip") and ``region`` are
the usual ones.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import (
    AlreadyExistsError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotFoundError,
    with_context,
)
from ..options import check_if_exists, check_options
from ..paths import check_pattern, join
from ..values import natural_order
from ..work import Progress, check_lengths, run_batch
from .base import BackendBase, Path
from .marks import mark_derived, mark_refused

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..image import Image
    from ..options import IfExists
    from ..values import Info, Option, Region, Value
    from .array import LazyArray
    from .collector import Collector

__all__ = ["IMAGE_SUFFIXES", "DataSink", "DataSource", "Entry", "Path", "StorageBackend"]

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


class Entry(NamedTuple):
    """One name in a directory."""

    name: str
    is_dir: bool
    """Links to directories included."""
    is_symlink: bool


class DataSource(BackendBase):
    """Reads."""

    _operations: ClassVar[tuple[str, ...]] = (
        "load",
        "load_batch",
        "open",
        "info",
        "exists",
        "is_file",
        "is_dir",
        "is_symlink",
        "list_dir",
        "list_files",
        "list_image_files",
        "find_file_recursive",
        "collect_dirs_and_files",
    )

    @abstractmethod
    def load(self, path: Path, /) -> Value:
        """Return the value at ``path``. Raises ``NotFoundError``, ``DamagedDataError``."""

    @mark_derived("load")
    def load_batch(
        self, paths: Sequence[Path], /, *, progress: Progress = False, **options: Option
    ) -> list[Value]:
        """Return the values in the order of ``paths``.

        All paths are tried. Raises ``BatchError`` that names each one that failed.
        """
        load: Callable[..., Any] = self.load  # with the options that the author has added
        check_options(type(self).load, options, f"load_batch() of backend {self.name!r}")
        return run_batch(
            self.name, "load", paths, lambda i: load(paths[i], **options), progress=progress
        )

    @mark_derived("load")
    def load_batch_into(
        self,
        paths: Sequence[Path],
        collector: Collector,
        /,
        *,
        progress: Progress = False,
        **options: Option,
    ) -> list[Value]:
        """Give each value to ``collector`` as it arrives; return what it gives for them.

        Otherwise as ``load_batch``. Override it where values can be read into the memory of
        ``collector``.
        """
        load: Callable[[int], Any]
        if type(self).load_batch is DataSource.load_batch:
            one: Callable[..., Any] = self.load
            check_options(type(self).load, options, f"load_batch() of backend {self.name!r}")
            load = lambda i: one(paths[i], **options)  # noqa: E731 - one of two
        else:
            load = self.load_batch(paths, progress=progress, **options).__getitem__
            progress = False
        return run_batch(
            self.name, "load", paths, lambda i: collector.put(i, load(i)), progress=progress
        )

    @mark_derived("load", "info")
    def load_image(self, path: Path, /, *, region: Region | None = None) -> Image:
        """Return the array at ``path`` with its words.

        Override it where one read gives both: between two, another value may come. Options are
        those of ``load``.

        Raises ``UnsupportedDataError`` for a value that says nothing of its axes.
        """
        from ..image import Image, no_words

        load: Callable[..., Any] = self.load
        options = {} if region is None else {"region": region}
        while True:
            before = self.info(path)
            words, shape = before.image, before.shape
            if words is None or shape is None:
                raise with_context(no_words(), self.name, os.fspath(path), "load")
            value = load(path, **options)
            if self.info(path) == before:
                return Image(value, words if region is None else words.select(region, shape))

    @mark_derived("load_image")
    def load_image_batch(
        self, paths: Sequence[Path], /, *, progress: Progress = False, **options: Option
    ) -> list[Image]:
        """Return the arrays with their words, as ``load_batch`` returns values."""
        load: Callable[..., Image] = self.load_image
        check_options(type(self).load_image, options, f"load_batch() of backend {self.name!r}")
        return run_batch(
            self.name, "load", paths, lambda i: load(paths[i], **options), progress=progress
        )

    @mark_refused
    def open(self, path: Path, /) -> LazyArray:
        """Return a lazy handle: nothing is read before it is indexed."""
        raise self._cannot("open")

    @mark_refused
    def info(self, path: Path, /) -> Info:
        """Describe what stands at ``path`` without loading it. Raises ``NotFoundError``."""
        raise self._cannot("info")

    @mark_derived("info")
    def exists(self, path: Path, /) -> bool:
        """Whether something stands at ``path``; ``False`` for a link that leads nowhere."""
        return self.is_file(path) or self.is_dir(path)

    @mark_derived("info")
    def is_file(self, path: Path, /) -> bool:
        """Whether ``path`` is a file, or a link to one."""
        info = self._info_or_none(path)
        return info is not None and info.kind == "file"

    @mark_derived("info")
    def is_dir(self, path: Path, /) -> bool:
        """Whether ``path`` is a directory, or a link to one."""
        info = self._info_or_none(path)
        return info is not None and info.kind == "directory"

    @mark_derived("info")
    def is_symlink(self, path: Path, /) -> bool:
        """Whether ``path`` itself is a symbolic link."""
        info = self._info_or_none(path)
        return info is not None and info.target is not None

    def _info_or_none(self, path: Path) -> Info | None:
        try:
            return self.info(path)
        except (NotFoundError, NotADirectoryInPathError):
            return None

    @mark_refused
    def list_dir(self, path: Path, /) -> list[str]:
        """Return the names in a directory, in natural order. Raises ``NotFoundError``."""
        raise self._cannot("list_dir")

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        """Yield the entries of a directory in any order; a faster road may override it."""
        for name in self.list_dir(directory):
            path = join(directory, name)
            yield Entry(name, self.is_dir(path), self.is_symlink(path))

    @mark_derived("list_dir", "is_dir")
    def list_files(
        self,
        directory: Path,
        /,
        *,
        pattern: str | None = None,
        suffixes: Iterable[str] | None = None,
        recursive: bool = False,
    ) -> list[str]:
        """Return the paths of the files in ``directory``, in natural order.

        ``pattern`` is a shell pattern for the name alone ("*_w1.tif"), ``suffixes`` are compared
        without regard to case. ``recursive`` descends into folders but not into linked ones,
        so every file is listed once.
        """
        check_pattern(pattern)
        if isinstance(suffixes, str):  # its letters would be taken for suffixes
            raise InvalidOptionError("suffixes", suffixes, f"a list: [{suffixes!r}]")
        endings = None if suffixes is None else tuple(suffix.lower() for suffix in suffixes)
        return natural_order(
            join(folder, name)
            for folder, _, files in self._walk(os.fspath(directory), recursive)
            for name in files
            if (pattern is None or fnmatchcase(name, pattern))
            and (endings is None or name.lower().endswith(endings))
        )

    def _walk(
        self, directory: str, recursive: bool = True
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield each folder with the names of the folders and files in it.

        Parents come before their folders, and folders in natural order.
        """
        waiting = [directory]
        while waiting:
            place = waiting.pop()
            try:
                entries = list(self.scan(place))
            except (NotFoundError, NotADirectoryInPathError):
                if place == directory:
                    raise
                continue  # gone since it was listed
            folders = [entry.name for entry in entries if entry.is_dir]
            yield place, folders, [entry.name for entry in entries if not entry.is_dir]
            if recursive:
                inner = (
                    entry.name for entry in entries if entry.is_dir and not entry.is_symlink
                )
                waiting += (join(place, name) for name in reversed(natural_order(inner)))

    @mark_derived("list_files")
    def list_image_files(
        self, directory: Path, /, *, pattern: str | None = None, recursive: bool = False
    ) -> list[str]:
        """Like ``list_files`` for TIFF, PNG and JPEG files."""
        return self.list_files(
            directory, pattern=pattern, suffixes=IMAGE_SUFFIXES, recursive=recursive
        )

    @mark_derived("list_dir", "is_dir")
    def find_file_recursive(self, directory: Path, name: str, /) -> str | None:
        """Return the path of the first file called ``name`` below ``directory``, or ``None``."""
        if "/" in name:
            raise InvalidOptionError("name", name, "the name of a file alone, without '/'")
        for folder, _, files in self._walk(os.fspath(directory)):
            if name in files:
                return join(folder, name)
        return None

    @mark_derived("list_dir", "is_dir")
    def collect_dirs_and_files(
        self, directory: Path, /, *, recursive: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the paths of all folders and of all files below ``directory``."""
        folders: list[str] = []
        files: list[str] = []
        for folder, inner, names in self._walk(os.fspath(directory), recursive):
            folders += (join(folder, name) for name in inner)
            files += (join(folder, name) for name in names)
        return natural_order(folders), natural_order(files)


class DataSink(BackendBase):
    """Writes."""

    _operations: ClassVar[tuple[str, ...]] = ("save", "save_batch")

    @abstractmethod
    def save(self, data: Value, path: Path, /) -> None:
        """Put ``data`` at ``path``, replacing whole what stands there.

        Raises ``UnsupportedDataError`` before anything is written.
        """

    @mark_derived("save")
    def save_batch(
        self,
        data: Sequence[Value],
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        **options: Option,
    ) -> None:
        """Save each value at the path of the same position, in order.

        Values may be read before their turn, so do not change them until it returns.

        Raises ``BatchLengthError`` and ``DuplicatePathError`` before any I/O. Stops at the first
        failure with ``BatchError``: earlier items are saved, later ones are untouched.
        """
        check_lengths(data, paths, self._identity)
        save: Callable[..., None] = self.save  # with the options that the author has added
        check_options(type(self).save, options, f"save_batch() of backend {self.name!r}")
        run_batch(
            self.name,
            "save",
            paths,
            lambda i: save(data[i], paths[i], **options),
            progress=progress,
            stop_at_failure=True,
        )

    def _complete(self, path: Path) -> None:
        """Complete what a killed ``save`` has left at ``path``, as the next one would."""


class StorageBackend(DataSource, DataSink):
    """Reads and writes, and keeps what was written."""

    _operations: ClassVar[tuple[str, ...]] = (
        "create",
        "ensure_directory",
        "delete",
        "delete_all",
        "copy",
        "move",
        "create_symlink",
        "mirror_directory_with_symlinks",
    )

    @mark_refused
    def create(
        self, path: Path, /, *, shape: Sequence[int | None], dtype: DTypeLike
    ) -> LazyArray:
        """Make an array to be written in parts, and return a handle that writes.

        ``None`` as the first length makes one that grows. Raises ``AlreadyExistsError``.
        """
        raise self._cannot("create")

    @mark_refused
    def ensure_directory(self, path: Path, /) -> None:
        """Create a directory and its missing parents; no error where it exists."""
        raise self._cannot("ensure_directory")

    @mark_refused
    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        """Delete a file, a link (not its target) or an empty directory.

        Raises ``NotFoundError``, and ``DirectoryNotEmptyError`` unless ``recursive``.
        """
        raise self._cannot("delete")

    @mark_derived("delete")
    def delete_all(self, path: Path, /) -> None:
        """Delete a file, or a directory with all that it holds."""
        self.delete(path, recursive=True)

    @mark_derived("load", "save")
    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        """Copy a value; ``if_exists`` as for ``save``."""
        check_if_exists(if_exists)
        save: Callable[..., None] = self.save
        options = {} if if_exists == "replace" else {"if_exists": if_exists}
        check_options(type(self).save, options, f"save() of backend {self.name!r}")
        save(self.load(source), target, **options)

    @mark_derived("copy", "delete")
    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        """Move a value; ``if_exists`` as for ``save``.

        ``source`` is deleted only when its value is at ``target``: not where "skip" leaves the
        target as it is, and not where both are one path.
        """
        check_if_exists(if_exists)
        self._check_can("move")
        if self._identity(source) == self._identity(target):
            self._require(source, "move")
            return
        try:
            # Not "skip": nobody could tell afterwards whether the value was copied.
            self.copy(source, target, if_exists="error" if if_exists == "skip" else if_exists)
        except AlreadyExistsError:
            if if_exists != "skip" or ("is_dir" in self.capabilities and self.is_dir(source)):
                raise
            return
        self.delete(source, recursive=True)

    def _require(self, path: Path, operation: str) -> None:
        """Raise ``NotFoundError`` unless something is at ``path``."""
        if "exists" not in self.capabilities:
            self.load(path)
        elif not self.exists(path):
            raise NotFoundError(self.name, os.fspath(path), operation)

    @mark_refused
    def create_symlink(self, source: Path, link: Path, /, *, overwrite: bool = False) -> None:
        """Make ``link`` lead to ``source``.

        Raises ``NotFoundError`` for a missing ``source``, ``AlreadyExistsError`` for an
        existing ``link`` unless ``overwrite`` (which replaces links and files, no directories).
        """
        raise self._cannot("create_symlink")

    @mark_derived("create_symlink", "ensure_directory", "list_dir", "is_dir")
    def mirror_directory_with_symlinks(
        self, source: Path, target: Path, /, *, recursive: bool = True, overwrite: bool = False
    ) -> int:
        """Rebuild the folders of ``source`` below ``target``, with a link for every file.

        Returns the number of links.
        """
        self._check_can("mirror_directory_with_symlinks")
        source, target = os.fspath(source), os.fspath(target)
        if self._identity(source) == self._identity(target):
            raise InvalidOptionError("target", target, "a folder other than source")
        tree = list(self._walk(source, recursive))  # all of it: the target may be inside
        skip = len(join(source, ""))
        self.ensure_directory(target)
        for folder, folders, names in tree:
            below = join(target, join(folder, "")[skip:])
            if recursive:
                for name in folders:
                    self.ensure_directory(join(below, name))
            self._link_files(folder, below, names, overwrite)
        return sum(len(names) for _, _, names in tree)

    def _link_files(
        self, source: str, target: str, names: Sequence[str], overwrite: bool
    ) -> None:
        """Link each name in the folder ``target`` to the same name in ``source``."""
        for name in natural_order(names):
            self.create_symlink(join(source, name), join(target, name), overwrite=overwrite)
