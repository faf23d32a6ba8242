"""Write OME-Zarr images with their pyramids."""

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
    array_and_words,
    by_axis,
    image_metadata,
    progress_reporter,
)
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .arrays import ZarrArray, chunk_files
from .blocks import count_blocks, halve_array, is_dask, layout_for, store_blocks
from .creating import Layout, create_array
from .filling import write_new
from .growth import create_growing
from .levels import level_zero
from .ome import (
    Version,
    image_document,
    image_words,
    read_image,
    samples_first,
    with_marks,
)
from .pyramid import Method, level_shapes, write_pyramid
from .store.base import MARKER
from .store.nodes import ZarrFormat, write_group

if TYPE_CHECKING:
    from polystore_core import Pixels, Value

    from .keeping import Kept
    from .pipelines import CodecPipeline
    from .store.base import StorePath

__all__ = ["Image", "ImageOptions", "Version", "in_order", "write_image", "write_streamed"]


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """The options of ``save`` for images, as the caller gave them."""

    axes: str | Sequence[str] | None
    scale: Sequence[float] | Mapping[str, float] | None
    units: str | Mapping[str, str] | None
    channels: Sequence[str | Mapping[str, Any] | Channel] | None
    levels: int | None

    def given(self) -> str | None:
        """Return the name of an option that the caller gave, or ``None``."""
        if (self.axes, self.scale, self.units, self.channels, self.levels) == _NOTHING:
            return None
        return next(f.name for f in fields(self) if getattr(self, f.name) is not None)

    def usual_axes(
        self, shape: Sequence[int], labelled: Sequence[str] = ()
    ) -> Sequence[str] | None:
        """Return the axes of pixels without named axes, or ``None`` for the usual ones.

        Labels have the axes of the ``labelled`` image, perhaps without channels.

        Raises:
            InvalidOptionError: There are four axes, which may be czyx, tcyx or tzyx.
        """
        if labelled and labelled == [axis for axis in AXIS_TYPES if axis in labelled]:
            for axes in ([axis for axis in labelled if axis != "c"], labelled):
                if len(axes) == len(shape):
                    return axes
        count = len(self.channels) if isinstance(self.channels, Sequence) else 0
        if len(shape) == 4 and (count != shape[0] or count == shape[1]):
            fault = (
                f"axes= is missing: shape {tuple(shape)} may be czyx, tcyx or tzyx. Pass one of "
                "these, or save an Image, which says its axes"
            )
            raise InvalidOptionError("axes", None, "czyx, tcyx or tzyx", fault)
        return None


_NOTHING = (None,) * 5


@dataclass(frozen=True, slots=True)
class Image:
    """The role of an image in its store, and the image that it replaces."""

    version: Version
    name: str
    is_label: bool
    labelled: StorePath | None = None
    """For a label image: the labelled image."""
    levels: int | None = None
    """For a label image: the number of levels of the labelled image. OME-NGFF ("labels metadata")
    wants the same number for both."""
    labelled_axes: Sequence[str] = ()
    """For a label image: the axes of the labelled image."""
    kept: Kept | None = None
    """The image that it replaces."""

    @property
    def zarr_format(self) -> ZarrFormat:
        """The format of Zarr that the version of OME-NGFF uses."""
        return 2 if self.version == "0.4" else 3


def in_order(
    data: Value, words: ImageMetadata, options: ImageOptions, layout: Layout
) -> tuple[Value, ImageMetadata, ImageOptions, Layout]:
    """Return an image with the axes in the order of OME-NGFF, and its options in this order."""
    array, moved = array_and_words(data, "tczyxs")
    assert moved is not None
    order = [words.names.index(name) for name in moved.names]
    options = replace(options, scale=by_axis(options.scale, words.names))
    return array, moved, options, layout.transpose(order)


