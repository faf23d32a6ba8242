"""``FileManager``: one call for every place that data goes to, routed by name alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from .abc.array import LazyArray
from .collecting import collect, images, load_one
from .conversion import AS_IMAGE, Alike, Conversion, as_kind, with_words
from .errors import InvalidOptionError, with_context
from .paths import check_path
from .routing import Router, let_calls_omit_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike

    from .abc.backend import DataSink, DataSource, Path
    from .abc.collector import Collector
    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .options import Copy, IfExists
    from .transfer import OnUnknown, Transferred, Verify
    from .values import Info, Option, Value
    from .watching import Stop, Watch
    from .work import Progress

__all__ = ["FileManager"]


@let_calls_omit_backend
class FileManager(Router):
    """Route each operation to the backend that the call names.

    The backend follows the last path (``fm.save(image, "a.npy", "disk")``), or is given as
    ``backend=``. A call without a backend is an error. Paths are strings or
    ``os.PathLike``. Further keyword arguments go to the backend, and one that it does not know
    is an error.

    A file manager pickles as its configuration and works in threads, and in spawned and forked
    processes; what the memory backend holds stays in its own process.
    """

    # ── values ───────────────────────────────────────────────────────────────────────────

    def save(
        self,
        data: Value,
        path: Path,
        backend: str,
        *,
        like: Image | ImageMetadata | None = None,
        **options: Option,
    ) -> None:
        """Put ``data`` at ``path``, replacing whole what stands there.

        An ``Image`` keeps its words where the place can hold them, and is refused elsewhere.
        ``like`` is an image of the same shape, whose words an array gets. Options of every
        storage: ``if_exists`` ("replace", "error", "skip"). Others belong to the backend and to
        the format of the path's suffix.

        Raises ``UnsupportedDataError`` before anything is written, ``AlreadyExistsError``,
        ``StorageError``.
        """
        # Not through _run: a save into memory costs less than two microseconds.
        if backend.__class__ is not str:
            backend = self._check_name("save", backend)
        call = self._calls.get(("save", backend)) or self._call("save", backend)
        if options:
            self._check_options(call, options, "save", backend)
        if path.__class__ is not str:
            check_path(path, data)
        call(data if like is None else with_words(data, like), path, **options)

    def load(
        self,
        path: Path,
        backend: str,
        *,
        framework: str | None = None,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        casting: Casting = "exact",
        copy: Copy = "auto",
        as_: str | None = None,
        **options: Option,
    ) -> Value:
        """Return the value at ``path``, whole or its ``region=``.

        ``region`` is a NumPy index of integers, slices and ``...``: the result equals
        ``load(path)[region]``, and only that part is read where the format allows it.
        ``framework`` ("numpy", "torch", "jax", "tensorflow", "cupy") converts an array, or each
        array of a dict. ``device`` ("cuda:0") places it, ``dtype`` changes its element type.
        ``casting`` says what ``dtype``
        may do: "exact" changes no value, "same_kind" also rounds to a floating-point type,
        "unsafe" converts as NumPy's ``astype`` does (300 becomes 44 in uint8). ``as_="image"``
        returns an ``Image``: the array with its axes, pixel size, units and channels.
        ``as_="xarray"`` returns a DataArray. Formats have others ("pandas").

        Reading gives memory of your own, and ``copy="auto"`` copies it again only where the
        conversion must. ``"never"`` raises ``CopyRequiredError`` instead, and the memory backend
        gives what it keeps: arrays read-only. ``"always"`` gives memory that nobody else has.

        Raises ``NotFoundError``, ``DamagedDataError``, ``UnsupportedDataError`` (also for an
        element that ``dtype`` cannot hold), ``MissingDependencyError``, ``CopyRequiredError``.
        """
        if backend.__class__ is not str:
            backend = self._check_name("load", backend)
        call = self._calls.get(("load", backend)) or self._call("load", backend)
        is_shared = copy != "auto" and self._pass_copy(copy, backend, "load", as_, options)
        if as_ is not None:
            if as_ in AS_IMAGE:
                asked = Conversion(backend, framework, device, dtype, casting, copy, is_shared)
                return self._load_as(as_, path, asked, options)
            options["as_"] = as_
        if options:
            self._check_options(call, options, "load", backend)
        if path.__class__ is not str:
            check_path(path)
        if framework is device is dtype is None and casting == "exact" and copy != "always":
            return call(path, **options)
        asked = Conversion(backend, framework, device, dtype, casting, copy, is_shared)
        if asked.shares_aligned:
            return load_one(
                asked,
                path,
                lambda c: self._run_batch("load_batch_into", backend, [path], c, **options),
            )
        return asked.convert(call(path, **options), path)

    def _load_as(
        self, kind: str, path: Path, asked: Conversion, options: dict[str, Option]
    ) -> Value:
        """Return the value as an image or a DataArray, converted."""
        load = self._call("load_image", asked.backend)
        self._check_options(load, options, "load", asked.backend)
        check_path(path)
        return asked.finish(kind, load(path, **options), path)

    def save_batch(
        self,
        data: Sequence[Value],
        paths: Sequence[Path],
        backend: str,
        *,
        progress: Progress = False,
        like: Image | ImageMetadata | None = None,
        **options: Option,
    ) -> None:
        """Save each value at the path of the same position, in order; ``like`` as for ``save``.

        ``progress=True`` shows a bar; a callable gets (done, total).

        Raises ``BatchLengthError`` and ``DuplicatePathError`` before any I/O. Stops at the
        first failure with ``BatchError``: earlier items are saved, later ones untouched.
        """
        backend = self._check_name("save_batch", backend)
        if like is not None:
            data = Alike(data, like)
        self._run_batch("save_batch", backend, data, paths, progress=progress, **options)

    def load_batch(
        self,
        paths: Sequence[Path],
        backend: str,
        *,
        framework: str | None = None,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        casting: Casting = "exact",
        copy: Copy = "auto",
        stack: bool = False,
        as_: str | None = None,
        progress: Progress = False,
        **options: Option,
    ) -> Any:
        """Return a list of the values in the order of ``paths``; options as for ``load``.

        Each value is converted as it arrives. ``stack=True`` returns one array of the shape
        ``(len(paths), *shape)`` instead, for arrays of one shape and element type. .npy, plain
        .tif and zarr are read straight into it.

        Raises ``BatchError`` that names every path that failed, with its cause, and
        ``UnsupportedDataError`` for a stack that does not fit into memory.
        """
        backend = self._check_name("load_batch", backend)
        is_shared = copy != "auto" and self._pass_copy(
            copy, backend, "load_batch", as_, options
        )
        asked = Conversion(backend, framework, device, dtype, casting, copy, is_shared)
        if not isinstance(stack, bool):
            raise InvalidOptionError("stack", stack, "True or False")
        if as_ is not None and as_ in AS_IMAGE:
            if stack:
                fault = (
                    f"stack=True does not work with as_={as_!r}: use polystore.stack(), whose "
                    "arrays have axes, pixel size and channels"
                )
                raise InvalidOptionError("stack", stack, f"False with as_={as_!r}", fault)
            self._call("load_image_batch", backend)  # refuses a backend that only writes
            source = cast("DataSource", self.registry[backend])
            return images(as_, asked, source, paths, progress, options)
        if as_ is not None:
            options["as_"] = as_
        if not stack and not asked.changes:
            return self._run_batch("load_batch", backend, paths, progress=progress, **options)

        def load(collector: Collector) -> Any:
            return self._run_batch(
                "load_batch_into", backend, paths, collector, progress=progress, **options
            )

        return collect(asked, paths, load, stack=stack)

    def open(
        self, path: Path, backend: str, *, as_: str | None = None, **options: Option
    ) -> Any:
        """Return a lazy handle on a stored array (``LazyArray``): it reads what is indexed.

        ``as_="image"`` returns an ``Image`` whose ``data`` is the handle, ``as_="xarray"`` a
        DataArray over a Dask array.
        """
        handle: Any = self._run("open", backend, path, **options)
        if isinstance(handle, LazyArray):
            handle.source = self.registry.source(backend, path, options)
            handle.backend, handle.path = backend, os.fspath(path)
        if as_ is None:
            return handle
        if as_ not in AS_IMAGE:
            raise InvalidOptionError("as_", as_, "'image', 'xarray' or None")
        from .image import Image, no_words

        if handle.image is None:
            raise with_context(no_words(), backend, os.fspath(path), "open")
        return as_kind(as_, Image(handle, handle.image))

    def create(
        self,
        path: Path,
        backend: str,
        *,
        shape: Sequence[int | None],
        dtype: DTypeLike,
        **options: Option,
    ) -> LazyArray:
        """Make an array to be written in parts; return a handle that writes (``a[0:8] = b``).

        ``shape=(None, 512, 512)`` makes an array that grows: ``handle.append(frame)``.

        Raises ``AlreadyExistsError``, unless ``if_exists`` says otherwise.
        """
        handle: LazyArray = self._run(
            "create", backend, path, shape=shape, dtype=dtype, **options
        )
        if isinstance(handle, LazyArray):
            handle.backend, handle.path = backend, os.fspath(path)
        return handle

    def watch(
        self,
        path: Path,
        backend: str,
        *,
        start: int = 0,
        timeout: float | None = None,
        poll: float | None = None,
        pattern: str | None = None,
        recursive: bool = False,
        settle: float | None = None,
        stop: Stop | None = None,
    ) -> Watch:
        """Give each frame of an array, or each file of a folder, while others write them.

        An iterator of ``Arrival``, from the frame or file ``start``: those that are there, in
        natural order, then each new one. ``path`` may be missing at first. ::

            for item in fm.watch("run.zarr/movie", backend="zarr"):
                fm.save(item.load(), f"movie/{item.index}", "napari_stream", names="{t}")

        It ends after ``timeout`` seconds without a new item. It also ends when ``stop``, a
        function or an event, is true and all items that are there were given. ``pattern``
        selects files by their names, ``recursive`` adds the files of folders inside. A file, or
        a frame, is given when it has not changed for ``settle`` seconds: 0.5 in folders of this
        machine, where other programs may still write, 0 elsewhere, and 0 for frames of an array
        that grows by ``append``. ``poll`` is the time between two looks. By default it is 5 ms
        after an item, and grows up to 250 ms.

        Raises ``InvalidOptionError``. The iterator raises ``StorageError`` for an array that was
        replaced, cut or deleted.
        """
        from .watching import Watch

        backend = self._check_name("watch", backend)
        check_path(path)
        self._call("load", backend)  # refuses a backend that only writes
        return Watch(
            cast("DataSource", self.registry[backend]),
            os.fspath(path),
            self.load,
            start=start,
            timeout=timeout,
            poll=poll,
            pattern=pattern,
            recursive=recursive,
            settle=settle,
            stop=stop,
        )

    # ── what stands where ────────────────────────────────────────────────────────────────

    def info(self, path: Path, backend: str) -> Info:
        """Describe what stands at ``path`` (kind, size, shape, dtype, …) without loading it."""
        info: Info = self._run("info", backend, path)
        return info

    def exists(self, path: Path, backend: str) -> bool:
        """Whether something stands at ``path``; ``False`` for a link that leads nowhere."""
        return bool(self._run("exists", backend, path))

    def is_file(self, path: Path, backend: str) -> bool:
        """Whether ``path`` is a file, or a link to one."""
        return bool(self._run("is_file", backend, path))

    def is_dir(self, path: Path, backend: str) -> bool:
        """Whether ``path`` is a directory, or a link to one."""
        return bool(self._run("is_dir", backend, path))

    def is_symlink(self, path: Path, backend: str) -> bool:
        """Whether ``path`` itself is a symbolic link."""
        return bool(self._run("is_symlink", backend, path))

    def list_files(
        self,
        directory: Path,
        backend: str,
        *,
        pattern: str | None = None,
        suffixes: Iterable[str] | None = None,
        recursive: bool = False,
    ) -> list[str]:
        """Return the paths of the files in ``directory``, in natural order (z2 before z10).

        ``pattern`` is a shell pattern for the name, ``suffixes`` ignore case; ``recursive``
        descends into folders, not into linked ones.
        """
        files: list[str] = self._run(
            "list_files",
            backend,
            directory,
            pattern=pattern,
            suffixes=suffixes,
            recursive=recursive,
        )
        return files

    def list_image_files(
        self,
        directory: Path,
        backend: str,
        *,
        pattern: str | None = None,
        recursive: bool = False,
    ) -> list[str]:
        """Like ``list_files`` for image files (TIFF, PNG, JPEG)."""
        files: list[str] = self._run(
            "list_image_files", backend, directory, pattern=pattern, recursive=recursive
        )
        return files

    def list_dir(self, directory: Path, backend: str) -> list[str]:
        """Return the names in ``directory``, in natural order."""
        names: list[str] = self._run("list_dir", backend, directory)
        return names

    def find_file_recursive(self, directory: Path, name: str, backend: str) -> str | None:
        """Return the path of the first file called ``name`` below ``directory``, or ``None``."""
        found: str | None = self._run("find_file_recursive", backend, directory, name)
        return found

    def collect_dirs_and_files(
        self, directory: Path, backend: str, *, recursive: bool = True
    ) -> tuple[list[str], list[str]]:
        """Return the paths of all folders and of all files below ``directory``."""
        found: tuple[list[str], list[str]] = self._run(
            "collect_dirs_and_files", backend, directory, recursive=recursive
        )
        return found

    # ── change ───────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, backend: str) -> None:
        """Create a directory and its missing parents; no error where it exists."""
        self._run("ensure_directory", backend, path)

    def delete(self, path: Path, backend: str, *, recursive: bool = False) -> None:
        """Delete a file, a link (never its target) or an empty directory.

        Raises ``NotFoundError``, and ``DirectoryNotEmptyError`` unless ``recursive``.
        """
        self._run("delete", backend, path, recursive=recursive)

    def delete_all(self, path: Path, backend: str) -> None:
        """Delete a file, or a directory with all that it holds."""
        self._run("delete_all", backend, path)

    def copy(self, source: Path, target: Path, backend: str, **options: Option) -> None:
        """Copy a file or a folder within one backend; ``if_exists`` as for ``save``."""
        self._run("copy", backend, source, target, **options)

    def move(self, source: Path, target: Path, backend: str, **options: Option) -> None:
        """Move a file or a folder within one backend; ``if_exists`` as for ``save``."""
        self._run("move", backend, source, target, **options)

    def create_symlink(
        self, source: Path, link: Path, backend: str, *, overwrite: bool = False
    ) -> None:
        """Make ``link`` lead to ``source``, which must exist."""
        self._run("create_symlink", backend, source, link, overwrite=overwrite)

    def mirror_directory_with_symlinks(
        self,
        source: Path,
        target: Path,
        backend: str,
        *,
        recursive: bool = True,
        overwrite: bool = False,
    ) -> int:
        """Rebuild the folders of ``source`` below ``target`` with a link for every file.

        Returns the number of links.
        """
        count: int = self._run(
            "mirror_directory_with_symlinks",
            backend,
            source,
            target,
            recursive=recursive,
            overwrite=overwrite,
        )
        return count

    def transfer(
        self,
        source: Path,
        target: Path,
        *,
        source_backend: str,
        target_backend: str,
        progress: Progress = False,
        verify: Verify | None = None,
        if_exists: IfExists | None = None,
        pattern: str | None = None,
        dry_run: bool = False,
        on_unknown: OnUnknown = "error",
        **options: Option,
    ) -> Transferred:
        """Copy a file, or a folder with all its files, from one backend to another.

        Values are loaded and saved one at a time, so a target path with another suffix
        converts. Images keep their words. Those that the target cannot hold are in ``lost`` of
        the result, a list of the paths written. Large arrays are read and written in parts.
        ``options`` go to the target's ``save``.

        ``verify="values"`` loads each value again and compares it with its source.
        ``verify="bytes"`` copies files of the same format as they are and compares them.
        ``if_exists="skip"`` leaves out files whose target exists, ``pattern`` those in a folder
        whose name does not match, ``on_unknown="skip"`` those with a suffix of no format: the
        first and the last are in ``skipped``. ``dry_run=True`` writes nothing, and returns the
        paths that would be written.

        Raises ``BatchError`` for a folder in which some files fail; the others are copied. A
        target that ``verify`` finds unequal is a ``DamagedDataError``.
        """
        from .transfer import Transfer

        source_backend = self._check_name("transfer", source_backend, "as source_backend=")
        target_backend = self._check_name("transfer", target_backend, "as target_backend=")
        for path in (source, target):
            check_path(path)
        self._call("load", source_backend)  # refuses a backend that only writes
        self._call("save", target_backend)
        job = Transfer(
            source=cast("DataSource", self.registry[source_backend]),
            target=cast("DataSink", self.registry[target_backend]),
            verify=verify,
            if_exists=if_exists,
            on_unknown=on_unknown,
            dry_run=dry_run,
            options=options,
        )
        return job.run(source, target, pattern=pattern, progress=progress)

    def __reduce__(self) -> tuple[Value, ...]:
        return FileManager, (self.registry,)

    def __repr__(self) -> str:
        return f"FileManager({self.registry!r})"
