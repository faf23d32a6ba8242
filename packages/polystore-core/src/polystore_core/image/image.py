"""``Image``: an array with its axes, pixel size, units and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import InvalidOptionError, UnsupportedDataError
from .words import image_metadata
from .xarrays import is_dataarray, of_dataarray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..values import Option, Pixels, Region, RegionItem, Value
    from .metadata import Channel, ImageMetadata

__all__ = ["Image", "array_and_words", "no_words"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Image:
    """An array with its metadata. ``load(…, as_="image")`` returns one, and ``save`` accepts it.

    For example:

        image = Image.of(array, axes="cyx", scale=(0.5, 0.5), units="um", channels=["DAPI", "GFP"])
        gfp = image.sel(c="GFP")
        smooth = gfp.with_data(gaussian(gfp.data))

    Indexing, ``sel`` and ``transpose`` change the metadata together with the array. For the result
    of a computation, use ``with_data``.

    Raises:
        InvalidOptionError: ``metadata`` does not fit the shape of ``data``.
    """

    data: Any
    """An array of NumPy or another framework, a Dask array or a lazy handle."""
    metadata: ImageMetadata

    def __post_init__(self) -> None:
        _check_array(self.data)
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
        """Create an image from an array and its metadata.

        Args:
            data: An array. An ``Image`` or ``DataArray`` keeps its metadata where you give none.
            axes: As for :func:`image_metadata`.
            scale: As for :func:`image_metadata`.
            units: As for :func:`image_metadata`.
            channels: As for :func:`image_metadata`.
            name: As for :func:`image_metadata`.
            label: As for :func:`image_metadata`.
            like: An image, or the metadata of one, for everything that you do not give.

        Raises:
            InvalidOptionError: The metadata is not valid, or does not fit the array.
            UnsupportedDataError: ``data`` is not an array, or cannot be an image.
        """
        array, words = array_and_words(data)
        if like is not None and words is not None:
            kind = type(data).__name__
            article = "an" if kind == "Image" else "a"
            fault = (
                f"like= needs an array, got {article} {kind}, which has its own metadata: leave "
                "like= out"
            )
            raise InvalidOptionError("like", like, f"None for {article} {kind}", fault)
        _check_array(array)
        metadata = image_metadata(
            array.shape,
            _dtype_name(array.dtype),
            axes=axes,
            scale=scale,
            units=units,
            channels=channels,
            name=name,
            label=label,
            like=like.metadata if isinstance(like, Image) else like or words,
        )
        return cls(array, metadata)

    # ── as an array ──────────────────────────────────────────────────────────────────────

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes, in pixels."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> Any:
        """The element type of the array."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the array takes in memory, also if it is lazy now."""
        return math.prod(self.shape) * int(self.dtype.itemsize)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an image without axes")
        return self.shape[0]

    def __array__(
        self, dtype: np.dtype[Value] | None = None, copy: bool | None = None
    ) -> Pixels:
        array = np.asarray(self.data)
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError(f"converting {array.dtype} to {dtype} needs a copy")
            return array.astype(dtype)
        return array.copy() if copy and array is self.data else array

    # ── metadata ─────────────────────────────────────────────────────────────────────────

    @property
    def axes(self) -> tuple[str, ...]:
        """The name of each axis, such as ("c", "y", "x")."""
        return self.metadata.names

    @property
    def scale(self) -> tuple[float | None, ...]:
        """The size of a pixel along each axis, in the unit of the axis, or ``None``."""
        return self.metadata.scale

    @property
    def units(self) -> tuple[str | None, ...]:
        """The unit of each axis, such as "micrometer", or ``None``."""
        return self.metadata.units

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels, in the order of axis c. Empty if nothing is known about them."""
        return self.metadata.channels

    @property
    def name(self) -> str:
        """The name of the image, or ""."""
        return self.metadata.name

    # ── derived ──────────────────────────────────────────────────────────────────────────

    def with_data(self, data: Value) -> Image:
        """Return an image with the same metadata and other data of the same shape.

        If the dtype is different, the limits, data_range and bits are left out, because the
        intensities are different, too.

        Raises:
            InvalidOptionError: The data has another shape.
        """
        _check_array(data)
        shape = tuple(data.shape)
        if shape != self.shape:
            fault = (
                f"data has shape {shape}, but the image has shape {self.shape}: slice the image "
                "first, with image[…] or image.sel(…), or name the axes with Image.of(data, axes=…)"
            )
            raise InvalidOptionError("data", shape, f"an array of shape {self.shape}", fault)
        metadata = self.metadata
        if _dtype_name(data.dtype) != _dtype_name(self.dtype):
            metadata = metadata.without(
                frozenset(("bits", "channels.limits", "channels.data_range"))
            )
        return Image(data, metadata)

    def __getitem__(self, region: Region) -> Image:
        """Return a part, selected by integers, slices and ``...``. A lazy handle reads it."""
        metadata = self.metadata.select(region, self.shape)
        return Image(self.data[region], metadata)

    def sel(self, **regions: RegionItem | str) -> Image:
        """Return a part, selected by the names of axes.

        For example:

            image.sel(c="GFP", z=slice(2, 5))

        Raises:
            InvalidOptionError: The image has no such axis or channel, or several channels have this
                name.
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
        # A name that two channels have would select the first one silently.
        if names.count(item) != 1:
            channels = ", ".join(map(repr, names))
            expected = f"one of {channels}" if names else "an index: the channels have no names"
            raise InvalidOptionError("c", item, expected)
        return names.index(item)

    def transpose(self, order: Sequence[str] | str) -> Image:
        """Return the image with its axes in another order, such as "cyx".

        The result is a view, and lazy data stays lazy.
        """
        metadata = self.metadata.transpose(order)
        numbers = [self.axes.index(name) for name in metadata.names]
        # The transpose of PyTorch swaps two axes only, and NumPy cannot transpose a tensor.
        if hasattr(self.data, "permute"):
            return Image(self.data.permute(numbers), metadata)
        return Image(np.transpose(self.data, numbers), metadata)

    def rename(self, name: str) -> Image:
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


