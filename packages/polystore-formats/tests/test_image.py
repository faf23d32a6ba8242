from __future__ import annotations

import gc
import importlib
import io
import os
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core import formats
from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedFileError
from polystore_testing import FormatTests

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

require = (
    importlib.import_module
    if os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    else pytest.importorskip
)
imagecodecs = require("imagecodecs")
PNG: Any = formats().of("x.png")
JPEG: Any = formats().of("x.jpg")

random = np.random.default_rng(0)


def noise(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    return random.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(*shape: int) -> NDArray[np.uint8]:
    """Make a picture without sharp edges, which JPEG keeps well."""
    rows, columns = np.indices(shape[:2])
    picture = 127 + 60 * np.sin(rows / 9) + 60 * np.cos(columns / 7)
    return (
        np.stack([picture] * 3, -1).astype(np.uint8)
        if len(shape) == 3
        else picture.astype("u1")
    )


class TestPngConformance(FormatTests):
    format_ = PNG
    values: ClassVar[list[Any]] = [
        *(
            noise((20, 30, *last), f"uint{n}")
            for n in (8, 16)
            for last in ((), (2,), (3,), (4,))
        ),
        noise((1, 1)),
        np.zeros((300, 200), np.uint8),
    ]
    refused: ClassVar[list[Any]] = [
        *(noise((5, 7)).astype(dtype) for dtype in ("?", "i1", "i2", ">u2", "u4", "f4", "c8")),
        *(noise(shape) for shape in ((5, 7, 1), (4, 5, 7), (2, 2, 5, 3), (7,), (), (0, 3))),
        np.zeros((1, 1_000_001), "u1"),
        "text",
        [[1, 2]],
        None,
    ]


class TestJpegConformance(FormatTests):
    format_ = JPEG
    lossy = True
    values: ClassVar[list[Any]] = [
        smooth(40, 60),
        smooth(40, 60, 3),
        noise((1, 1)),
        noise((17, 9, 3)),
    ]
    refused: ClassVar[list[Any]] = [
        noise((5, 7), "uint16"),
        noise((5, 7, 4)),
        noise((5, 7, 2)),
        noise((5, 7)) > 99,
        noise((5, 7, 1)),
        noise((4, 5, 7)),
        np.zeros((0, 3), "u1"),
        np.zeros((65_501, 1), "u1"),
    ]


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 40), st.integers(5, 40))
        | st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(2, 4)),
    ),
    st.integers(0, 9),
)
def test_pictures_come_back(picture: NDArray[Any], level: int) -> None:
    file = io.BytesIO()
    PNG.save(picture, file, compression_level=level)
    file.seek(0)
    found = PNG.load(file)
    assert found.dtype == picture.dtype
    np.testing.assert_array_equal(found, picture)


@pytest.mark.parametrize(
    "picture",
    [noise((9, 8)).T, noise((9, 8, 3))[::-1, ::2], np.asfortranarray(noise((9, 8), "uint16"))],
)
def test_layout_does_not_matter(
    picture: NDArray[Any], encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    np.testing.assert_array_equal(read(PNG, encode(PNG, picture)), picture)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (noise((5, 7)).astype(float), "expected uint8 or uint16, got float64"),
        (noise((5, 7), "uint16").astype(">u2"), "newbyteorder"),
        (noise((9, 5, 7)), "save stacks as .tif"),
        (np.zeros((1, 1_000_001), "u1"), "at most 1000000 pixels a side"),
    ],
)
def test_refusal_gives_advice(
    value: NDArray[Any], advice: str, refusal: Callable[..., str]
) -> None:
    assert advice in refusal(PNG, value)


def test_options_are_checked(encode: Callable[..., bytes]) -> None:
    with pytest.raises(InvalidOptionError, match=r"0 \(none\) to 9"):
        encode(PNG, noise((5, 7)), compression_level=10)
    for quality in (0, 101, "high"):
        with pytest.raises(InvalidOptionError, match="1 to 100"):
            encode(JPEG, noise((5, 7)), quality=quality)


# ── PNG of other programs ─────────────────────────────────────────────────────────────────


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    checksum = zlib.crc32(kind + payload).to_bytes(4, "big")
    return len(payload).to_bytes(4, "big") + kind + payload + checksum


