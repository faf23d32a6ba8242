"""OME-Zarr images: how one is written with its pyramid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    AXIS_TYPES,
    Channel,
    ImageMetadata,
    Progress,
    image_metadata,
    progress_reporter,
)
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .arrays import ZarrArray, chunk_files, write_new
from .blocks import count_blocks, halved, is_dask, layout_for, store_blocks
from .creating import Layout, create_array
from .keeping import Kept, level_zero
from .ome import Version, image_document
from .pyramid import Method, level_shapes, write_pyramid
from .store.nodes import ZarrFormat, write_group

if TYPE_CHECKING:
    from polystore_core import Pixels, Value

    from .pipelines import CodecPipeline
    from .store.base import StorePath

__all__ = ["Image", "ImageOptions", "Version", "write_image", "write_streamed"]


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The options of ``save`` that only images have, as they were given."""

    axes: str | Sequence[str] | None
    scale: Sequence[float] | Mapping[str, float] | None
    units: str | Mapping[str, str] | None
    channels: Sequence[str | Mapping[str, Any] | Channel] | None
    levels: int | None

    def given(self) -> str | None:
        """Return the name of one that was given."""
        if (self.axes, self.scale, self.units, self.channels, self.levels) == _NOTHING:
            return None
        return next(f.name for f in fields(self) if getattr(self, f.name) is not None)


_NOTHING = (None,) * 5


@dataclass(frozen=True, slots=True)
class Image:
    """The role of an image in its store."""

    version: Version
    name: str
    is_label: bool
    labelled: StorePath | None = None
    """Of a label image: the labelled image."""
    levels: int | None = None
    """Of a label image: how many levels the labelled image has. OME-NGFF ("labels metadata")
    wants the same number of both."""
    kept: Kept | None = None
    """The image that it replaces."""

    @property
    def zarr_format(self) -> ZarrFormat:
        return 2 if self.version == "0.4" else 3


def write_image(
    value: Value,
    image: Image,
    options: ImageOptions,
    layout: Layout,
    attributes: Mapping[str, Value] | None,
    progress: Progress,
    pipeline: CodecPipeline,
) -> Callable[[StorePath], None]:
    """Check everything, and return a function that writes the image into an empty directory."""
    if value.dtype.kind not in "biuf":
        raise UnsupportedDataError(
            f"an image cannot have {value.dtype} pixels: pass ome=False for a plain array",
            "ome-zarr",
        )
    given = options if image.kept is None else image.kept.completed(value, options)
    metadata = _checked_metadata(value, image, given, options)
    if metadata.names[-1] == "s":
        value, metadata = _with_channels(value, metadata)
    axes = [axis.name for axis in metadata.axes]
    kept, zarr_format = image.kept, layout.zarr_format
    if kept is not None:
        kept.check_labels(value, zarr_format)
    if options.levels is not None and image.levels not in (None, options.levels):
        raise InvalidOptionError(
            "levels",
            options.levels,
            f"{image.levels}, the number of levels of the labelled image",
        )
    shapes = _level_shapes(value, axes, image, options)
    method: Method = "nearest" if image.is_label else "mean"

    is_blocks = type(value) is not np.ndarray and is_dask(value)

    def write(directory: StorePath) -> None:
        levels: list[Any] = []
        is_one = len(shapes) == 1 and type(value) is np.ndarray and not progress
        for number, shape in enumerate(shapes):
            level = directory / str(number)
            first = number == 0 and is_blocks
            document = create_array(
                level,
                shape,
                value.dtype,
                layout_for(value, layout) if first else layout,
                dimension_names=axes,
                complete=True,
            )
            if is_one:
                files = chunk_files(level, document, pipeline)
                write_new(files, level, document, value, pipeline)
                levels.append(value)
                continue
            levels.append(
                ZarrArray(level, document, writable=True, seen=is_blocks, pipeline=pipeline)
            )
        if is_blocks:
            _write_dask(value, levels, method, progress)
        elif not is_one:
            write_streamed(value, levels, method, progress)
        final = _with_windows(metadata, levels[-1])
        # How many pixels of level 0 one pixel of a level is, along each axis.
        planes = (1.0,) * (len(axes) - 2)
        factors = [
            (str(level), (*planes, 2.0**level, 2.0**level)) for level in range(len(shapes))
        ]
        described = image_document(
            final,
            factors,
            version=image.version,
            kind="label" if image.is_label else "image",
            origin=None if kept is None else kept.origin(final),
        )
        if kept is None:
            write_group(directory, zarr_format, {**(attributes or {}), **described})
            return
        keeps_channels = options.channels is None and given.channels is not None
        described = kept.attributes(
            described, attributes, channels=keeps_channels, dtype=value.dtype
        )
        write_group(directory, zarr_format, described)
        kept.put_members(directory, partial(_rebuild_label, len(shapes), layout, pipeline))

    return write


