"""Files that are made to do harm, by their names."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

TERABYTE = 1 << 40


class Attack:
    """When it is unpickled, it makes a file called "executed"."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "executed"

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def npy(shape: str, dtype: str = "|u1", data: bytes = b"") -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data


def deflate_zeros(start: bytes, count: int) -> bytes:
    """Return a raw deflate stream of ``start`` and ``count`` MiB of zeros."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compress.compress(start) + compress.flush(zlib.Z_FULL_FLUSH)
    block = compress.compress(bytes(1 << 20)) + compress.flush(zlib.Z_FULL_FLUSH)
    return first + block * count + compress.flush()


def pack_member(name: str, stream: bytes, size: int, method: int) -> tuple[bytes, bytes]:
    """Return the local part of a zip member, and its directory entry for offset 0."""
    fields = struct.pack("<HHHHHIII", 20, 0, method, 0, 0x21, 0, len(stream), size & 0xFFFFFFFF)
    lengths = struct.pack("<HH", len(name), 0)
    local = b"PK\3\4" + fields + lengths + name.encode() + stream
    return local, b"PK\1\2" + b"\x14\0" + fields + lengths + bytes(14) + name.encode()


def archive(local: bytes, directory: bytes, count: int) -> bytes:
    end = struct.pack(
        "<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(directory), len(local), 0
    )
    return local + directory + b"PK\5\6" + end


def deflate(content: bytes) -> bytes:
    compress = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compress.compress(content) + compress.flush()


def build_zip(members: dict[str, tuple[bytes, int]]) -> bytes:
    """Return an archive of deflate streams with the given unpacked sizes."""
    local, directory = b"", b""
    for name, (stream, size) in members.items():
        part, entry = pack_member(name, stream, size, 8)
        offset = struct.pack("<I", len(local))
        local, directory = local + part, directory + entry[:42] + offset + entry[46:]
    return archive(local, directory, len(members))


def npz_bomb(_: Path) -> bytes:
    header = npy("(4293918720,)")
    stream = deflate_zeros(header, 4095)
    parts = [pack_member(f"{i}.npy", stream, len(header) + (4095 << 20), 8) for i in range(2)]
    return archive(parts[0][0], parts[0][1] + parts[1][1], 2)


def npz_overlap(_: Path) -> bytes:
    """Nine thousand names for one and the same member."""
    header = npy("(104857600,)")
    stream = deflate_zeros(header, 100)
    size = len(header) + (100 << 20)
    parts = [pack_member(f"{i:04}.npy", stream, size, 8) for i in range(9000)]
    return archive(parts[0][0], b"".join(entry for _, entry in parts), 9000)


def npz_many(_: Path) -> bytes:
    """Twenty members, none of which is large by itself."""
    header = npy("(134217728,)")
    stream = deflate_zeros(header, 128)
    return build_zip({f"{i}.npy": (stream, len(header) + (128 << 20)) for i in range(20)})


def npz_hidden(_: Path) -> bytes:
    """Tightly packed members, next to a megabyte that is not packed."""
    header, noise = npy("(1073741824,)"), npy("(1048576,)", data=os.urandom(1 << 20))
    stream = deflate_zeros(header, 1024)
    tight = {f"{i}.npy": (stream, len(header) + (1 << 30)) for i in range(2)}
    return build_zip(tight | {"noise.npy": (deflate(noise), len(noise))})


def npz_stored_overlap(_: Path) -> bytes:
    """A thousand names for one member that is not packed."""
    content = npy("(4194304,)", data=bytes(4 << 20))
    local, _entry = pack_member("0000.npy", content, len(content), 0)
    entries = [pack_member(f"{i:04}.npy", content, len(content), 0)[1] for i in range(1000)]
    return archive(local, b"".join(entries), 1000)


def npz_crowd(_: Path) -> bytes:
    entry = pack_member("a.npy", b"", 0, 0)[1]
    return archive(b"", entry * 100_000, 100_000)


def npz_objects(folder: Path) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([Attack(folder)], object))
    return file.getvalue()


def npz_claim(_: Path) -> bytes:
    header = npy("(1000000000,)", "<f8")
    return archive(*pack_member("a.npy", header, len(header) + 8_000_000_000, 0), 1)


def npz_traversal(_: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("../../executed.npy", npy("(3,)", data=b"abc"))
    return file.getvalue()


def npz_directory(_: Path) -> bytes:
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, 0x7FFFFFFF, 0, 0)
    return b"PK\3\4" + bytes(1 << 20) + b"PK\5\6" + end


def roi_claim(_: Path) -> bytes:
    """A polygon that claims two thousand million vertices."""
    header = b"Iout" + struct.pack(">hBx4hH", 228, 0, 0, 0, 9, 9, 0)
    return (header + struct.pack(">i", 0x7FFFFFFF)).ljust(200, b"\0")


def roi_composite(_: Path) -> bytes:
    """Two million numbers, of which the last one is not a command."""
    numbers = np.tile(np.array([0, 1, 2, 1, 3, 4, 1, 5, 7], ">f4"), 220_000).tobytes()
    header = b"Iout" + struct.pack(">hBx4hH18xi", 228, 1, 0, 0, 9, 9, 0, len(numbers) // 4 + 1)
    return header.ljust(64, b"\0") + numbers + struct.pack(">f", 9)


def roi_bomb(_: Path) -> bytes:
    return archive(*pack_member("a.roi", deflate_zeros(b"Iout", 4000), 4 + (4000 << 20), 8), 1)


def roi_many(_: Path) -> bytes:
    stream = deflate_zeros(b"Iout", 50)
    return build_zip({f"{i}.roi": (stream, 4 + (50 << 20)) for i in range(20)})


def roi_crowd(_: Path) -> bytes:
    return archive(b"", pack_member("a.roi", b"", 0, 0)[1] * 100_000, 100_000)


def chunk(kind: bytes, payload: bytes) -> bytes:
    checksum = zlib.crc32(kind + payload)
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", checksum)


def png(width: int, height: int, bits: int, colour: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def png_bomb(_: Path) -> bytes:
    """A picture of 40 GB, packed to a thousandth. Its size alone shows the attack."""
    zeros = b"\x78\x9c" + deflate_zeros(b"", 4000) + bytes(4)
    return png(100_000, 100_000, 8, 6, chunk(b"IDAT", zeros))


def png_overflow(_: Path) -> bytes:
    """One row is claimed, and a gigabyte follows."""
    zeros = b"\x78\x9c" + deflate_zeros(b"", 1000) + bytes(4)
    return png(100, 1, 8, 0, chunk(b"IDAT", zeros))


def png_text_bomb(_: Path) -> bytes:
    text = b"Comment\0\0" + zlib.compress(bytes(1 << 20)) * 100
    return png(65_535, 65_535, 1, 3, chunk(b"zTXt", text), chunk(b"IDAT", b""))


def png_claim(_: Path) -> bytes:
    return png(40_000, 40_000, 8, 0, chunk(b"IDAT", zlib.compress(bytes(1000))))


def png_picture(_: Path) -> bytes:
    """A valid picture of two gigabytes, all black."""
    size = 46_000 * 46_001
    stream = deflate_zeros(bytes(size % (1 << 20)), size >> 20)
    checksum = struct.pack(">HH", size % 65521, 1)
    return png(46_000, 46_000, 8, 0, chunk(b"IDAT", b"\x78\x9c" + stream + checksum))


def jpeg_picture(_: Path) -> bytes:
    """Two gigabytes of grey, because libjpeg fills up missing data."""
    frame = b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", 46_000, 46_000) + b"\1\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(1_100_000)
    return b"\xff\xd8" + frame + scan + b"\xff\xd9"


def tiff(width: int, height: int, compression: int, strip: bytes) -> bytes:
    """Return a page of one strip, of 8 bits."""
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1}
    tags |= {278: height, 279: len(strip)}
    entries = [struct.pack("<HHII", code, 4, 1, value) for code, value in tags.items()]
    end = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + end


def tiff_picture(_: Path) -> bytes:
    """Two gigabytes of zeros, packed to a thousandth."""
    size = 46_000 * 46_000
    stream = deflate_zeros(bytes(size % (1 << 20)), size >> 20)
    return tiff(46_000, 46_000, 8, b"\x78\x9c" + stream + struct.pack(">HH", size % 65521, 1))


def tiff_pages(_: Path) -> bytes:
    """Three thousand pages that all show the same strip."""
    strip = zlib.compress(bytes(1 << 20))
    page = tiff(1024, 1024, 8, strip)
    directory = page[8 + len(strip) : -4]
    start = 8 + len(strip)
    step = len(directory) + 4
    chain = [
        directory + struct.pack("<I", start + (i + 1) * step if i < 2999 else 0)
        for i in range(3000)
    ]
    return page[:start] + b"".join(chain)


def tiff_strip(_: Path) -> bytes:
    """A hundred rows are claimed, and a gigabyte is packed."""
    zeros = b"\x78\x9c" + deflate_zeros(b"", 1024) + struct.pack(">HH", (1 << 30) % 65521, 1)
    return tiff(100, 100, 8, zeros)


def tiff_zstd_strip(_: Path) -> bytes:
    import imagecodecs

    return tiff(100, 100, 50000, bytes(imagecodecs.zstd_encode(bytes(1 << 28))))


def jpeg_claim(_: Path) -> bytes:
    frame = (
        b"\xff\xc0\0\x11\x08"
        + struct.pack(">HH", 65_000, 65_000)
        + b"\3\1\x11\0\2\x11\0\3\x11\0"
    )
    scan = b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\x3f\0" + bytes(100_000)
    return b"\xff\xd8" + frame + scan + b"\xff\xd9"


def jpeg_passes(_: Path) -> bytes:
    """Ten thousand progressive scans over one large picture."""
    frame = b"\xff\xc2\0\x0b\x08" + struct.pack(">HH", 16_000, 16_000) + b"\1\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(8)
    return b"\xff\xd8" + frame + scan * 10_000 + b"\xff\xd9"


def torch_old_attack(folder: Path) -> bytes:
    return pickle.dumps(Attack(folder))


def torch_attack(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("archive/data.pkl", pickle.dumps(Attack(folder), 2))
        members.writestr("archive/version", b"3\n")
    return file.getvalue()


def torch_bomb(_: Path) -> bytes:
    stream = deflate_zeros(b"", 4000)
    return archive(*pack_member("archive/data.pkl", stream, 4000 << 20, 8), 1)


def torch_memory(_: Path) -> bytes:
    """A pickle that asks for a bytearray of 100 GB."""
    program = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\xe8\x76\x48\x17\x85R."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        members.writestr("archive/data.pkl", program)
        members.writestr("archive/version", b"3\n")
    return file.getvalue()


def make_described_tiff(*descriptions: str) -> bytes:
    """Return a file with a page for each description."""
    import tifffile

    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for text in descriptions:
            writer.write(np.zeros((2, 3), np.uint8), description=text, metadata=None)
    return file.getvalue()


def safetensors(shape: list[int]) -> bytes:
    entry = {"dtype": "U8", "shape": shape, "data_offsets": [0, 8]}
    header = json.dumps({"a": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


LONG_LENGTHS = [1 << 60] * 300_000
"""Lengths whose product takes minutes."""

CORPUS: dict[str, Callable[[Path], bytes]] = {
    "bomb.npz": npz_bomb,
    "overlap.npz": npz_overlap,
    "many.npz": npz_many,
    "hidden.npz": npz_hidden,
    "stored-overlap.npz": npz_stored_overlap,
    "crowd.npz": npz_crowd,
    "objects.npz": npz_objects,
    "claim.npz": npz_claim,
    "traversal.npz": npz_traversal,
    "directory.npz": npz_directory,
    "deep-list.json": lambda _: b"[" * 5_000_000,
    "deep-object.json": lambda _: b'{"a":' * 1_000_000,
    "digits.json": lambda _: b"9" * 5_000_000,
    "wide.csv": lambda _: b"a,b\n" + b"x" * 100_000 + b",1\n" + b",1\n" * 500_000,
    "quotes.csv": lambda _: b',"' * 1_000_001,
    "ragged.csv": lambda _: b"a\n" + b"," * 5_000_000,
    "bomb.png": png_bomb,
    "overflow.png": png_overflow,
    "text.png": png_text_bomb,
    "claim.png": png_claim,
    "claim.jpg": jpeg_claim,
    "passes.jpg": jpeg_passes,
    "picture.png": png_picture,
    "picture.jpg": jpeg_picture,
    "picture.tif": tiff_picture,
    "pages.tif": tiff_pages,
    "strip.tif": tiff_strip,
    "zstd-strip.tif": tiff_zstd_strip,
    "claim.roi": roi_claim,
    "composite.roi": roi_composite,
    "bomb.roi.zip": roi_bomb,
    "many.roi.zip": roi_many,
    "crowd.zip": roi_crowd,
    "old-attack.pt": torch_old_attack,
    "attack.pt": torch_attack,
    "bomb.pt": torch_bomb,
    "memory.pt": torch_memory,
    "lengths.tif": lambda _: make_described_tiff(json.dumps({"shape": [9] * 300_000})),
    "long-lengths.tif": lambda _: make_described_tiff(json.dumps({"shape": LONG_LENGTHS})),
    "spaced-lengths.tif": lambda _: make_described_tiff(f'{{ "shape": {LONG_LENGTHS}}}'),
    "old-lengths.tif": lambda _: make_described_tiff(f"shape=({'9,' * 300_000}9)"),
    "second-lengths.tif": lambda _: make_described_tiff(
        '{"shape": [2, 3]}', json.dumps({"shape": [9] * 300_000})
    ),
    "lengths.npy": lambda _: npy("(" + "9," * 10_000 + ")"),
    "lengths.safetensors": lambda _: safetensors([9] * 1_000_000),
    "claim.safetensors": lambda _: safetensors([TERABYTE]),
    "header.safetensors": lambda _: struct.pack("<Q", TERABYTE) + b"{}",
    "deep.safetensors": lambda _: struct.pack("<Q", 4_000_000) + b"{" + b"[" * 4_000_000,
}
NEEDS = {
    "png": "imagecodecs", "jpg": "imagecodecs", "tif": "tifffile", "pt": "torch",
    "roi": "roifile", "zip": "roifile",
}  # fmt: skip


def big_tiff(size: int) -> bytes:
    """Return the start of an unpacked page of ``size`` bytes, a multiple of 2**20."""
    tags = {256: 1 << 20, 257: size >> 20, 258: 8, 259: 1, 262: 1, 273: 256, 277: 1, 279: size}
    entries = [struct.pack("<HHQQ", code, 16, 1, value) for code, value in tags.items()]
    directory = struct.pack("<Q", len(entries)) + b"".join(entries) + bytes(8)
    return (b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + directory).ljust(256, b"\0")


SPARSE: dict[str, Callable[[int], bytes]] = {
    "a.npy": lambda size: npy(f"({size},)"),
    "a.tif": big_tiff,
    "a.txt": lambda _: b"text",
    "a.csv": lambda _: b"a,b\n1,2\n",
    "a.json": lambda _: b"[1]",
    "a.png": lambda _: png(2, 1, 8, 0),
    "a.jpg": lambda _: b"\xff\xd8",
    "a.pt": lambda _: b"PK\3\4",
    "a.npz": lambda _: b"PK\3\4",
    "a.roi": lambda _: b"Iout",
}
"""Starts of files that continue with zeros, which take no room on the disk."""