def write_image(
    value: Value,
    words: ImageMetadata | None,
    image: Image,
    options: ImageOptions,
    layout: Layout,
    attributes: Mapping[str, Value] | None,
    progress: Progress,
    pipeline: CodecPipeline,
    *,
    grows: bool = False,
) -> Callable[[StorePath], None]:
    """Check all options, and return a function that writes the image into an empty directory.

    Args:
        value: the pixels.
        words: the metadata of ``value``. Without any, that of the replaced image is kept.
        image: the role of the image.
        options: options of the caller, which win over ``words``.
        layout: options for the storage.
        attributes: attributes of the caller.
        progress: report the blocks that were written.
        pipeline: the implementation of codecs.
        grows: whether the image grows. It then starts without frames.

    Raises:
        UnsupportedDataError: An image cannot have these pixels.
        InvalidOptionError: An option does not fit the image.
    """
    # ``isbuiltin`` is 2 for types of other packages, such as bfloat16 of ml_dtypes.
    if value.dtype.kind not in "biuf" or value.dtype.isbuiltin == 2:
        raise UnsupportedDataError(
            f"an image cannot have {value.dtype} pixels: pass ome=False for a plain array",
            "ome-zarr",
        )
    said = _check_words(value, words, image, options)
    if grows and (said.names[0] != "t" or said.names[-1] == "s"):
        expected = "axes of which the first is t, such as 'tcyx'. The image grows along t"
        raise InvalidOptionError("axes", options.axes, expected)
    metadata = said
    if said.axes[-1].name == "s":
        value, layout, metadata = _channels_of_samples(value, layout, said)
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
    method: Method = "nearest" if said.kind == "labels" else "mean"
    is_blocks = type(value) is not np.ndarray and is_dask(value)

    def write(directory: StorePath) -> None:
        levels: list[Any] = []
        # An array in memory without a pyramid is not streamed: its chunks are written at once.
        is_one = len(shapes) == 1 and type(value) is np.ndarray and not progress
        for number, shape in enumerate(shapes):
            level = directory / str(number)
            if grows:
                create_growing(level, shape[1:], value.dtype, layout, dimension_names=axes)
                levels.append(value)
                continue
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
        elif not (is_one or grows):
            write_streamed(value, levels, method, progress)
        # The number of pixels of level 0 in one pixel of a level, along each axis. Only y and x
        # are halved.
        planes = (1.0,) * (len(axes) - 2)
        factors = [
            (str(level), (*planes, 2.0**level, 2.0**level)) for level in range(len(shapes))
        ]
        is_bare = (
            words is None
            and kept is None
            and said is metadata
            and (options.scale, options.units, options.channels) == _NOTHING[:3]
        )
        described = _describe(
            said, metadata, image, factors, method, levels[-1], is_bare=is_bare
        )
        # The document of the group comes last. Nothing can be read before the tree has its name,
        # but a level that fails must not leave a document that lists it.
        if kept is None:
            write_group(directory, zarr_format, {**(attributes or {}), **described})
            return
        is_silent = options.channels is None and words is None
        described = kept.attributes(described, attributes, metadata, channels=is_silent)
        write_group(directory, zarr_format, described)
        kept.put_members(directory, partial(_rebuild_label, len(shapes), layout, pipeline))

    return write


def _describe(
    said: ImageMetadata,
    metadata: ImageMetadata,
    image: Image,
    factors: Sequence[tuple[str, Sequence[float]]],
    method: Method,
    smallest: ZarrArray,
    *,
    is_bare: bool,
) -> dict[str, Any]:
    """Return the attributes of an image.

    Args:
        said: the metadata of the caller.
        metadata: the same for the stored axes. RGB samples are stored as channels.
        image: the role of the image.
        factors: path and pixel size of each level, in pixels of level 0.
        method: the method of the pyramid.
        smallest: the smallest level, for the range of intensities.
        is_bare: whether the caller gave nothing but the names of axes.
    """
    is_rgb = said is not metadata
    old = image.kept and image.kept.image.name
    final = replace(metadata, name=metadata.name or old or image.name)
    if is_rgb:
        final = _with_colors(final, smallest)
    elif metadata.channels:
        final = _with_windows(final, smallest)
    found = image_document(
        final,
        factors,
        version=image.version,
        kind="label" if image.is_label else "image",
        method=method,
    )
    if is_bare:  # only the name was filled in. A small save need not look for more
        return {**found, MARKER: {"filled": {"name": final.name}}}
    marks = {MARKER: {"samples": "c"}} if is_rgb else {}
    read = read_image(found)
    assert read is not None
    standard = image_words({**found, **marks}, read, smallest.shape, smallest.dtype)
    assert standard is not None
    return with_marks(found, said, standard, is_rgb=is_rgb)


def _rebuild_label(
    levels: int, layout: Layout, pipeline: CodecPipeline, kept: Kept, directory: StorePath
) -> bool:
    """Write a label image again with as many ``levels`` as its image. ``False`` if not needed."""
    if len(kept.image.levels) == levels or kept.shape is None:
        return False
    image = Image(
        "0.4" if kept.document.zarr_format == 2 else "0.5",
        kept.image.name,
        True,
        levels=levels,
        kept=kept,
    )
    nothing = ImageOptions(*_NOTHING)
    # These were chosen for the pixels of the image, and labels have another type.
    layout = replace(layout, chunks=None, shards=None, fill_value=None)
    value = level_zero(kept.directory, kept.image)
    write_image(value, None, image, nothing, layout, None, False, pipeline)(directory)
    return True


