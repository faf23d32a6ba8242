from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, ZstdCodec

from polystore_core.errors import InvalidOptionError
from polystore_zarr.codecs import COMPRESSORS, codec_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from polystore_zarr.store.nodes import ZarrFormat

FORMATS: list[ZarrFormat] = [3, 2]
U2 = np.dtype("u2")
random = np.random.default_rng(0)


def options(compressor: Any, zarr_format: ZarrFormat = 3, **given: Any) -> dict[str, Any]:
    asked = {"dtype": U2, "checksum": True, **given}
    return codec_options(compressor, zarr_format=zarr_format, **asked)


def picture(dtype: Any = "u2", size: int = 32) -> NDArray[Any]:
    return random.poisson(50, (size, size)).astype(dtype)


def write_array(
    place: Path,
    value: NDArray[Any],
    compressor: Any,
    *,
    shards: tuple[int, ...] | None = None,
    zarr_format: ZarrFormat = 3,
    checksum: bool = True,
) -> zarr.Array[Any]:
    array = zarr.create_array(
        str(place),
        shape=value.shape,
        dtype=value.dtype,
        chunks=tuple(n // 2 for n in value.shape) if shards else value.shape,
        shards=shards,
        zarr_format=zarr_format,
        **options(compressor, zarr_format, dtype=value.dtype, checksum=checksum),
    )
    array[...] = value
    return array


def chunk_file(place: Path) -> Path:
    (found,) = (
        Path(folder, name)
        for folder, _, names in os.walk(place)
        for name in names
        if name not in ("zarr.json", ".zarray", ".zattrs")
    )
    return found


def flip_bits(path: Path) -> Iterator[int]:
    """Flip one bit of each byte in turn, then restore the file."""
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        yield position
    path.write_bytes(content)


@pytest.mark.parametrize("compressor", [*COMPRESSORS, None, {"name": "zstd", "level": 9}])
@pytest.mark.parametrize("zarr_format", FORMATS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "c16", "?"])
def test_every_compressor_round_trips(
    tmp_path: Path, compressor: Any, zarr_format: ZarrFormat, dtype: str
) -> None:
    """Values that are written through any compressor are read back unchanged."""
    value = picture(dtype)
    write_array(tmp_path, value, compressor, zarr_format=zarr_format)
    assert np.array_equal(zarr.open_array(str(tmp_path), mode="r")[...], value)


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("shards", [None, (16, 16)])
@pytest.mark.slow
def test_flipped_bits_are_errors(
    tmp_path: Path, compressor: str, shards: tuple[int, ...] | None
) -> None:
    """With a checksum, every changed byte of a chunk or shard raises an error."""
    array = write_array(tmp_path, picture(size=16), compressor, shards=shards)
    for position in flip_bits(chunk_file(tmp_path)):
        with pytest.raises(ValueError, match=r"(?i)checksum|crc"):
            pytest.fail(f"byte {position} changed unnoticed: {np.asarray(array[...])}")
    assert np.asarray(array[...]).shape == (16, 16)


def test_no_checksum_misses_damage(tmp_path: Path) -> None:
    """Without a checksum, a flipped bit gives a wrong pixel. The checksum prevents this."""
    value = picture(size=16)
    array = write_array(tmp_path, value, "none", checksum=False)
    path = chunk_file(tmp_path)
    assert all(not np.array_equal(array[...], value) for _ in flip_bits(path))


def test_zarr2_gzip_detects_damage(tmp_path: Path) -> None:
    """In Zarr 2 gzip never returns a wrong pixel."""
    value = picture(size=16)
    array = write_array(tmp_path, value, "gzip", zarr_format=2)
    noticed = 0
    for _ in flip_bits(chunk_file(tmp_path)):
        try:
            assert np.array_equal(
                array[...], value
            )  # the bit was in an unused field of the header
        except (OSError, EOFError, ValueError, numcodecs.zlib._zlib.error):
            noticed += 1
    assert noticed > 100


