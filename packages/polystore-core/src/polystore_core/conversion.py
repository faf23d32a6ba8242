"""``Conversion``: the framework, device, dtype and metadata that a call asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DataError, InvalidOptionError, UnsupportedDataError, with_context

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from .abc.backend import Path
    from .abc.framework import Stage
    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .options import Copy
    from .values import Pixels, Value

__all__ = ["AS_IMAGE", "Alike", "Conversion", "as_kind", "with_words"]


class Conversion(NamedTuple):
    """The conversions of one call, for values of ``backend``."""

    backend: str
    framework: str | None = None
    device: str | None = None
    dtype: DTypeLike | None = None
    casting: Casting = "exact"
    copy: Copy = "auto"
    is_shared: bool = False
    """Whether the backend obeys ``copy`` itself, because it may keep the memory of its values."""

    @property
    def changes(self) -> bool:
        """Whether the value must be converted or copied."""
        return self.copy == "always" or self._converts

    @property
    def _converts(self) -> bool:
        """Whether another framework, device or dtype is asked for."""
        # Not by comparing tuples, because in NumPy float64 == None.
        named = (self.framework, self.device, self.dtype)
        return self.casting != "exact" or any(option is not None for option in named)

    def convert(self, value: Value, path: Path) -> Value:
        """Convert an array, or each array of a dict. ``path`` is for errors."""
        from .model.arrays import is_array

        try:
            if is_array(value):
                return self._convert_array(value)
            if isinstance(value, dict) and value and all(map(is_array, value.values())):
                return {name: self._convert_array(array) for name, array in value.items()}
            if not self._converts:
                return value
            kind = type(value).__name__
            raise UnsupportedDataError(
                f"framework=, device=, dtype= and casting= need an array, got {kind}"
            )
        except DataError as error:
            with_context(error, self.backend, os.fspath(path), "load")
            raise

    def _convert_array(self, array: Value) -> Value:
        from .model.arrays import framework_of, to_framework

        own = framework_of(array) or "numpy"
        wanted = own if self.framework is None else self.framework
        # An array that was read from a file is new and writable, so "always" need not copy it
        # again. Views are read-only, and so is the NumPy array of an immutable one.
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
        """Raise for options that no array could satisfy, before anything is read."""
        import numpy as np

        from .model.arrays import numpy_dtype
        from .model.casting import check_casting

        check_casting(self.casting)
        if self.dtype is not None:
            numpy_dtype(self.dtype)
        self.to_framework(np.zeros(0, np.uint8))

    def to_framework(self, sample: Pixels) -> Value:
        """Return ``sample`` as an array of the framework, to find out whether that works."""
        from .model.arrays import to_framework

        return to_framework(sample, self.framework or "numpy", device=self.device)

    @property
    def shares_aligned(self) -> bool:
        """Whether the framework can keep memory only at multiples of 64 bytes."""
        from .frameworks import framework

        if self.framework is None or self.dtype is not None:
            return False
        # Not if the memory belongs to the backend, or must be copied anyway.
        if self.is_shared or self.copy == "always":
            return False
        return framework(self.framework).is_immutable

    def stage(self) -> Stage | None:
        """Return a ``Stage`` that sends arrays while others are read, if that is faster."""
        from .frameworks import framework

        # A stage copies each array into its buffers, which "never" forbids.
        if self.framework is None or self.copy == "never":
            return None
        return framework(self.framework).stage(device=self.device)

    def finish(self, kind: str, image: Image, path: Path) -> Value:
        """Return a loaded image, converted, as "image" or "xarray"."""
        if self.changes:
            image = image.with_data(self.convert(image.data, path))
        return as_kind(kind, image)


AS_IMAGE = ("image", "xarray")


def as_kind(kind: str, image: Image) -> Value:
    """Return ``image`` itself for "image", or as a DataArray for "xarray"."""
    from .image import to_xarray

    return image if kind == "image" else to_xarray(image)


def with_words(data: Value, like: Image | ImageMetadata) -> Image:
    """Return the array ``data`` with the metadata of ``like``."""
    from .image import Image, ImageMetadata

    if isinstance(data, Image):
        fault = (
            "like= needs an array, got an Image, which has its own metadata: leave like= out"
        )
        raise InvalidOptionError("like", like, "None for an Image", fault)
    if isinstance(like, Image):
        return like.with_data(data)
    if isinstance(like, ImageMetadata):
        return Image(data, like)
    raise InvalidOptionError("like", like, "an Image, or the metadata of one")


class Alike(Sequence[Any]):
    """A sequence of arrays, each with the metadata of one image when it is read."""

    def __init__(self, data: Sequence[Value], like: Image | ImageMetadata) -> None:
        self._data, self._like = data, like

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        return with_words(self._data[index], self._like)
