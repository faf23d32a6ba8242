"""``FileManager``: one call for all backends, which it finds by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from .abc.array import LazyArray
from .collecting import collect, images, load_one
from .conversion import AS_IMAGE, Alike, Conversion, as_kind, with_words
from .errors import InvalidOptionError, with_context
from .file_operations import FileOperations
from .paths import check_path
from .routing import let_calls_omit_backend

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from .abc.backend import DataSink, DataSource, Path
    from .abc.collector import Collector
    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .options import Copy, IfExists
    from .transfer import OnUnknown, Transferred, Verify
    from .values import Option, Value
    from .watching import Stop, Watch
    from .work import Progress

__all__ = ["FileManager"]


@let_calls_omit_backend
class FileManager(FileOperations):
    """Save, load and manage data of all backends. Each call names its backend.

    The name follows the last path, or is given as ``backend=``:

        fm = FileManager()
        fm.save(image, "cells.tif", "disk")
        image = fm.load("cells.tif", backend="disk")

    Paths are strings or ``os.PathLike``. Other keyword arguments are options of the backend and
    of the format. An unknown option is an error.

    You can use one file manager from many threads, and in forked processes. It can be pickled, for
    example to send it to a worker. Values in the ``memory`` backend stay in their own process.

    Args:
        registry: The backends to use. By default a new ``BackendRegistry`` of all installed ones.
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
        """Save a value at ``path``. It replaces the old value as a whole.

        The suffix of the path chooses the format. For example:

            fm.save(image, "cells.tif", "disk", scale={"y": 0.325, "x": 0.325}, units="um")
            fm.save({"cells": 42}, "counts.json", "disk", if_exists="error")

        Args:
            data: An array, an ``Image``, or another value that the format can hold. An ``Image`` is
                saved with its metadata, or not at all.
            path: Where to save it. Missing folders are created.
            backend: Name of the backend.
            like: An image of the same shape, whose axes, pixel size and channels ``data`` gets.
            **options: ``if_exists`` says what happens to a value at that path: "replace", "error"
                or "skip". The others are options of the backend and of the format.

        Raises:
            UnsupportedDataError: The format cannot hold the value. Nothing was written.
            AlreadyExistsError: The path exists, and ``if_exists="error"``.
            StorageError: The storage reported an error, such as a full disk.
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
        """Load the value at ``path``, or a part of an array.

        For example:

            image = fm.load("cells.tif", "disk", as_="image")
            tensor = fm.load("cells.tif", "disk", framework="torch", dtype="float32")
            corner = fm.load("cells.tif", "disk", region=np.s_[..., :64, :64])

        Args:
            path: The path that was saved.
            backend: Name of the backend.
            framework: "numpy", "torch", "jax", "tensorflow" or "cupy", for an array or a dict of
                arrays.
            device: Where to put the array, such as "cuda:0".
            dtype: The element type to convert to, such as "float32".
            casting: The conversions that ``dtype`` may make. "exact" changes no value. "same_kind"
                also rounds to a floating-point type. "unsafe" is NumPy's ``astype``: 300 becomes
                44 in uint8.
            copy: "auto" copies only if the conversion needs it. "never" raises instead, and gives
                read-only arrays of the ``memory`` backend without a copy. "always" gives memory
                that is yours only.
            as_: "image" returns an ``Image``: the array with its axes, pixel size, units and
                channels. "xarray" returns a DataArray. Formats have others, such as "pandas".
            **options: ``region`` and the options of the backend and of the format. ``region`` is a
                NumPy index of integers, slices and ``...``. The result is ``load(path)[region]``,
                and only this part is read if the format can do that.

        Raises:
            NotFoundError: The path does not exist.
            DamagedDataError: The file is damaged.
            UnsupportedDataError: ``dtype`` cannot hold an element, or the framework the array.
            MissingDependencyError: A library that is needed is not installed.
            CopyRequiredError: A copy is needed, and ``copy="never"``.
        """
        # Written out, like save: a load from memory costs little more than these lines.
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
        # JAX and TensorFlow can keep the memory only if it is aligned. A collector allocates it so,
        # and the format reads into it, which saves a copy of the whole array.
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
        """Save many values in order, each at the path of the same index.

        For example:

            fm.save_batch(images, [f"plate/{n}.tif" for n in range(96)], "disk", progress=True)

        Args:
            data: The values.
            paths: A different path for each value.
            backend: Name of the backend.
            progress: ``True`` shows a bar. A function is called with (done, total).
            like: As for ``save``, for all values.
            **options: As for ``save``.

        Raises:
            BatchLengthError: There are not as many paths as values. Nothing was written.
            DuplicatePathError: Two values have the same path. Nothing was written.
            BatchError: A value could not be saved. Earlier values are saved, later ones are not.
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
        """Load many values. Uses threads when that is faster.

        For example:

            paths = fm.list_files("plate", "disk", pattern="*.tif")
            images = fm.load_batch(paths, "disk", progress=True)
            array = fm.load_batch(paths, "disk", stack=True)  # (N, *shape)

        Args:
            paths: The paths to load.
            backend: Name of the backend.
            framework: As for ``load``.
            device: As for ``load``.
            dtype: As for ``load``.
            casting: As for ``load``.
            copy: As for ``load``.
            stack: Whether to return one array of the shape ``(len(paths), *shape)``. All arrays
                need the same shape and dtype.
            as_: As for ``load``.
            progress: ``True`` shows a bar. A function is called with (done, total).
            **options: As for ``load``.

        Returns:
            A list in the order of ``paths``, or one array if ``stack`` is true.

        Raises:
            BatchError: Some values could not be loaded. It has the error of each.
            UnsupportedDataError: The stack does not fit into memory.
        """
        backend = self._check_name("load_batch", backend)
        is_shared = copy != "auto" and self._pass_copy(
            copy, backend, "load_batch", as_, options
        )
        asked = Conversion(backend, framework, device, dtype, casting, copy, is_shared)
        # Options are checked here, before a batch of thousands is read for nothing.
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
        """Open a stored array. The handle reads only the parts that you index.

        For example:

            with fm.open("large.tif", "disk") as handle:
                plane = handle[3]

        Args:
            path: The path of an array.
            backend: Name of the backend.
            as_: "image" returns an ``Image`` whose ``data`` is the handle. "xarray" returns a
                DataArray over a Dask array.
            **options: ``mode`` and the other options of the backend.

        Returns:
            A ``LazyArray``, which has a shape and a dtype and is indexed as a NumPy array.

        Raises:
            NotFoundError: The path does not exist.
            UnsupportedOperationError: The backend or the format cannot read parts of it.
        """
        handle: Any = self._run("open", backend, path, **options)
        # A handle does not know the name of its backend. Viewers open it again by ``source``.
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
        """Create an array that you write in parts.

        For example:

            with fm.create("movie", "zarr", shape=(None, 512, 512), dtype="uint16") as movie:
                movie.append(frame)

        Args:
            path: Where to create it.
            backend: Name of the backend.
            shape: Lengths in elements. ``None`` as the first makes an array that grows.
            dtype: The element type.
            **options: ``if_exists`` and the other options of the backend.

        Returns:
            A handle that writes: ``handle[0:8] = planes``, or ``handle.append(frame)``.

        Raises:
            AlreadyExistsError: The path exists, and ``if_exists`` does not allow to replace it.
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
        """Iterate over the frames of an array, or the files of a folder, as others write them.

        For example:

            for item in fm.watch("run.zarr/movie", "zarr", timeout=60):
                fm.save(item.load(), f"movie/{item.index}", "napari_stream", names="{t}")

        Existing frames or files come first, in natural order, then each new one.

        Args:
            path: An array that grows, or a folder. It may not exist yet.
            backend: Name of the backend.
            start: Index of the first frame or file.
            timeout: Seconds without a new item after which it ends. ``None`` waits for ever.
            poll: Seconds between two looks. By default 5 ms after an item, growing up to 250 ms.
            pattern: A shell pattern for the names of files.
            recursive: Whether to watch the folders inside as well.
            settle: Seconds for which an item must not change. By default 0.5 for folders of this
                machine, where other programs may still be writing, and 0 elsewhere. Frames of an
                array that grows by ``append`` need 0.
            stop: A function or an event. When it is true, the iteration ends after existing items.

        Returns:
            An iterator of ``Arrival``. It raises ``StorageError`` if the array is replaced, cut or
            deleted.

        Raises:
            InvalidOptionError: An option is not valid.
        """
        from .watching import Watch

        backend = self._check_name("watch", backend)
        check_path(path)
        self._call("load", backend)  # refuses a backend that only writes
        return Watch(
            cast("DataSource", self.registry[backend]),
            os.fspath(path),
            self.load,
            self._load_alone,
            start=start,
            timeout=timeout,
            poll=poll,
            pattern=pattern,
            recursive=recursive,
            settle=settle,
            stop=stop,
        )

    def _load_alone(self, path: Path, backend: str, **options: Option) -> Value:
        # The files next to it may not be there yet.
        alone = cast("DataSource", self.registry[backend]).options_alone
        options = {**alone(path, format=options.get("format")), **options}
        return self.load(path, backend, **options)

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
        alone: bool | None = None,
        **options: Option,
    ) -> Transferred:
        """Copy a file, or a folder with all its files, from one backend to another.

        Another suffix converts to another format. Large arrays are copied in parts. For example:

            fm.transfer("plate", "plate.zarr", source_backend="disk", target_backend="zarr")
            fm.transfer("a.tif", "a.npy", source_backend="disk", target_backend="disk")

        Args:
            source: A file or a folder.
            target: The path of the copy.
            source_backend: Name of the backend to read from.
            target_backend: Name of the backend to write to.
            progress: ``True`` shows a bar. A function is called with (done, total).
            verify: "values" loads each copy and compares it with its source. "bytes" copies files
                of the same format unchanged, and compares them.
            if_exists: As for ``save``. "skip" leaves out files whose target exists.
            pattern: A shell pattern for the names of files in a folder.
            dry_run: Whether to write nothing, and only return the paths.
            on_unknown: "skip" leaves out files whose suffix no format has. "copy" copies their
                bytes, if both backends store files.
            alone: Whether to copy only the planes that a file of an OME-TIFF set has itself.
                ``None`` does so in a folder, so that no plane is copied twice.
            **options: Options of ``save`` of the target.

        Returns:
            The list of the paths that were written. ``skipped`` has the files that were left out,
            and ``lost`` the metadata that the target cannot hold.

        Raises:
            BatchError: Some files of a folder could not be copied. The others are copied.
            DamagedDataError: ``verify`` found a difference.
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
            alone=alone,
            options=options,
        )
        return job.run(source, target, pattern=pattern, progress=progress)

    def __reduce__(self) -> tuple[Value, ...]:
        return FileManager, (self.registry,)

    def __repr__(self) -> str:
        return f"FileManager({self.registry!r})"
