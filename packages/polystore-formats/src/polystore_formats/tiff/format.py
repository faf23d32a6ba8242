"""``.tif``: images and stacks of images, with ImageJ's and OME's metadata on demand.

TIFF 6.0 and BigTIFF; what tifffile reads is read, equal to ``tifffile.imread`` but for the
byte order, which stays that of the file. Plain files, such as microscopes and tifffile write
them, are read without importing tifffile.
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

    Palettes are not applied and colours not converted: CMYK, Lab and YCbCr are refused. Of an
    OME-TIFF set, a file gives its own planes. Tiles that were never written are damage rather
    than zeros. Compressed images of more than 4 MiB
    are decoded in as many threads as tifffile would use; ``TIFFFILE_NUM_THREADS`` sets the number.
    """

    name = "tiff"
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

        All codecs are lossless. ``predictor`` stores differences, which pack better. ``tile``
        is (height, width) in multiples of 16. ``bigtiff=None`` decides by size. The last axis
        is stored as colour samples where it has 3 or 4 of them, unless ``axes`` says otherwise.
        ``resolution`` is in pixels per unit, x before y. ``axes`` names the dimensions, as in
        "zcyx". ``metadata`` goes into ImageJ's or OME's fields ("spacing", "Labels",
        "PhysicalSizeZ"), else into the description as JSON. ``ome=None`` writes OME-TIFF if the
        suffix is ``.ome.tif``, and more than 3 axes then need ``axes``.

        An ``Image`` or a DataArray keeps all of its words in each kind of file. The options
        ``scale``, ``units`` and ``channels`` are those of
        :func:`polystore_core.image_metadata`, and win over the words of the image. ImageJ's
        axes are some of tzcyxs, and an image is transposed to that order. OME's end with yx or
        yxs. Only ImageJ has ``contrast_limits``, for channels without limits.

        Dask arrays and lazy handles are read part by part, and never whole.

        Raises ``UnsupportedDataError`` or ``InvalidOptionError`` before the first byte.
        """
        # tifffile takes half a second to import, and loading a plain file does not need it.
        from . import options, writer

        array, like = array_and_words(value)
        if imagej and axes is None and like is not None:
            scale = by_axis(scale, like.names)
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
        # tifffile would call the planes of a stack channels.
        is_bare = names is None and "axes" not in metadata
        is_stack = is_bare and (ome or (imagej and array.ndim == 3))
        if words or like is not None or contrast_limits is not None or names or is_stack:
            image = _image(array, names, words, like, shown, imagej)
            letters = options.letters(image.names, needed=imagej or ome)
            calibration, described = _fields(image, array, contrast_limits, imagej, ome)
            density, fields = density | calibration, described | fields
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
        /,
        *,
        region: Region | None = None,
        series: int = 0,
        level: int = 0,
        max_bytes: int | None = None,
    ) -> NDArray[Any]:
        """Load a series, or the part of it that ``region`` selects.

        ``series`` chooses among images of different shapes in one file, ``level`` among those
        of a pyramid: 0 is the image itself, -1 the smallest. What would be larger than
        1 GiB, and 100 times the file, is refused, as if made to fill the memory. With
        ``max_bytes`` you decide: the array may have so many bytes.
        """
        return read_part(find_pixels(file, series, level), file, region, max_bytes)

    def load_into(  # type: ignore[override]
        self,
        file: BinaryIO,
        memory: Memory,
        /,
        *,
        region: Region | None = None,
        series: int = 0,
        level: int = 0,
        max_bytes: int | None = None,
    ) -> NDArray[Any]:
        return read_part(find_pixels(file, series, level), file, region, max_bytes, memory)

    def load_image(
        self,
        file: BinaryIO,
        opener: Opener | None = None,
        /,
        *,
        region: Region | None = None,
        series: int = 0,
        level: int = 0,
        max_bytes: int | None = None,
    ) -> Image:
        """Load as :meth:`load` does, with what the file says of the series and the level."""
        pixels, words = find_image(file, series, level)
        if region is not None:
            words = words.select(region, pixels.shape)
        return Image(read_part(pixels, file, region, max_bytes), words)

    def info(self, file: BinaryIO, /) -> Document:
        from . import info

        pixels = find_pixels(file)
        metadata, image = info.describe(read_header(file, *read_start(file)))
        return {
            "shape": pixels.shape,
            "dtype": pixels.dtype.str,
            "image": image,
            "metadata": metadata,
        }

    def open(self, opener: Opener, /, *, series: int = 0, level: int = 0) -> TiffArray:
        return TiffArray(opener, series, level)


class OmeTiff(Tiff):
    """``.ome.tif``"""

    writes_ome = True


class BigTiff(Tiff):
    """``.btf``"""

    writes_bigtiff = True


class OmeBigTiff(OmeTiff, BigTiff):
    """``.ome.btf``"""


class TiffOfMicroscope(Tiff):
    """``.lsm``, ``.stk``, ``.svs`` and ``.qptiff``: read as TIFF, and never written."""

    def save(self, value: Value, file: BinaryIO, /) -> None:  # type: ignore[override]
        """Raise ``UnsupportedOperationError``: only the microscope's program writes its kind."""
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
    """Return arguments of ``TiffWriter.write``, and its metadata."""
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
