"""The classes of backends: a source, a sink, or a storage that is both.

The life of a backend:

1. The first use of its name imports its module and creates it with the options that are configured
   for that name. ``__init__`` can use ``self.context``: the name, the registry and the formats.
   It is fast, and touches nothing outside the process.
2. You must write ``load`` and ``save`` only. Every other operation is either derived from the
   methods that you write, or raises ``UnsupportedOperationError``. ``capabilities`` lists the
   operations that work.
3. Many threads call it at once, and so do processes that are forked afterwards.
4. ``close`` releases its resources. It is not used afterwards.

Paths are strings or ``os.PathLike`` with ``/`` between parts. Add your options to ``load`` and
``save`` as keyword-only parameters with defaults. ``FileManager`` then lists them if a user
misspells one. The usual ones are ``if_exists`` ("replace", "error", "skip") and ``region``.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    """One name in a folder."""

    name: str
    is_dir: bool
    """Whether it is a folder, or a link to one."""
    is_symlink: bool
    """Whether it is a symbolic link."""


class DataSource(BackendBase):
    """A backend that reads. Subclasses implement ``load``, and more if they can."""

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
        """Return the value at ``path``. Raises ``NotFoundError`` and ``DamagedDataError``."""

    @mark_derived("load")
    def load_batch(
        self, paths: Sequence[Path], /, *, progress: Progress = False, **options: Option
    ) -> list[Value]:
        """Return the values in the order of ``paths``.

        Raises ``BatchError`` with all paths that failed. The others were loaded too.
        """
        load: Callable[..., Any] = self.load  # not its own type: subclasses add options
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
        """Load a batch as ``load_batch`` does, and pass each value to ``collector`` as it arrives.

        Override it if you can read values into the memory of ``collector``.

        Returns:
            The results of ``collector.put``, in the order of ``paths``.
        """
        load: Callable[[int], Any]
        if type(self).load_batch is DataSource.load_batch:
            one: Callable[..., Any] = self.load
            check_options(type(self).load, options, f"load_batch() of backend {self.name!r}")
            load = lambda i: one(paths[i], **options)  # noqa: E731 - one of two
        else:
            load = self.load_batch(paths, progress=progress, **options).__getitem__
            progress = False  # load_batch has shown it already
        return run_batch(
            self.name, "load", paths, lambda i: collector.put(i, load(i)), progress=progress
        )

    @mark_derived("load", "info")
    def load_image(self, path: Path, /, *, region: Region | None = None) -> Image:
        """Return the array at ``path`` with its metadata. Options are those of ``load``.

        Override it if one read gives both. The default reads again if the value was replaced
        between its two reads.

        Raises ``UnsupportedDataError`` for a value that does not name its axes.
        """
        from ..image import Image, no_words

        load: Callable[..., Any] = self.load
        options = {} if region is None else {"region": region}
        # Until the value is the same before and after the load, so that both belong together.
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
        """Return the arrays with their metadata, as ``load_batch`` returns values."""
        load: Callable[..., Image] = self.load_image
        check_options(type(self).load_image, options, f"load_batch() of backend {self.name!r}")
        return run_batch(
            self.name, "load", paths, lambda i: load(paths[i], **options), progress=progress
        )

    @mark_refused
    def open(self, path: Path, /) -> LazyArray:
        """Return a lazy handle, which reads nothing before you index it."""
        raise self._cannot("open")

    @mark_refused
    def info(self, path: Path, /) -> Info:
        """Describe the file or folder at ``path`` without loading it. Raises ``NotFoundError``."""
        raise self._cannot("info")

    def options_alone(self, path: Path, /, *, format: Option = None) -> Mapping[str, Option]:
        """Return options of ``load`` and ``open`` that leave out the files next to ``path``.

        For example, the values of a file of an OME-TIFF set are those of the whole set. Calls that
        go through the files of a folder use these options, because each file has its own turn.
        Override it if you read through other backends.

        Args:
            path: The path of the file.
            format: The option ``format`` of the call, if it has one.
        """
        return {}

    def info_alone(self, path: Path, /) -> Info:
        """Describe the value that ``load`` returns with ``options_alone``."""
        return self.info(path)

    @mark_derived("info")
    def exists(self, path: Path, /) -> bool:
        """Return whether a file or folder exists. A link without a target does not."""
        return self.is_file(path) or self.is_dir(path)

    @mark_derived("info")
    def is_file(self, path: Path, /) -> bool:
        """Return whether ``path`` is a file, or a link to one."""
        info = self._info_or_none(path)
        return info is not None and info.kind == "file"

    @mark_derived("info")
    def is_dir(self, path: Path, /) -> bool:
        """Return whether ``path`` is a folder, or a link to one."""
        info = self._info_or_none(path)
        return info is not None and info.kind == "directory"

    @mark_derived("info")
    def is_symlink(self, path: Path, /) -> bool:
        """Return whether ``path`` itself is a symbolic link."""
        info = self._info_or_none(path)
        return info is not None and info.target is not None

    def _info_or_none(self, path: Path) -> Info | None:
        try:
            return self.info(path)
        except (NotFoundError, NotADirectoryInPathError):
            return None

    @mark_refused
    def list_dir(self, path: Path, /) -> list[str]:
        """Return the names in a folder, in natural order. Raises ``NotFoundError``."""
        raise self._cannot("list_dir")

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        """Yield the entries of a folder in any order. Override it if one call gets all of them."""
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

        ``pattern`` is a shell pattern for the name alone ("*_w1.tif"). ``suffixes`` ignore case.
        ``recursive`` also lists the folders inside, but not linked folders, so that every file is
        listed once.
        """
        check_pattern(pattern)
        if isinstance(suffixes, str):  # otherwise each of its letters would be a suffix
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
        waiting = [directory]  # a list and not recursion, because folders may be deep
        while waiting:
            place = waiting.pop()
            try:
                entries = list(self.scan(place))
            except (NotFoundError, NotADirectoryInPathError):
                if place == directory:
                    raise
                continue  # it was deleted after it was listed
            # Linked folders are listed but not entered: a link to a parent would never end.
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
        """Return the paths of the TIFF, PNG and JPEG files, as ``list_files`` does."""
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
    """A backend that writes. Subclasses implement ``save``."""

    _operations: ClassVar[tuple[str, ...]] = ("save", "save_batch")

    @abstractmethod
    def save(self, data: Value, path: Path, /) -> None:
        """Save ``data`` at ``path``. It replaces the old value as a whole.

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
        """Save the values in order, each at the path of the same index.

        Values may be read before their turn, so do not change them until it returns.

        Raises ``BatchLengthError`` and ``DuplicatePathError`` before anything is written. Stops at
        the first failure with ``BatchError``: earlier values are saved, later ones are not.
        """
        check_lengths(data, paths, self._identity)
        save: Callable[..., None] = self.save  # not its own type: subclasses add options
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
        """Finish a save of ``path`` that was killed, as the next save would."""


class StorageBackend(DataSource, DataSink):
    """A backend that reads and writes. It keeps its values, so that they can be loaded later."""

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
        """Create an array that is written in parts, and return a handle that writes.

        ``None`` as the first length makes one that grows. Raises ``AlreadyExistsError``.
        """
        raise self._cannot("create")

    @mark_refused
    def ensure_directory(self, path: Path, /) -> None:
        """Create a folder and its missing parents. An existing folder is not an error."""
        raise self._cannot("ensure_directory")

    @mark_refused
    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        """Delete a file, an empty folder, or a link (not its target).

        Raises ``NotFoundError``, and ``DirectoryNotEmptyError`` unless ``recursive``.
        """
        raise self._cannot("delete")

    @mark_derived("delete")
    def delete_all(self, path: Path, /) -> None:
        """Delete a file, or a folder with everything in it."""
        self.delete(path, recursive=True)

    @mark_derived("load", "save")
    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        """Copy a value. ``if_exists`` is that of ``save``."""
        check_if_exists(if_exists)
        save: Callable[..., None] = self.save
        # "replace" is what every save does, so it works without the option, too.
        options = {} if if_exists == "replace" else {"if_exists": if_exists}
        check_options(type(self).save, options, f"save() of backend {self.name!r}")
        save(self.load(source), target, **options)

    @mark_derived("copy", "delete")
    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        """Move a value. ``if_exists`` is that of ``save``.

        ``source`` is deleted only if its value is at ``target`` now. It stays if "skip" keeps the
        target, and if both are one path.
        """
        check_if_exists(if_exists)
        self._check_can("move")
        if self._identity(source) == self._identity(target):
            self._require(source, "move")
            return
        try:
            # Not "skip", because afterwards it would be unknown whether the value was copied.
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
        """Create a symbolic link at ``link`` that leads to ``source``.

        Raises ``NotFoundError`` if ``source`` does not exist, and ``AlreadyExistsError`` if
        ``link`` exists. ``overwrite`` replaces links and files, but not folders.
        """
        raise self._cannot("create_symlink")

    @mark_derived("create_symlink", "ensure_directory", "list_dir", "is_dir")
    def mirror_directory_with_symlinks(
        self, source: Path, target: Path, /, *, recursive: bool = True, overwrite: bool = False
    ) -> int:
        """Create the folders of ``source`` below ``target``, with a link for each file.

        Returns the number of links.
        """
        self._check_can("mirror_directory_with_symlinks")
        source, target = os.fspath(source), os.fspath(target)
        if self._identity(source) == self._identity(target):
            raise InvalidOptionError("target", target, "a folder other than source")
        tree = list(self._walk(source, recursive))  # all at once: the target may be inside
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
