"""Chunked, compressed arrays: Zarr arrays, OME-Zarr images and plates."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polystore_core import (
    IfExists,
    Image,
    LocalStore,
    Progress,
    array_and_words,
    check_if_exists,
    check_options,
    check_paths,
    no_words,
    progress_reporter,
    run_batch,
    select,
    threads_for,
)
from polystore_core.errors import (
    InvalidOptionError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .arrays import Unaligned, ZarrArray, chunk_files
from .arraywords import check_words, mark_words
from .batches import read_in_threads
from .blocks import count_blocks, is_dask, layout_for, store_blocks
from .creating import Layout, create_array
from .filling import write_new
from .handles import ZarrHandles
from .images import ImageOptions, in_order, write_image, write_streamed
from .keeping import Kept
from .levels import check_label, describe
from .members import check_members, join_members
from .platearray import describe_plate
from .values import check_attributes, check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from polystore_core import (
        ByteStore,
        Collector,
        ImageMetadata,
        Memory,
        Option,
        Path,
        Region,
        Value,
    )

    from .batches import Opened
    from .kinds import Ome
    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.layout import Address
    from .store.nodes import Node, ZarrFormat
    from .views import Samples

__all__ = ["ZarrBackend"]

_IN_THREADS = 1 << 17
"""For arrays of at least this many bytes, a batch is faster with threads."""


class ZarrBackend(ZarrHandles):
    """Save arrays as Zarr: chunked, compressed, and whole or not at all.

    A path such as ``run.zarr/step1/image`` is an array in the store ``run.zarr``. A path without
    a store, such as ``plate/a.tif``, is the array ``a.tif`` of ``plate/images.zarr``.

    With ``ome=True``, and in stores that end with ``.ome.zarr``, values are OME-Zarr images. For
    example, ``x.ome.zarr`` is an image, ``plate.ome.zarr/B/03/0`` is field 0 of well B03 of a
    plate, and ``x.ome.zarr/labels/nuclei`` is a label image.

    Args:
        root: a folder. No path and no link leads outside.
        store: where the files are, instead of folders: a ``ByteStore``, or the name of a backend
            that has one. ``close`` leaves it open.
        durable: the default for ``save``: which values survive a power cut. ``None`` flushes a
            value that replaces another, so that the old or the new value survives whole.
            ``True`` flushes new values too. ``False`` flushes nothing.
        codec_pipeline: "zarrs" compresses in Rust, and needs the extra ``zarrs``.
    """

    def __init__(
        self,
        *,
        root: Path | None = None,
        store: ByteStore | str | None = None,
        durable: bool | None = None,
        codec_pipeline: CodecPipeline = "zarr",
    ) -> None:
        if codec_pipeline not in ("zarr", "zarrs"):
            raise InvalidOptionError("codec_pipeline", codec_pipeline, "'zarr' or 'zarrs'")
        if codec_pipeline == "zarrs" and not (store is None and root is None):
            reason = "zarrs opens files by their paths: leave out root= and store="
            raise UnsupportedOperationError(self.name, "codec_pipeline='zarrs'", reason)
        if store is None:
            try:
                found: ByteStore = LocalStore(root, durable=durable)
            except UnsupportedOperationError as error:  # a system without such roots
                error.backend = self.name or "zarr"
                raise
        elif root is None:
            found = self.context.store(store)
        else:
            fault = "root= and store= exclude each other: a store has a root of its own"
            raise InvalidOptionError("root", root, "None", fault)
        super().__init__(found, durable=durable)
        self.root = found.root if isinstance(found, LocalStore) else None
        self.codec_pipeline: CodecPipeline = codec_pipeline

    # ── saving ───────────────────────────────────────────────────────────────────────────

    def save(
        self,
        data: Value,
        path: Path,
        /,
        *,
        if_exists: IfExists = "replace",
        durable: bool | None = None,
        region: Region | None = None,
        unaligned: Unaligned = "refuse",
        chunks: int | Sequence[int] | None = None,
        shards: int | Sequence[int] | Literal[False] | None = None,
        compressor: Option = "blosc",
        checksum: bool = True,
        fill_value: Option = None,
        attributes: Mapping[str, Option] | None = None,
        zarr_format: ZarrFormat | None = None,
        ome: Ome | None = None,
        axes: str | Sequence[str] | None = None,
        scale: Sequence[float] | Mapping[str, float] | None = None,
        units: str | Mapping[str, str] | None = None,
        channels: Sequence[str | Mapping[str, Option]] | None = None,
        levels: int | None = None,
        progress: Progress = False,
    ) -> None:
        """Save an array, an Image, a DataArray, a Dask array or a lazy handle.

        Args:
            data: the value.
            path: where to save it.
            if_exists: "replace", "error" or "skip".
            durable: whether the value survives a power cut. ``None`` is the backend's default.
            region: write only this part of an existing array, on its grid of chunks or shards.
            unaligned: "lock" writes a ``region`` that is not on the grid, under a lock.
            chunks: lengths of a chunk, or one length for all axes. ``None`` chooses.
            shards: lengths of a shard, ``False`` for none. ``None`` chooses.
            compressor: "blosc", "blosc-zstd", "zstd", "gzip", "none", a mapping with name and
                level, or a codec.
            checksum: store a CRC-32C with each chunk, so that damage is found.
            fill_value: value of parts that are never written.
            attributes: more attributes of the array or image, as JSON.
            zarr_format: 3 or 2. ``None`` takes the format of the store, or 3.
            ome: save an OME-Zarr image: ``True``, or the version "0.5" or "0.4".
            axes: "tczyx", or some of them in this order. A plain array can have other names.
            scale: pixel size along each axis. This and the next two win over ``data``.
            units: unit of ``scale``, such as "micrometer", or a unit for each axis.
            channels: name of each channel, or mappings with name, color, limits and others.
            levels: number of levels of the pyramid of an image. ``None`` chooses.
            progress: report the blocks that were written, as for ``save_batch``.

        Raises:
            UnsupportedDataError: Zarr cannot store the value.
            InvalidOptionError: An option is not valid, or does not fit the value.
            AlreadyExistsError: Something is there, and ``if_exists="error"``.
        """
        check_if_exists(if_exists)
        check_attributes(attributes)
        durable = self.durable if durable is None else durable
        of_images = ImageOptions(axes, scale, units, channels, levels)
        with self._translate(path, "save") as place:
            if durable:
                self._files.require("durable", "durable=True")
            array, words = array_and_words(data)
            if region is not None:
                self._save_region(check_value(array), place, region, unaligned, durable)
                return
            around = self._surroundings(place)
            if if_exists == "replace":
                self._check_replacing(place, around.present)
            image = around.image(ome, zarr_format)
            if image is None and levels is not None:
                fault = "levels= needs ome=True, or a path in a store called '….ome.zarr'"
                raise InvalidOptionError("levels", levels, "None", fault)
            zarr_format = image.zarr_format if image else zarr_format or around.zarr_format or 3
            layout = Layout(
                chunks=chunks,
                shards=shards,
                compressor=compressor,
                checksum=checksum,
                fill_value=fill_value,
                zarr_format=zarr_format,
                by_plane=image is not None,
            )
            if image is not None and axes is None and words is not None:
                array, words, of_images, layout = in_order(data, words, of_images, layout)
            value = check_value(array)
            kept, old = None, around.present if if_exists == "replace" else None
            if old is not None and old.is_image and place.store is not None:
                kept = Kept.of(place.node, place.store, old)
            write: Callable[[StorePath], None]
            if image is None:
                if kept is not None:
                    kept.check_plain()
                said = check_words(value, words, of_images)
                write = partial(self._write_array, value, said, layout, attributes, progress)
            else:
                if image.labelled is not None:
                    check_label(value, image.labelled, place.path, self.name)
                write = write_image(
                    value,
                    words,
                    replace(image, kept=kept),
                    of_images,
                    layout,
                    attributes,
                    progress,
                    self.codec_pipeline,
                )
            present = self._target(place, if_exists, "save", around)
            if present is not None and if_exists == "skip":
                # A batch that was killed may have saved the image, but not listed it.
                join_members(place, durable=durable, above=around.above)
                return
            # Before the pixels: writing them may take long, and the path may not fit its plate.
            check_members(place, is_image=image is not None)
            self._put(
                place,
                write,
                if_exists,
                zarr_format=zarr_format,
                durable=durable,
                above=around.above,
                is_free=around.is_free,
            )

    def _write_array(
        self,
        value: Value,
        words: ImageMetadata | None,
        layout: Layout,
        attributes: Mapping[str, Value] | None,
        progress: Progress,
        directory: StorePath,
    ) -> None:
        is_array = type(value) is np.ndarray
        is_blocks = not is_array and is_dask(value)
        if is_blocks:
            layout = layout_for(value, layout)
        document = create_array(
            directory,
            value.shape,
            value.dtype,
            layout,
            attributes=attributes,
            dimension_names=None if words is None else words.names,
            complete=True,
            more=None if words is None else mark_words(words),
        )
        batch = self._batch
        if batch is not None and batch.write(value, document, directory):
            return  # a thread has encoded it already
        if is_array and not progress:
            files = chunk_files(directory, document, self.codec_pipeline)
            if batch is not None:
                batch.learn(value, document, files)
            write_new(files, directory, document, value, self.codec_pipeline)
            return
        target = ZarrArray(
            directory, document, writable=True, seen=is_blocks, pipeline=self.codec_pipeline
        )
        if is_blocks:
            total = count_blocks(value, target.unit)
            with progress_reporter(progress, total, "save", unit="block") as report:
                store_blocks(value, target, report)
        else:
            write_streamed(value, [target], "mean", progress)

    def _save_region(
        self,
        value: Value,
        place: Address,
        region: Region,
        unaligned: Unaligned,
        durable: bool | None,
    ) -> None:
        target = self._open_whole(place, 0, writable=True, unaligned=unaligned, durable=durable)
        expected = select(region, target.shape).shape
        # NumPy would stretch a smaller value over the region without a word.
        if value.shape != expected:
            raise UnsupportedDataError(
                f"the value has shape {value.shape}, but the region has shape {expected}",
                "zarr",
            )
        target[region] = value

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def load(self, path: Path, /, *, region: Region | None = None, level: int = 0) -> Value:
        """Load an array or image.

        Args:
            path: the path.
            region: load only this part, for example ``np.s_[3, :100]``.
            level: level of a pyramid. 0 is the image itself, -1 the smallest copy.
        """
        return self._read(path, region, level, None)

    def _read(
        self, path: Path, region: Region | None, level: int, memory: Memory | None
    ) -> Value:
        with self._translate(path, "load") as place:

            def read() -> Value:
                array = self._handle(place, level, lasting=False)
                selection = select(... if region is None else region, array.shape)
                return array.read(selection, memory)

            return self._whole(place, "load", read)

    def load_image(
        self, path: Path, /, *, region: Region | None = None, level: int = 0
    ) -> Image:
        """Load an array or image with its metadata.

        Args:
            path: the path.
            region: load only this part.
            level: level of a pyramid. The pixel size in the metadata is that of the level.
        """
        with self._translate(path, "load") as place:

            def read() -> Image:
                array = self._handle(place, level, lasting=False)
                words = array.image
                if words is None:
                    raise no_words("zarr")
                if region is None:
                    return Image(array.read(select(..., array.shape)), words)
                part = array.read(select(region, array.shape))
                return Image(part, words.select(region, array.shape))

            return self._whole(place, "load", read)

    def load_batch(
        self,
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Value]:
        """Load many arrays.

        Args:
            paths: the paths.
            progress: report each array.
            threads: number of threads. ``None`` uses several if that is faster.
            options: options of ``load``.
        """
        return self._load_all(paths, None, progress, threads, options)

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
        return self._load_all(paths, collector, progress, threads, options)

    def _load_all(
        self,
        paths: Sequence[Path],
        collector: Collector | None,
        progress: Progress,
        threads: int | None,
        options: dict[str, Any],
    ) -> list[Value]:
        check_options(type(self).load, options, f"load_batch() of backend {self.name!r}")
        check_paths(paths)
        level, region = options.get("level", 0), options.get("region")
        opened: Iterator[Opened] = (
            (self._open_early(p, level), i) for i, p in enumerate(paths)
        )

        def load(index: int, early: ZarrArray | Samples | None = None) -> Value:
            memory = None if collector is None else partial(collector.memory, index)
            value = self._load(early, paths[index], region, level, memory)
            return value if collector is None else collector.put(index, value)

        if threads is None and len(paths) > 1:
            # The first array decides for all: arrays of a batch usually have the same size.
            first = next(opened)
            threads = threads_for(first[0].nbytes if first[0] else 0, _IN_THREADS)
            opened = chain([first], opened)
        if threads is None or threads < 2:
            return run_batch(
                self.name,
                "load",
                paths,
                load,
                progress=progress,
            )

        with read_in_threads(opened, lambda one: load(one[1], one[0]), threads) as loaded:

            def take(_: int) -> Value:
                value = next(loaded)
                if isinstance(value, Exception):
                    raise value
                return value

            return run_batch(self.name, "load", paths, take, progress=progress)

    def _open_early(self, path: Path, level: int) -> ZarrArray | Samples | None:
        """Return a handle, or ``None`` if ``load`` will raise an error."""
        with suppress(PolystoreError), self._translate(path, "open") as place:
            handle = self._handle(place, level)
            # An array has one document, which is read in one step. An image has several, and
            # may be replaced between two of them.
            is_whole = handle.directory == place.node.base and handle.is_identified
            return handle if is_whole else self._open_whole(place, level)
        return None

    def _load(
        self,
        early: ZarrArray | Samples | None,
        path: Path,
        region: Region | None,
        level: int,
        memory: Memory | None,
    ) -> Value:
        with suppress(PolystoreError):  # damaged or saved again: ``_read`` finds out which
            if isinstance(early, ZarrArray):
                selection = select(... if region is None else region, early.shape)
                return early.read_current(selection, memory)
            if early is not None:
                return early[... if region is None else region]
        return self._read(path, region, level, memory)

    def _describe(self, node: Node) -> dict[str, Any]:
        return describe(node, self.name)

    def _describe_plate(self, node: Node, place: Address) -> dict[str, Any]:
        return describe_plate(node, place, self.name)
