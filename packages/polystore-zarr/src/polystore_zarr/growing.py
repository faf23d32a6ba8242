"""Arrays that grow along their first axis, frame by frame.

An append writes the chunks first. They are beyond the shape, so no reader looks at them. Then it
replaces the document, and the new shape in it is the commit: readers of any program see whole
frames, and a writer that is killed loses no frame that it has acknowledged. The next writer
overwrites the chunks of an append that was killed.

Only ``flush`` makes frames survive a power cut, and it writes their number into the document. A
power cut may also empty a document that was replaced and not flushed. Therefore ``flush`` keeps a
copy of the document, which readers use then (``read_document``). The next writer repairs both.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import LazyArray, array_and_words, is_array, to_numpy
from polystore_core.errors import (
    DataError,
    NotFoundError,
    PathOutsideRootError,
    UnsupportedDataError,
    UnsupportedOperationError,
    with_context,
)

from .growth import Growth
from .ome import read_image
from .pyramid import downsample
from .regions import fit_values
from .store.local import LocalFiles
from .store.nodes import Node, read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from polystore_core import HeldLock, ImageMetadata, Pixels, Region, Value

    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.nodes import Document

__all__ = ["GrowingArray", "check_unowned", "open_growing"]


class GrowingArray(LazyArray):
    """The writer of an array that grows. It pickles as a handle that reads.

    ``shape`` counts the frames that were appended so far.

    Locks:

    - ``_lock`` is the lock of the array, which no other process can hold. It is held from
      ``open_growing`` to ``close``.
    - ``_mutex`` guards all fields that change, for the threads of this process.
    """

    grows = True

    def __init__(
        self,
        growths: Sequence[Growth],
        lock: HeldLock,
        held: ExitStack,
        is_there: Callable[[], bool],
        reopen: Callable[[], LazyArray],
        *,
        path: str,
        backend: str,
        durable: bool,
    ) -> None:
        self._growths, self._lock, self._held = growths, lock, held
        self._is_there, self._reopen = is_there, reopen
        self.path, self.backend, self._durable = path, backend, durable
        self._mutex = threading.RLock()
        self._is_known = True  # whether the lengths here are those in the documents
        first = reopen()
        self.shape, self.dtype, self.chunks = first.shape, first.dtype, first.chunks
        self._reader: LazyArray | None = first

    # ── appending ────────────────────────────────────────────────────────────────────────

    def append(self, frame: Value) -> None:
        self._add(self._fit(frame)[None])

    def extend(self, frames: Value) -> None:
        if is_array(frames):
            shape = tuple(frames.shape)
            if len(shape) != self.ndim:
                raise self._misfit(f"frames have shape {shape}, expected {self._shape('n')}")
            self._add(self._fit(frames, shape[:1]))
            return
        try:
            each: Iterator[Value] = iter(frames)
        except TypeError:
            kind = type(frames).__name__
            reason = f"expected an array or a list of frames, got {kind}"
            raise self._misfit(reason) from None
        if found := [self._fit(frame) for frame in each]:
            self._add(np.stack(found))

    def _fit(self, frame: Value, count: tuple[int, ...] = ()) -> Pixels:
        """Return frames as an array of our type. Raises ``UnsupportedDataError``."""
        values, _ = array_and_words(frame)
        try:
            values = _as_type(values, self.dtype)
        except UnsupportedDataError as error:
            with_context(error, self.backend, self.path, "append")
            raise
        if values.shape != (*count, *self.shape[1:]):
            expected = self._shape(*count)
            raise self._misfit(f"the frame has shape {values.shape}, expected {expected}")
        return values

    def _shape(self, *count: object) -> str:
        shape = ", ".join(map(str, (*count, *self.shape[1:])))
        return f"({shape},)" if len(count) + self.ndim == 2 else f"({shape})"

    def _misfit(self, reason: str) -> UnsupportedDataError:
        return UnsupportedDataError(reason, "zarr", self.path, self.backend)

    def _add(self, values: Pixels) -> None:
        if not len(values):
            return
        with self._mutex:
            self._check("append")
            if not self._is_known:
                self._look_again()
            self._is_known = False  # an error or Ctrl-C may end the write at any step
            try:
                self._write(values)
            except OSError as error:
                raise with_context(error, self.backend, self.path, "append")  # noqa: B904
            self._is_known, self._reader = True, None
            self.shape = (self._growths[0].length, *self.shape[1:])
            if self._durable:
                self.flush()

    def _write(self, values: Pixels) -> None:
        """Write frames into all levels. Replacing the document of the finest level is the commit.

        Coarse levels come first, so that after a kill no level is shorter than the finest one.
        """
        levels = [values]
        for _ in self._growths[1:]:
            levels.append(downsample(levels[-1]))
        coarse_first = list(zip(self._growths, levels, strict=True))[::-1]
        for growth, values in coarse_first:
            growth.write(values)
        for growth, values in coarse_first:
            growth.commit(growth.length + len(values))

    def _look_again(self) -> None:
        length = self._reopen().shape[0]
        for growth in self._growths:
            growth.length = length
        self.shape = (length, *self.shape[1:])

    def _check(self, operation: str) -> None:
        if not self._lock.is_held:
            raise ValueError(
                f"cannot {operation}: this handle is closed, or of the process that forked this "
                f"one. Open {self.path!r} with mode='a'"
            )
        if not self._is_there():
            hint = "it was saved again, moved or deleted since it was opened: open it again"
            raise NotFoundError(self.backend, self.path, operation, hint=hint)

    def flush(self) -> None:
        with self._mutex:
            self._check("flush")
            try:
                # Coarse levels first, as in `_write`, so that none is ever shorter than the
                # finest one.
                for growth in reversed(self._growths):
                    growth.flush()
            except OSError as error:
                raise with_context(error, self.backend, self.path, "flush")  # noqa: B904

    def close(self) -> None:
        """Flush all frames, and release the lock."""
        # Leaving `_held` releases the lock, even if the flush fails.
        with self._mutex, self._held:
            if self._lock.is_held and self._is_there():
                self.flush()

    @property
    def identity(self) -> Hashable:
        return self._now().identity

    # ── reading ──────────────────────────────────────────────────────────────────────────

    @property
    def image(self) -> ImageMetadata | None:
        return self._now().image

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        return (self, *self._now().levels[1:])

    def __getitem__(self, region: Region) -> Pixels:
        return self._now()[region]

    def _now(self) -> LazyArray:
        """Return a handle that reads the present frames."""
        with self._mutex:
            if self._reader is None:
                self._reader = self._reopen()
            return self._reader

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._now(),)


def _as_type(value: Value, dtype: np.dtype[Value]) -> Pixels:
    """Return frames as an array of ``dtype``.

    Arrays must have this type, in any byte order. Python numbers and texts must fit it.

    Raises:
        UnsupportedDataError: The frames have another type, or do not fit.
    """
    if not (is_array(value) or isinstance(value, bool | int | float | complex | str | bytes)):
        try:
            value = np.asarray(value)
        except (ValueError, TypeError, OverflowError) as error:
            reason = f"expected frames of {dtype}: {error}"
            raise UnsupportedDataError(reason, "zarr") from error
    is_text = dtype.kind in "OT"  # to NumPy, its elements are objects
    is_plain = is_array(value) and not is_text
    values = to_numpy(value, extended=True) if is_plain else np.asarray(value)
    found = values.dtype
    if is_array(value) and not is_text and found.newbyteorder("=") != dtype.newbyteorder("="):
        raise UnsupportedDataError(
            f"the frame has element type {found}, but the array has {dtype}. Convert it: "
            f"np.asarray(frame, dtype={str(dtype)!r})",
            "zarr",
        )
    return fit_values(value, dtype, values.shape)


def _same(handle: LazyArray) -> LazyArray:
    return handle


def check_unowned(directory: StorePath, document: Document | None) -> None:
    """Raise ``LockTimeoutError`` if a writer has this array or image open."""
    if isinstance(directory.files, LocalFiles):
        for level, found in _levels(Node(directory, document))[:1]:
            if found.growing:
                level.files.take_writer_lock(level.key).release()


def _levels(node: Node) -> list[tuple[StorePath, Document]]:
    """Return the place and document of an array, or of each level of an image."""
    document = node.document
    if document is None or not document.is_image:
        return [] if document is None else [(node.directory, document)]
    image = read_image(document.attributes)
    places = [node.directory / level.path for level in image.levels] if image else []
    found = [(place, read_document(place)) for place in places]
    return [(place, document) for place, document in found if document is not None]


def _is_level(array: StorePath) -> bool:
    """Return whether the group above is an image that has this array as a level."""
    if array.key:
        with suppress(DataError, OSError, PathOutsideRootError):
            around = Node(array.parent, read_document(array.parent))
            return array.key in [place.key for place, _ in _levels(around)]
    return False


def open_growing(
    node: Node,
    *,
    path: str,
    backend: str,
    pipeline: CodecPipeline,
    durable: bool | None,
    reopen: Callable[[], LazyArray],
) -> GrowingArray:
    """Take the lock of an array or image, repair it after a power cut, and return its writer.

    Raises:
        UnsupportedOperationError: The array does not grow.
        LockTimeoutError: It already has a writer.
    """
    node = Node(node.directory.base, node.document)
    files, key = node.directory
    with ExitStack() as held:
        is_there = held.enter_context(files.pin_tree(key))
        levels = _levels(node)
        if not levels or not all(document.growing for _, document in levels):
            reason = (
                "it has a fixed shape. Make an array that grows with "
                "create(path, shape=(None, 512, 512), dtype=...)"
            )
            raise UnsupportedOperationError(backend, f"appending to {path!r}", reason)
        if _is_level(node.directory):
            reason = "it is a level of an image: append to the image, and all levels grow"
            raise UnsupportedOperationError(backend, f"appending to {path!r}", reason)
        files.check_growing()
        lock = files.take_writer_lock(levels[0][0].key)
        held.callback(lock.release)
        levels = _levels(node)  # again, under the lock: the last writer may have appended
        if not levels or not is_there():
            raise NotFoundError(backend, path, "append")
        growths = [
            Growth(*level, path=path, backend=backend, pipeline=pipeline) for level in levels
        ]
        # A frame counts only if it is whole in every level.
        length = min(growth.sound_length() for growth in growths)
        # The finest level first: it only loses frames, and the others must not be shorter.
        for growth in growths:
            growth.repair(length)
        return GrowingArray(
            growths,
            lock,
            # From here on the handle has the lock, and `close` releases it.
            held.pop_all(),
            is_there,
            reopen,
            path=path,
            backend=backend,
            durable=bool(durable),
        )
    raise AssertionError
