from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import logging
import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core import formats
from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing import FormatTests
from polystore_testing.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

require = (
    importlib.import_module
    if os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    else pytest.importorskip
)
require("imagecodecs")
tifffile = require("tifffile")
TIFF: Any = formats().of("x.tif")

REAL = Path(__file__).parents[4] / "shared" / "data"
FOLDERS = ("plate-cellomics", "fly-3channel", "timelapse", "worms-imagexpress")
PIXELS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?"]
CODECS = ["lzma", "lzw", "packbits", "zlib", "zstd"]
SHAPES = [(1, 1), (5, 1), (37, 41), (1, 1, 5, 6), (4, 5, 3), (2, 17, 18, 3), (7, 8, 1),
          (2, 3, 9, 11), (3, 7, 8), (2, 1, 3, 1, 5, 6, 7)]  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet_tifffile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tifffile")


def image(shape: tuple[int, ...], dtype: str = "<u2", seed: int = 0) -> NDArray[Any]:
    """Smooth enough to be compressed, and no two planes are alike."""
    values = np.arange(np.prod(shape)).reshape(shape) // 3 % 251
    noise = np.random.default_rng(seed).integers(0, 3, shape)
    return ((values + noise) % 2 if dtype == "?" else values + noise).astype(dtype)


def encoded(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    TIFF.save(array, file, **options)
    return file.getvalue()


def foreign(array: NDArray[Any] | None, **options: Any) -> bytes:
    """As tifffile writes it when asked in its own words."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def decoded(data: bytes, **options: Any) -> NDArray[Any]:
    array: NDArray[Any] = TIFF.load(io.BytesIO(data), **options)
    return array


def assert_same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Bit for bit, byte order included."""
    assert (found.shape, found.dtype.str) == (expected.shape, expected.dtype.str)
    assert found.tobytes() == expected.tobytes()


def assert_equals_imread(found: NDArray[Any], data: bytes) -> None:
    """tifffile gives arrays in the machine's byte order, polystore in that of the file."""
    expected = tifffile.imread(io.BytesIO(data))
    order = {b"I": "<", b"M": ">"}[data[:1]]
    assert_same(found, expected.astype(expected.dtype.newbyteorder(order)))


# ── the table that every format keeps ────────────────────────────────────────────────────

REFUSED: list[Any] = [
    np.uint8(3), np.zeros((), "u1"), image((7,)), np.zeros((0, 5), "u1"), np.zeros((3, 0), "u1"),
    image((5, 6)).astype("f16"), image((5, 6)).astype("c32"), image((5, 6)).astype("M8[s]"),
    image((5, 6)).astype("S3"), image((5, 6)).astype("U3"), image((5, 6)).astype(object),
    np.zeros((5, 6), [("x", "u1"), ("y", "f4")]), np.ma.masked_array(image((5, 6))),
    "text", [[1, 2], [3, 4]], None, {"a": image((5, 6))},
]  # fmt: skip


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

    def encoded(self, value: Any) -> bytes:
        return encoded(value, **self.options)


class TestZlibConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"compression": "zlib"}


class TestTilesConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"tile": (32, 16), "compression": "lzw"}


class TestBigTiffConformance(WithOptions):
    options: ClassVar[dict[str, Any]] = {"bigtiff": True, "description": "as the user says"}


# ── equal to what tifffile reads ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_images_equal(folder: str) -> None:
    paths = sorted((REAL / folder).glob("*.[tT][iI][fF]"))
    if not paths:
        pytest.skip(f"data: the real images of {folder} are not in {REAL}")
    for path in paths:
        assert_equals_imread(decoded(path.read_bytes()), path.read_bytes())


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
def test_foreign_files_equal(case: tuple[NDArray[Any], bytes]) -> None:
    assert_equals_imread(decoded(case[1]), case[1])


@settings(max_examples=examples(200))
@given(
    # Before 2026.3, tifffile could not read a single pixel of more than two dimensions.
    hnp.array_shapes(min_dims=2, max_dims=5, max_side=9).filter(lambda shape: max(shape) > 1),
    st.sampled_from([order + dtype for dtype in PIXELS for order in "<>"]),
    st.sampled_from([None, *CODECS]),
    st.sampled_from([None, (16, 16), (32, 16)]),
    st.booleans(),
)
def test_any_array_returns(
    shape: tuple[int, ...], dtype: str, compression: Any, tile: Any, bigtiff: bool
) -> None:
    array = image(shape, dtype)
    data = encoded(array, compression=compression, tile=tile, bigtiff=bigtiff)
    assert_same(decoded(data), array)
    assert_equals_imread(decoded(data), data)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f2", "f4", "f8", ">u2", ">f4"])
