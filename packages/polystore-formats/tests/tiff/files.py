"""TIFF files of ours and of tifffile, and comparisons of arrays."""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import formats

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

REAL = Path(__file__).parents[5] / "shared" / "data"
FOLDERS = ("plate-cellomics", "fly-3channel", "timelapse", "worms-imagexpress")
PIXELS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16", "?"]
CODECS = ["lzma", "lzw", "packbits", "zlib", "zstd"]
SHAPES = [
    (1, 1),
    (5, 1),
    (37, 41),
    (1, 1, 5, 6),
    (4, 5, 3),
    (2, 17, 18, 3),
    (7, 8, 1),
    (2, 3, 9, 11),
    (3, 7, 8),
    (2, 1, 3, 1, 5, 6, 7),
]


def image(shape: tuple[int, ...], dtype: str = "<u2", seed: int = 0) -> NDArray[Any]:
    """Make an image that compresses well, with planes that all differ."""
    values = np.arange(np.prod(shape)).reshape(shape) // 3 % 251
    noise = np.random.default_rng(seed).integers(0, 3, shape)
    return ((values + noise) % 2 if dtype == "?" else values + noise).astype(dtype)


def encode_tiff(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    TIFF.save(array, file, **options)
    return file.getvalue()


def foreign(array: NDArray[Any] | None, **options: Any) -> bytes:
    """Write an array with tifffile and its options."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
    return file.getvalue()


def decode_tiff(data: bytes, **options: Any) -> NDArray[Any]:
    array: NDArray[Any] = TIFF.load(io.BytesIO(data), **options)
    return array


def assert_same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Compare bit for bit, byte order included."""
    assert (found.shape, found.dtype.str) == (expected.shape, expected.dtype.str)
    assert found.tobytes() == expected.tobytes()


def assert_equals_imread(found: NDArray[Any], data: bytes) -> None:
    """Compare with tifffile, which returns arrays in the byte order of the machine."""
    expected = tifffile.imread(io.BytesIO(data))
    order = {b"I": "<", b"M": ">"}[data[:1]]
    assert_same(found, expected.astype(expected.dtype.newbyteorder(order)))


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
    "ome_rgb": foreign(
        image((4, 9, 8, 3), "u1"), ome=True, photometric="rgb", metadata={"axes": "ZYXS"}
    ),
    "volume": foreign(image((6, 40, 50)), volumetric=True, tile=(2, 16, 16)),
    "jpeg": foreign(image((60, 70, 3), "u1"), photometric="rgb", compression="jpeg"),
    "jpeg_tiles": foreign(image((60, 70), "u1"), compression="jpeg", tile=(32, 32)),
    "png": foreign(image((60, 70)), compression="png"),
}

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
    "ome_ones": (STACK[:, :1][None], {"ome": True, "axes": "TZCYX"}),
    "ome_lzw": (STACK, {"ome": True, "axes": "TCYX", "compression": "lzw"}),
    **{codec: (image((97, 131)), {"compression": codec}) for codec in CODECS},
}
"""Every way to save, in files so small that every cut and change can be tested."""

PLAIN = encode_tiff(image((97, 131)))
BARE = foreign(image((97, 131)), metadata=None)
ZLIB = encode_tiff(image((97, 131)), compression="zlib")
OME = encode_tiff(STACK, ome=True, axes="TCYX")
IMAGEJ = encode_tiff(STACK, imagej=True)


class Counting(io.BytesIO):
    """A file that counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.count += count
        return count
