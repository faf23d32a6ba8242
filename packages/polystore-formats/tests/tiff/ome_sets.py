"""Writes OME-TIFF sets: files of one folder whose OME-XML names all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .files import tifffile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TYPES = {"u1": "uint8", "u2": "uint16", "i2": "int16", "f4": "float", "f8": "double"}
OME = '<?xml version="1.0" encoding="UTF-8"?>\n<OME {uuid}>{content}</OME>'


class Block(NamedTuple):
    """Consecutive planes of an image, in consecutive pages of a file."""

    file: str
    start: int
    count: int
    page: int = 0
    attributes: str = "IFD PlaneCount"
    """The attributes that are written. Others are left out."""


class Picture(NamedTuple):
    """An image: its planes have the axes ``order``, reversed, and then y and x."""

    array: NDArray[Any]
    blocks: Sequence[Block]
    order: str = "XYZCT"
    samples: int = 1
    more: str = ""
    """More attributes of Pixels."""


def uuid_of(file: str) -> str:
    return f"urn:uuid:{file}"


def pixels_xml(picture: Picture, number: int, files: bool = True) -> str:
    letters = picture.order[::-1]
    lengths = picture.array.shape[:3]
    height, width = picture.array.shape[3:5]
    sizes = dict(zip(letters, lengths, strict=False)) | {"Y": height, "X": width}
    sizes["C"] *= picture.samples
    told = " ".join(f'Size{axis}="{size}"' for axis, size in sizes.items())
    kind = TYPES[picture.array.dtype.str[1:]]
    channels = "".join(
        f'<Channel ID="Channel:{number}:{c}" Name="c{c}" SamplesPerPixel="{picture.samples}"/>'
        for c in range(sizes["C"] // picture.samples)
    )
    blocks = "".join(block_xml(block, letters, lengths) for block in picture.blocks)
    return (
        f'<Image ID="Image:{number}" Name="image {number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="{picture.order}" Type="{kind}" {told} {picture.more}>'
        f"{channels}{blocks if files else ''}</Pixels></Image>"
    )


def block_xml(block: Block, letters: str, lengths: Sequence[int]) -> str:
    places = np.unravel_index(block.start, lengths)
    told = "".join(f' First{a}="{p}"' for a, p in zip(letters[:3], places, strict=True))
    if "IFD" in block.attributes:
        told += f' IFD="{block.page}"'
    if "PlaneCount" in block.attributes:
        told += f' PlaneCount="{block.count}"'
    named = f'<UUID FileName="{block.file}">{uuid_of(block.file)}</UUID>'
    return f"<TiffData{told}>{named}</TiffData>"


def document(pictures: Sequence[Picture], file: str) -> str:
    content = "".join(pixels_xml(picture, n) for n, picture in enumerate(pictures))
    return OME.format(uuid=f'UUID="{uuid_of(file)}"', content=content)


def pages_of(pictures: Sequence[Picture]) -> dict[str, dict[int, NDArray[Any]]]:
    """Return the planes of each file, by their pages."""
    files: dict[str, dict[int, NDArray[Any]]] = {}
    for picture in pictures:
        flat = picture.array.reshape(-1, *picture.array.shape[3:])
        for block in picture.blocks:
            for n in range(block.count):
                files.setdefault(block.file, {})[block.page + n] = flat[block.start + n]
    return files


def write_file(
    path: Path, pages: dict[int, NDArray[Any]], description: str, **options: Any
) -> None:
    """Write pages. A page without a plane shows noise."""
    like = next(iter(pages.values()))
    container = {k: options.pop(k) for k in ("byteorder", "bigtiff") if k in options}
    options = {"photometric": "minisblack", "metadata": None, "contiguous": False, **options}
    levels = options.pop("levels", 0)
    with tifffile.TiffWriter(path, **container) as writer:
        for number in range(max(pages) + 1):
            page = pages.get(number, np.full_like(like, 99))
            about = description.encode() if number == 0 else None
            writer.write(page, description=about, subifds=levels, **options)
            for level in range(1, levels + 1):
                small = page[:: 2**level, :: 2**level]
                writer.write(small, subfiletype=1, **options)


def write_set(folder: Path, *pictures: Picture, **options: Any) -> list[Path]:
    """Write all files of a set, and return their paths."""
    written = []
    for name, pages in pages_of(pictures).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, pages, document(pictures, name), **options)
        written.append(path)
    return written


def one_plane_each(array: NDArray[Any], order: str = "XYZCT", **more: Any) -> Picture:
    """Return a picture with each plane in a file of its own."""
    count = math.prod(array.shape[:3])
    blocks = [Block(f"s_{n:02}.ome.tif", n, 1) for n in range(count)]
    return Picture(array, blocks, order, **more)