def test_default_is_blosc() -> None:
    """The default is lz4 after a bit shuffle by the size of the elements, then the checksum."""
    for dtype, typesize in (("u1", 1), ("u2", 2), ("c16", 16), ("U70", 1), ("S0", 1)):
        blosc, checksum = options("blosc", dtype=np.dtype(dtype))["compressors"]
        assert blosc.to_dict() == {
            "name": "blosc",
            "configuration": {
                "cname": "lz4",
                "clevel": 5,
                "shuffle": "bitshuffle",
                "typesize": typesize,
                "blocksize": 0,
            },
        }
        assert isinstance(checksum, Crc32cCodec)


def test_zarr2_default_matches() -> None:
    """Zarr 2 gets the same compressor, but no checksum."""
    config = options("blosc", 2)["compressors"].get_config()
    assert (config["cname"], config["clevel"], config["shuffle"]) == ("lz4", 5, 2)


def test_text_is_unshuffled() -> None:
    """Text of variable length has no elements of fixed size, so its bits are not shuffled."""
    text = np.dtypes.StringDType()
    assert options("blosc", dtype=text)["compressors"][0].to_dict()["configuration"][
        "shuffle"
    ] == ("noshuffle")
    assert options("blosc", 2, dtype=np.dtype(object))["compressors"].shuffle == 0


@pytest.mark.parametrize(
    ("compressor", "expected"),
    [
        ("blosc-zstd", ("zstd", 1)),
        ({"name": "blosc-zstd", "level": 7}, ("zstd", 7)),
        ({"name": "blosc"}, ("lz4", 5)),
    ],
)
def test_blosc_names_and_levels(compressor: Any, expected: tuple[str, int]) -> None:
    """The name selects the codec within Blosc, and the mapping sets its level."""
    found = options(compressor)["compressors"][0].to_dict()["configuration"]
    assert (found["cname"], found["clevel"]) == expected


def test_none_disables_compression() -> None:
    """zarr's own default is never used."""
    for nothing, zarr_format in product((None, "none"), FORMATS):
        assert options(nothing, zarr_format, checksum=False) == {"compressors": None}
    assert options(None) == {"compressors": [Crc32cCodec()]}


def test_codecs_pass_through() -> None:
    """A codec object is used unchanged."""
    mine, old = ZstdCodec(level=4, checksum=True), numcodecs.LZMA()
    assert options(mine, checksum=False)["compressors"] == [mine]
    assert options(mine)["compressors"] == [mine, Crc32cCodec()]
    assert options(Crc32cCodec())["compressors"] == [Crc32cCodec()]
    assert options(old, 2)["compressors"] is old


@pytest.mark.parametrize("zarr_format", FORMATS)
@pytest.mark.parametrize(
    "compressor",
    [
        "lz4",
        "Blosc",
        "",
        5,
        True,
        ["blosc"],
        {},
        {"level": 3},
        {"name": None, "level": 1},
        {"name": "none", "level": 1},
        {"name": "zstd", "level": 23},
        {"name": "gzip", "level": -1},
        {"name": "blosc", "level": True},
        {"name": "blosc", "level": "5"},
        {"name": "blosc", "shuffle": "bitshuffle"},
        {"name": "lzma"},
        BytesCodec(),
    ],
)
def test_unknown_compressors_raise(compressor: Any, zarr_format: ZarrFormat) -> None:
    """An unknown compressor raises an error that lists the known ones."""
    with pytest.raises(InvalidOptionError, match=r"^compressor="):
        options(compressor, zarr_format)


def test_codecs_of_other_format() -> None:
    """A codec of the other Zarr format raises an error that names its format."""
    with pytest.raises(InvalidOptionError, match="for zarr_format=2"):
        options(GzipCodec(), 2)
    with pytest.raises(InvalidOptionError, match="for zarr_format=3"):
        options(numcodecs.GZip(), 3)
