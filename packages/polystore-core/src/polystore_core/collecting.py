"""A batch of values as they arrive: converted one by one, or put into one array."""

from __future__ import annotations

import math
import os
import threading
from typing import TYPE_CHECKING

from .abc.backend import DataSource, Path
from .abc.collector import Collector
from .abc.framework import allocate_aligned
from .errors import (
    BatchError,
    CopyRequiredError,
    DataError,
    InvalidOptionError,
    UnsupportedDataError,
    with_context,
)
from .limits import allocating
from .options import check_options
from .work import Progress, check_paths, run_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from .conversion import Conversion
    from .image import Image
    from .values import Option, Pixels, Value

__all__ = ["Converter", "Stacker", "collect", "images", "load_one"]


class Converter(Collector):
    """Converts the items of a batch, each when it arrives."""

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        conversion.check()
        self._conversion, self._paths = conversion, paths
        self._lends = conversion.shares_aligned

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        return allocate_aligned(shape, dtype) if self._lends and dtype.isnative else None

    def put(self, index: int, value: Value) -> Value:
        return self._conversion.convert(value, self._paths[index])


class Stacker(Collector):
    """Puts the items of a batch into one array, along a new first axis."""

    # Locks: _lock guards the allocation: _stack, _first and refusal. Afterwards each item has a row
    # of its own, and a key of its own in _lent, so that threads need no lock.

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        if not paths:
            fault = "stack=True needs at least one path: an empty list makes no array"
            raise InvalidOptionError("stack", True, "False for an empty list of paths", fault)
        conversion.check()
        self._conversion, self._paths = conversion, paths
        self._lock = threading.Lock()
        self._stack: Pixels | None = None
        self._first = 0
        self._lent: dict[int, Pixels] = {}
        self.refusal: DataError | None = None
        """The reason why these arrays cannot be stacked. It is raised once, not for each item."""

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        try:
            stack = self._stack_for(index, shape, dtype)
        except DataError as error:
            raise self._complete_error(index, error)  # noqa: B904 - the same, or it carries its cause
        if stack.dtype != dtype:  # it must be converted, so it cannot be read into its row
            return None
        row: Pixels = stack[index, ...]
        self._lent[index] = row
        return row

    def put(self, index: int, value: Value) -> None:
        # ``self`` is never a value, but None may be one.
        if value is not self._lent.pop(index, self):  # else it was read into its row already
            try:
                self._copy(index, value)
            except DataError as error:
                raise self._complete_error(index, error)  # noqa: B904 - the same

    def _complete_error(self, index: int, error: DataError) -> Exception:
        return with_context(
            error, self._conversion.backend, os.fspath(self._paths[index]), "load"
        )

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
        # A backend may return another view of the row that it has filled.
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
        """Return the stack for items of this shape and dtype. The first item allocates it."""
        stack = self._stack
        if stack is None:
            with self._lock:
                if self.refusal is not None:
                    raise self.refusal
                if self._stack is None:
                    try:
                        self._stack = self._allocate(shape, dtype)
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

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Value]) -> Pixels:
        import numpy as np

        from .model.arrays import numpy_dtype

        asked = self._conversion
        kind = _native(dtype) if asked.dtype is None else numpy_dtype(asked.dtype)
        asked.to_framework(np.zeros(0, kind))  # raises now if the framework lacks the dtype
        shape = (len(self._paths), *shape)
        with allocating(
            math.prod(shape) * kind.itemsize,
            "",
            "load fewer at once",
            what=f"a stack of {len(self._paths)} arrays ({kind} {shape[1:]})",
        ):
            return allocate_aligned(shape, kind)

    def finish(self) -> Value:
        """Return the stack, converted to the framework of the call."""
        asked = self._conversion._replace(dtype=None, casting="exact", is_shared=False)
        return asked.convert(self._stack, self._paths[0])

    def clear(self) -> None:
        """Forget the stack, because a traceback would keep it in memory."""
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
    """Call ``load`` with a collector, and return its converted values as a list or a stack."""
    check_paths(paths)
    if (stage := asked.stage()) is not None and paths:
        from .sending import Sender

        sender = Sender(asked, paths, stage, stack=stack)
        try:
            values = load(sender)
        finally:
            stage.finish()  # also after an error, so that no buffer is freed during its transfer
        return sender.stack if stack else values
    if not stack:
        return load(Converter(asked, paths))
    stacker = Stacker(asked, paths)
    try:
        load(stacker)
        return stacker.finish()
    except BatchError:  # one reason for all items is better than the same error for each
        if stacker.refusal is None:
            raise
        raise stacker.refusal from None
    finally:
        stacker.clear()


def load_one(asked: Conversion, path: Path, load: Callable[[Collector], list[Value]]) -> Value:
    """Load one value into memory that its framework can keep."""
    try:
        (value,) = load(Converter(asked, [path]))
    except BatchError as error:
        ((_, cause),) = error.failed.values()
        raise cause from cause.__cause__  # as load does, without the batch that was used here
    return value


def images(
    kind: str,
    asked: Conversion,
    source: DataSource,
    paths: Sequence[Path],
    progress: Progress,
    options: dict[str, Option],
) -> list[Value]:
    """Load a batch as "image" or "xarray", and convert each image when it arrives."""
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
