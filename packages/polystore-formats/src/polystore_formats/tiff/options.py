"""Check the options of ``Tiff.save``, and translate them to arguments of tifffile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core.errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from polystore_core import Document, ImageMetadata, Pixels, Value

__all__ = [
    "axes_option",
    "check_array",
    "codec",
    "container",
    "letters",
    "look",
    "scale",
    "support_error",
]

_DTYPES = {"b": (1,), "u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
_IMAGEJ_DTYPES = ("uint8", "uint16", "int16", "float32")
_IMAGEJ_AXES = "TZCYXS"
_CLASSIC_LIMIT = (1 << 32) - (1 << 25)  # offsets have 32 bits, less room for metadata
_DIRECTORY_BYTES = 512  # of a page, with the values of its tags

COMPRESSIONS = {"lzma": 9, "lzw": None, "packbits": None, "zlib": 9, "zstd": 22}
"""The lossless codecs, and their highest level."""
PHOTOMETRICS = ("minisblack", "miniswhite", "rgb")
RESOLUTION_UNITS = ("inch", "cm", "mm", "um")
_UNITS_PER_CM = {"cm": 1.0, "mm": 10.0, "um": 10_000.0}
_OME_UNITS = {"inch": "in", "cm": "cm", "mm": "mm", "um": "µm"}


def support_error(reason: str) -> UnsupportedDataError:
    """Return the error for a value that TIFF cannot store."""
    return UnsupportedDataError(reason, "tiff")


def check_array(array: Pixels, imagej: bool, ome: bool) -> None:
    """Raise ``UnsupportedDataError`` for an array that this kind of TIFF file cannot store."""
    dtype = array.dtype
    if dtype.itemsize not in _DTYPES.get(dtype.kind, ()):
        raise support_error(
            f"TIFF does not store dtype {dtype}: convert it, or save it as .npy"
        )
    if array.ndim < 2:
        raise support_error(
            f"expected at least 2 dimensions, got shape {array.shape}: save value[None], or save "
            "it as .npy"
        )
    if array.size == 0:
        raise support_error(
            f"expected at least one pixel, got shape {array.shape}: save it as .npy"
        )
    # OME's schema has no name for these pixel types.
    if ome and ((dtype.itemsize == 8 and dtype.kind in "iu") or dtype == np.float16):
        raise support_error(
            f"OME-TIFF does not store dtype {dtype}: convert it, or give ome=False to save it as "
            "plain TIFF"
        )
    if imagej and dtype.name not in _IMAGEJ_DTYPES:
        small = dtype.kind in "bui" and dtype.itemsize == 1
        raise support_error(
            f"ImageJ stores {', '.join(_IMAGEJ_DTYPES)}, not {dtype}: convert it, for example with "
            f"value{'.real' if dtype.kind == 'c' else ''}"
            f".astype('{'uint8' if dtype.kind == 'b' else 'int16' if small else 'float32'}')"
        )


def container(array: Pixels, *, imagej: bool, ome: bool, bigtiff: bool | None) -> Document:
    """Return the arguments of ``TiffWriter``.

    Raises:
        InvalidOptionError: ImageJ's files are neither OME-TIFF nor BigTIFF.
        UnsupportedDataError: The array needs BigTIFF, but the options exclude it.
    """
    if imagej and (ome or bigtiff):
        other = "OME-TIFF: give ome=False" if ome else "BigTIFF: give bigtiff=False"
        fault = f"imagej=True needs a plain .tif, but this is {other}, or leave imagej= out"
        raise InvalidOptionError("imagej", imagej, "False", fault)
    directories = _DIRECTORY_BYTES * array.size // max(1, array.shape[-1] * array.shape[-2])
    is_big = array.nbytes + directories > _CLASSIC_LIMIT
    if is_big and (imagej or bigtiff is False):
        raise support_error(
            f"it has {array.nbytes} bytes, but files with imagej=True or bigtiff=False hold at "
            "most 4 GiB"
        )
    order = array.dtype.byteorder  # tifffile would convert to the order of the machine
    return {
        "bigtiff": is_big if bigtiff is None else bigtiff,
        "byteorder": order if order in "<>" else None,
        "imagej": imagej,
        "ome": ome,
    }


def check_together(
    words: Document,
    like: ImageMetadata | None,
    imagej: bool,
    ome: bool,
    resolution: Value,
    description: str | None,
    *,
    contrast_limits: Value,
) -> None:
    """Raise ``InvalidOptionError`` for options that exclude each other."""
    if contrast_limits is not None and not imagej:
        fault = "contrast_limits= needs imagej=True"
        raise InvalidOptionError("contrast_limits", contrast_limits, "None", fault)
    has_size = not words.keys().isdisjoint(("scale", "units"))
    if resolution is not None and (has_size or (like is not None and any(like.scale))):
        fault = "give either resolution=, or scale= and units=, or an image with a scale"
        raise InvalidOptionError("resolution", resolution, "None", fault)
    if description is not None and (imagej or ome):
        fault = "description= cannot be used with ImageJ or OME metadata: give ome=False"
        raise InvalidOptionError("description", description, "None", fault)


def axes_option(axes: Value) -> tuple[str, ...] | None:
    """Return the names of the axes in small letters. Accepts "ZYX" and lists."""
    if axes is None:
        return None
    if isinstance(axes, Sequence) and all(isinstance(a, str) and len(a) == 1 for a in axes):
        return tuple("".join(axes).lower())
    raise InvalidOptionError("axes", axes, "one letter for each dimension, such as 'zyx'")


def letters(names: Sequence[str] | None, *, needed: bool) -> str | None:
    """Return the names of the axes as capital letters, or ``None`` if a name is longer.

    Raises:
        InvalidOptionError: A name is longer, and letters are ``needed``.
    """
    if names is None:
        return None
    if all(len(name) == 1 for name in names):
        return "".join(names).upper()
    if needed:
        expected = (
            "one letter for each axis, which ImageJ and OME need: name the axes with axes="
        )
        raise InvalidOptionError("axes", list(names), expected)
    return None


def look(array: Pixels, *, axes: str | None, photometric: str | None, imagej: bool) -> Document:
    """Return the arguments of ``write`` for the samples of a page and their colours."""
    if axes is not None:
        if not (axes.isupper() and len(set(axes)) == len(axes) == array.ndim):
            expected = f"{array.ndim} different letters for shape {tuple(array.shape)}"
            raise InvalidOptionError("axes", axes.lower(), expected)
        ordered = "".join(filter(axes.__contains__, _IMAGEJ_AXES))
        if imagej and axes != ordered:
            expected = f"letters of {_IMAGEJ_AXES.lower()}, in that order"
            if len(ordered) == len(axes):
                expected += f": save image.transpose({ordered.lower()!r}), or use np.transpose"
            raise InvalidOptionError("axes", axes.lower(), expected)
    if photometric not in (None, *PHOTOMETRICS):
        raise InvalidOptionError(
            "photometric", photometric, f"one of {', '.join(PHOTOMETRICS)}"
        )
    if imagej:
        return {"photometric": photometric}  # tifffile knows ImageJ's rules for RGB
    last = array.shape[-1]
    if photometric == "rgb":
        if array.ndim < 3 or not {3, 4} & {last, array.shape[-3]} or array.dtype == bool:
            expected = "an array with 3 or 4 samples, last or before y and x, and not of bool"
            raise InvalidOptionError("photometric", "rgb", expected)
        return {
            "photometric": "rgb",
            "planarconfig": "contig" if last in (3, 4) else "separate",
        }
    samples_last = array.ndim > 2 and (
        last in (3, 4) if axes is None else axes[-1] in "SC" and last in (2, 3, 4)
    )
    if photometric is not None or not samples_last or array.dtype == bool:
        return {"photometric": photometric or "minisblack"}
    # One page with all samples, not one page for each row. Viewers show 8 and 16 bits in colour.
    # The stored bytes are the same.
    is_color = last > 2 and array.dtype.name in ("uint8", "uint16")
    shown = "rgb" if is_color else "minisblack"
    return {"photometric": shown, "planarconfig": "contig"}


def scale(
    resolution: tuple[float, float] | None, unit: str | None, *, imagej: bool, ome: bool
) -> tuple[Document, Document]:
    """Return the pixel density as arguments of ``write``, and as fields of the metadata."""
    if unit not in (None, *RESOLUTION_UNITS) or (unit is not None and resolution is None):
        expected = f"one of {', '.join(RESOLUTION_UNITS)}, together with resolution="
        raise InvalidOptionError("resolution_unit", unit, expected)
    if resolution is None:
        return {}, {}
    if len(resolution) != 2 or not all(0 < value < 4e9 for value in resolution):
        raise InvalidOptionError("resolution", resolution, "two positive numbers, for x and y")
    x, y = map(float, resolution)
    if imagej:
        return {"resolution": (x, y)}, {} if unit is None else {"unit": unit}
    metadata: dict[str, Any] = {}
    if ome and unit is not None:
        metadata = {"PhysicalSizeX": 1 / x, "PhysicalSizeY": 1 / y}
        metadata |= dict.fromkeys(("PhysicalSizeXUnit", "PhysicalSizeYUnit"), _OME_UNITS[unit])
    if unit in _UNITS_PER_CM:  # the tag ResolutionUnit only has inches and centimetres
        x, y, unit = x * _UNITS_PER_CM[unit], y * _UNITS_PER_CM[unit], "centimeter"
    return {"resolution": (x, y), "resolutionunit": unit or "none"}, metadata


def codec(
    dtype: np.dtype[Value],
    *,
    compression: str | None,
    level: int | None,
    predictor: bool,
    tile: tuple[int, int] | None,
) -> Document:
    """Return the arguments of ``write`` for tiles and compression."""
    arguments: dict[str, Any] = {}
    if tile is not None:
        if len(tile) != 2 or any(side < 16 or side % 16 for side in tile):
            raise InvalidOptionError("tile", tile, "(height, width), both multiples of 16")
        arguments["tile"] = tile
    if compression is not None:
        if compression not in COMPRESSIONS:
            known = ", ".join(COMPRESSIONS)
            raise InvalidOptionError("compression", compression, f"None or one of {known}")
        arguments["compression"] = compression
    if level is not None:
        highest = None if compression is None else COMPRESSIONS[compression]
        if highest is None or not 0 <= level <= highest:
            expected = (
                f"an integer from 0 to {highest} for {compression}"
                if highest
                else "compression='lzma', 'zlib' or 'zstd', which have levels"
            )
            raise InvalidOptionError("compression_level", level, expected)
        arguments["compressionargs"] = {"level": level}
    if predictor:
        if compression is None or not (
            dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize <= 4)
        ):
            expected = "compression=, and floats or integers of at most 32 bits"
            raise InvalidOptionError("predictor", predictor, expected)
        arguments["predictor"] = True
    return arguments