def _rebuild_label(
    levels: int, layout: Layout, pipeline: CodecPipeline, kept: Kept, directory: StorePath
) -> bool:
    """Write a label image with as many ``levels`` as its image has, if it has others."""
    if len(kept.image.levels) == levels or kept.shape is None:
        return False
    image = Image(
        "0.4" if kept.document.zarr_format == 2 else "0.5",
        kept.image.name,
        True,
        levels=levels,
        kept=kept,
    )
    nothing = ImageOptions(None, None, None, None, None)
    layout = replace(layout, chunks=None, shards=None, fill_value=None)
    value = level_zero(kept.directory, kept.image)
    write_image(value, image, nothing, layout, None, False, pipeline)(directory)
    return True


def _with_channels(value: Value, metadata: ImageMetadata) -> tuple[Value, ImageMetadata]:
    """Return samples of RGB as channels, which is what OME-NGFF has."""
    order = (*range(value.ndim - 3), value.ndim - 1, value.ndim - 3, value.ndim - 2)
    names = tuple("c" if name == "s" else name for name in metadata.names)
    colors = ("FF0000", "00FF00", "0000FF", "FFFFFF")[: value.shape[-1]]
    samples = zip(("red", "green", "blue", "alpha"), colors, strict=False)
    channels = tuple(Channel(name=name, color=color) for name, color in samples)
    axes = [
        replace(axis, name=name, type=AXIS_TYPES[name])
        for axis, name in zip(metadata.axes, names, strict=True)
    ]
    moved = replace(metadata, axes=tuple(axes[n] for n in order), channels=channels)
    return value.transpose(order), moved


def _level_shapes(
    value: Value, axes: Sequence[str], image: Image, options: ImageOptions
) -> list[tuple[int, ...]]:
    """Return the shapes of the levels: as many as asked for, or as there were."""
    levels = image.levels or options.levels
    before = image.kept.levels(value) if image.kept is not None and levels is None else None
    try:
        return level_shapes(value.shape, axes, levels=levels or before)
    except InvalidOptionError:
        if before is None:
            raise
    return level_shapes(value.shape, axes)  # others' levels may be more than halves


def _checked_metadata(
    value: Value, image: Image, options: ImageOptions, given: ImageOptions
) -> ImageMetadata:
    """Check ``options``, of which the caller has given ``given``."""
    name = image.name if image.kept is None else image.kept.image.name or image.name
    try:
        return image_metadata(
            value.shape,
            value.dtype,
            axes=options.axes,
            scale=options.scale,
            units=options.units,
            channels=options.channels,
            name=name,
            label=image.is_label,
        )
    except InvalidOptionError as error:
        if image.kept is None:
            raise
        raise image.kept.explained(error, given)  # noqa: B904
    except UnsupportedDataError as error:
        error.format = "ome-zarr"
        raise


def write_streamed(
    value: Value, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write an array, or anything that is read by slicing, with the levels below it."""
    with progress_reporter(progress, levels[0].block_count, "save", unit="block") as report:
        write_pyramid(value, levels, method=method, report=report)


def _write_dask(
    value: Value, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write each level from the one above it, which its workers read back from the store."""
    sources: list[Any] = [value]
    sources += (halved(above, level, method) for above, level in pairwise(levels))
    total = sum(count_blocks(s, level.unit) for s, level in zip(sources, levels, strict=True))
    with progress_reporter(progress, total, "save", unit="block") as report:
        for source, level in zip(sources, levels, strict=True):
            store_blocks(source, level, report)


def _with_windows(metadata: ImageMetadata, smallest: ZarrArray) -> ImageMetadata:
    """Show the range of intensities on the smallest level, where no limits are given."""
    names = metadata.names
    before = (slice(None),) * names.index("c") if "c" in names else None
    channels = []
    for number, channel in enumerate(metadata.channels):
        limits, data_range = channel.limits, channel.data_range
        if limits is None or data_range is None:
            found = _extent(smallest[... if before is None else (*before, number)])
            limits = limits or found
            data_range = data_range or _type_range(smallest.dtype) or found
        channels.append(replace(channel, limits=limits, data_range=data_range))
    return replace(metadata, channels=tuple(channels))


def _extent(pixels: Pixels) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _type_range(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return the range of integers, ``None`` for floats."""
    if dtype.kind in "ui":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return (0.0, 1.0) if dtype.kind == "b" else None