@pytest.mark.parametrize("compression", CODECS)
def test_predictor_returns_equal(dtype: str, compression: Any) -> None:
    array = image((300, 40), dtype)
    assert_same(decoded(encoded(array, compression=compression, predictor=True)), array)


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
def test_strided_arrays_return(array: NDArray[Any], options: dict[str, Any]) -> None:
    assert_same(decoded(encoded(array, **options)), array)


def special(write: Callable[[Any], object], **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        write(writer)
    return file.getvalue()


def pages_apart(writer: Any) -> None:
    for seed in range(10):
        writer.write(
            image((30, 40), seed=seed), contiguous=False, metadata=None, rowsperstrip=7
        )


def three_series(writer: Any) -> None:
    writer.write(image((3, 30, 40)), photometric="minisblack")
    writer.write(image((20, 10), "u1"))
    writer.write(image((2, 33, 44), "f4"), photometric="minisblack", compression="zlib")


def pyramid(writer: Any) -> None:
    levels = image((3, 128, 96))
    writer.write(levels, subifds=1, tile=(32, 32), photometric="minisblack")
    writer.write(levels[:, ::2, ::2], subfiletype=1, tile=(32, 32), photometric="minisblack")


def two_images(writer: Any) -> None:
    writer.write(image((3, 30, 40)), photometric="minisblack", metadata={"axes": "CYX"})
    writer.write(image((33, 44)), photometric="minisblack", metadata={"axes": "YX"})


def palette(writer: Any) -> None:
    writer.write(image((30, 40), "u1"), colormap=np.arange(768, dtype="u2").reshape(3, 256))


SPECIAL = {
    "pages": special(pages_apart),
    "pages_be": special(pages_apart, byteorder=">"),
    "three_series": special(three_series),
    "pyramid": special(pyramid),
    "pyramid_ome": special(pyramid, ome=True, bigtiff=True),
    "two_images": special(two_images, ome=True),
    "palette": special(palette),
    "truncated": foreign(image((5, 30, 40)), truncate=True),
    "no_metadata": foreign(image((5, 30, 40)), metadata=None),
    "imagej": foreign(image((2, 3, 4, 9, 8)), imagej=True, metadata={"axes": "TZCYX"}),
    "imagej_be": foreign(image((5, 9, 8), ">u2"), imagej=True, byteorder=">"),
    "imagej_truncated": foreign(image((5, 9, 8)), imagej=True, truncate=True),
    "imagej_rgb": foreign(image((4, 9, 8, 3), "u1"), imagej=True, photometric="rgb"),
    "ome_rgb": foreign(image((4, 9, 8, 3), "u1"), ome=True, photometric="rgb",
                       metadata={"axes": "ZYXS"}),
    "volume": foreign(image((6, 40, 50)), volumetric=True, tile=(2, 16, 16)),
    "jpeg": foreign(image((60, 70, 3), "u1"), photometric="rgb", compression="jpeg"),
    "jpeg_tiles": foreign(image((60, 70), "u1"), compression="jpeg", tile=(32, 32)),
    "png": foreign(image((60, 70)), compression="png"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_special_files_equal(name: str) -> None:
    data = SPECIAL[name]
    assert_equals_imread(decoded(data), data)
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        for number, series in enumerate(tif.series):
            np.testing.assert_array_equal(decoded(data, series=number), series.asarray())


NAMED_OME = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="9" SizeZ="1"
 SizeC="3" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}
</Pixels></Image></OME>"""
PLANE = """<TiffData IFD="{0}" FirstC="{0}" PlaneCount="1">
<UUID FileName="{1}">urn:uuid:{2}</UUID></TiffData>"""


def named_ome(*files: str) -> bytes:
    """OME-XML that knows its planes by file names, as some versions of Bio-Formats write it."""
    planes = [PLANE.format(number, name, name) for number, name in enumerate(files)]
    xml = NAMED_OME.format(planes="".join(planes))
    return foreign(image((3, 9, 8)), description=xml, metadata=None)


def test_renamed_ome_loads() -> None:
    assert_same(decoded(named_ome("a.ome.tif", "a.ome.tif", "a.ome.tif")), image((3, 9, 8)))


@pytest.mark.parametrize("planes", [1, 2])
def test_ome_file_gives_its_own_planes(planes: int) -> None:
    """Its XML speaks of three: the others are in other files, or were never written."""
    for names in (("a.ome.tif", "b.ome.tif", "c.ome.tif"), ("a.ome.tif",) * 3):
        xml = NAMED_OME.format(
            planes="".join(PLANE.format(n, f, f) for n, f in enumerate(names))
        )
        stack = image((planes, 9, 8))
        data = foreign(stack, description=xml, metadata=None)
        assert_same(decoded(data), stack[0] if planes == 1 else stack)
        info = TIFF.info(io.BytesIO(data))["metadata"]
        assert (info["pages"], info["missing_planes"]) == (planes, 3 - planes)
        with pytest.raises(InvalidOptionError, match="in other files"):
            decoded(data, series=1)


def test_interrupted_ome_gives_its_planes() -> None:
    data = OME.replace(b'SizeT="5"', b'SizeT="6"')
    assert_same(decoded(data), STACK.reshape(-1, *STACK.shape[-2:]))
    assert TIFF.info(io.BytesIO(data))["metadata"]["missing_planes"] == 3


def test_unknown_series_refused() -> None:
    with pytest.raises(InvalidOptionError, match="0 to 2"):
        decoded(SPECIAL["three_series"], series=3)


def test_same_header_other_pixels() -> None:
    for seed in range(3):
        array = image((64, 64), seed=seed)
        assert_same(decoded(encoded(array)), array)


def test_same_start_other_size() -> None:
    small, large = encoded(image((64, 64))), encoded(image((64, 65)))
    assert_same(decoded(small), image((64, 64)))
    assert_same(decoded(large), image((64, 65)))
    with pytest.raises(DamagedDataError):
        decoded(small[:-1])


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
        encoded(image((50, 60))), foreign(image((50, 60), ">f4"), byteorder=">"),
        foreign(image((5, 50, 60))), foreign(image((1, 1, 50, 60))), SPECIAL["palette"],
        foreign(image((50, 60, 3), "u1"), photometric="rgb"),
        foreign(image((50, 60)), rowsperstrip=7), foreign(image((50, 60)), bigtiff=True),
        foreign(image((50, 60)), imagej=True),
    ]  # fmt: skip
    paths = [tmp_path / f"{number}.tif" for number in range(len(plain))]
    for path, data in zip(paths, plain, strict=True):
        path.write_bytes(data)
    real = [next(iter((REAL / folder).glob("*.[tT][iI][fF]")), None) for folder in FOLDERS]
    arguments = [*paths, *filter(None, real)]
    subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], check=True, timeout=60)


# ── damage ───────────────────────────────────────────────────────────────────────────────

STACK = image((5, 3, 40, 50))
KINDS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "plain": (image((97, 131)), {}),
    "big_endian": (image((97, 131), ">u2"), {}),
    "bigtiff": (image((97, 131)), {"bigtiff": True}),
    "tiles": (image((97, 131)), {"tile": (32, 48)}),
    "tiles_zlib": (image((97, 131)), {"tile": (32, 48), "compression": "zlib"}),
    "strips": (image((600, 300), "f4"), {"compression": "zlib", "predictor": True}),
    "rgb": (image((60, 70, 3), "u1"), {}),
    "bool": (image((60, 70), "?"), {}),
    "stack": (STACK, {}),
    "stack_zlib": (STACK, {"compression": "zlib"}),
    "stack_big_endian": (STACK.astype(">u2"), {"compression": "lzw"}),
    "imagej": (STACK, {"imagej": True}),
    "ome": (STACK, {"ome": True, "axes": "TCYX"}),
    "ome_lzw": (STACK, {"ome": True, "axes": "TCYX", "compression": "lzw"}),
    **{codec: (image((97, 131)), {"compression": codec}) for codec in CODECS},
}
"""Every way to save, in files small enough to be cut and changed everywhere."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_damage(kind: str) -> None:
    array, options = KINDS[kind]
    data = encoded(array, **options)
    assert_same(decoded(data), array)
    lengths = {*np.linspace(0, len(data) - 1, 60, dtype=int), *range(len(data) - 40, len(data))}
    for length in lengths:
        with pytest.raises(DamagedDataError):
            decoded(data[:length])
        with pytest.raises(DamagedDataError):
            TIFF.info(io.BytesIO(data[:length]))


@pytest.mark.parametrize(
    "name",
    ["pages", "pages_be", "three_series", "pyramid", "palette", "volume", "jpeg", "imagej_rgb"],
)
def test_foreign_cuts_are_damage(name: str) -> None:
    data = SPECIAL[name]
    for length in np.linspace(0, len(data) - 64, 60, dtype=int):
        with pytest.raises(DamagedDataError):
            decoded(data[:length])


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_cuts_are_damage(folder: str) -> None:
    path = next(iter((REAL / folder).glob("*.[tT][iI][fF]")), None)
    if path is None:
        pytest.skip(f"data: the real images of {folder} are not in {REAL}")
    data = path.read_bytes()
    for length in np.linspace(0, len(data) - 1, 60, dtype=int):
        with pytest.raises(DamagedDataError):
            decoded(data[:length])


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_never_crash(kind: str) -> None:
    array, options = KINDS[kind]
    data = encoded(array, **options)
    random = np.random.default_rng(0)
    ends = [*range(300), *range(len(data) - 300, len(data))]  # where the directories are
    for number in range(200):
        changed = bytearray(data)
        position = random.choice(ends) if number % 2 else random.integers(len(data))
        changed[position] ^= int(random.integers(1, 256))
        for read in (TIFF.load, TIFF.info):
            try:
                read(io.BytesIO(bytes(changed)))
            except DataError as error:
                assert str(error)  # noqa: PT017 - a value is as good


def with_field(data: bytes, code: int, value: bytes) -> bytes:
    """Change the value of a tag in the first directory of a little-endian classic TIFF."""
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry) == (code,):
            return data[: entry + 8] + value.ljust(4, b"\0") + data[entry + 12 :]
    raise AssertionError(f"no tag {code}")


def with_next_page(data: bytes, target: int) -> bytes:
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    place = offset + 2 + 12 * count
    return data[:place] + struct.pack("<I", target) + data[place + 4 :]


PLAIN = encoded(image((97, 131)))
BARE = foreign(image((97, 131)), metadata=None)
ZLIB = encoded(image((97, 131)), compression="zlib")
OME = encoded(STACK, ome=True, axes="TCYX")
IMAGEJ = encoded(STACK, imagej=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a TIFF file"),
        (b"II*\0", "within its header"),
        (PLAIN.replace(b"II*\0", b"II*\1", 1), "not a TIFF file"),
        (with_next_page(PLAIN, 8), "loop"),
        (with_next_page(PLAIN, len(PLAIN)), "outside"),
        (with_field(BARE, 256, struct.pack("<I", 130)), "cannot be stored in 25414"),
        (with_field(BARE, 256, struct.pack("<I", 1 << 31)), "1 times"),
        (with_field(BARE, 257, struct.pack("<I", 98)), "1 times"),
        (with_field(BARE, 258, struct.pack("<H", 8)), "cannot be stored"),
        (with_field(PLAIN, 256, struct.pack("<I", 130)), "not match its description"),
        (with_field(PLAIN, 273, struct.pack("<I", 1000)), "cut short"),
        (with_field(PLAIN, 279, struct.pack("<I", 25000)), "cannot be stored"),
        (with_field(ZLIB, 278, struct.pack("<I", 0)), "ZeroDivision"),
        (with_field(ZLIB, 278, struct.pack("<I", 10)), "strips or tiles"),
        (with_field(ZLIB, 279, struct.pack("<I", 0)), "never written"),
        (PLAIN.replace(b"[97, 131]", b"[99, 131]"), "not match its description"),
        (PLAIN.replace(b'{"shape": [', b'{"shape": x'), r"JSON|invalid image description"),
        (OME.replace(b'SizeT="5"', b'SizeT="4"'), "contradicts"),
        (OME.replace(b'PlaneCount="15"', b'PlaneCount="99"'), "contradicts"),
        (OME.replace(b"</OME>", b"</OMX>"), "incomplete"),
        (OME.replace(b"<Pixels", b"<Pixexs"), "contradicts"),
        (IMAGEJ.replace(b"channels=3", b"channels=1"), "5 planes, but it has 15 pages"),
        (IMAGEJ.replace(b"slices=5", b"slices=9"), "not match its description"),
    ],
)
def test_contradictions_are_damage(data: bytes, reason: str) -> None:
    with pytest.raises(DamagedDataError, match=reason):
        decoded(data)