def _channels_of_samples(
    value: Value, layout: Layout, metadata: ImageMetadata
) -> tuple[Value, Layout, ImageMetadata]:
    """Return samples of RGB as channels, because OME-NGFF has no samples."""
    order, moved = samples_first(metadata)
    return value.transpose(order), layout.transpose(order), moved


def _level_shapes(
    value: Value, axes: Sequence[str], image: Image, options: ImageOptions
) -> list[tuple[int, ...]]:
    """Return the shapes of the levels: as many as the caller wants, or as the old image had."""
    levels = image.levels or options.levels
    before = image.kept.levels(value) if image.kept is not None and levels is None else None
    try:
        return level_shapes(value.shape, axes, levels=levels or before)
    except InvalidOptionError:
        if before is None:
            raise
    return level_shapes(value.shape, axes)  # the old levels may be smaller than halves


def _check_words(
    value: Value, words: ImageMetadata | None, image: Image, options: ImageOptions
) -> ImageMetadata:
    """Return the metadata of the caller, completed from the value or from the stored image."""
    kept = image.kept
    like = words if words is not None or kept is None else kept.words(value)
    if kept is not None:
        kept.check_scale(options.scale)
    axes = options.axes
    try:
        if axes is None and (like is None or len(like.axes) != len(value.shape)):
            axes = options.usual_axes(value.shape, image.labelled_axes)
            if axes is None and like is not None:
                usual = image_metadata(value.shape, value.dtype, channels=options.channels)
                axes = usual.names
        return image_metadata(
            value.shape,
            value.dtype,
            axes=axes,
            scale=options.scale,
            units=options.units,
            channels=options.channels,
            label=image.is_label,
            like=like,
        )
    except InvalidOptionError as error:
        if like is not None and getattr(options, error.option, None) is None:
            source = "the value" if like is words else "the image at this path"
            option = error.option
            # The caller did not pass the option that the error names.
            error.add_note(f"{option} was taken from {source}: pass {option}= to replace it")
        raise
    except UnsupportedDataError as error:
        error.format = "ome-zarr"
        raise


def write_streamed(
    value: Value, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write an array, or anything that can be sliced, with the levels below it."""
    with progress_reporter(progress, levels[0].block_count, "save", unit="block") as report:
        write_pyramid(value, levels, method=method, report=report)


def _write_dask(
    value: Value, levels: Sequence[ZarrArray], method: Method, progress: Progress
) -> None:
    """Write each level from the level above, which the workers read back from the store.

    Keeping the blocks of a level on the cluster would need memory for the whole image.
    """
    sources: list[Any] = [value]
    sources += (halve_array(above, level, method) for above, level in pairwise(levels))
    total = sum(count_blocks(s, level.unit) for s, level in zip(sources, levels, strict=True))
    with progress_reporter(progress, total, "save", unit="block") as report:
        for source, level in zip(sources, levels, strict=True):
            store_blocks(source, level, report)


def _with_windows(metadata: ImageMetadata, smallest: ZarrArray) -> ImageMetadata:
    """Set the display range of channels without limits to the extent of the smallest level."""
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


def _with_colors(metadata: ImageMetadata, smallest: ZarrArray) -> ImageMetadata:
    """Name and colour the channels of RGB. One range for all, because others change the hues."""
    limits = _type_range(smallest.dtype) or (0.0, 1.0)
    names = _SAMPLES[: smallest.shape[metadata.names.index("c")]]
    channels = [
        Channel(name=name, color=color, limits=limits, data_range=limits)
        for name, color in names
    ]
    return replace(metadata, channels=tuple(channels))


_SAMPLES = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", "FFFFFF"))


def _extent(pixels: Pixels) -> tuple[float, float]:
    # One infinite pixel would be the end of the display range, and hide all others.
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    if not finite.size:
        return _type_range(pixels.dtype) or (0.0, 1.0)
    return float(finite.min()), float(finite.max())


def _type_range(dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return the range of an integer type, or ``None`` for floats."""
    if dtype.kind in "ui":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return (0.0, 1.0) if dtype.kind == "b" else None
