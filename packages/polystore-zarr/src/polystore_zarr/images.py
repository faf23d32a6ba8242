"""OME-Zarr images: where they may stand, and how one is written with its pyramid."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore.batch import Progress, progress_reporter
from polystore.errors import InvalidOptionError, UnsupportedDataError
from polystore.images import ImageMetadata, Window, image_metadata

from .arrays import ZarrArray
from .blocks import count_blocks, halved, is_dask, layout_for, store_blocks
from .creating import Layout, create_array
from .nodes import ZarrFormat, make_group, read_document
from .ome import Version, check_well, image_document, read_image, read_plate
from .pyramid import Method, level_shapes, write_pyramid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .layout import Address
    from .pipelines import CodecPipeline

__all__ = ["Image", "ImageOptions", "Version", "write_image", "write_streamed"]

_EXPECTED = (
    "STORE for an image, STORE/NAME for one of several, STORE/ROW/COLUMN/FIELD for a field of a "
    "plate (plate.ome.zarr/B/03/0), or one of these with /labels/NAME"
)


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The options of ``save`` that only images have, as they were given."""

    axes: str | Sequence[str] | None
    scale: Sequence[float] | Mapping[str, float] | None
    units: str | Mapping[str, str] | None
    channels: Sequence[str | Mapping[str, Any]] | None
    levels: int | None

    def given(self) -> str | None:
        """Return the name of one that was given."""
        return next((f.name for f in fields(self) if getattr(self, f.name) is not None), None)


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is for the store that it stands in."""

    version: Version
    name: str
    is_label: bool
    levels: int | None = None
    """Of a label image: how many levels the labelled image has. OME-NGFF ("labels metadata")
    wants the same number of both."""

    @classmethod
    def at(cls, place: Address, version: Version) -> Image:
        """Raises ``InvalidOptionError`` where no image can stand."""
        parts = place.inner
        is_label = len(parts) >= 2 and parts[-2] == "labels"
        if is_label:
            parts = parts[:-2]
        if len(parts) == 3:
            check_well(*parts)
        elif len(parts) > 1 or "labels" in parts:
            raise InvalidOptionError("path", place.path, _EXPECTED)
        elif parts:
            root = read_document(place.store)
            if root is not None and read_plate(root.attributes) is not None:
                raise InvalidOptionError("path", place.path, f"a field: {_EXPECTED}")
        name = (place.inner or (os.path.basename(place.store),))[-1]
        for suffix in (".zarr", ".ome"):
            name = name.removesuffix(suffix)
        return cls(version, name, is_label, _labelled_levels(place) if is_label else None)

    @property
    def zarr_format(self) -> ZarrFormat:
        return 2 if self.version == "0.4" else 3


def _labelled_levels(label: Address) -> int | None:
    document = read_document(os.path.join(label.store, *label.inner[:-2]))
    image = None if document is None else read_image(document.attributes)
    return None if image is None else len(image.levels)


def write_image(
    value: Any,
    image: Image,
    options: ImageOptions,
    layout: Layout,
    attributes: Mapping[str, Any] | None,
    progress: Progress,
    pipeline: CodecPipeline,
) -> Callable[[str], None]:
    """Check everything, and return what writes the image into an empty directory."""
    if value.dtype.kind not in "biuf":
        raise UnsupportedDataError(f"no image has {value.dtype} pixels", "ome-zarr")
    metadata = _checked_metadata(value, image, options)
    axes = [axis.name for axis in metadata.axes]
    if options.levels is not None and image.levels not in (None, options.levels):
        raise InvalidOptionError(
            "levels", options.levels, f"{image.levels}, as many as the labelled image has"
        )
    shapes = level_shapes(value.shape, axes, levels=image.levels or options.levels)
    method: Method = "nearest" if image.is_label else "mean"

    def write(directory: str) -> None:
        levels = []
        for number, shape in enumerate(shapes):
            level = os.path.join(directory, str(number))
            first = number == 0 and is_dask(value)
            document = create_array(
                level, shape, value.dtype, layout_for(value, layout) if first else layout,
                dimension_names=axes, complete=True,
            )  # fmt: skip
            levels.append(
                ZarrArray(
                    level, document, writable=True, seen=is_dask(value), pipeline=pipeline
                )
            )
        if is_dask(value):
            _write_dask(value, levels, method, progress)
        else:
            write_streamed(value, levels, method, progress)
        final = _with_windows(metadata, options.channels or (), levels[-1])
        factors = [_factors(len(axes), level) for level in range(len(shapes))]
        described = image_document(
            final,
            [(str(number), factor) for number, factor in enumerate(factors)],
            version=image.version,
            kind="label" if image.is_label else "image",
        )
        make_group(directory, image.zarr_format, {**(attributes or {}), **described})

    return write


def _checked_metadata(value: Any, image: Image, options: ImageOptions) -> ImageMetadata:
    try:
        return image_metadata(
            value.shape, value.dtype, axes=options.axes, scale=options.scale,
            units=options.units, channels=options.channels, name=image.name,
            label=image.is_label,
        )  # fmt: skip
    except UnsupportedDataError as error:
        error.format = "ome-zarr"
        raise


def _factors(ndim: int, level: int) -> tuple[float, ...]:
    """How many pixels of level 0 one pixel of ``level`` stands for, along each axis."""
    return (1.0,) * (ndim - 2) + (float(2**level),) * 2


def write_streamed(
    value: Any, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write an array, or anything that is read by slicing, with the levels below it."""
    with progress_reporter(progress, levels[0].block_count, "save", unit="block") as report:
        write_pyramid(value, levels, method=method, report=report)


def _write_dask(
    value: Any, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write each level from the one above it, which its workers read back from the store."""
    sources: list[Any] = [value]
    sources += (halved(above, level, method) for above, level in pairwise(levels))
    total = sum(count_blocks(s, level.unit) for s, level in zip(sources, levels, strict=True))
    with progress_reporter(progress, total, "save", unit="block") as report:
        for source, level in zip(sources, levels, strict=True):
            store_blocks(source, level, report)


def _with_windows(
    metadata: ImageMetadata, given: Sequence[Any], smallest: ZarrArray
) -> ImageMetadata:
    """Show the range of intensities on the smallest level, where no window was given."""
    names = [axis.name for axis in metadata.axes]
    before = (slice(None),) * names.index("c") if "c" in names else None
    channels = []
    for number, (channel, wish) in enumerate(zip(metadata.channels, given, strict=True)):
        window = wish.get("window") if isinstance(wish, Mapping) else None
        if not (window or getattr(wish, "window", None)):
            pixels = smallest[... if before is None else (*before, number)]
            channel = replace(channel, window=_window(pixels, channel.window))
        channels.append(channel)
    return replace(metadata, channels=tuple(channels))


def _window(pixels: NDArray[Any], limits: Window | None) -> Window:
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if pixels.dtype.kind == "f" or limits is None:
        return Window(min=low, max=high, start=low, end=high)
    return replace(limits, start=low, end=high)
