"""What a call asks of a value besides the value: a framework, an element type, words."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .abc.collector import Collector
from .errors import (
    CopyRequiredError,
    DataError,
    InvalidOptionError,
    UnsupportedDataError,
    explained,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

    from .abc.backend import Path
    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .options import Copy
    from .values import Pixels, Value

__all__ = [
    "AS_IMAGE",
    "AS_IT_IS",
    "Alike",
    "Conversion",
    "Converter",
    "Stacker",
    "as_kind",
    "with_words",
]


AS_IT_IS = (None, None, None, "exact", "auto")
"""What a call asks that names no framework, device, dtype, casting and copy."""


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
        return self[1:6] not in (AS_IT_IS, (*AS_IT_IS[:4], "never"))

    def convert(self, value: Value, path: Path) -> Value:
        """Return an array, or each array of a dict, converted."""
        from .model.arrays import is_array

        try:
            if is_array(value):
                return self._converted(value)
            if isinstance(value, dict) and value and all(map(is_array, value.values())):
                return {name: self._converted(array) for name, array in value.items()}
            if self[1:5] == AS_IT_IS[:4]:
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
        # What was read belongs to the caller: another copy is made only of a read-only view.
        is_own = own != "numpy" or array.flags.writeable
        return to_framework(
            array,
            own if self.framework is None else self.framework,
            device=self.device,
            dtype=self.dtype,
            copy="auto" if self.copy == "always" and is_own else self.copy,
            casting=self.casting,
            donate=not self.is_shared or self.copy == "always",
        )

    def finish(self, kind: str, image: Image, path: Path) -> Value:
        """Return a loaded image, converted, as "image" or "xarray"."""
        if self.changes:
            image = image.with_data(self.convert(image.data, path))
        return as_kind(kind, image)


class Converter(Collector):
    """Converts the items of a batch as they arrive."""

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        self._conversion, self._paths = conversion, paths

    def put(self, index: int, value: Value) -> Value:
        return self._conversion.convert(value, self._paths[index])


class Stacker(Collector):
    """Puts the items of a batch into one array, item after item along a new first axis."""

    # Locks: _lock guards the allocation. Then each item has a row of its own.

    def __init__(self, conversion: Conversion, paths: Sequence[Path]) -> None:
        if not paths:
            raise InvalidOptionError("stack", True, "False, or at least one path")
        self._conversion, self._paths = conversion, paths
        self._lock = threading.Lock()
        self._stack: Pixels | None = None
        self._first = 0

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        stack = self._stack_for(index, shape, dtype)
        return stack[index, ...] if stack.dtype == dtype else None

    def put(self, index: int, value: Value) -> None:
        from .model.arrays import is_array, to_numpy
        from .model.casting import convert

        path, asked = self._paths[index], self._conversion
        try:
            if not is_array(value):
                kind = type(value).__name__
                raise UnsupportedDataError(f"stack=True needs arrays, got {kind}")
            array = to_numpy(value, extended=True)
            row = self._stack_for(index, array.shape, array.dtype)[index, ...]
            if array.__array_interface__["data"] == row.__array_interface__["data"]:
                return
            if asked.copy == "never":
                raise CopyRequiredError(f"{type(value).__name__} is not in the stack yet")
            if row.dtype != array.dtype.newbyteorder("="):
                array = convert(array, row.dtype, asked.casting)
            row[...] = array
        except DataError as error:
            explained(error, asked.backend, os.fspath(path), "load")
            raise

    def _stack_for(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]) -> Pixels:
        """Return the stack, of which an item of this kind is a row."""
        import numpy as np

        from .abc.framework import aligned

        wanted = self._conversion.dtype
        native = dtype.newbyteorder("=")
        with self._lock:
            if self._stack is None:
                kind = native if wanted is None else np.dtype(wanted)
                self._stack, self._first = aligned((len(self._paths), *shape), kind), index
            stack = self._stack
        if stack.shape[1:] != shape or (wanted is None and stack.dtype != native):
            remedy = "load them without stack=True"
            if stack.shape[1:] == shape:
                remedy = "pass dtype= to convert all of them"
            raise UnsupportedDataError(
                f"stack=True needs arrays of one shape and dtype: this one is {native} {shape}, "
                f"but {os.fspath(self._paths[self._first])!r} is {stack.dtype} "
                f"{stack.shape[1:]}. To load them anyway, {remedy}"
            )
        return stack

    def finish(self) -> Value:
        """Return the stack as an array of the framework that was asked for."""
        asked = self._conversion._replace(dtype=None, casting="exact", is_shared=False)
        return asked.convert(self._stack, self._paths[0])


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
