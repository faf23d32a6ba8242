"""``.tif``: images and stacks of images, with the metadata of ImageJ or OME if you ask for it.

Reads TIFF 6.0 and BigTIFF files that tifffile can read, with the same pixels as
``tifffile.imread``. Only the byte order differs: it is that of the file. Plain files, which
microscopes and tifffile write, are read without importing tifffile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

from polystore_core import (
    Format,
    Image,
    Opener,
    array_and_words,
    by_axis,
    to_numpy,
)
from polystore_core.errors import UnsupportedOperationError

from ..streaming import check_lazy, is_lazy
from .header import read_header, read_start
from .reading import TiffArray, find_image, find_pixels, read_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Channel, Document, ImageMetadata, Memory, Option, Region, Value

__all__ = ["BigTiff", "OmeBigTiff", "OmeTiff", "Tiff", "TiffArray", "TiffOfMicroscope"]


class Tiff(Format):
    """Images of at least two dimensions: bool, integers, floats and complex numbers.

    Palettes are not applied, and colours are not converted: CMYK, Lab and YCbCr raise an error.
    A file of an OME-TIFF set gives the series that its planes belong to, read from all files of
    the set. A tile that was never written is damage, not zeros. Compressed images of more than
    4 MiB are decoded in threads. ``TIFFFILE_NUM_THREADS`` sets their number.
    """

    name = "tiff"
    reads_siblings = True
    alone: ClassVar[Mapping[str, Option]] = {"multifile": False}
    decode_errors = (ValueError, RuntimeError)
    writes_ome: ClassVar[bool] = False
    """Whether ``ome=None`` means ``True``."""
    writes_bigtiff: ClassVar[bool] = False
    """Whether ``bigtiff=None`` means ``True``."""

    def save(
        self,
        value: Value,
        file: BinaryIO,
        /,
        *,
        compression: Literal["lzma", "lzw", "packbits", "zlib", "zstd"] | None = None,
        compression_level: int | None = None,
        predictor: bool = False,
        tile: tuple[int, int] | None = None,
        bigtiff: bool | None = None,
        photometric: Literal["minisblack", "miniswhite", "rgb"] | None = None,
        resolution: tuple[float, float] | None = None,
        resolution_unit: Literal["inch", "cm", "mm", "um"] | None = None,
        description: str | None = None,
        imagej: bool = False,
        ome: bool | None = None,
        axes: str | Sequence[str] | None = None,
        scale: Sequence[float | None] | Mapping[str, float | None] | None = None,
        units: str | Mapping[str, str] | None = None,
        channels: Sequence[str | Mapping[str, Option] | Channel] | None = None,
        contrast_limits: Sequence[float] | None = None,
        metadata: Mapping[str, Option] | None = None,
    ) -> None:
        """Write an array that loads with the same values, shape, dtype and byte order.

        An ``Image`` or a DataArray keeps all of its metadata in each kind of file. The options
        win over it. The last axis is stored as colour samples if it has length 3 or 4, unless
        ``axes`` gives it another name. Dask arrays and lazy handles are read part by part.

        Args:
            value: the array.
            file: an open binary file.
            compression: lossless codec. ``None`` stores the pixels as they are.
            compression_level: 0 to 9 for lzma and zlib, 0 to 22 for zstd.
            predictor: store differences between pixels, which pack better.
            tile: (height, width) of tiles, in multiples of 16. ``None`` writes strips.
            bigtiff: whether to write BigTIFF. ``None`` does for more than 4 GiB.
            photometric: how viewers show the pixels. ``None`` chooses by shape and dtype.
            resolution: (x, y) in pixels per ``resolution_unit``, for printers and old viewers.
            resolution_unit: unit of ``resolution``.
            description: text for the description tag of a plain file.
            imagej: write the metadata of ImageJ. Its axes are some of tzcyxs, in this order.
            ome: write OME-XML. ``None`` does if the suffix is ``.ome.tif``. The axes end with yx
                or yxs, and more than 3 axes need ``axes``.
            axes: name of each dimension, such as "zcyx".
            scale: pixel size along each axis, as for :func:`polystore_core.image_metadata`.
            units: unit of ``scale``, such as "um", or a unit for each axis.
            channels: name or description of each channel.
            contrast_limits: (low, high) for channels without a display range. Needs ``imagej``.
            metadata: more fields of ImageJ or OME ("spacing", "Labels", "PhysicalSizeZ"). In a
                plain file they are JSON in the description.

        Raises:
            UnsupportedDataError: TIFF cannot store the array. Nothing has been written.
            InvalidOptionError: An option is not valid. Nothing has been written.
        """
        # tifffile takes half a second to import, and loading a plain file does not need it.
        from . import options, writer

        array, like = array_and_words(value)
        if imagej and axes is None and like is not None:
            scale = by_axis(scale, like.names)
            # The axes of an image have names, so it can be put into ImageJ's order.
            array, like = array_and_words(value, "tzcyxs")
        if is_lazy(array):
            check_lazy(array)
        else:
            array = to_numpy(array)
        ome = self.writes_ome if ome is None else ome
        bigtiff = True if bigtiff is None and self.writes_bigtiff else bigtiff
        options.check_array(array, imagej, ome)
        container = options.container(array, imagej=imagej, ome=ome, bigtiff=bigtiff)
        words = {"scale": scale, "units": units, "channels": channels}
        words = {option: value for option, value in words.items() if value is not None}
        options.check_together(
            words, like, imagej, ome, resolution, description, contrast_limits=contrast_limits
        )
        metadata = metadata or {}
        names = options.axes_option(axes)
        if names is None and like is not None:
            names = like.names
        elif names is None and words:
            names = options.axes_option(metadata.get("axes"))
        packing = options.codec(
            array.dtype,
            compression=compression,
            level=compression_level,
            predictor=predictor,
            tile=tile,
        )
        density, fields = options.scale(resolution, resolution_unit, imagej=imagej, ome=ome)
        letters = options.letters(names, needed=imagej or ome)
        shown = options.look(array, axes=letters, photometric=photometric, imagej=imagej)
        # Without names, tifffile would call the planes of a stack channels.
        is_bare = names is None and "axes" not in metadata
        is_stack = is_bare and (ome or (imagej and array.ndim == 3))
        if words or like is not None or contrast_limits is not None or names or is_stack:
            image = _image(array, names, words, like, shown, imagej)
            letters = options.letters(image.names, needed=imagej or ome)
            calibration, described = _fields(image, array, contrast_limits, imagej, ome)
            density, fields = density | calibration, described | fields
        # A user's annotation is written next to ours. It must not replace it.
        if "MapAnnotation" in fields and "MapAnnotation" in metadata:
            own, theirs = fields.pop("MapAnnotation"), metadata["MapAnnotation"]
            given = theirs if isinstance(theirs, list | tuple) else [theirs]
            metadata = {**metadata, "MapAnnotation": [own, *given]}
        fields |= metadata
        if letters is not None:
            fields["axes"] = letters
        writer.write(
            file,
            array,
            container=container,
            page={
                **shown,
                **density,
                "description": description,
                "software": "polystore",
            },
            codec=packing,
            metadata=fields,
        )

    def load(
        self,
        file: BinaryIO,
        opener: Opener | None = None,
        /,
        *,
        region: Region | None = None,
        series: int | None = None,
        level: int = 0,
        multifile: bool = True,
        max_bytes: int | None = None,
    ) -> NDArray[Any]:
        """Load a series.

        A file may be made to fill the memory. An array of more than 1 GiB that is also over 100
        times larger than the file raises an error, unless ``max_bytes`` allows it.

        Args:
            file: an open binary file.
            opener: opens the other files of an OME-TIFF set. Without it, the file is loaded
                alone, as with ``multifile=False``.
            region: load only this part, for example ``np.s_[3, :100]``.
            series: number of the image, if the file has several. ``None`` is the first one, and
                in an OME-TIFF set the first one with planes in this file.
            level: level of a pyramid. 0 is the image itself, -1 the smallest copy.
            multifile: read an OME-TIFF set from all of its files. ``False`` loads the planes of
                this file alone.
            max_bytes: allow the array to have this many bytes.
        """
        pixels = find_pixels(file, opener if multifile else None, series, level)
        return read_part(pixels, file, region, max_bytes)

    def load_into(  # type: ignore[override]
        self,
        file: BinaryIO,
        memory: Memory,
        opener: Opener | None = None,
        /,
        *,
        region: Region | None = None,
        series: int | None = None,
        level: int = 0,
        multifile: bool = True,
        max_bytes: int | None = None,
    ) -> NDArray[Any]:
        pixels = find_pixels(file, opener if multifile else None, series, level)
        return read_part(pixels, file, region, max_bytes, memory)

    def load_image(
        self,
        file: BinaryIO,
        opener: Opener | None = None,
        /,
        *,
        region: Region | None = None,
        series: int | None = None,
        level: int = 0,
        multifile: bool = True,
        max_bytes: int | None = None,
    ) -> Image:
        """Load an array like :meth:`load`, with the metadata of the series and the level."""
        pixels, words = find_image(file, opener if multifile else None, series, level)
        if region is not None:
            words = words.select(region, pixels.shape)
        return Image(read_part(pixels, file, region, max_bytes), words)

    def info(self, file: BinaryIO, opener: Opener | None = None, /) -> Document:
        # Not at the top, because ``info`` imports tifffile.
        from . import info

        return info.describe(read_header(file, *read_start(file)), opener)

    def open(
        self,
        opener: Opener,
        /,
        *,
        series: int | None = None,
        level: int = 0,
        multifile: bool = True,
    ) -> TiffArray:
        return TiffArray(opener, series, level, multifile)


class OmeTiff(Tiff):
    """``.ome.tif``: TIFF with OME-XML, unless ``ome=False``."""

    writes_ome = True


class BigTiff(Tiff):
    """``.btf``: BigTIFF, whose offsets have 64 bits."""

    writes_bigtiff = True


class OmeBigTiff(OmeTiff, BigTiff):
    """``.ome.btf``: BigTIFF with OME-XML."""


class TiffOfMicroscope(Tiff):
    """``.lsm``, ``.stk``, ``.svs`` and ``.qptiff``: read like TIFF, never written."""

    def save(self, value: Value, file: BinaryIO, /) -> None:  # type: ignore[override]
        """Raise ``UnsupportedOperationError``, because polystore does not write these files."""
        reason = (
            ".lsm, .stk, .svs and .qptiff files need metadata of the microscope: save it as "
            ".tif or .ome.tif"
        )
        raise UnsupportedOperationError("", "save", reason)


def _image(
    array: Value,
    names: tuple[str, ...] | None,
    words: Mapping[str, Any],
    like: ImageMetadata | None,
    shown: Mapping[str, Any],
    imagej: bool,
) -> ImageMetadata:
    from .words import axis_names, image_words

    samples = {"contig": -1, "separate": -3}.get(shown.get("planarconfig", ""))
    if imagej and names is None and array.dtype == "u1" and array.ndim > 2:
        samples = -1 if array.shape[-1] in (3, 4) else None
    if like is None or names is None:
        names = axis_names(array.shape, names, words.get("channels"), samples)
    return image_words(array.shape, array.dtype, names, like=like, **words)


def _fields(
    image: ImageMetadata, array: Value, contrast_limits: Value, imagej: bool, ome: bool
) -> tuple[Document, Document]:
    """Return arguments of ``TiffWriter.write``, and the metadata argument."""
    if ome:
        from .ome import ome_fields

        return {}, ome_fields(image, array.shape)
    if not imagej:
        from .shaped import shaped_fields

        return shaped_fields(image)
    from .imagej import imagej_fields, with_limits

    if contrast_limits is not None:
        image = with_limits(image, array.shape, contrast_limits)
    return imagej_fields(image, array)