@pytest.mark.parametrize("code", [*sorted(set(map(int, tifffile.COMPRESSION))), 60000])
def test_every_codec_loads_or_is_refused(code: int) -> None:
    """Pixels that are not what the codec writes: a value, or an error of ours."""
    with contextlib.suppress(DamagedDataError, UnsupportedFileError):
        decoded(with_field(BARE, 259, struct.pack("<H", code)))


@pytest.mark.parametrize("code", [9, 10, 99, 32809, 34661, 34715, 34676, 48124, 65000, 60000])
def test_codecs_that_tifffile_lacks_are_not_damage(code: int) -> None:
    with pytest.raises(UnsupportedFileError, match=r"tifffile (does not|cannot) decode"):
        decoded(with_field(BARE, 259, struct.pack("<H", code)))


@pytest.mark.parametrize(
    "compression", ["tiff_ccitt", "group3", "group4", "tiff_lzw", "packbits"]
)
def test_bits_of_libtiff_load(compression: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    bits = np.random.default_rng(0).random((40, 50)) > 0.5
    file = io.BytesIO()
    pillow.fromarray(bits).save(file, "TIFF", compression=compression)
    assert_same(decoded(file.getvalue()), tifffile.imread(io.BytesIO(file.getvalue())))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_colours_that_look_like_rgb_are_refused(mode: str, compression: str | None) -> None:
    pillow = pytest.importorskip("PIL.Image")
    bands = [pillow.fromarray(image((9, 8), "u1"))] * len(pillow.new(mode, (1, 1)).getbands())
    file = io.BytesIO()
    pillow.merge(mode, bands).save(file, "TIFF", compression=compression)
    with pytest.raises(UnsupportedFileError, match="convert it to RGB"):
        decoded(file.getvalue())


def test_missing_tile_is_damage() -> None:
    def write(writer: Any) -> None:
        tiles = iter([np.ones((16, 16), "u1"), None, np.ones((16, 16), "u1")])
        writer.write(tiles, shape=(16, 48), dtype="u1", tile=(16, 16))

    with pytest.raises(DamagedDataError, match=r"cannot be stored|never written"):
        decoded(special(write))


def test_bomb_is_refused() -> None:
    """4 GiB are not allocated for a kilobyte of zlib."""
    bomb = foreign(image((97, 131)), metadata=None, compression="zlib")
    bomb = with_field(bomb, 256, struct.pack("<I", 1 << 20))
    bomb = with_field(bomb, 257, struct.pack("<I", 1 << 11))
    bomb = with_field(bomb, 278, struct.pack("<I", 1 << 11))
    with pytest.raises(DamagedDataError, match="cannot be stored"):
        decoded(bomb)


def test_overlapping_pages_end() -> None:
    """Each of thousands of directories claims the same thousands of entries."""
    entries = 4000
    pages = 2000
    body = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(pages * 4 + entries * 12 + 64))
    for page in range(pages):
        struct.pack_into("<H", body, 8 + page * 4, entries)
    with pytest.raises(DamagedDataError):
        decoded(bytes(body))


