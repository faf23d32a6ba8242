"""TIFF files that are cut, changed or contradictory raise an error and do not crash."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import DamagedDataError, DataError, UnsupportedFileError

from .files import (
    BARE,
    FOLDERS,
    IMAGEJ,
    KINDS,
    OME,
    PLAIN,
    REAL,
    SPECIAL,
    TIFF,
    ZLIB,
    assert_same,
    decode_tiff,
    encode_tiff,
    foreign,
    image,
    special,
    tifffile,
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_is_damage(kind: str) -> None:
    array, options = KINDS[kind]
    data = encode_tiff(array, **options)
    assert_same(decode_tiff(data), array)
    lengths = {*np.linspace(0, len(data) - 1, 60, dtype=int), *range(len(data) - 40, len(data))}
    for length in lengths:
        with pytest.raises(DamagedDataError):
            decode_tiff(data[:length])
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
            decode_tiff(data[:length])


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_cuts_are_damage(folder: str) -> None:
    path = next(iter((REAL / folder).glob("*.[tT][iI][fF]")), None)
    if path is None:
        pytest.skip(f"data: the real images of {folder} are not in {REAL}")
    data = path.read_bytes()
    for length in np.linspace(0, len(data) - 1, 60, dtype=int):
        with pytest.raises(DamagedDataError):
            decode_tiff(data[:length])


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_never_crash(kind: str) -> None:
    array, options = KINDS[kind]
    data = encode_tiff(array, **options)
    random = np.random.default_rng(0)
    # The directories are at the ends.
    ends = [*range(300), *range(len(data) - 300, len(data))]
    for number in range(200):
        changed = bytearray(data)
        position = random.choice(ends) if number % 2 else random.integers(len(data))
        changed[position] ^= int(random.integers(1, 256))
        for read in (TIFF.load, TIFF.info):
            try:
                read(io.BytesIO(bytes(changed)))
            except DataError as error:
                assert str(error)  # noqa: PT017 - a value is also right


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
        decode_tiff(data)


@pytest.mark.parametrize("code", [*sorted(set(map(int, tifffile.COMPRESSION))), 60000])
def test_every_codec_loads_or_is_refused(code: int) -> None:
    """Pixels of another codec give a value, or an error of ours."""
    with contextlib.suppress(DamagedDataError, UnsupportedFileError):
        decode_tiff(with_field(BARE, 259, struct.pack("<H", code)))


@pytest.mark.parametrize("code", [9, 10, 99, 32809, 34661, 34715, 34676, 48124, 65000, 60000])
def test_codecs_that_tifffile_lacks_are_not_damage(code: int) -> None:
    with pytest.raises(UnsupportedFileError, match=r"tifffile (does not|cannot) decode"):
        decode_tiff(with_field(BARE, 259, struct.pack("<H", code)))


@pytest.mark.parametrize(
    "compression", ["tiff_ccitt", "group3", "group4", "tiff_lzw", "packbits"]
)
def test_bits_of_libtiff_load(compression: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    bits = np.random.default_rng(0).random((40, 50)) > 0.5
    file = io.BytesIO()
    pillow.fromarray(bits).save(file, "TIFF", compression=compression)
    assert_same(decode_tiff(file.getvalue()), tifffile.imread(io.BytesIO(file.getvalue())))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_colours_that_look_like_rgb_are_refused(mode: str, compression: str | None) -> None:
    pillow = pytest.importorskip("PIL.Image")
    bands = [pillow.fromarray(image((9, 8), "u1"))] * len(pillow.new(mode, (1, 1)).getbands())
    file = io.BytesIO()
    pillow.merge(mode, bands).save(file, "TIFF", compression=compression)
    with pytest.raises(UnsupportedFileError, match="convert it to RGB"):
        decode_tiff(file.getvalue())


def test_missing_tile_is_damage() -> None:
    def write(writer: Any) -> None:
        tiles = iter([np.ones((16, 16), "u1"), None, np.ones((16, 16), "u1")])
        writer.write(tiles, shape=(16, 48), dtype="u1", tile=(16, 16))

    with pytest.raises(DamagedDataError, match=r"cannot be stored|never written"):
        decode_tiff(special(write))


def test_bomb_is_refused() -> None:
    """A kilobyte of zlib does not allocate 4 GiB."""
    bomb = foreign(image((97, 131)), metadata=None, compression="zlib")
    bomb = with_field(bomb, 256, struct.pack("<I", 1 << 20))
    bomb = with_field(bomb, 257, struct.pack("<I", 1 << 11))
    bomb = with_field(bomb, 278, struct.pack("<I", 1 << 11))
    with pytest.raises(DamagedDataError, match="cannot be stored"):
        decode_tiff(bomb)


def test_overlapping_pages_end() -> None:
    """Each of thousands of directories claims the same thousands of entries."""
    entries = 4000
    pages = 2000
    body = bytearray(b"II*\0" + struct.pack("<I", 8) + bytes(pages * 4 + entries * 12 + 64))
    for page in range(pages):
        struct.pack_into("<H", body, 8 + page * 4, entries)
    with pytest.raises(DamagedDataError):
        decode_tiff(bytes(body))


def test_pixel_change_in_zlib() -> None:
    changed = bytearray(ZLIB)
    changed[len(ZLIB) // 2] ^= 1
    with pytest.raises(DamagedDataError):
        decode_tiff(bytes(changed))
