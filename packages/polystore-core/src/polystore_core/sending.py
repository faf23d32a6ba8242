"""``Sender``: sends each array of a batch to a GPU while others are read."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from .abc.collector import Collector
from .errors import DataError, UnsupportedDataError, with_context
from .model.arrays import framework_of, numpy_dtype, to_numpy
from .model.casting import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from .abc.backend import Path
    from .abc.framework import Stage
    from .conversion import Conversion
    from .values import Pixels, Value

__all__ = ["Sender"]


class Sender(Collector):
    """Sends the items of a batch to arrays on a device, or to the rows of one array.

    Values that are not NumPy arrays, such as a dict of arrays, are converted without a stage.
    """

    # Locks: _lock guards the allocation: stack, _kind and _first. Each item has a row of its own.

    def __init__(
        self, conversion: Conversion, paths: Sequence[Path], stage: Stage, *, stack: bool
    ) -> None:
        conversion.check()
        self._asked, self._paths, self._stage = conversion, paths, stage
        self._dtype = None if conversion.dtype is None else numpy_dtype(conversion.dtype)
        self._stacks = stack
        self._lock = threading.Lock()
        self.stack: Any = None
        self._kind: tuple[Any, tuple[int, ...]] = (None, ())
        self._first = 0

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        # Not "in (None, dtype)": float64 equals None.
        is_plain = (self._dtype is None or self._dtype == dtype) and dtype.isnative
        return self._stage.lend(shape, dtype) if is_plain else None

    def put(self, index: int, value: Value) -> Value:
        if not self._stacks and framework_of(value) != "numpy":
            return self._asked.convert(value, self._paths[index])
        try:
            array = to_numpy(value, extended=True)
            if self._dtype is not None and array.dtype != self._dtype:
                array = convert(array, self._dtype, self._asked.casting)
            native = array.dtype.newbyteorder("=")
            if self._stacks:
                target = self._row(index, array.shape, native)
            else:
                target = self._stage.empty(array.shape, native)
            self._stage.send(array, target)
        except DataError as error:
            raise with_context(  # noqa: B904 - it carries its cause
                error, self._asked.backend, os.fspath(self._paths[index]), "load"
            )
        return target

    def _row(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]) -> Value:
        with self._lock:
            if self.stack is None:
                self.stack = self._stage.empty((len(self._paths), *shape), dtype)
                self._kind, self._first = (dtype, shape), index
        if self._kind != (dtype, shape):
            raise UnsupportedDataError(
                f"stack=True needs arrays of one shape and dtype: this one is {dtype} {shape}, "
                f"but {os.fspath(self._paths[self._first])!r} is {self._kind[0]} "
                f"{self._kind[1]}. To load them anyway, load them without stack=True"
            )
        return self.stack[index, ...]