def test_pixel_change_in_zlib() -> None:
    changed = bytearray(ZLIB)
    changed[len(ZLIB) // 2] ^= 1
    with pytest.raises(DamagedDataError):
        decoded(bytes(changed))


# ── parts ────────────────────────────────────────────────────────────────────────────────


def regions(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=False)


PARTED = {
    **{name: encoded(array, **options) for name, (array, options) in KINDS.items()},
    **{name: data for name, data in SPECIAL.items() if "jpeg" not in name},
    "far_apart": foreign(image((3, 20, 3000)), rowsperstrip=2),
    "planar": foreign(image((3, 60, 70)), planarconfig="separate", tile=(16, 32)),
    "samples": foreign(image((60, 70, 5)), planarconfig="contig", compression="zlib"),
}


@pytest.mark.parametrize("name", PARTED)
def test_region_equals_index(name: str) -> None:
    data = PARTED[name]
    whole = decoded(data)
    handle = TIFF.open(lambda: io.BytesIO(data))

    @settings(max_examples=examples(60), database=None)
    @given(regions(whole.shape))
    def check(region: Any) -> None:
        expected = np.array(whole[region], whole.dtype)
        assert_same(decoded(data, region=region), expected)
        assert_same(handle[region], expected)

    check()
    handle.close()


@pytest.mark.parametrize("region", [100, (0, 0, 0), (..., ...), (..., 200), -98])
def test_wrong_region_is_index_error(region: Any) -> None:
    for data in (PLAIN, ZLIB):
        with pytest.raises(IndexError):
            decoded(data, region=region)


@pytest.mark.parametrize("region", [None, [1, 2], (None, 1), True, np.array([1]), "a"])
def test_advanced_region_refused(region: Any) -> None:
    if region is not None:
        with pytest.raises(InvalidOptionError, match="integers, slices"):
            decoded(PLAIN, region=region)
    else:
        assert_same(decoded(PLAIN, region=None), image((97, 131)))


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.count += count
        return count


@pytest.mark.parametrize(
    ("shape", "options", "region"),
    [
        ((4000, 1000), {}, slice(700, 710)),
        ((4000, 1000), {}, (slice(700, 710), slice(None, None, -2))),
        ((400, 100, 100), {}, (slice(3, 9), 5)),
        ((40, 1000, 1000), {}, (slice(None), 5, slice(9, 19))),
        ((4000, 1000), {"compression": "zlib"}, slice(700, 710)),
        ((4000, 1000), {"compression": "lzw", "predictor": True}, (710, slice(5))),
        ((4000, 1000), {"tile": (64, 64)}, (slice(700, 710), slice(100, 110))),
        ((4000, 1000), {"tile": (64, 64), "compression": "zlib"}, (700, slice(90, 500))),
        ((100, 300, 300), {}, 50),
        ((100, 300, 300), {"compression": "zlib"}, 50),
        ((100, 300, 300), {"imagej": True}, 50),
        ((100, 300, 300), {"ome": True}, -1),
        ((100, 300, 300), {"tile": (64, 64)}, (50, slice(10), slice(10))),
    ],
)
def test_region_reads_little(
    shape: tuple[int, ...], options: dict[str, Any], region: Any
) -> None:
    array = np.random.default_rng(0).integers(0, 4000, shape, "<u2")
    file = Counting(encoded(array, **options))
    assert_same(TIFF.load(file, region=region), array[region])
    assert file.count < 0.05 * len(file.getvalue())


def test_large_decode_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tifffile.TIFF, "MAXWORKERS", 4)
    array = image((2, 1700, 1600))
    data = encoded(array, compression="zlib")
    threads = threading.active_count()
    assert_same(decoded(data), array)
    assert threading.active_count() == threads
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(DamagedDataError):
        decoded(bytes(damaged))


