"""``.tif``: images and stacks of images, with ImageJ's and OME's metadata on demand.

TIFF 6.0 and BigTIFF; what tifffile reads is read, equal to ``tifffile.imread`` but for the
byte order, which stays that of the file. Plain files, such as microscopes and tifffile write
them, are read without importing tifffile.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from polystore_core import Format, LazyArray, Opener, select, to_numpy
from polystore_core.errors import InvalidOptionError

from ..limits import allocating, check_packing, file_size
from .header import read_header, read_start
from .pixels import Flat
from .plain import read_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Channel, Document, Option, Region, Value

    from .pixels import Pixels

__all__ = ["Tiff", "TiffArray"]


class Tiff(Format):
    """Images of at least two dimensions: bool, integers, floats and complex numbers.

    Palettes are not applied and colours not converted: CMYK, Lab and YCbCr are refused. Of an
    OME-TIFF set, a file gives its own planes. Tiles that were never written are damage rather
    than zeros. Compressed images of more than 4 MiB
    are decoded in as many threads as tifffile would use; ``TIFFFILE_NUM_THREADS`` sets the number.
    """

    name = "tiff"
    decode_errors = (ValueError, RuntimeError)

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
        ome: bool = False,
        axes: str | None = None,
        scale: Sequence[float] | Mapping[str, float] | None = None,
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
        "ZCYX". ``metadata`` goes into ImageJ's or OME's fields ("spacing", "Labels",
        "PhysicalSizeZ"), else into the description as JSON.

        With ``imagej=True`` the words of :func:`polystore_core.image_metadata` are known too:
        ``scale`` is the extent of a pixel along each axis, ``units`` its unit, ``channels``
        are labels, or mappings with label, color and window; ``contrast_limits`` are for those
        without a window. ImageJ's axes are some of TZCYXS, in that order.

        Raises ``UnsupportedDataError`` or ``InvalidOptionError`` before the first byte.
        """
        # tifffile takes half a second to import, and loading a plain file does not need it.
        from . import options, writer
        from .imagej import imagej_fields

        array = to_numpy(value)
        options.check_array(array, imagej)
        look = {"scale": scale, "units": units, "channels": channels}
        look |= {"contrast_limits": contrast_limits}
        look = {option: value for option, value in look.items() if value is not None}
        for option, value in look.items():
            if not imagej:
                fault = f"{option}= needs imagej=True"
                raise InvalidOptionError(option, value, "None", fault)
        if resolution is not None and not look.keys().isdisjoint(("scale", "units")):
            fault = "give either resolution=, or scale= and units="
            raise InvalidOptionError("resolution", resolution, "None", fault)
        if imagej and axes is not None:
            axes = axes.upper()
        if description is not None and (imagej or ome):
            fault = "description= cannot be used with imagej=True or ome=True: they write one"
            raise InvalidOptionError("description", description, "None", fault)
        packing = options.codec(
            array.dtype,
            compression=compression,
            level=compression_level,
            predictor=predictor,
            tile=tile,
        )
        density, fields = options.scale(resolution, resolution_unit, imagej=imagej, ome=ome)
        shown = options.look(array, axes=axes, photometric=photometric, imagej=imagej)
        if look:
            calibration, described = imagej_fields(array, axes, **look)
            density, fields, axes = density | calibration, fields | described, described["axes"]
        fields |= metadata or {}
        if axes is not None:
            fields["axes"] = axes
        writer.write(
            file,
            array,
            container=options.container(array, imagej=imagej, ome=ome, bigtiff=bigtiff),
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
        max_bytes: int | None = None,
    ) -> NDArray[Any]:
        """Load a series, or the part of it that ``region`` selects.

        ``series`` chooses among images of different shapes in one file. What would be larger than
        1 GiB, and 100 times the file, is refused, as if made to fill the memory. With
        ``max_bytes`` you decide: the array may have so many bytes.
        """
        pixels = _pixels(file, series)
        wanted: Region = ... if region is None else region
        is_whole = pixels.chunks == pixels.shape  # all of it is decoded for any region
        shape = pixels.shape if is_whole else select(wanted, pixels.shape).shape
        nbytes = math.prod(shape) * pixels.dtype.itemsize
        check_packing([(nbytes, file_size(file))], "tiff", max_bytes)
        with allocating(nbytes, "tiff", "read a part of it, with region= or open()"):
            return pixels.read(wanted)

    def info(self, file: BinaryIO, /) -> Document:
        from . import info

        pixels = _pixels(file)
        metadata = info.describe(read_header(file, *read_start(file)))
        return {"shape": pixels.shape, "dtype": pixels.dtype.str, "metadata": metadata}

    def open(self, opener: Opener, /) -> TiffArray:
        return TiffArray(opener)


def _pixels(file: BinaryIO, series: int = 0) -> Pixels:
    found = read_plain(file)
    if isinstance(found, Flat) and series == 0:
        return found
    from . import layout  # slow to import, and most files do not need it

    header = read_header(file, *read_start(file)) if isinstance(found, Flat) else found
    return layout.series_pixels(header, series)


class _Opened(NamedTuple):
    process: int
    file: BinaryIO
    pixels: Pixels


class TiffArray(LazyArray):
    """An image that is read in parts: rows and pages, or whole strips and tiles if compressed.

    It keeps the version of the file that it was opened on, also after a later save.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._opened: _Opened | None = self._open()
        pixels = self._opened.pixels
        self.shape, self.dtype, self.chunks = pixels.shape, pixels.dtype, pixels.chunks

    def _open(self) -> _Opened:
        file = self._opener()
        try:
            return _Opened(os.getpid(), file, _pixels(file))
        except BaseException:
            file.close()
            raise

    def __getitem__(self, region: Region) -> NDArray[Any]:
        opened = self._opened
        if opened is None:
            raise ValueError("this handle is closed")
        if opened.process != os.getpid():
            # A forked child shares the position in the file, and locks that nobody gives back.
            opened = self._opened = self._open()
        return opened.pixels.read(region)

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.file.close()

    def __reduce__(self) -> tuple[Value, ...]:
        return TiffArray, (self._opener,)
