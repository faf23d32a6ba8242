"""One array of a store, opened, read and written in parts. Most calls of zarr are here."""

from __future__ import annotations

import errno
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import zarr
import zarr.storage
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

from polystore_core import (
    LazyArray,
    Selection,
    allocate_aligned,
    is_extended,
    select,
)
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    NotFoundError,
    StorageError,
    UnsupportedDataError,
    UnsupportedFileError,
    with_context,
)

from .arraywords import array_words, describe_array, explain_tail, restore_dtype
from .codecguard import guard_codecs, most_stored
from .creating import unstable_types
from .extended import register_type
from .grid import MANY, Cut, grid
from .guards import Guard
from .ome import image_words, lower_names
from .pipelines import CodecPipeline, pipeline_of, refuse_after_fork
from .regions import box_around, fit_values, unfold
from .store.arrayfiles import existing_chunks, has_chunk, key_parts, name_lock, size_text
from .store.chunkfiles import ChunkFiles, fill_array
from .store.heads import heads_fit
from .store.local import LocalFiles
from .store.nodes import read_document
from .store.zarrstore import ReadingStore, WritingStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from zarr.abc.store import Store

    from polystore_core import ImageMetadata, Memory, Pixels, Region, Value

    from .ome import MultiscaleImage
    from .store.base import StorePath
    from .store.nodes import Document

__all__ = ["Pyramid", "Unaligned", "ZarrArray", "chunk_files"]

Unaligned: TypeAlias = Literal["refuse", "lock"]

_MOST = 2**62
"""No axis can be this long. NumPy and Python's ranges end at twice this."""
_LARGE_CHUNK = 256 << 20
"""A chunk with more bytes must not be much larger than its whole array."""


class Pyramid(NamedTuple):
    """The image that an array is a level of."""

    group: StorePath
    """Where its document is."""
    attributes: Mapping[str, Any]
    image: MultiscaleImage
    level: int


