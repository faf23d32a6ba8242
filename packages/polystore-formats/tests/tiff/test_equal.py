"""We read TIFF files as tifffile does, and saved values come back equal."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core.errors import DamagedDataError, InvalidOptionError
from polystore_testing import FormatTests
from polystore_testing.examples import examples

from .files import (
    CODECS,
    FOLDERS,
    OME,
    PIXELS,
    REAL,
    SHAPES,
    SPECIAL,
    STACK,
    TIFF,
    assert_equals_imread,
    assert_same,
    decode_tiff,
    encode_tiff,
    foreign,
    image,
    tifffile,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

REFUSED: list[Any] = [
    np.uint8(3),
    np.zeros((), "u1"),
    image((7,)),
    np.zeros((0, 5), "u1"),
    np.zeros((3, 0), "u1"),
    image((5, 6)).astype("f16"),
    image((5, 6)).astype("c32"),
    image((5, 6)).astype("M8[s]"),
    image((5, 6)).astype("S3"),
    image((5, 6)).astype("U3"),
    image((5, 6)).astype(object),
    np.zeros((5, 6), [("x", "u1"), ("y", "f4")]),
    np.ma.masked_array(image((5, 6))),
    "text",
    [[1, 2], [3, 4]],
    None,
    {"a": image((5, 6))},
]


class TestTiffConformance(FormatTests):
    format_ = TIFF
    values: ClassVar[list[Any]] = [
        image((97, 131)),
        *(image(shape) for shape in SHAPES),
        *(image((15, 20), f"{order}{dtype}") for dtype in PIXELS for order in "<>"),
    ]
    refused: ClassVar[list[Any]] = REFUSED


class WithOptions(FormatTests):
    format_ = TIFF
    options: ClassVar[dict[str, Any]] = {}
    values: ClassVar[list[Any]] = TestTiffConformance.values
    refused: ClassVar[list[Any]] = REFUSED

    def encode(self, value: Any) -> bytes:
        return encode_tiff(value, **self.options)


class TestZlibConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"compression": "zlib"}


class TestTilesConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"tile": (32, 16), "compression": "lzw"}


class TestBigTiffConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"bigtiff": True, "description": "as the user says"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_images_load_as_in_tifffile(folder: str) -> None:
    paths = sorted((REAL / folder).glob("*.[tT][iI][fF]"))
    if not paths:
        pytest.skip(f"data: the real images of {folder} are not in {REAL}")
    for path in paths:
        assert_equals_imread(decode_tiff(path.read_bytes()), path.read_bytes())


@st.composite
def foreign_files(draw: st.DrawFn) -> tuple[NDArray[Any], bytes]:
    shape = draw(
        st.one_of(
            st.sampled_from(SHAPES),
            hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=40),
        )
    )
    order = draw(st.sampled_from("<>"))
    dtype = np.dtype(order + draw(st.sampled_from(PIXELS)))
    array = image(shape, dtype.str)
    compression = draw(st.sampled_from([None, None, *CODECS, "deflate"]))
    tile = draw(st.sampled_from([None, None, (16, 16), (32, 48)]))
    options: dict[str, Any] = {"compression": compression, "tile": tile, "byteorder": order}
    options["bigtiff"] = draw(st.booleans())
    if tile is None:
        options["rowsperstrip"] = draw(st.sampled_from([None, 1, 5, 16]))
    if compression is not None and (dtype.kind == "f" or dtype.name in ("uint8", "int16")):
        options["predictor"] = draw(st.booleans())
    if min(*shape[-1:], *shape[-3:-2], len(shape) - 1) > 1 and dtype.kind != "b":
        options["planarconfig"] = draw(st.sampled_from([None, "contig", "separate"]))
    options["metadata"] = draw(st.sampled_from([{}, {}, {"key": "value"}, None]))
    return array, foreign(array, **options)


@settings(max_examples=examples(300))
@given(foreign_files())
def test_foreign_files_load_as_in_tifffile(case: tuple[NDArray[Any], bytes]) -> None:
    assert_equals_imread(decode_tiff(case[1]), case[1])


@settings(max_examples=examples(200))
@given(
    # Before 2026.3, tifffile could not read a single pixel of more than two dimensions.
    hnp.array_shapes(min_dims=2, max_dims=5, max_side=9).filter(lambda shape: max(shape) > 1),
    st.sampled_from([order + dtype for dtype in PIXELS for order in "<>"]),
    st.sampled_from([None, *CODECS]),
    st.sampled_from([None, (16, 16), (32, 16)]),
    st.booleans(),
)
def test_any_array_comes_back(
    shape: tuple[int, ...], dtype: str, compression: Any, tile: Any, bigtiff: bool
) -> None:
    array = image(shape, dtype)
    data = encode_tiff(array, compression=compression, tile=tile, bigtiff=bigtiff)
    assert_same(decode_tiff(data), array)
    assert_equals_imread(decode_tiff(data), data)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f2", "f4", "f8", ">u2", ">f4"])
@pytest.mark.parametrize("compression", CODECS)
def test_predictor_comes_back_equal(dtype: str, compression: Any) -> None:
    array = image((300, 40), dtype)
    assert_same(decode_tiff(encode_tiff(array, compression=compression, predictor=True)), array)


@pytest.mark.parametrize(
    "array",
    [
        image((40, 60))[::2, ::-3],
        np.asfortranarray(image((40, 60))),
        image((40, 60, 3)).T,
        np.broadcast_to(image((1, 9)), (7, 9)),
        image((3, 12), "f8").view("u2")[:, 1::2],
    ],
)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_strided_arrays_come_back(array: NDArray[Any], options: dict[str, Any]) -> None:
    assert_same(decode_tiff(encode_tiff(array, **options)), array)


@pytest.mark.parametrize("name", SPECIAL)
def test_special_files_load_as_in_tifffile(name: str) -> None:
    data = SPECIAL[name]
    assert_equals_imread(decode_tiff(data), data)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        for number, series in enumerate(tif.series):
            np.testing.assert_array_equal(decode_tiff(data, series=number), series.asarray())


NAMED_OME = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="9" SizeZ="1"
 SizeC="3" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}
</Pixels></Image></OME>"""
PLANE = """<TiffData IFD="{0}" FirstC="{0}" PlaneCount="1">
<UUID FileName="{1}">urn:uuid:{2}</UUID></TiffData>"""


