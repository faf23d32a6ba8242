"""What a call asks of a value besides the value: a framework, an element type, words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DataError, InvalidOptionError, UnsupportedDataError, explained

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike

    from .abc.backend import Path
    from .image import Image, ImageMetadata
    from .model.casting import Casting
    from .values import Value

__all__ = ["AS_IMAGE", "Alike", "Conversion", "as_kind", "with_words"]


class Conversion(NamedTuple):
    """What a call of ``load`` asks of the values that ``backend`` gives."""

    backend: str
    framework: str | None
    device: str | None
    dtype: DTypeLike | None
    casting: Casting
    options: Mapping[str, Any]
    """Those of the backend: ``copy="never"`` holds for the conversion as well."""

    @property
    def changes(self) -> bool:
        """Whether anything is asked of the value."""
        return self[1:5] != (None, None, None, "exact")

    def convert(self, value: Value, path: Path) -> Value:
        from .model.arrays import framework_of, is_array, to_framework

        try:
            if not is_array(value):
                kind = type(value).__name__
                raise UnsupportedDataError(
                    f"framework=, device=, dtype= and casting= need an array, got {kind}"
                )
            own = framework_of(value) or "numpy"
            return to_framework(
                value,
                own if self.framework is None else self.framework,
                device=self.device,
                dtype=self.dtype,
                copy="never" if self.options.get("copy") == "never" else "auto",
                casting=self.casting,
            )
        except DataError as error:
            explained(error, self.backend, os.fspath(path), "load")
            raise

    def finish(self, kind: str, image: Image, path: Path) -> Value:
        """Return a loaded image, converted, as "image" or "xarray"."""
        if self.changes:
            image = image.with_data(self.convert(image.data, path))
        return as_kind(kind, image)


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
