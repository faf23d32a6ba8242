"""A stored array that is read in parts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..errors import UnsupportedOperationError
from ..options import Copy, check_copy

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import DTypeLike

    from ..image import ImageMetadata
    from ..model.casting import Casting
    from ..region import Selection
    from ..values import Option, Pixels, Region, Value

__all__ = ["LazyArray", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How another process of this machine opens a stored array: ``open(path, backend, **options)``.

    All of it can be written as JSON.
    """

    backend: str
    """Name of a plugin's backend, and not of one that a registry was told."""
    path: str
    """Absolute, in the file system."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Those of ``open``."""


class LazyArray(ABC):
    """A stored array that reads what is indexed, when it is indexed.

    Dask (``dask.array.from_array``), xarray and napari take it as it is. Handles are safe to
    use from several threads, and those of persistent backends pickle: a worker reopens the
    same path. Indexing follows NumPy's basic rules (integers, slices, ``...``).
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None = None
    """Shape of the pieces that the storage reads whole; ``None`` for any piece at all."""
    source: Source | None = None
    """How another process opens it; ``None`` if none can. ``FileManager.open`` sets it."""
    backend: str = ""
    path: str = ""
    """Those that it was opened with, for errors. ``FileManager`` sets them."""

    grows: bool = False
    """Whether ``append`` makes it longer, also through other handles. Its frames appear whole."""

    @property
    def identity(self) -> Hashable:
        """Return the same for two handles on one array, also if it has grown in between.

        ``None`` if the storage cannot tell one array from another.
        """
        return None

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        """The array and its smaller copies, from fine to coarse: a viewer reads what it needs.

        The levels differ in the lengths of axes alone. Each has words of its own.
        """
        return (self,)

    @property
    def image(self) -> ImageMetadata | None:
        """What the image says of itself; ``None`` for an array that says nothing of its axes."""
        return None

    @abstractmethod
    def __getitem__(self, region: Region) -> Pixels:
        """Return a part as an array in memory of its own.

        Or over memory that others have, such as a mapped file: then it is read-only.
        """

    def load(
        self,
        *,
        region: Region | None = None,
        framework: str | None = None,
        device: str | None = None,
        dtype: DTypeLike | None = None,
        casting: Casting = "exact",
        copy: Copy = "auto",
    ) -> Value:
        """Return the array, or a part of it, as ``FileManager.load`` does with these options.

        The result is yours to write to. ``copy="never"`` may give a read-only view instead, as of
        a mapped file.

        Raises ``CopyRequiredError``, ``UnsupportedDataError``, ``MissingDependencyError``.
        """
        from ..conversion import Conversion  # of a higher floor: everything converts there

        asked = Conversion(self.backend, framework, device, dtype, casting, copy)
        check_copy(copy)
        region = ... if region is None else region
        part = self._load_view(region) if copy == "never" else self[region]
        if copy != "never" and not part.flags.writeable:
            part = part.copy(order="K")
        return asked.convert(part, self.path) if asked.changes else part

    def _load_view(self, region: Region) -> Pixels:
        """Return a part without a copy of what is in memory."""
        return self[region]

    def __setitem__(self, region: Region, value: Value) -> None:
        raise TypeError(
            f"{type(self).__name__} is read-only: use open(..., mode='r+') if the backend has it"
        )

    def append(self, frame: Value) -> None:
        """Add one frame at the end of an array that grows: of shape ``shape[1:]``.

        Its element type is that of the array, in either byte order. A Python number, where a
        frame is one number, must fit exactly.

        Readers see the whole frame or nothing of it. When ``append`` has returned, the frame
        survives the end of this process.

        Raises ``UnsupportedDataError`` before anything is written, ``StorageError``, and
        ``UnsupportedOperationError`` if this handle does not append.
        """
        raise self._does_not_grow("appending to")

    def extend(self, frames: Value) -> None:
        """Add several frames, as ``append`` does: an array of them, or a list.

        Readers see all of them at once. Raises as ``append`` does.
        """
        raise self._does_not_grow("appending to")

    def flush(self) -> None:
        """Let all frames that were appended survive a power cut. Raises as ``append`` does."""
        raise self._does_not_grow("flushing")

    def _does_not_grow(self, operation: str) -> UnsupportedOperationError:
        reason = (
            "this handle does not append. Make an array that grows with create(path, "
            "shape=(None, 512, 512), dtype=...), where the backend has them, as zarr does, or "
            "open one with open(path, mode='a')"
        )
        name = repr(self.path) if self.path else f"a {type(self).__name__}"
        return UnsupportedOperationError(self.backend, f"{operation} {name}", reason)

    def transpose(self, order: Sequence[int]) -> LazyArray:
        """Return a read-only handle on the same array with its axes in another order."""
        return _Transposed(self, order)

    def close(self) -> None:  # noqa: B027 - most handles hold nothing
        """Give back what the handle holds. Reading afterwards is an error."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without dimensions")
        return self.shape[0]

    def __array__(
        self, dtype: np.dtype[Value] | None = None, copy: bool | None = None
    ) -> Pixels:
        array = self[...]
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"converting {array.dtype} to {dtype} needs a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        chunks = "" if self.chunks is None else f", chunks={self.chunks}"
        # NumPy's own text for bfloat16 is "<V2".
        dtype = self.dtype.name if self.dtype.isbuiltin == 2 else self.dtype.str
        return f"<{type(self).__name__} shape={self.shape}, dtype={dtype!r}{chunks}>"


class _Transposed(LazyArray):
    def __init__(self, array: LazyArray, order: Sequence[int]) -> None:
        self._array, self._order = array, tuple(order)
        self.shape = tuple([array.shape[n] for n in self._order])
        self.dtype, self.backend, self.path = array.dtype, array.backend, array.path
        if array.chunks is not None:
            self.chunks = tuple([array.chunks[n] for n in self._order])

    @property
    def image(self) -> ImageMetadata | None:
        found = self._array.image
        return None if found is None else found.transpose(self._order)

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        found = self._array.levels
        return (self, *(level.transpose(self._order) for level in found[1:]))

    def __getitem__(self, region: Region) -> Pixels:
        import numpy as np  # most programs that name LazyArray index nothing

        selection, found = self._read(region)
        return selection.arranged(np.ascontiguousarray(found))

    def _load_view(self, region: Region) -> Pixels:
        selection, found = self._read(region)
        turned = tuple([slice(None, None, -1 if d else 1) for d in selection.descending])
        view: Pixels = found[turned].reshape(selection.shape)
        return view

    def _read(self, region: Region) -> tuple[Selection, Pixels]:
        """Return the elements along ``ranges`` of a selection, in this order of axes."""
        import numpy as np

        from ..region import select

        selection = select(region, self.shape)
        box = [slice(0)] * self.ndim
        for number, chosen in zip(self._order, selection.ranges, strict=True):
            box[number] = slice(chosen.start, max(chosen.stop, chosen.start), chosen.step)
        return selection, np.asarray(self._array[tuple(box)]).transpose(self._order)

    def close(self) -> None:
        self._array.close()
