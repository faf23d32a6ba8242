"""What a call asks of a value besides the value: a framework, an element type, words."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .abc.backend import DataSource, Path
from .abc.collector import Collector
from .abc.framework import aligned
from .errors import (
    BatchError,
    CopyRequiredError,
    DataError,
    InvalidOptionError,
    UnsupportedDataError,
    explained,
)
from .limits import allocating
from .options import check_options
from .work import Progress, check_paths, run_batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .options import Copy
    from .values import Option, Pixels, Value

__all__ = [
    "AS_IMAGE",
    "Alike",
    "Conversion",
    "Converter",
    "Stacker",
    "as_kind",
    "collect",
    "images",
    "with_words",
]


class Conversion(NamedTuple):
    """What a call asks of the values that ``backend`` gives."""

    backend: str
    framework: str | None = None
    device: str | None = None
    dtype: DTypeLike | None = None
    casting: Casting = "exact"
    copy: Copy = "auto"
    is_shared: bool = False
    """Whether the backend itself heeds ``copy``: it may keep the memory of what it gives."""

    @property
    def changes(self) -> bool:
        """Whether anything is asked of the value."""
        return self.copy == "always" or self._converts

    @property
    def _converts(self) -> bool:
        """Whether another framework, place or element type is asked for."""
        # Not by comparing tuples: NumPy says that float64 == None.
        named = (self.framework, self.device, self.dtype)
        return self.casting != "exact" or any(option is not None for option in named)

    def convert(self, value: Value, path: Path) -> Value:
        """Return an array, or each array of a dict, converted."""
        from .model.arrays import is_array

        try:
            if is_array(value):
                return self._converted(value)
            if isinstance(value, dict) and value and all(map(is_array, value.values())):
                return {name: self._converted(array) for name, array in value.items()}
            if not self._converts:
                return value
            kind = type(value).__name__
            raise UnsupportedDataError(
                f"framework=, device=, dtype= and casting= need an array, got {kind}"
            )
        except DataError as error:
            explained(error, self.backend, os.fspath(path), "load")
            raise

    def _converted(self, array: Value) -> Value:
        from .model.arrays import framework_of, to_framework

        own = framework_of(array) or "numpy"
        wanted = own if self.framework is None else self.framework
        # What was read belongs to the caller, who can write to it: "always" need not copy it
        # again. Read-only are views, and what NumPy sees of an immutable array.
        is_own = own == wanted and (own != "numpy" or array.flags.writeable)
        return to_framework(
            array,
            wanted,
            device=self.device,
            dtype=self.dtype,
            copy="auto" if self.copy == "always" and is_own else self.copy,
            casting=self.casting,
            donate=not self.is_shared or self.copy == "always",
        )

    def check(self) -> None:
        """Refuse what no array could become, before anything is read."""
        import numpy as np

        from .model.arrays import numpy_dtype
        from .model.casting import check_casting

        check_casting(self.casting)
        if self.dtype is not None:
            numpy_dtype(self.dtype)
        self.to_framework(np.zeros(0, np.uint8))

    def to_framework(self, sample: Pixels) -> Value:
        from .model.arrays import to_framework

        return to_framework(sample, self.framework or "numpy", device=self.device)

    @property
    def shares_aligned(self) -> bool:
        """Whether the framework takes over memory at multiples of 64 bytes, and no other."""
        from .frameworks import framework

        if self.framework is None or self.dtype is not None or self.copy != "auto":
            return False
        return framework(self.framework).is_immutable

    def finish(self, kind: str, image: Image, path: Path) -> Value:
        """Return a loaded image, converted, as "image" or "xarray"."""
        if self.changes:
            image = image.with_data(self.convert(image.data, path))
        return as_kind(kind, image)


class Converter(Collector):
    """Converts the items of a batch as they arrive."""

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        conversion.check()
        self._conversion, self._paths = conversion, paths
        self._lends = conversion.shares_aligned

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        return aligned(shape, dtype) if self._lends and dtype.isnative else None

    def put(self, index: int, value: Value) -> Value:
        return self._conversion.convert(value, self._paths[index])


class Stacker(Collector):
    """Puts the items of a batch into one array, item after item along a new first axis."""

    # Locks: _lock guards the allocation. Then each item has a row of its own, and a key in _lent.

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        if not paths:
            raise InvalidOptionError("stack", True, "False for an empty list of paths")
        conversion.check()
        self._conversion, self._paths = conversion, paths
        self._lock = threading.Lock()
        self._stack: Pixels | None = None
        self._first = 0
        self._lent: dict[int, Pixels] = {}
        self.refusal: DataError | None = None
        """Why there is no stack of such arrays, whichever of the items comes first."""

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        try:
            stack = self._stack_for(index, shape, dtype)
        except DataError as error:
            raise self._told(index, error)  # noqa: B904 - the same, or it carries its cause
        if stack.dtype != dtype:
            return None
        row: Pixels = stack[index, ...]
        self._lent[index] = row
        return row

    def put(self, index: int, value: Value) -> None:
        if value is not self._lent.pop(index, self):  # that one is where it belongs
            try:
                self._copy(index, value)
            except DataError as error:
                raise self._told(index, error)  # noqa: B904 - the same

    def _told(self, index: int, error: DataError) -> Exception:
        return explained(error, self._conversion.backend, os.fspath(self._paths[index]), "load")

    def _copy(self, index: int, value: Value) -> None:
        from .model.arrays import is_array, to_numpy
        from .model.casting import convert

        kind = type(value).__name__
        if not is_array(value):
            raise UnsupportedDataError(
                f"stack=True needs arrays, got {kind}: load them without stack=True"
            )
        array = to_numpy(value, extended=True)
        row = self._stack_for(index, array.shape, array.dtype)[index, ...]
        if _is_same(array, row):
            return
        if self._conversion.copy == "never":
            raise CopyRequiredError(
                f"the {array.dtype.str} array of shape {array.shape} cannot be read into the stack"
            )
        if row.dtype != _native(array.dtype):
            array = convert(array, row.dtype, self._conversion.casting)
        row[...] = array

    def _stack_for(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]) -> Pixels:
        """Return the stack, of which an item of this kind is a row."""
        stack = self._stack
        if stack is None:
            with self._lock:
                if self.refusal is not None:
                    raise self.refusal
                if self._stack is None:
                    try:
                        self._stack = self._allocated(shape, dtype)
                    except DataError as error:
                        self.refusal = error
                        raise
                    self._first = index
                stack = self._stack
        is_converted = self._conversion.dtype is not None
        if stack.shape[1:] == shape and (
            is_converted or stack.dtype == dtype or stack.dtype == _native(dtype)
        ):
            return stack
        remedy = "load them without stack=True"
        if stack.shape[1:] == shape:
            remedy = "pass dtype= to convert all of them"
        raise UnsupportedDataError(
            f"stack=True needs arrays of one shape and dtype: this one is {dtype} {shape}, "
            f"but {os.fspath(self._paths[self._first])!r} is {stack.dtype} "
            f"{stack.shape[1:]}. To load them anyway, {remedy}"
        )

    def _allocated(self, shape: tuple[int, ...], dtype: np.dtype[Value]) -> Pixels:
        import numpy as np

        from .model.arrays import numpy_dtype

        asked = self._conversion
        kind = _native(dtype) if asked.dtype is None else numpy_dtype(asked.dtype)
        asked.to_framework(np.zeros(0, kind))  # refuses an element type that it lacks
        shape = (len(self._paths), *shape)
        with allocating(
            math.prod(shape) * kind.itemsize,
            "",
            "load fewer at once",
            what=f"a stack of {len(self._paths)} arrays ({kind} {shape[1:]})",
        ):
            return aligned(shape, kind)

    def finish(self) -> Value:
        """Return the stack as an array of the framework that was asked for."""
        asked = self._conversion._replace(dtype=None, casting="exact", is_shared=False)
        return asked.convert(self._stack, self._paths[0])

    def clear(self) -> None:
        """Forget the stack: a traceback would keep it in memory."""
        self._stack = None
        self._lent.clear()


def _native(dtype: np.dtype[Value]) -> np.dtype[Value]:
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def _is_same(array: Pixels, row: Pixels) -> bool:
    one, other = array.__array_interface__, row.__array_interface__
    return (one["data"][0], array.strides, array.dtype) == (
        other["data"][0],
        row.strides,
        row.dtype,
    )


def collect(
    asked: Conversion,
    paths: Sequence[Path],
    load: Callable[[Collector], list[Value]],
    *,
    stack: bool,
) -> Value:
    """Return what ``load`` gives to a collector: a list of converted values, or one stack."""
    check_paths(paths)
    if not stack:
        return load(Converter(asked, paths))
    stacker = Stacker(asked, paths)
    try:
        load(stacker)
        return stacker.finish()
    except BatchError:
        if stacker.refusal is None:
            raise
        raise stacker.refusal from None
    finally:
        stacker.clear()


def images(
    kind: str,
    asked: Conversion,
    source: DataSource,
    paths: Sequence[Path],
    progress: Progress,
    options: dict[str, Option],
) -> list[Value]:
    """Return a batch of images, each converted as it arrives, as "image" or "xarray"."""
    check_paths(paths)
    load: Callable[[int], Image]
    if type(source).load_image_batch is DataSource.load_image_batch:
        one: Callable[..., Image] = source.load_image
        check_options(
            type(source).load_image, options, f"load_batch() of backend {asked.backend!r}"
        )
        load = lambda i: one(paths[i], **options)  # noqa: E731 - one of two
    else:
        load = source.load_image_batch(paths, progress=progress, **options).__getitem__
        progress = False

    return run_batch(
        asked.backend,
        "load",
        paths,
        lambda i: asked.finish(kind, load(i), paths[i]),
        progress=progress,
    )


AS_IMAGE = ("image", "xarray")


def as_kind(kind: str, image: Image) -> Value:
    from .image import to_xarray

    return image if kind == "image" else to_xarray(image)


def with_words(data: Value, like: Image | ImageMetadata) -> Image:
    """Return the array ``data`` with the words of ``like``."""
    from .image import Image, ImageMetadata

    if isinstance(data, Image):
        expected = "None for an Image, which has words of its own"
        raise InvalidOptionError("like", like, expected)
    if isinstance(like, Image):
        return like.with_data(data)
    if isinstance(like, ImageMetadata):
        return Image(data, like)
    raise InvalidOptionError("like", like, "an Image, or the metadata of one")


class Alike(Sequence[Any]):
    """Arrays that get the words of one image when their turn comes."""

    def __init__(self, data: Sequence[Value], like: Image | ImageMetadata) -> None:
        self._data, self._like = data, like

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return with_words(self._data[index], self._like)