@pytest.fixture(params=[{}, {"compression": "zlib"}, {"tile": (32, 32)}], ids=str)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, NDArray[Any]]:
    """A way to open a saved stack, and the stack."""
    array = image((6, 200, 300))
    path = tmp_path / "stack.tif"
    path.write_bytes(encoded(array, **request.param))
    return functools.partial(open, path, "rb"), array


def test_handle_knows_shape(stored: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored
    with TIFF.open(opener) as handle:
        assert (handle.shape, handle.dtype) == (array.shape, array.dtype)
        assert_same(np.asarray(handle), array)


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, None),
        ({"compression": "zlib"}, (1, 200, 300)),
        ({"tile": (32, 48)}, (1, 32, 48)),
    ],
)
def test_chunks_are_pieces(options: dict[str, Any], chunks: Any) -> None:
    data = encoded(image((6, 200, 300)), **options)
    with TIFF.open(lambda: io.BytesIO(data)) as handle:
        assert handle.chunks == chunks


def test_handle_serves_threads(stored: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored
    with TIFF.open(opener) as handle, ThreadPoolExecutor(8) as pool:
        rows = [(plane, slice(row, row + 3)) for plane in range(6) for row in range(0, 200, 3)]
        for region, found in zip(rows, pool.map(handle.__getitem__, rows), strict=True):
            assert_same(found, array[region])


def test_handle_pickles(stored: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored
    with TIFF.open(opener) as handle, pickle.loads(pickle.dumps(handle)) as copy:
        assert_same(copy[2], array[2])


def test_closed_handle_refuses(stored: tuple[Any, NDArray[Any]]) -> None:
    handle = TIFF.open(stored[0])
    handle.close()
    handle.close()
    with pytest.raises(ValueError, match="closed"):
        handle[0]


def test_handle_keeps_version(stored: tuple[Any, NDArray[Any]], tmp_path: Path) -> None:
    opener, array = stored
    with TIFF.open(opener) as handle:
        (tmp_path / "new").write_bytes(encoded(image((6, 200, 300), seed=9)))
        os.replace(tmp_path / "new", tmp_path / "stack.tif")
        assert_same(handle[3], array[3])


@pytest.mark.skipif(sys.platform == "win32", reason="system: Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_reads_apart(stored: tuple[Any, NDArray[Any]]) -> None:
    """Parent and child would move each other's position in a shared file."""
    opener, array = stored
    with TIFF.open(opener) as handle:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_read_many, args=(handle, array))
        child.start()
        _read_many(handle, array)
        child.join(60)
        assert child.exitcode == 0


def _read_many(handle: Any, array: NDArray[Any]) -> None:
    for _, plane, row in itertools.product(range(5), range(6), range(0, 200, 20)):
        assert_same(handle[plane, row], array[plane, row])


def test_damaged_file_closes(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    path.write_bytes(PLAIN[:-1])
    opened = []

    def opener() -> Any:
        opened.append(open(path, "rb"))  # noqa: SIM115 - the handle's to close
        return opened[-1]

    with pytest.raises(DamagedDataError):
        TIFF.open(opener)
    assert opened[0].closed


# ── what else the file says ──────────────────────────────────────────────────────────────


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
            {"imagej": True, "axes": "ZYX", "metadata": {"spacing": 0.5},
             "resolution": (2.0, 4.0), "resolution_unit": "um"},
            {"kind": "imagej", "axes": "ZYX", "resolution": (2.0, 4.0),
             "resolution_unit": "um", "spacing": 0.5},
        ),
        (
            {"ome": True, "axes": "CYX", "resolution": (2.0, 4.0), "resolution_unit": "um"},
            {"kind": "ome", "axes": "CYX", "resolution": (2.0, 4.0), "resolution_unit": "um"},
        ),
    ],
)  # fmt: skip
def test_info_tells_more(options: dict[str, Any], expected: dict[str, Any]) -> None:
    array = image((5, 40, 50))
    info = TIFF.info(io.BytesIO(encoded(array, **options)))
    assert (info["shape"], info["dtype"]) == (array.shape, "<u2")
    assert info["metadata"].items() >= expected.items()


