"""An image: an array, and what it says of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import InvalidOptionError, UnsupportedDataError
from .words import image_metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..values import Option, Pixels, Region, RegionItem, Value
    from .metadata import Channel, ImageMetadata

__all__ = ["Image"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """An array with its words, as ``load(…, as_="image")`` returns it and ``save`` takes it.

    ``data`` is a NumPy array, another framework's, a Dask array or a lazy handle. Indexing,
    ``sel`` and ``transpose`` keep the words right. What is computed from ``data`` is an image
    again by ``image.with_data(result)``.

    Raises ``InvalidOptionError`` where ``metadata`` does not fit the shape of ``data``.
    """

    data: Any
    metadata: ImageMetadata

    def __post_init__(self) -> None:
        if not hasattr(self.data, "shape") or not hasattr(self.data, "dtype"):
            kind = type(self.data).__name__
            raise UnsupportedDataError(f"an image needs an array, got {kind}")
        self.metadata.check(self.shape)

    @classmethod
    def of(
        cls,
        data: Value,
        *,
        axes: str | Sequence[str] | None = None,
        scale: Sequence[float | None] | Mapping[str, float | None] | None = None,
        units: str | Mapping[str, str] | None = None,
        channels: Sequence[str | Mapping[str, Option] | Channel] | None = None,
        name: str = "",
        label: bool = False,
        like: Image | ImageMetadata | None = None,
    ) -> Self:
        """Return ``data`` with the words of a caller: see :func:`image_metadata`."""
        metadata = image_metadata(
            data.shape,
            np.dtype(getattr(data.dtype, "as_numpy_dtype", data.dtype)),
            axes=axes,
            scale=scale,
            units=units,
            channels=channels,
            name=name,
            label=label,
            like=like.metadata if isinstance(like, Image) else like,
        )
        return cls(data, metadata)

    # ── as an array ──────────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory, also where it is lazy."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(
        self, dtype: np.dtype[Value] | None = None, copy: bool | None = None
    ) -> Pixels:
        return (
            np.asarray(self.data) if dtype is None and not copy else np.array(self.data, dtype)
        )

    # ── its words ────────────────────────────────────────────────────────────────────────

    @property
    def axes(self) -> tuple[str, ...]:
        """The name of each axis, such as ("c", "y", "x")."""
        return self.metadata.names

    @property
    def scale(self) -> tuple[float | None, ...]:
        """The extent of a pixel along each axis, in its unit; ``None`` is unknown."""
        return self.metadata.scale

    @property
    def units(self) -> tuple[str | None, ...]:
        """The unit of each axis: UDUNITS-2 names; ``None`` is unknown."""
        return self.metadata.units

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self.metadata.channels

    @property
    def name(self) -> str:
        return self.metadata.name

    # ── derived ──────────────────────────────────────────────────────────────────────────

    def with_data(self, data: Value) -> Image:
        """Return an image of ``data``, an array of the same shape, with the words of this one.

        Another element type has other intensities, so limits, data_range and bits are left out.

        Raises ``InvalidOptionError`` for another shape.
        """
        shape = tuple(getattr(data, "shape", ()))
        if shape != self.shape:
            expected = (
                f"an array of shape {self.shape}: slice the image first, with image[…] or "
                "image.sel(…), or name the axes with Image.of(data, axes=…)"
            )
            raise InvalidOptionError("data", shape, expected)
        metadata = self.metadata
        if getattr(data, "dtype", None) != self.dtype:
            metadata = metadata.without(
                frozenset(("bits", "channels.limits", "channels.data_range"))
            )
        return Image(data, metadata)

    def __getitem__(self, region: Region) -> Image:
        """Return a part, by integers, slices and ``...``; a lazy handle reads it."""
        return Image(self.data[region], self.metadata.sliced(region, self.shape))

    def sel(self, **regions: RegionItem | str) -> Image:
        """Return a part by the names of axes: ``image.sel(c="GFP", z=slice(2, 5))``.

        ``c`` may be the name of a channel. Raises ``InvalidOptionError`` for an unknown axis or
        channel, and for a name that several channels have.
        """
        found: list[Any] = [slice(None)] * self.ndim
        for name, item in regions.items():
            if name not in self.axes:
                raise InvalidOptionError("axis", name, f"one of {', '.join(self.axes)}")
            found[self.axes.index(name)] = self._channel(item) if name == "c" else item
        return self[tuple(found)]

    def _channel(self, item: RegionItem | str) -> RegionItem:
        if not isinstance(item, str):
            return item
        names = [channel.name for channel in self.channels]
        if names.count(item) != 1:
            expected = f"one channel of {', '.join(map(repr, names)) or 'none that has a name'}"
            raise InvalidOptionError("c", item, expected)
        return names.index(item)

    def transpose(self, order: Sequence[str] | str) -> Image:
        """Return the image with its axes in another order, such as "cyx"."""
        metadata = self.metadata.moved(order)
        numbers = [self.axes.index(name) for name in metadata.names]
        return Image(np.transpose(np.asarray(self.data), numbers), metadata)

    def renamed(self, name: str) -> Image:
        """Return the same image with another ``name``."""
        return Image(self.data, replace(self.metadata, name=name))

    def __repr__(self) -> str:
        axes = [f"{name}={length}" for name, length in zip(self.axes, self.shape, strict=True)]
        words = [f"{type(self.data).__name__} {self.dtype}", " ".join(axes)]
        sizes = [
            f"{axis.name} {axis.scale:g} {axis.unit or 'of no unit'}"
            for axis in self.metadata.axes
            if axis.scale is not None
        ]
        if sizes:
            words.append("scale " + ", ".join(sizes))
        if self.channels:
            words.append(
                "channels " + ", ".join(channel.name or "?" for channel in self.channels)
            )
        return f"<Image {'; '.join(words)}>"
