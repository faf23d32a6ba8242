"""A read-only folder of virtual paths. A document has the source of each path."""

from __future__ import annotations

import hashlib
import os
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from polystore_core import (
    DataSource,
    Entry,
    Info,
    LocalStore,
    check_paths,
    full_path,
    natural_order,
    require_local,
)
from polystore_core.errors import (
    DamagedDataError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    PolystoreError,
    with_context,
)

from .batches import Batch
from .document import Reference, Workspace, find_document, read_document
from .indices import SlicedArray, narrow, slice_shape
from .sources import Found, Sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from polystore_core import (
        Collector,
        Copy,
        Image,
        LazyArray,
        Option,
        Path,
        Progress,
        Region,
        Value,
    )

__all__ = ["VirtualWorkspaceBackend"]

_TICK_NS = 100_000_000
"""More than one tick of any kernel's clock, for file systems that store parts of seconds."""
_COARSE_TICK_NS = 2_000_000_000
"""FAT has the coarsest time stamps: two seconds."""


class _Read(NamedTuple):
    """A document that was read, and the marks to see whether it has changed."""

    path: str
    stamp: tuple[int, ...]
    is_settled: bool
    """Whether each later change will give the file another stamp."""
    digest: bytes
    workspace: Workspace


class VirtualWorkspaceBackend(DataSource):
    """The virtual paths of a document. Each has the value of its source.

    A changed document is read again at the next call. A call that needs only names opens no
    source. A source in the file system of this machine must be below the root of the document:
    neither its address nor a link can lead outside. Each error names the virtual path and the
    document.

    Locks: none. ``_read`` is the document that was read last. Threads replace the whole object,
    and an older one is also correct for a call that has already started.

    Args:
        file: path of the document. It may be the ``polystore_metadata.json`` of the published
            package, or its folder.
    """

    def __init__(self, *, file: Path) -> None:
        self.file = full_path(file, "file")
        self._read: _Read | None = None
        self._sources = Sources(self)

    def __reduce__(self) -> tuple[Callable[..., VirtualWorkspaceBackend], tuple[Any, ...]]:
        return _restore, (self.file, self.context)

    @property
    def workspace(self) -> Workspace:
        """The present version of the document.

        Raises:
            NotFoundError: The document does not exist.
            DamagedDataError: The document is not valid. An entry that is not valid raises this
                error only when it is used.
        """
        read = self._read
        if read is not None and read.is_settled:
            try:
                # One call of the system instead of reading the document for each virtual path.
                if _stamp(os.stat(read.path)) == read.stamp:
                    return read.workspace
            except OSError:
                pass  # reading the document raises the error, with a reason
        return self._read_again(read)

    def _read_again(self, old: _Read | None) -> Workspace:
        path = find_document(self.file)
        try:
            # The stamp is taken before the content. If the document changes in between, the next
            # call sees another stamp, and reads it again.
            now, stamp = time.time_ns(), _stamp(os.stat(path))
            content = LocalStore().read(path)
        except OSError as error:
            raise with_context(error, self.name, path, "read")  # noqa: B904 - it carries its cause
        digest = hashlib.blake2b(content).digest()
        # An equal document keeps its workspace, because parsing many entries takes long.
        if old is not None and (old.path, old.digest) == (path, digest):
            workspace = old.workspace
        else:
            workspace = self._parse(content, path)
        self._read = _Read(path, stamp, _is_settled(stamp[-1], now), digest, workspace)
        return workspace

    def _parse(self, content: bytes, path: str) -> Workspace:
        try:
            return read_document(content, path)
        except Exception as error:
            raise with_context(error, self.name, path, "read")  # noqa: B904 - it carries its cause

    def build(self, files: Path | Iterable[Path], names: str, **options: Option) -> Workspace:
        """Call ``Workspace.build`` with the registry of this backend. Nothing is saved."""
        return Workspace.build(files, names, registry=self.context.registry, **options)

    # ── names ────────────────────────────────────────────────────────────────────────────

    def _key(self, path: Path) -> str:
        """Return the virtual path in the form of the document. The top folder is ""."""
        text = require_local(path)
        # The common form is checked without normpath, which takes longer than the look-up.
        if text.startswith("/") or "\\" in text or ".." in text.split("/"):
            plain = posixpath.normpath(text)
            if plain.startswith(("/", "..")):
                raise PathOutsideRootError(self.name, text, self.file)
            text = plain
        key: Any = self._identity(text)
        return str(key)

    def is_file(self, path: Path, /) -> bool:
        key, workspace = self._key(path), self.workspace
        return key in workspace.entries and key not in workspace.folders

    def is_dir(self, path: Path, /) -> bool:
        return self._key(path) in self.workspace.folders

    def is_symlink(self, path: Path, /) -> bool:
        self._key(path)
        return False

    def list_dir(self, path: Path, /) -> list[str]:
        return natural_order(entry.name for entry in self.scan(path))

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        key, workspace = self._key(directory), self.workspace
        names = workspace.folders.get(key)
        if names is None:
            is_file = key in workspace.entries
            kind = NotADirectoryInPathError if is_file else NotFoundError
            raise kind(self.name, os.fspath(directory), "list")
        return [Entry(name, is_dir, False) for name, is_dir in names.items()]

    def info(self, path: Path, /) -> Info:
        return self._info(path, alone=False)

    def info_alone(self, path: Path, /) -> Info:
        return self._info(path, alone=True)

    def options_alone(self, path: Path, /, *, format: Option = None) -> Mapping[str, Option]:
        try:
            found = self._find(path, "load")
        except PolystoreError:
            return {}  # ``load`` raises the error
        # Indices select a part of the whole source.
        if found.entry.indices:
            return {}
        return found.source.options_alone(found.address, format=format)

    def _info(self, path: Path, *, alone: bool) -> Info:
        workspace = self.workspace
        if self._key(path) in workspace.folders:
            return Info(path=os.fspath(path), kind="directory")
        found = self._find(path, "describe", workspace)
        with self._sources.translate_errors(path, found, "describe"):
            source = found.source
            alone = alone and not found.entry.indices
            info = (source.info_alone if alone else source.info)(found.address)
            if info.kind != "file":
                # Translated to an error that names the entry and the document.
                raise IsADirectoryError if info.kind == "directory" else FileNotFoundError
            info = replace(info, path=os.fspath(path), target=None)
            if not found.entry.indices:
                return info
            # Size and metadata of the source describe the whole stack, not this plane.
            shape = slice_shape(found.entry.indices, info.shape)
            words = info.image
            if words is not None and info.shape is not None:
                words = words.select(narrow(found.entry.indices), info.shape)
            return replace(info, size=None, shape=shape, image=words, metadata={})

    # ── values ───────────────────────────────────────────────────────────────────────────

    def load(
        self,
        path: Path,
        /,
        *,
        region: Region | None = None,
        copy: Copy = "auto",
        **options: Option,
    ) -> Value:
        found = self._find(path, "load")
        with self._sources.translate_errors(path, found, "load"):
            return found.load(region, {"copy": copy, **options})

    def load_image(
        self,
        path: Path,
        /,
        *,
        region: Region | None = None,
        copy: Copy = "auto",
        **options: Option,
    ) -> Image:
        found = self._find(path, "load")
        with self._sources.translate_errors(path, found, "load"):
            return found.load_image(region, {"copy": copy, **options})

    def load_batch(
        self,
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Value]:
        """Load many virtual paths. Each source is read once, also if several paths lead to it.

        Planes of a stack are read together with the chunks that they share. No more of the stack
        is in memory than these.

        Args:
            paths: the virtual paths.
            progress: as for ``load_batch`` of every backend.
            threads: number of threads. ``None`` uses several if that is faster.
            options: options of ``load``.
        """
        check_paths(paths)
        return Batch(self, paths, threads, options).load(progress)

    def load_batch_into(
        self,
        paths: Sequence[Path],
        collector: Collector,
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Value]:
        """Read each source once, as ``load_batch`` does."""
        check_paths(paths)
        return Batch(self, paths, threads, options, collector=collector).load(progress)

    def load_image_batch(
        self,
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Image]:
        """Read each source once, as ``load_batch`` does."""
        check_paths(paths)
        return Batch(self, paths, threads, options, images=True).load(progress)

    def open(self, path: Path, /, **options: Option) -> LazyArray:
        found = self._find(path, "open")
        with self._sources.translate_errors(path, found, "open"):
            found.check("open", options)
            lend: Callable[..., LazyArray] = found.source.open
            handle = lend(found.address, **options)
            return SlicedArray(handle, found.entry.indices) if found.entry.indices else handle

    # ── sources ──────────────────────────────────────────────────────────────────────────

    def _find(self, path: Path, operation: str, workspace: Workspace | None = None) -> Found:
        """Return the source of a virtual path, without opening it."""
        key = self._key(path)
        workspace = workspace or self.workspace
        try:
            entry = workspace.entries.get(key)
        except DamagedDataError as error:
            raise replace(error, path=os.fspath(path), backend=self.name) from None
        if entry is None:
            kind = NotAFileError if key in workspace.folders else NotFoundError
            raise kind(self.name, os.fspath(path), operation)
        return self._sources.find(workspace.root, entry, path, operation)

    def _entry(self, path: str) -> tuple[str, Reference | None]:
        """Return the root, and the entry of a virtual path if there is one."""
        workspace = self.workspace
        return workspace.root, workspace.entries.get(self._key(path))

    def close(self) -> None:
        self._sources.close()

    def __repr__(self) -> str:
        return f"<VirtualWorkspaceBackend {self.name or 'virtual_workspace'!r}, {self.file!r}>"


def _restore(file: str, context: Any) -> VirtualWorkspaceBackend:
    return VirtualWorkspaceBackend.with_context(context, file=file)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    # With the ctime, because programs such as rsync set the mtime to that of another file.
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_settled(changed: int, now: int) -> bool:
    """Return whether each later change of a file will give it another stamp.

    In one tick of the clock, a file can change twice and have the same stamp. So the file must be
    older than a tick.

    Args:
        changed: time of its last change, in nanoseconds.
        now: the present time, in nanoseconds.
    """
    tick = _TICK_NS if changed % 1_000_000_000 else _COARSE_TICK_NS
    return os.name == "posix" and now - changed > tick  # Windows has no time of change (ctime)