def array_and_words(value: Value, order: str = "") -> tuple[Value, ImageMetadata | None]:
    """Split a value into its array and its metadata.

    Use it if you write images:

        array, words = array_and_words(value, order="tczyxs")
        metadata = image_metadata(array.shape, array.dtype, like=words, axes=axes)

    Args:
        value: Any value.
        order: The order of axes that your format needs. An image is transposed to it, unless it has
            other axes.

    Returns:
        The array and the metadata of an ``Image`` or ``DataArray``. Any other value with ``None``.

    Raises:
        InvalidOptionError: A DataArray has coords that an image cannot have.
    """
    if type(value) is np.ndarray:  # most values, and the checks below are slower
        return value, None
    if isinstance(value, Image):
        image = value
    elif is_dataarray(value):
        image = Image(value.data, of_dataarray(value))
    else:
        return value, None
    names = sorted(image.axes, key=order.find)
    if set(names) <= set(order) and tuple(names) != image.axes:
        image = image.transpose(names)
    return image.data, image.metadata


def no_words(format_name: str = "") -> UnsupportedDataError:
    """Return the error for an array that does not name its axes."""
    reason = (
        "it does not name its axes: load it without as_=, and name them with "
        "Image.of(array, axes=…)"
    )
    return UnsupportedDataError(reason, format_name, operation="load")


def _check_array(data: Value) -> None:
    if isinstance(data, Image) or is_dataarray(data):
        kind = type(data).__name__
        raise UnsupportedDataError(f"expected an array, got {kind}: pass its .data")
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        raise UnsupportedDataError(f"an image needs an array, got {type(data).__name__}")


def _dtype_name(dtype: Any) -> str:
    """Return NumPy's name for the dtype of an array of any framework."""
    return getattr(dtype, "name", None) or str(dtype).rpartition(".")[2]
