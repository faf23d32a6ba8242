"""``Header``: the properties that must be the same in all files of a stack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import UnsupportedDataError, UnsupportedOperationError
from ..image import Axis, ImageMetadata, image_metadata
from ..model.arrays import is_array, to_numpy

if TYPE_CHECKING:
    from ..abc.backend import DataSource
    from ..filemanager import FileManager
    from ..values import Pixels, Value

__all__ = ["Header", "array_of", "source_of"]


@dataclass(frozen=True, slots=True)
class Header:
    """The shape, dtype and metadata of an array in a file."""

    path: str
    backend: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    words: ImageMetadata
    is_image: bool
    """Whether the file itself names its axes."""

    @classmethod
    def of(cls, files: FileManager, path: str, backend: str) -> Header:
        """Read the header of a file. The file is loaded if its format has no header."""
        source = source_of(files, backend)
        with suppress(UnsupportedOperationError):
            # The names say how the files belong together, so each is read alone.
            info = source.info_alone(path)
            dtype = _of_numpy(info.dtype)
            if info.shape is not None and dtype is not None:
                return cls.build(path, backend, info.shape, dtype, info.image)
        pixels = array_of(
            files.load(path, backend, **source.options_alone(path)), path, backend
        )
        return cls.build(path, backend, pixels.shape, pixels.dtype, None)

    @classmethod
    def build(
        cls,
        path: str,
        backend: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        words: ImageMetadata | None,
    ) -> Header:
        """Return a header with the dtype in the byte order of this machine."""
        # Byte order is not a difference: the blocks are converted to that of this machine.
        shape, dtype = tuple(shape), dtype.newbyteorder("=")
        chosen = _usual_words(shape, dtype) if words is None else words
        return cls(path, backend, shape, dtype, chosen, words is not None)

    def check(self, other: Header) -> None:
        """Raise ``UnsupportedDataError``, with both values and paths, if ``other`` differs."""
        theirs = other._facts()
        for word, mine in self._facts().items():
            if not _is_equal(mine, theirs[word]):
                reason = (
                    f"it has {word} {theirs[word]}, but {self.path!r}, the first file of the "
                    f"stack, has {mine}"
                )
                raise UnsupportedDataError(reason, "", other.path, other.backend, "stack")

    def _facts(self) -> dict[str, Any]:
        # Names of channels count only along axis c. A single channel may have any name.
        words = self.words
        has_channels = "c" in words.names
        return {
            "shape": self.shape,
            "dtype": self.dtype,
            "axes": words.names,
            "scale": words.scale,
            "units": words.units,
            "channels": tuple(c.name for c in words.channels) if has_channels else (),
        }


def source_of(files: FileManager, backend: str) -> DataSource:
    """Return the backend of a name. Raises as ``FileManager.load`` does."""
    files._call("load", backend)
    return cast("DataSource", files.registry[backend])


def _of_numpy(name: str | None) -> np.dtype[Any] | None:
    """Return the dtype of a name, or ``None`` if the name does not define it completely.

    It may be a dtype of another framework only, or a structure, whose fields "|V5" leaves out.
    """
    with suppress(TypeError):
        dtype = None if name is None else np.dtype(name)
        return None if dtype is None or dtype.kind == "V" else dtype
    return None


def _usual_words(shape: tuple[int, ...], dtype: np.dtype[Any]) -> ImageMetadata:
    """Return the default axes of an array: yx, zyx, …, or those of xarray ("dim_0")."""
    if 2 <= len(shape) <= 5:
        return image_metadata(shape, dtype)
    return ImageMetadata(axes=tuple(Axis(f"dim_{number}") for number in range(len(shape))))


def _is_equal(mine: Any, other: Any) -> bool:
    if mine == other:
        return True
    is_long = isinstance(mine, tuple) and len(mine) == len(other)
    return is_long and all(map(_is_close, mine, other))


def _is_close(one: object, other: object) -> bool:
    """Compare two values. Programs write one and the same scale with more digits, or fewer."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def array_of(value: Value, path: str, backend: str) -> Pixels:
    """Return a loaded value as a NumPy array. Raises ``UnsupportedDataError`` for others."""
    if not is_array(value):
        reason = f"expected an array, got {type(value).__name__}"
        raise UnsupportedDataError(reason, "", path, backend, "stack")
    return to_numpy(value)
