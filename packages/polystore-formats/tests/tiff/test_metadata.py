"""Metadata of our TIFF files, and those of ImageJ and OME."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import UnsupportedDataError

from .files import (
    PIXELS,
    TIFF,
    Counting,
    assert_same,
    decode_tiff,
    encode_tiff,
    image,
    tifffile,
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"kind": "shaped", "pages": 5, "compression": None, "photometric": "minisblack"}),
        ({"compression": "zlib"}, {"compression": "zlib"}),
        ({"compression": "zstd"}, {"compression": "zstd"}),
        ({"photometric": "miniswhite"}, {"photometric": "miniswhite"}),
        ({"axes": "TYX"}, {"axes": "TYX"}),
        ({"description": "wells of day 3"}, {"description": "wells of day 3"}),
        ({"description": "x" * 5000}, {"description": "x" * 1000}),
        (
            {"resolution": (2.0, 4.0), "resolution_unit": "um"},
            {"resolution": (20000.0, 40000.0), "resolution_unit": "cm"},
        ),
        (
            {"resolution": (300, 300), "resolution_unit": "inch"},
            {"resolution": (300.0, 300.0), "resolution_unit": "inch"},
        ),
        ({"resolution": (2, 1)}, {"resolution": (2.0, 1.0), "resolution_unit": None}),
        (
            {
                "imagej": True,
                "axes": "ZYX",
                "metadata": {"spacing": 0.5},
                "resolution": (2.0, 4.0),
                "resolution_unit": "um",
            },
            {
                "kind": "imagej",
                "axes": "ZYX",
                "resolution": (2.0, 4.0),
                "resolution_unit": "um",
                "spacing": 0.5,
            },
        ),
        (
            {"ome": True, "axes": "CYX", "resolution": (2.0, 4.0), "resolution_unit": "um"},
            {"kind": "ome", "axes": "CYX", "resolution": (2.0, 4.0), "resolution_unit": "um"},
        ),
    ],
)
def test_info_has_metadata(options: dict[str, Any], expected: dict[str, Any]) -> None:
    array = image((5, 40, 50))
    info = TIFF.info(io.BytesIO(encode_tiff(array, **options)))
    assert (info["shape"], info["dtype"]) == (array.shape, "<u2")
    assert info["metadata"].items() >= expected.items()


def test_info_reads_no_pixels() -> None:
    file = Counting(encode_tiff(image((1000, 1000)), compression="zlib"))
    TIFF.info(file)
    assert file.count < 20_000


def test_tifffile_reads_imagej_metadata() -> None:
    data = encode_tiff(
        image((2, 3, 4, 9, 8)),
        imagej=True,
        axes="TZCYX",
        resolution=(4, 4),
        resolution_unit="um",
        metadata={"spacing": 1.5, "finterval": 30, "Labels": [f"plane {i}" for i in range(24)]},
    )
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        found = tif.imagej_metadata
        assert (tif.series[0].axes, tif.pages[0].resolution) == ("TZCYX", (4.0, 4.0))
    assert (found["frames"], found["slices"], found["channels"]) == (2, 3, 4)
    assert (found["unit"], found["spacing"], found["finterval"]) == ("um", 1.5, 30)
    assert found["Labels"][23] == "plane 23"


def test_tifffile_reads_ome_metadata() -> None:
    data = encode_tiff(
        image((3, 2, 9, 8)),
        ome=True,
        axes="ZCYX",
        resolution=(5, 5),
        resolution_unit="um",
        metadata={"PhysicalSizeZ": 2.5, "Channel": {"Name": ["DAPI", "GFP"]}},
    )
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        found = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
        assert tif.series[0].axes == "ZCYX"
    assert (found["PhysicalSizeX"], found["PhysicalSizeXUnit"]) == (0.2, "µm")
    assert (found["PhysicalSizeZ"], found["SizeZ"], found["SizeC"]) == (2.5, 3, 2)
    assert [channel["Name"] for channel in found["Channel"]] == ["DAPI", "GFP"]


def test_tifffile_reads_plain_metadata() -> None:
    data = encode_tiff(image((9, 8)), metadata={"well": "C03", "exposure": 25}, axes="YX")
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        assert tif.shaped_metadata[0].items() >= {"well": "C03", "exposure": 25}.items()


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "photometric"),
    [
        ((60, 70, 3), "u1", {}, "rgb"),
        ((5, 60, 70, 4), "u2", {}, "rgb"),
        ((60, 70, 3), "f4", {}, "minisblack"),
        ((60, 70, 3), "u1", {"axes": "ZYX"}, "minisblack"),
        ((60, 70, 3), "u1", {"photometric": "minisblack"}, "minisblack"),
        ((3, 60, 70), "u1", {}, "minisblack"),
        ((3, 60, 70), "u1", {"photometric": "rgb"}, "rgb"),
    ],
)
def test_colour_never_changes_shape(
    shape: tuple[int, ...], dtype: str, options: dict[str, Any], photometric: str
) -> None:
    data = encode_tiff(image(shape, dtype), **options)
    assert_same(decode_tiff(data), image(shape, np.dtype(dtype).str))
    assert TIFF.info(io.BytesIO(data))["metadata"]["photometric"] == photometric


@pytest.mark.parametrize("dtype", PIXELS)
def test_imagej_dtypes(dtype: str) -> None:
    array = image((3, 9, 8), np.dtype(dtype).str)
    if dtype in ("u1", "u2", "i2", "f4"):
        assert_same(decode_tiff(encode_tiff(array, imagej=True)), array)
    else:
        with pytest.raises(UnsupportedDataError, match="ImageJ stores"):
            encode_tiff(array, imagej=True)
