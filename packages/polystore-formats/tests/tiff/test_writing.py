"""Bad options and values are refused before the first byte, and writes are complete."""

from __future__ import annotations

import io
import logging
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .files import (
    KINDS,
    TIFF,
    ZLIB,
    assert_equals_imread,
    assert_same,
    decode_tiff,
    encode_tiff,
    image,
    tifffile,
)

if TYPE_CHECKING:
    from pathlib import Path


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
        {"axes": 3},
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
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidOptionError):
        TIFF.save(image((5, 9, 8)), file, **options)
    assert file.getvalue() == b""


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 1, 9, 8), {"imagej": True}),
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
def test_values_that_would_change_are_refused(
    shape: tuple[int, ...], options: dict[str, Any], codec: dict[str, Any]
) -> None:
    file = io.BytesIO()
    with pytest.raises(UnsupportedDataError):
        TIFF.save(image(shape), file, **options, **codec)
    assert file.getvalue() == b""


@pytest.mark.parametrize("text", ["ImageJ=1.53\nimages=3", "state.", "Aperio ", "<scn></scn>"])
def test_description_never_misleads(text: str) -> None:
    array = image((5, 9, 8))
    data = encode_tiff(array, description=text)
    assert_same(decode_tiff(data), array)
    assert_equals_imread(decode_tiff(data), data)


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma"])
def test_level_reaches_codec(compression: Any, level: int) -> None:
    array = image((200, 300))
    data = encode_tiff(array, compression=compression, compression_level=level)
    assert_same(decode_tiff(data), array)


class Sink(io.BytesIO):
    """A file that keeps the first bytes and counts the rest."""

    count = 0

    def write(self, data: Any, /) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size if size > 1 << 20 else super().write(data)


def test_4_gib_are_written_as_bigtiff(tmp_path: Path) -> None:
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
    assert encode_tiff(image((9, 8)))[:4] == b"II*\0"


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
    """A file without a descriptor that takes at most 1000 bytes at once, as a raw file may."""

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
    assert_same(decode_tiff(bytes(raw.data)), array)


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"ome": 1}]
)
def test_buffered_raw_file(options: dict[str, Any], tmp_path: Path) -> None:
    """The file of an atomic save can seek, but has no descriptor to write to."""
    from polystore_core.files.pending import PendingFile

    array = image((5, 97, 131))
    pending = PendingFile(tmp_path / "x.tif")
    TIFF.save(array, pending.file, **options)
    pending.seal()
    pending.commit()
    assert_same(decode_tiff((tmp_path / "x.tif").read_bytes()), array)


@pytest.mark.parametrize("name", ["plain", "stack", "stack_zlib", "ome", "imagej"])
def test_tifffile_opens_cleanly(name: str, caplog: pytest.LogCaptureFixture) -> None:
    array, options = KINDS[name]
    caplog.set_level(logging.DEBUG, "tifffile")
    with tifffile.TiffFile(io.BytesIO(encode_tiff(array, **options))) as tif:
        np.testing.assert_array_equal(tif.asarray(), array)
    assert not caplog.records


def test_zlib_streams_are_standard() -> None:
    """Other readers inflate the strips with any zlib."""
    with tifffile.TiffFile(io.BytesIO(ZLIB)) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    assert zlib.decompress(ZLIB[offset : offset + count]) == image((97, 131)).tobytes()
