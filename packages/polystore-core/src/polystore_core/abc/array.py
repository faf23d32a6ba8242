"""``LazyArray``: a stored array that is read in parts."""

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
    """The call with which another process of this machine opens a stored array.

    It is ``fm.open(source.path, source.backend, **source.options)``. All fields can be written as
    JSON.
    """

    backend: str
    """Name of an installed backend, never a name that was only added to a registry."""
    path: str
    """Absolute path in the file system."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """The options of ``open``."""


class LazyArray(ABC):
    """A handle on a stored array. Each index reads only its part.

    For example:

        with fm.open("movie.zarr", "zarr") as handle:
            frame = handle[10]
            left = handle[:, :, :256]

    You index it with integers, slices and ``...``, as in NumPy. Dask, xarray and napari accept a
    handle as an array. Several threads can use one handle. A handle on a persistent backend can be
    pickled: a worker opens the same path again.
    """

    shape: tuple[int, ...]
    """The lengths of the axes, in elements."""
    dtype: np.dtype[Any]
    """The element type."""
    chunks: tuple[int, ...] | None = None
    """The shape of the smallest part that the storage reads. ``None`` if it reads any part."""
    source: Source | None = None
    """The call with which another process opens it, or ``None``. ``FileManager.open`` sets it."""
    backend: str = ""
    """The name of the backend, for errors. ``FileManager`` sets it."""
    path: str = ""
    """The path that it was opened with, for errors. ``FileManager`` sets it."""

    grows: bool = False
    """Whether ``append`` makes the array longer, here or through another handle."""

    @property
    def identity(self) -> Hashable:
        """Equal for two handles on one array, even if it has grown in between.

        ``None`` if the storage cannot distinguish an array from one that replaced it.
        """
        return None

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        """The array and its smaller copies, from fine to coarse.

        A viewer reads the level that fits its screen. Levels differ in the lengths of their axes,
        and each has its own ``image``.
        """
        return (self,)

    @property
    def image(self) -> ImageMetadata | None:
        """The metadata of the image, or ``None`` for an array that does not name its axes."""
        return None

    @abstractmethod
    def __getitem__(self, region: Region) -> Pixels:
        """Return a part of the array.

        The result has memory of its own, or it is read-only: a mapped file, for example.
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
        """Return the array, or a part of it. Options are those of ``FileManager.load``.

        For example:

            tensor = handle.load(region=np.s_[:, :64], framework="torch", dtype="float32")

        Returns:
            An array that you can write to. With ``copy="never"`` it may be a read-only view, for
            example of a mapped file.

        Raises:
            CopyRequiredError: A copy is needed, and ``copy="never"``.
            UnsupportedDataError: ``dtype`` cannot hold an element, or the framework the array.
            MissingDependencyError: The framework is not installed.
        """
        from ..conversion import Conversion  # a higher floor: all conversions are there

        asked = Conversion(self.backend, framework, device, dtype, casting, copy)
        check_copy(copy)
        # Views of mapped files are read-only. A copy here is the only one that is made.
        region = ... if region is None else region
        part = self._load_view(region) if copy == "never" else self[region]
        if copy != "never" and not part.flags.writeable:
            part = part.copy(order="K")
        return asked.convert(part, self.path) if asked.changes else part

    def _load_view(self, region: Region) -> Pixels:
        """Return a part without copying memory."""
        return self[region]

    def __setitem__(self, region: Region, value: Value) -> None:
        raise TypeError(
            f"{type(self).__name__} is read-only: use open(..., mode='r+') if the backend has it"
        )

    def append(self, frame: Value) -> None:
        """Add one frame at the end of an array that grows.

        Readers see the whole frame or nothing of it. After ``append`` returns, the frame survives
        the end of this process. ``flush`` makes it survive a power cut.

        Args:
            frame: An array of the shape ``shape[1:]`` and of the same dtype, in either byte order.
                If a frame is a single number, a Python number that fits exactly.

        Raises:
            UnsupportedDataError: The frame has another shape or dtype. Nothing was written.
            UnsupportedOperationError: The handle does not append.
            StorageError: The storage reported an error.
        """
        raise self._does_not_grow("appending to")

    def extend(self, frames: Value) -> None:
        """Add several frames, an array or a list, which readers see all at once.

        Raises the same errors as ``append``.
        """
        raise self._does_not_grow("appending to")

    def flush(self) -> None:
        """Make all appended frames survive a power cut. Raises the same errors as ``append``."""
        raise self._does_not_grow("flushing")

    def _does_not_grow(self, operation: str) -> UnsupportedOperationError:
        reason = (
            "this handle does not append. Create an array that grows with create(path, 'zarr', "
            "shape=(None, 512, 512), dtype=...), or open one with open(path, 'zarr', mode='a')"
        )
        name = repr(self.path) if self.path else f"a {type(self).__name__}"
        return UnsupportedOperationError(self.backend, f"{operation} {name}", reason)

    def transpose(self, order: Sequence[int]) -> LazyArray:
        """Return a read-only handle on the same array with its axes in another order."""
        return _Transposed(self, order)

    def close(self) -> None:  # noqa: B027 - most handles hold nothing
        """Release the file or the connection. Reading afterwards is an error."""

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the whole array takes in memory."""
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
        import numpy as np  # not at the top: it is slow to import, and many programs index nothing

        selection, found = self._read(region)
        return selection.arrange(np.ascontiguousarray(found))

    def _load_view(self, region: Region) -> Pixels:
        selection, found = self._read(region)
        turned = tuple([slice(None, None, -1 if d else 1) for d in selection.descending])
        view: Pixels = found[turned].reshape(selection.shape)
        return view

    def _read(self, region: Region) -> tuple[Selection, Pixels]:
        """Return the selection, and its elements in the order of axes of this handle."""
        import numpy as np

        from ..region import select

        selection = select(region, self.shape)
        # The array below reads ascending ranges only. Its backend may not have negative steps.
        box = [slice(0)] * self.ndim
        for number, chosen in zip(self._order, selection.ranges, strict=True):
            box[number] = slice(chosen.start, max(chosen.stop, chosen.start), chosen.step)
        return selection, np.asarray(self._array[tuple(box)]).transpose(self._order)

    def close(self) -> None:
        self._array.close()