def test_info_reads_no_pixels() -> None:
    file = Counting(encoded(image((1000, 1000)), compression="zlib"))
    TIFF.info(file)
    assert file.count < 20_000


def test_imagej_metadata_arrives() -> None:
    data = encoded(
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


def test_ome_metadata_arrives() -> None:
    data = encoded(
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


def test_plain_metadata_arrives() -> None:
    data = encoded(image((9, 8)), metadata={"well": "C03", "exposure": 25}, axes="YX")
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
    data = encoded(image(shape, dtype), **options)
    assert_same(decoded(data), image(shape, np.dtype(dtype).str))
    assert TIFF.info(io.BytesIO(data))["metadata"]["photometric"] == photometric


@pytest.mark.parametrize("dtype", PIXELS)
def test_imagej_dtypes(dtype: str) -> None:
    array = image((3, 9, 8), np.dtype(dtype).str)
    if dtype in ("u1", "u2", "i2", "f4"):
        assert_same(decoded(encoded(array, imagej=True)), array)
    else:
        with pytest.raises(UnsupportedDataError, match="ImageJ stores"):
            encoded(array, imagej=True)


# ── what is refused, before the first byte ───────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "jpeg"},
        {"compression": "ZLIB"},
        {"compression": ""},
        {"compression": "zlib", "compression_level": 10},
        {"compression": "zlib", "compression_level": -1},
        {"compression": "lzw", "compression_level": 1},
        {"compression_level": 1},
        {"predictor": True},
        {"tile": (16,)},
        {"tile": (16, 20)},
        {"tile": (0, 16)},
        {"photometric": "palette"},
        {"photometric": "rgb"},
        {"resolution": (1, 0)},
        {"resolution": (1, float("nan"))},
        {"resolution": (1, 1, 1)},
        {"resolution_unit": "um"},
        {"resolution": (1, 1), "resolution_unit": "mile"},
        {"axes": "YX"},
        {"axes": "CZYX"},
        {"axes": "zyx"},
        {"axes": "YYX"},
        {"imagej": True, "axes": "YXZ"},
        {"imagej": True, "axes": "QYX"},
        {"imagej": True, "ome": True},
        {"imagej": True, "bigtiff": True},
        {"imagej": True, "description": "text"},
        {"ome": True, "description": "text"},
    ],
    ids=str,
)
def test_impossible_options(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidOptionError):
        TIFF.save(image((5, 9, 8)), file, **options)
    assert file.getvalue() == b""


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 1, 9, 8), {"imagej": True}),
        ((3, 1, 9, 8), {"ome": True}),
        ((2, 2, 2, 2, 2, 9, 8), {"imagej": True}),
        ((5, 9, 8), {"ome": True, "axes": "QYX", "metadata": {"DimensionOrder": 1}}),
        ((9, 8), {"ome": True, "axes": "XY"}),
        ((9, 8), {"ome": True, "metadata": {"axes": "ZYX"}}),
        ((5, 9, 8), {"description": '{"shape": [9, 40]}'}),
        ((5, 9, 8), {"description": "µ"}),
        ((5, 9, 8), {"metadata": {"when": np.datetime64("2020")}}),
        ((5, 9, 8), {"imagej": True, "metadata": {"Labels": 3}}),
    ],
    ids=str,
)
@pytest.mark.parametrize("codec", [{}, {"compression": "zlib"}], ids=["plain", "zlib"])
def test_what_would_change_refused(
    shape: tuple[int, ...], options: dict[str, Any], codec: dict[str, Any]
) -> None:
    file = io.BytesIO()
    with pytest.raises(UnsupportedDataError):
        TIFF.save(image(shape), file, **options, **codec)
    assert file.getvalue() == b""