class ZarrArray(LazyArray):
    """A lazy handle on one array. It reads only the chunks that an index needs.

    You can give it to Dask, xarray and napari. It pickles as its path. After the array was saved
    again, reading raises ``NotFoundError``, so that old and new chunks are not mixed.

    Locks: none. All fields are set in ``__init__`` and never change. The cached zarr arrays may
    be made twice by two threads, and either can be used.
    """

    def __init__(
        self,
        directory: StorePath,
        document: Document,
        *,
        path: str = "",
        backend: str = "",
        writable: bool = False,
        unaligned: Unaligned = "refuse",
        pipeline: CodecPipeline = "zarr",
        seen: bool = True,
        durable: bool | None = None,
        lasting: bool = True,
        pyramid: Pyramid | None = None,
    ) -> None:
        # ``lasting``: the handle is used after the operation, whose open directories are closed.
        self._directory = directory = directory.base if lasting else directory
        if writable:
            directory.files.check_regions()
        self._metadata = "zarr.json" if document.zarr_format == 3 else ".zarray"
        self.is_identified = bool(document.growing or document.stamp)
        """Whether the document that was read identifies the array. If not, another call did."""
        self.path, self.backend = path, backend
        is_local = isinstance(directory.files, LocalFiles)  # zarrs opens files by their paths
        if not is_local or is_extended(str(document.fields.get("data_type"))):
            pipeline = "zarr"
        self._writable, self._unaligned, self._pipeline = writable, unaligned, pipeline
        self._seen = seen  # readers may see the chunks, so they are replaced in one step
        self._durable = durable  # whether chunks that are replaced survive a power cut
        self._document, self._pyramid = document, pyramid
        self._identity = document.growing or document.stamp or self._identity_now()
        self.grows = bool(document.growing)
        marks = document.marks
        self._complete = marks.get("complete") is True
        self.chunks: tuple[int, ...]
        self.shards: tuple[int, ...] | None
        self.files = chunk_files(directory, document, pipeline)
        known = self.files or self._array
        self.shape, self.chunks, self.shards = known.shape, known.chunks, known.shards
        if max(self.shape, default=0) >= _MOST:
            reason = f"its shape is {self.shape}, but polystore reads axes of less than 2**62"
            raise UnsupportedFileError(reason, "zarr", path, backend)
        self.dtype = restore_dtype(known.dtype, marks.get("dtype"))

    @cached_property
    def _array(self) -> zarr.Array[Value]:
        if self._pipeline == "zarr":
            return self._safe_array
        # zarrs opens files itself, and accepts only zarr's own store.
        return self._over(
            zarr.storage.LocalStore(str(self._directory), read_only=True), "zarrs"
        )

    @cached_property
    def _safe_array(self) -> zarr.Array[Value]:
        """The array with codecs that never give more bytes than a chunk can have."""
        return self._over(ReadingStore(self._directory), "zarr")

    def _over(self, store: Store, pipeline: CodecPipeline) -> zarr.Array[Value]:
        """Return zarr's array of this document in ``store``."""
        fields: Any = self._document.fields
        is_3 = self._document.zarr_format == 3
        register_type(fields.get("data_type"))
        unstable = not isinstance(fields.get("data_type", fields.get("dtype")), str)
        with unstable_types(unstable), self._guard("open"), pipeline_of(pipeline):
            metadata: Any
            if is_3:
                metadata = ArrayV3Metadata.from_dict(fields)
            else:
                attributes = self._document.attributes
                metadata = ArrayV2Metadata.from_dict({**fields, "attributes": attributes})
            if isinstance(store, ReadingStore):
                store.most = most_stored(metadata)
            if pipeline == "zarr":
                guard_codecs(metadata)
            # An array promises that all its chunks exist, so that a missing one is damage. By
            # default, zarr writes no chunk that equals the fill value.
            config: Any = {"write_empty_chunks": True}
            return zarr.Array(zarr.AsyncArray(metadata, zarr.storage.StorePath(store), config))

    @property
    def identity(self) -> Hashable:
        # Not the stamp of the document: other programs replace it when they resize an array.
        files, key = self._directory
        return self._document.growing or files.folder_identity(key)

    @property
    def image(self) -> ImageMetadata | None:
        """The metadata of the image of which this is a level, or of an array with named axes."""
        if self._pyramid is None:
            return array_words(self._document, self.shape)
        _, attributes, image, level = self._pyramid
        return image_words(attributes, image, self.shape, self.dtype, level)

    @property
    def level(self) -> int:
        """The number of the level in the pyramid of an image. It is 0 for a plain array."""
        return 0 if self._pyramid is None else self._pyramid.level

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of the axes in the document of its image, or ``()`` if they are not known."""
        axes = () if self._pyramid is None else self._pyramid.image.axes
        is_known = len(axes) == len(self.shape)
        return tuple(lower_names([axis.name for axis in axes])) if is_known else ()

    @property
    def levels(self) -> tuple[ZarrArray, ...]:
        """The level and the coarser ones of an image, without those that are missing or damaged.

        Raises:
            NotFoundError: The image was saved again since this handle was opened.
        """
        if self._pyramid is None:
            return (self,)
        from .levels import coarser_levels  # which imports this module

        found = (self, *coarser_levels(self, self._pyramid))
        self._refuse_if_replaced()
        return found

    def sibling(self, directory: StorePath, document: Document, pyramid: Pyramid) -> ZarrArray:
        """Return a handle on another level, with the options of this handle."""
        return ZarrArray(
            directory,
            document,
            path=self.path,
            backend=self.backend,
            pipeline=self._pipeline,
            pyramid=pyramid,
        )

    @property
    def directory(self) -> StorePath:
        """The place of its metadata and chunks."""
        return self._directory

    @property
    def unit(self) -> tuple[int, ...]:
        """The box that is written at once: a shard, or a chunk of an array without shards."""
        return self.shards or self.chunks

    @property
    def block_count(self) -> int:
        """The number of boxes of ``unit`` in the array."""
        return math.prod(-(-n // u) for n, u in zip(self.shape, self.unit, strict=True))

    def description(self) -> dict[str, Any]:
        """Return the fields of ``Info`` that an array has."""
        grows = bool(self._document.growing)
        found = describe_array(self._array, self.dtype, self.chunks, self.shards, grows=grows)
        return {"shape": self.shape, **found}

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def __getitem__(self, region: Region) -> Pixels:
        return self.read_current(select(region, self.shape))

    def read_current(self, selection: Selection, memory: Memory | None = None) -> Pixels:
        """Read like ``read``, and check that the array is still there."""
        try:
            found = self.read(selection, memory)
        except Exception:
            self._refuse_if_replaced()  # a replaced array is the better explanation
            raise
        self._refuse_if_replaced()
        return found

    def read(self, selection: Selection, memory: Memory | None = None) -> Pixels:
        """Return the selected elements, without a check that the array is still there.

        Args:
            selection: the elements.
            memory: gives memory of the caller, which is used if possible.

        Raises:
            DamagedDataError: A chunk is missing or damaged.
            StorageError: The elements do not fit into the memory.
        """
        if not all(selection.ranges):
            return allocate_aligned(selection.shape, self.dtype)
        try:
            with self._guard("read"):
                memory = None if memory is None else self._with_all_axes(selection, memory)
                found = self._read(selection.ranges, memory)
        except DamagedDataError as error:
            if self._document.growing:
                explain_tail(error, self._document, selection.ranges[0][-1] + 1)
            raise
        except MemoryError as error:
            nbytes = math.prod(map(len, selection.ranges)) * self.dtype.itemsize
            raise StorageError(
                self.backend,
                self.path,
                "read",
                errno.ENOMEM,
                f"{size_text(nbytes)} ({self.dtype} {selection.shape}, in chunks of {self.chunks}) "
                "do not fit into memory: load a region, or use open() and read parts",
            ) from error
        # Zarr 3 stores no byte order, so a big-endian array is converted back.
        if found.dtype != self.dtype:
            found = found.astype(self.dtype)
        return selection.arrange(found)

    def _with_all_axes(self, selection: Selection, memory: Memory) -> Memory | None:
        """Return ``memory`` for arrays with all axes, or ``None`` if it cannot be used.

        The caller's memory has no axes for single indices.
        """
        if any(selection.descending) or self.files is None or self.files.dtype != self.dtype:
            return None

        def with_all_axes(shape: tuple[int, ...], dtype: np.dtype[Value]) -> Pixels | None:
            given = memory(selection.shape, dtype)
            return None if given is None else given.reshape(shape)

        return with_all_axes

    def _read(self, ranges: tuple[range, ...], memory: Memory | None = None) -> Pixels:
        # A hostile document can have a chunk of terabytes around an array of one element.
        chunk, whole = (math.prod(n) * self.dtype.itemsize for n in (self.chunks, self.shape))
        if chunk > max(_LARGE_CHUNK, 16 * whole):
            reason = (
                f"it has chunks of {size_text(chunk)}, but the array has only "
                f"{size_text(whole)}: write it again with smaller chunks"
            )
            raise UnsupportedFileError(reason, "zarr", self.path, self.backend)
        if self.files is not None:
            return self.files.read(ranges, complete=self._complete, memory=memory)
        cuts = [Cut(r, unit) for r, unit in zip(ranges, self.unit, strict=True)]
        if self._complete:
            self._refuse_missing_chunks(cuts)
        elif math.prod(len(cut.numbers) for cut in cuts) > MANY:
            return self._read_existing(ranges, cuts)
        return self._read_all(ranges, cuts)

    def _read_all(self, ranges: tuple[range, ...], cuts: list[Cut]) -> Pixels:
        array = self._array
        if not self._heads_fit(cuts):
            array = self._safe_array
        boxes = tuple(slice(r.start, r[-1] + 1, r.step) for r in ranges)
        return np.asarray(array[boxes])

    def _heads_fit(self, cuts: list[Cut]) -> bool:
        """Return whether the chunks can be given to ``zarrs``, which trusts their sizes."""
        if self._pipeline != "zarrs":
            return True
        positions = (tuple(part.number for part in parts) for parts in grid(cuts))
        return heads_fit(self._array, self._directory, positions)

    def _read_existing(self, ranges: tuple[range, ...], cuts: list[Cut]) -> Pixels:
        """Read only the chunks that have files. Of a huge sparse array, these may be few."""
        shape = [len(r) for r in ranges]
        fill = self._array.fill_value
        prefix, separator = key_parts(self._array.metadata, self.path, self.backend)
        existing = sum(1 for _ in existing_chunks(self._directory, prefix, separator, cuts))
        if 4 * existing > math.prod(len(cut.numbers) for cut in cuts):
            return self._read_all(ranges, cuts)  # one call for many chunks is faster
        result = fill_array(shape, 0 if fill is None else fill, self.dtype)
        for parts in existing_chunks(self._directory, prefix, separator, cuts):
            inside = tuple(
                slice(
                    p.inside.start + p.number * u, p.inside.stop + p.number * u, p.inside.step
                )
                for p, u in zip(parts, self.unit, strict=True)
            )
            result[tuple(part.outside for part in parts)] = self._safe_array[inside]
        return result

    def _refuse_missing_chunks(self, cuts: list[Cut]) -> None:
        # The last chunk first: a false shape can have billions of chunks, and misses this one.
        self._refuse_missing_chunk(tuple(cut.numbers[-1] for cut in cuts))
        for parts in grid(cuts):
            self._refuse_missing_chunk(tuple(part.number for part in parts))

    def _refuse_missing_chunk(self, position: tuple[int, ...]) -> None:
        name = self._array.metadata.encode_chunk_key(position)
        if not has_chunk(self._directory, name):
            reason = f"the chunk {name} is missing or empty"
            raise DamagedDataError(reason, "zarr", self.path, self.backend)

    def _identity_now(self) -> Hashable:
        """Return the identity of the present array. Raises ``FileNotFoundError``."""
        files, key = self._directory
        if self._document.growing:  # each append replaces its document
            document = read_document(self._directory)
            return None if document is None else document.growing
        return files.identity(key, self._metadata)

    def _refuse_if_replaced(self) -> None:
        files, key = self._directory
        try:
            with self._guard("read"):
                same = self._identity_now() == self._identity
        except FileNotFoundError:
            same = False
        if not same:
            raise NotFoundError(
                self.backend,
                self.path or str(self._directory),
                "read",
                hint=files.why_missing(key)
                or "it was saved again, moved or deleted since it was opened: open it again",
            )

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def __setitem__(self, region: Region, value: Value) -> None:
        if not self._writable:
            raise TypeError("this handle is read-only: use open(..., mode='r+') to write")
        self._refuse_if_replaced()
        selection = select(region, self.shape)
        try:
            values = fit_values(value, self.dtype, selection.shape)
        except UnsupportedDataError as error:
            with_context(error, self.backend, self.path, "write")
            raise
        if not all(selection.ranges):
            return
        aligned = box_around(selection.ranges, self.shape, self.unit)
        # Whole chunks need no lock: processes that write different ones never share a file.
        if aligned is None:
            self.write(selection, values)
        elif self._unaligned == "lock":
            lock = self._directory.files.lock(name_lock(self._directory))
            with self._guard("write"), lock:
                self._write_into(aligned, selection, values)
        else:
            box = ", ".join(f"{a.start}:{a.stop}" for a in aligned)
            raise InvalidOptionError(
                "region",
                region,
                f"a box on the chunk grid {self.unit}, such as [{box}]. To write parts of "
                "chunks, pass unaligned='lock'",
            )

    def _write_into(self, box: tuple[slice, ...], selection: Selection, values: Pixels) -> None:
        """Read the whole chunks around a region, change the region, and write them.

        The caller holds the lock of the array, so that no other writer changes them in between.
        """
        around = select(box, self.shape)
        chunks = self.read(around).copy()
        inside = tuple(
            slice(r.start - b.start, r[-1] + 1 - b.start, r.step)
            for r, b in zip(selection.ranges, box, strict=True)
        )
        chunks[inside] = unfold(values, selection)
        self.write(around, chunks)

    def write(self, selection: Selection, values: Pixels) -> None:
        """Write whole chunks, without a check that the array is still there."""
        if not all(selection.ranges):  # a frame may have no elements, such as shape (0, 5)
            return
        values, ranges = unfold(values, selection), selection.ranges
        boxes = tuple(slice(r.start, r[-1] + 1, r.step) for r in ranges)
        with self._guard("write"):
            if self.files is not None:
                self.files.write(ranges, values, seen=self._seen, durable=self._durable)
                return
            cuts = [Cut(r, u) for r, u in zip(ranges, self.unit, strict=True)]
            # zarrs opens files itself, and accepts only zarr's own store.
            if self._pipeline == "zarrs" and self._heads_fit(cuts):
                store = zarr.storage.LocalStore(str(self._directory))
                self._over(store, "zarrs")[boxes] = values
                return
            writing = WritingStore(self._directory, seen=self._seen, durable=self._durable)
            with writing.ending():
                self._over(writing, "zarr")[boxes] = values

    # ── errors ───────────────────────────────────────────────────────────────────────────

    def _guard(self, operation: str) -> Guard:
        if self._pipeline == "zarrs":
            refuse_after_fork()
        return Guard(self.path, self.backend, operation, self._document)

    def __getstate__(self) -> dict[str, Any]:
        # Unpickling must not read the array, which may be deleted. An error while a task is
        # unpickled ends a worker of Dask. So the cached arrays are left out.
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("_array", "_safe_array")
        }

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # With the identity, Dask does not use its results for an array that was replaced.
        return type(self).__name__, str(self._directory), self._identity


def chunk_files(
    directory: StorePath, document: Document, pipeline: CodecPipeline
) -> ChunkFiles | None:
    """Return the chunks of a plain array, or ``None`` for an array that needs zarr."""
    if pipeline != "zarr":
        return None
    return ChunkFiles.of(directory, document.fields, document.derived)