def make_ome(*files: str) -> bytes:
    """Return OME-XML that finds planes by file name, as some versions of Bio-Formats write it."""
    planes = [PLANE.format(number, name, name) for number, name in enumerate(files)]
    xml = NAMED_OME.format(planes="".join(planes))
    return foreign(image((3, 9, 8)), description=xml, metadata=None)


def test_renamed_ome_loads() -> None:
    assert_same(decode_tiff(make_ome("a.ome.tif", "a.ome.tif", "a.ome.tif")), image((3, 9, 8)))


@pytest.mark.parametrize("planes", [1, 2])
def test_ome_file_loads_its_own_planes(planes: int) -> None:
    """The XML has three planes. The others are in other files, or were never written."""
    for names in (("a.ome.tif", "b.ome.tif", "c.ome.tif"), ("a.ome.tif",) * 3):
        xml = NAMED_OME.format(
            planes="".join(PLANE.format(n, f, f) for n, f in enumerate(names))
        )
        stack = image((planes, 9, 8))
        data = foreign(stack, description=xml, metadata=None)
        assert_same(decode_tiff(data), stack[0] if planes == 1 else stack)
        info = TIFF.info(io.BytesIO(data))["metadata"]
        assert (info["pages"], info["missing_planes"]) == (planes, 3 - planes)
        with pytest.raises(InvalidOptionError, match="in other files"):
            decode_tiff(data, series=1)


def test_incomplete_ome_loads_its_planes() -> None:
    data = OME.replace(b'SizeT="5"', b'SizeT="6"')
    assert_same(decode_tiff(data), STACK.reshape(-1, *STACK.shape[-2:]))
    assert TIFF.info(io.BytesIO(data))["metadata"]["missing_planes"] == 3


def test_unknown_series_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="0 to 2"):
        decode_tiff(SPECIAL["three_series"], series=3)


def test_equal_headers_with_other_pixels() -> None:
    for seed in range(3):
        array = image((64, 64), seed=seed)
        assert_same(decode_tiff(encode_tiff(array)), array)


def test_equal_starts_with_other_sizes() -> None:
    small, large = encode_tiff(image((64, 64))), encode_tiff(image((64, 65)))
    assert_same(decode_tiff(small), image((64, 64)))
    assert_same(decode_tiff(large), image((64, 65)))
    with pytest.raises(DamagedDataError):
        decode_tiff(small[:-1])


CHILD = """
import sys
from polystore_core import formats
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        formats().of("x.tif").load(file)
assert "tifffile" not in sys.modules
"""


def test_plain_files_need_no_tifffile(tmp_path: Path) -> None:
    plain = [
        encode_tiff(image((50, 60))),
        foreign(image((50, 60), ">f4"), byteorder=">"),
        foreign(image((5, 50, 60))),
        foreign(image((1, 1, 50, 60))),
        SPECIAL["palette"],
        foreign(image((50, 60, 3), "u1"), photometric="rgb"),
        foreign(image((50, 60)), rowsperstrip=7),
        foreign(image((50, 60)), bigtiff=True),
        foreign(image((50, 60)), imagej=True),
    ]
    paths = [tmp_path / f"{number}.tif" for number in range(len(plain))]
    for path, data in zip(paths, plain, strict=True):
        path.write_bytes(data)
    real = [next(iter((REAL / folder).glob("*.[tT][iI][fF]")), None) for folder in FOLDERS]
    arguments = [*paths, *filter(None, real)]
    subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], check=True, timeout=60)