@pytest.mark.parametrize("text", ["ImageJ=1.53\nimages=3", "state.", "Aperio ", "<scn></scn>"])
def test_description_never_misleads(text: str) -> None:
    array = image((5, 9, 8))
    data = encoded(array, description=text)
    assert_same(decoded(data), array)
    assert_equals_imread(decoded(data), data)


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma"])
def test_level_reaches_codec(compression: Any, level: int) -> None:
    array = image((200, 300))
    data = encoded(array, compression=compression, compression_level=level)
    assert_same(decoded(data), array)


class Sink(io.BytesIO):
    """Keeps the first bytes and counts the rest."""

    count = 0

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size if size > 1 << 20 else super().write(data)


def test_4_gib_become_bigtiff(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(9 << 29)
    array = np.memmap(tmp_path / "sparse", "u1", "r", shape=(9, 1 << 14, 1 << 15))
    sink = Sink()
    TIFF.save(array, sink)
    assert sink.getvalue()[:4] == b"II+\0"
    assert sink.count > array.nbytes
    for options in ({"imagej": True}, {"bigtiff": False}):
        with pytest.raises(UnsupportedDataError, match="4 GiB"):
            TIFF.save(array, io.BytesIO(), **options)
    assert encoded(image((9, 8)))[:4] == b"II*\0"


def test_uncompressed_is_not_copied() -> None:
    """The memory of the array itself reaches the file."""
    array = image((2000, 1000))
    seen: list[int] = []

    class Watching(io.BytesIO):
        def write(self, data: Any, /) -> int:
            seen.append(np.frombuffer(data, "u1").__array_interface__["data"][0])
            return super().write(data)

    TIFF.save(array, Watching())
    assert array.__array_interface__["data"][0] in seen


class Raw(io.RawIOBase):
    """Takes at most 1000 bytes at once, as a raw file may; has no descriptor."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        part = bytes(memoryview(data)[:1000])
        self.data += part
        return len(part)


def test_short_writes_are_continued() -> None:
    raw = Raw()
    array = image((97, 131))
    TIFF.save(array, raw)
    assert_same(decoded(bytes(raw.data)), array)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"ome": 1}]
)
def test_buffered_raw_file(options: dict[str, Any], tmp_path: Path) -> None:
    """The file of an atomic save: it can be sought, and has no descriptor to write past."""
    from polystore_core.files.pending import PendingFile

    array = image((5, 97, 131))
    pending = PendingFile(tmp_path / "x.tif")
    TIFF.save(array, pending.file, **options)
    pending.seal()
    pending.commit()
    assert_same(decoded((tmp_path / "x.tif").read_bytes()), array)


@pytest.mark.parametrize("name", ["plain", "stack", "stack_zlib", "ome", "imagej"])
def test_tifffile_opens_cleanly(name: str, caplog: pytest.LogCaptureFixture) -> None:
    array, options = KINDS[name]
    caplog.set_level(logging.DEBUG, "tifffile")
    with tifffile.TiffFile(io.BytesIO(encoded(array, **options))) as tif:
        np.testing.assert_array_equal(tif.asarray(), array)
    assert not caplog.records


def test_zlib_streams_are_standard() -> None:
    """Other readers inflate the strips with any zlib."""
    with tifffile.TiffFile(io.BytesIO(ZLIB)) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    assert zlib.decompress(ZLIB[offset : offset + count]) == image((97, 131)).tobytes()