def png(
    width: int,
    height: int,
    bits: int,
    colour: int,
    rows: bytes,
    *extra: bytes,
    interlace: int = 0,
) -> bytes:
    """Write a PNG from rows that have their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    chunks = (
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND"),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PALETTE = chunk(b"PLTE", bytes(range(9)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(8, 1, 1, 0, b"\0\xa5"), [[255, 0, 255, 0, 0, 255, 0, 255]]),
        (png(4, 1, 2, 0, b"\0\x1b"), [[0, 85, 170, 255]]),
        (png(2, 1, 4, 0, b"\0\x1b"), [[17, 187]]),
        (png(3, 1, 8, 3, b"\0\0\2\1", PALETTE), [[[0, 1, 2], [6, 7, 8], [3, 4, 5]]]),
        (
            png(2, 1, 8, 3, b"\0\1\2", PALETTE, chunk(b"tRNS", b"\0\x80")),
            [[[3, 4, 5, 128], [6, 7, 8, 255]]],
        ),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"tRNS", b"\0\2")), [[[1, 255], [2, 0]]]),
        (png(1, 1, 8, 2, b"\0\1\2\3", PALETTE), [[[1, 2, 3]]]),
        (png(1, 3, 8, 0, b"\0\1\2\1\1\1"), [[1], [2], [1]]),
        (png(3, 1, 8, 0, b"\1\1\1\1"), [[1, 2, 3]]),
        (png(2, 2, 8, 0, b"\0\2\4\3\1\1"), [[2, 4], [2, 4]]),
        (png(2, 2, 8, 0, b"\0\2\4\4\1\1"), [[2, 4], [3, 5]]),
        (
            png(2, 1, 8, 0, b"\0\1\2", chunk(b"tEXt", b"a\0b"), chunk(b"tEXt", b"c\0d")),
            [[1, 2]],
        ),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"gAMA", b"bad"), chunk(b"zTXt", b"bad")), [[1, 2]]),
        (png(2, 2, 8, 0, b"\0\1\0\2\0\3\4", interlace=1), [[1, 2], [3, 4]]),
    ],
)
def test_foreign_pictures_load(
    data: bytes, expected: Sequence[Any], read: Callable[..., Any], capfd: Any
) -> None:
    found = read(PNG, data)
    np.testing.assert_array_equal(found, np.array(expected, np.uint8))
    info = PNG.info(io.BytesIO(data))
    names = {2: "yxc"}.get(found.shape[-1], "yxs") if found.ndim == 3 else "yx"
    assert "".join(info.pop("image").names) == names
    assert info == {"shape": found.shape, "dtype": "|u1"}


def test_sixteen_bits_are_big_endian(read: Callable[..., Any]) -> None:
    found = read(PNG, png(2, 1, 16, 0, b"\0\0\1\2\3"))
    assert found.tolist() == [[1, 0x203]]
    assert found.dtype == np.dtype("=u2")


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 9), (5, 5), (8, 8), (33, 17)])
def test_interlaced_pictures_load(
    shape: tuple[int, int], read: Callable[..., Any], capfd: Any
) -> None:
    picture = noise(shape)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
    passes += [(0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(
        b"\0" + row.tobytes()
        for y, x, down, across in passes
        for row in picture[y::down, x::across]
        if row.size
    )
    data = png(shape[1], shape[0], 8, 0, rows, interlace=1)
    np.testing.assert_array_equal(read(PNG, data), picture)


def test_libpng_reads_our_files(encode: Callable[..., bytes]) -> None:
    picture = noise((20, 30, 4), "uint16")
    np.testing.assert_array_equal(imagecodecs.png_decode(encode(PNG, picture)), picture)


# ── damage ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a PNG file"),
        (png(2, 1, 8, 0, b"\0\1\2")[:-1], "it ends at byte"),
        (png(2, 1, 8, 0, b"\0\1\2").replace(b"IEND", b"IENE"), "checksum"),
        (png(0, 1, 8, 0, b"\0"), "0 by 1 pixels"),
        (png(1, 0, 8, 0, b"\0"), "1 by 0 pixels"),
        (png(46_000, 46_000, 8, 0, b"\0\1\2"), r"header has shape \(46000, 46000\)"),
        (png(2, 1, 7, 0, b"\0\1\2"), "its header is not valid"),
        (png(2, 1, 8, 5, b"\0\1\2"), "its header is not valid"),
        (png(2, 1, 16, 3, b"\0\1\2", PALETTE), "its header is not valid"),
        (png(2, 1, 8, 0, b"\0\1\2", interlace=2), "its header is not valid"),
        (png(2, 1, 8, 0, b"\0\1"), "not have the expected 3 bytes"),
        (png(2, 1, 8, 0, b"\0\1\2\3"), "not have the expected 3 bytes"),
        (png(2, 1, 8, 0, b"\5\1\2"), "filter"),
        (png(2, 1, 8, 3, b"\0\1\2"), "palette"),
        (png(2, 1, 8, 3, b"\0\1\2", chunk(b"PLTE", b"four")), "palette"),
        (png(2, 1, 1, 3, b"\0\1", PALETTE), "palette"),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"tRNS", b"\0")), "transparency"),
        (png(2, 1, 8, 3, b"\0\1\2", PALETTE, chunk(b"tRNS", b"four")), "transparency"),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"ABCD")), "is critical"),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"IHDR", bytes(13))), "twice"),
        (png(2, 1, 8, 0, b"\0\1\2", chunk(b"IDAT", b""), chunk(b"tEXt", b"")), "twice"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND"), "start with an IHDR"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"") + chunk(b"IEND"), "start with an IHDR"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR", "it ends at byte"),
        (png(2, 1, 8, 0, b"")[:33] + chunk(b"IDAT", b"no zlib") + chunk(b"IEND"), "header"),
    ],
)
def test_damaged_png_is_found(data: bytes, reason: str, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError, match=reason):
        read(PNG, data)


@pytest.mark.parametrize("picture", [noise((64, 64)), noise((30, 20, 3), "uint16")])
def test_png_damage_is_found(
    picture: NDArray[Any], encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    assert survivors(PNG, encode(PNG, picture)) == []


@pytest.mark.parametrize("rows", [b"\5\1\2", b"\0\1", b"\0\1\2\3"])
def test_libpng_is_not_called_for_wrong_rows(rows: bytes, read: Callable[..., Any]) -> None:
    """Each error inside imagecodecs loses a reference to None, until Python aborts."""
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(1000):
        with pytest.raises(DamagedDataError):
            read(PNG, png(2, 1, 8, 0, rows))
    gc.collect()
    assert sys.getrefcount(None) > before - 500


# ── JPEG ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(64, 48), (64, 48, 3)])
def test_jpeg_is_close(
    shape: tuple[int, ...], encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    picture = smooth(*shape)
    found = read(JPEG, encode(JPEG, picture))
    assert np.abs(found.astype(int) - picture).max() <= 4


def test_quality_costs_bytes(encode: Callable[..., bytes]) -> None:
    sizes = [len(encode(JPEG, noise((64, 64, 3)), quality=q)) for q in (1, 50, 95, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 4


def test_colour_is_not_subsampled(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, ::2] = 255, 0, 0
    picture[:, 1::2] = 0, 255, 0
    found = read(JPEG, encode(JPEG, picture, quality=100))
    assert np.abs(found.astype(int) - picture).max() <= 8


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("optimize", [False, True])
def test_foreign_jpegs_load(subsampling: str, optimize: bool, read: Callable[..., Any]) -> None:
    picture = smooth(33, 65, 3)
    data = imagecodecs.jpeg8_encode(
        picture, level=90, subsampling=subsampling, optimize=optimize
    )
    assert np.abs(read(JPEG, data).astype(int) - picture).max() <= 12
    info = JPEG.info(io.BytesIO(data))
    assert info.pop("image").names == ("y", "x", "s")
    assert info == {"shape": (33, 65, 3), "dtype": "|u1"}


@pytest.mark.parametrize("shape", [(4000, 4000), (2000, 2000, 3)])
def test_flat_pictures_load(
    shape: tuple[int, ...], encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    """Encoders make no smaller JPEG of that size, and it is not an attack."""
    picture = np.zeros(shape, np.uint8)
    for data in (
        encode(JPEG, picture, quality=1),
        imagecodecs.jpeg8_encode(picture, level=1, subsampling="420", optimize=True),
    ):
        assert read(JPEG, data).max() <= 1


def test_progressive_jpegs_load(read: Callable[..., Any]) -> None:
    """One bit for each block of 64 pixels is the smallest possible JPEG."""

    def segment(marker: int, *fields: int) -> bytes:
        return bytes((0xFF, marker, 0, len(fields) + 2, *fields))

    data = (
        b"\xff\xd8"
        + segment(0xDB, 0, *[1] * 64)
        + segment(0xC2, 8, 16, 0, 16, 0, 1, 1, 0x11, 0)
        + segment(0xC4, 0, 1, *[0] * 15, 0)
        + segment(0xDA, 1, 1, 0, 0, 0, 0)
        + bytes(512 * 512 // 8)
        + b"\xff\xd9"
    )
    picture = read(JPEG, data)
    assert picture.shape == (4096, 4096)
    assert (picture == 128).all()


def test_every_cut_is_found(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    data = encode(JPEG, noise((40, 40, 3)))
    for length in range(len(data)):
        with pytest.raises(DamagedDataError):
            read(JPEG, data[:length])


def test_jpeg_mutations_never_crash(
    encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    for picture in survivors(JPEG, encode(JPEG, noise((64, 64, 3)))):
        assert picture.dtype == np.uint8


def _with_size(data: bytes, height: int, width: int) -> bytes:
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


SMALL = imagecodecs.jpeg8_encode(noise((16, 16)), level=95)
SCAN = SMALL[SMALL.index(b"\xff\xda") : -2]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a JPEG file"),
        (b"\xff\xd8\xff\xd9", "0 frames and 0 scans"),
        (_with_size(SMALL, 65_000, 65_000), "header has shape"),
        (_with_size(SMALL, 0, 16), "16 by 0 pixels"),
        (SMALL.replace(SCAN, b""), "1 frames and 0 scans"),
        (SMALL[:-2] + SCAN * 100 + b"\xff\xd9", "101 scans"),
        (SMALL[:-2] + SMALL[2:], "2 frames"),
        (SMALL[: SMALL.index(b"\xff\xc0") + 6], "in its frame header"),
        (SMALL.replace(b"\xff\xdb", b"\xff\xfe"), "libjpeg cannot decode it: "),
    ],
)
def test_damaged_jpeg_is_found(data: bytes, reason: str, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError, match=reason):
        read(JPEG, data)


def test_thumbnails_are_skipped(read: Callable[..., Any]) -> None:
    """A JPEG within a segment has its own frames, scans and end."""
    segment = b"\xff\xe1" + (len(SMALL) + 2).to_bytes(2, "big") + SMALL
    data = SMALL[:2] + segment + SMALL[2:]
    np.testing.assert_array_equal(read(JPEG, data), read(JPEG, SMALL))


def _adobe(transform: int) -> bytes:
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


CMYK = imagecodecs.jpeg8_encode(noise((16, 16, 4)), colorspace="CMYK", outcolorspace="CMYK")
YCCK = CMYK[:2] + _adobe(2) + CMYK[2:]  # as Photoshop writes it, inverted
FRAME_OF_SMALL = b"\xff\xc0\0\x0b\x08"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (CMYK, "CMYK"),
        (YCCK, "CMYK"),
        (SMALL.replace(FRAME_OF_SMALL, b"\xff\xc1\0\x0b\x0c"), "1 values of 12 bits"),
        (SMALL.replace(FRAME_OF_SMALL, b"\xff\xc3\0\x0b\x08"), "lossless"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not a JPEG file, but a PNG image"),
        (b"RIFF\x10\0\0\0WEBP", "not a JPEG file, but a RIFF file, such as WebP"),
    ],
)
def test_unsupported_jpegs_are_not_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    for load in (lambda: read(JPEG, data), lambda: JPEG.info(io.BytesIO(data))):
        with pytest.raises(UnsupportedFileError, match=reason):
            load()


@pytest.mark.parametrize("size", [(65_535, 65_535), (2_000_000, 1)])
def test_huge_pngs_are_not_damage(size: tuple[int, int], read: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedFileError, match=f"{size[0]} by {size[1]} pixels"):
        read(PNG, png(*size, 8, 0, b"\0\1\2"))


def test_jpeg_named_png_is_not_damage(read: Callable[..., Any]) -> None:
    with pytest.raises(UnsupportedFileError, match="not a PNG file, but a JPEG image"):
        read(PNG, SMALL)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("transparency", [None, 0])
def test_pngs_of_pillow_show_their_colours(
    mode: str, transparency: int | None, read: Callable[..., Any]
) -> None:
    """Palettes, 1 bit and tRNS load as the colours that Pillow shows."""
    image = pytest.importorskip("PIL.Image")
    picture = image.fromarray(noise((9, 8, 3)))
    picture = (
        image.fromarray(noise((9, 8)).astype("u2") * 257)
        if mode == "I;16"
        else picture.convert(mode)
    )
    options = {} if transparency is None or mode not in ("L", "P") else {"transparency": 0}
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    shown = image.open(file)
    wanted = {"1": "L", "P": "RGBA" if options else "RGB"}.get(mode, shown.mode)
    if options and mode == "L":
        wanted = "LA"
    expected = np.asarray(shown if shown.mode == wanted else shown.convert(wanted))
    np.testing.assert_array_equal(read(PNG, file.getvalue()), expected)
