"""Read ImageJ's metadata of an image in a TIFF file: a description, and two tags with blocks.

Any program may have written them. Fields that are not valid are left out.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import SPACE_UNITS, Axis, Channel, ImageMetadata, finite
from polystore_core.errors import DamagedDataError

from .header import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Header, Page
from .imagej import COLOR_MAP, SHORT_UNITS, color_table
from .words import CACHED, CACHED_BYTES, bare_axes, recall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import Document, Value

__all__ = ["Hyperstack", "is_imagej", "plain_unit", "read_hyperstack"]

_BYTE_COUNTS, _BLOCKS = 50838, 50839  # ij.io.TiffDecoder: META_DATA_BYTE_COUNTS, META_DATA
_NO_UNIT = 1
_MICRO = re.compile(r"\\u00b5|\\u03bc|[\u00b5\u03bc]", re.IGNORECASE)
_UNITS = {short: long for long, short in SHORT_UNITS.items()} | {"\u00c5": "angstrom"}
_PIXELS = ("pixel", "pixels")
_TEXT_LIMIT = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Hyperstack:
    """The fields of the description, the blocks by their kind, and some tags of the page."""

    text: str
    """The description."""
    fields: dict[str, str]
    blocks: dict[str, list[bytes]]
    order: str
    """Byte order: "<" or ">"."""
    density: tuple[float | None, float | None]
    """Pixels per unit along x and y."""
    colors: tuple[int, ...]

    # ── as metadata ──────────────────────────────────────────────────────────────────────

    def image(self, names: tuple[str, ...], shape: tuple[int, ...]) -> ImageMetadata:
        """Return the metadata of an image with these axes."""
        return _image(self, names, shape)

    def read(self, names: Sequence[str], shape: Sequence[int]) -> ImageMetadata:
        """Read the metadata, without the cache of :meth:`image`."""
        found = ImageMetadata(
            axes=tuple([self._axis(axis) for axis in bare_axes(names)]),
            channels=self._channels(names, shape),
        )
        try:
            document = json.loads(self.fields.get("polystore", "null"))
        except (ValueError, RecursionError):
            return found
        if not isinstance(document, dict):
            return found
        return recall(_without_chosen(found, document.get("chosen")), document, shape)

    def unit(self) -> str | None:
        """Return the unit in the form of ``resolution_unit``: "um" for ImageJ's "\\u00B5m"."""
        return plain_unit(self.fields.get("unit"))

    def number(self, name: str) -> float | None:
        """Return a field as a number, or ``None`` if it is not a finite number."""
        try:
            return finite(float(self.fields.get(name, "")))
        except ValueError:
            return None

    def _axis(self, axis: Axis) -> Axis:
        name = axis.name
        if name == "t":
            interval = self.number("finterval")
            known = interval is not None and interval > 0
            return Axis(name, "time", "second", interval) if known else axis
        if name not in ("z", "y", "x"):
            return axis
        text = plain_unit(self.fields.get(f"{name}unit")) or self.unit()
        unit = _UNITS.get(text or "", text)
        unit = unit if unit in SPACE_UNITS else None
        scale = None if text in _PIXELS else self._size(name)
        if scale == 1 and unit is None:  # ImageJ's default for an image without a calibration
            scale = None
        offset = self.number(f"{name}origin")
        origin = None if scale is None or not offset else -offset * scale
        return Axis(name, "space", None if scale is None else unit, scale, origin)

    def _size(self, name: str) -> float | None:
        if name == "z":
            return abs(self.number("spacing") or 0.0) or None
        density = self.density["xy".index(name)]
        return 1 / density if density else None

    def _channels(self, names: Sequence[str], shape: Sequence[int]) -> tuple[Channel, ...]:
        count = shape[names.index("c")] if "c" in names else 1
        tables = [np.frombuffer(table, np.uint8) for table in self.blocks.get("luts", ())]
        # An image of one channel has its lookup table in the TIFF tag ColorMap, with 16 bits.
        if count == 1 and not tables and len(self.colors) == 3 * 256:
            tables = [(np.array(self.colors) >> 8).astype(np.uint8)]
        ranges = self._ranges(count)
        labels = _labels(self.labels(), names, shape, count)
        channels = [
            Channel(
                name=labels[number] if labels else "",
                color=_color(tables[number]) if len(tables) == count else None,
                limits=ranges[number] if ranges else None,
            )
            for number in range(count)
        ]
        return tuple(channels) if any(channel != Channel() for channel in channels) else ()

    def _ranges(self, count: int) -> list[tuple[float, float]]:
        data = b"".join(self.blocks.get("rang", ()))
        numbers: list[float | None] = list(
            struct.unpack(f"{self.order}{len(data) // 8}d", data[: len(data) // 8 * 8])
        )
        if len(numbers) != 2 * count:
            numbers = [self.number("min"), self.number("max")] if count == 1 else []
        pairs = zip(map(finite, numbers[::2]), map(finite, numbers[1::2]), strict=True)
        found = [(low, high) for low, high in pairs if low is not None and high is not None]
        is_whole = len(found) == count and all(low <= high for low, high in found)
        return found if is_whole else []

    # ── the rest ─────────────────────────────────────────────────────────────────────────

    def labels(self) -> list[str]:
        """Return the labels of the planes."""
        return [self._text(label) for label in self.blocks.get("labl", ())]

    def _text(self, data: bytes) -> str:
        return data.decode("utf-16-le" if self.order == "<" else "utf-16-be", "replace")

    def extras(self, image: ImageMetadata) -> Document:
        """Return ImageJ's metadata for which :class:`ImageMetadata` has no field.

        "plane_labels" are labels of planes that do not name channels. "overlays" are ``.roi``
        files in base64, and "info" is ImageJ's own text.
        """
        found: dict[str, Any] = {}
        if (spacing := self.number("spacing")) is not None:
            found["spacing"] = spacing
        if "mode" in self.fields:
            found["mode"] = self.fields["mode"]
        if interval := self.number("finterval"):
            found["interval"] = interval
        labels = self.labels()
        if labels and not any(channel.name for channel in image.channels):
            found["plane_labels"] = labels
        if info := self.blocks.get("info"):
            found["info"] = self._text(info[0])[:_TEXT_LIMIT]
        if overlays := self.blocks.get("over"):
            found["overlays"] = [base64.b64encode(roi).decode() for roi in overlays]
        return found


def is_imagej(description: bytes) -> bool:
    """Return whether ImageJ, or Bio-Formats for ImageJ, wrote a description."""
    return description.startswith((b"ImageJ=", b"SCIFIO="))


def read_hyperstack(header: Header, page: Page, description: bytes) -> Hyperstack:
    """Return ImageJ's metadata of a page. Leave out blocks that are damaged."""
    try:
        counts = header.numbers(page, _BYTE_COUNTS)
        blocks = header.text(page[_BLOCKS]) if _BLOCKS in page else b""
        colors = header.numbers(page, COLOR_MAP)
    except (DamagedDataError, struct.error):
        counts, blocks, colors = (), b"", ()
    density = (
        header.number(page, RESOLUTION_UNIT, 2),
        header.ratio(page, X_RESOLUTION),
        header.ratio(page, Y_RESOLUTION),
    )
    is_small = len(description) + len(blocks) <= CACHED_BYTES
    parse = _parse if is_small else _parse.__wrapped__
    return parse(description, counts, blocks, header.order, density, colors)


@functools.lru_cache(maxsize=CACHED)
def _parse(
    description: bytes,
    counts: tuple[int, ...],
    data: bytes,
    order: str,
    density: tuple[int, float | None, float | None],
    colors: tuple[int, ...],
) -> Hyperstack:
    text = _decode(description)
    lines = (line.partition("=") for line in text.splitlines())
    fields = {key.strip(): value.strip() for key, equals, value in lines if equals}
    unit, x, y = density
    # Printers and cameras write a resolution too, in inches. ImageJ's is in its own unit.
    is_size = "unit" in fields or unit == _NO_UNIT
    return Hyperstack(
        text,
        fields,
        _blocks(counts, data, order),
        order,
        (x, y) if is_size else (None, None),
        colors,
    )


@functools.lru_cache(maxsize=CACHED)
def _image(stack: Hyperstack, names: tuple[str, ...], shape: tuple[int, ...]) -> ImageMetadata:
    return stack.read(names, shape)


def _decode(description: bytes) -> str:
    try:
        return description.decode()  # most programs write UTF-8, old ones Latin-1
    except UnicodeDecodeError:
        return description.decode("latin1")


def _blocks(counts: tuple[int, ...], data: bytes, order: str) -> dict[str, list[bytes]]:
    """Return the blocks of ImageJ's tag: labels, ranges, tables, overlays and text.

    The first block is a table of kinds and counts. The sizes of all blocks are in another tag.
    """
    found: dict[str, list[bytes]] = {}
    # The table is "IJIJ" and 8 bytes for each kind. In little-endian files, these four-letter
    # words are reversed, because ImageJ writes them as integers.
    if not counts or counts[0] % 8 != 4 or data[:4] not in (b"IJIJ", b"JIJI"):
        return found
    position, sizes = counts[0], iter(counts[1:])
    for kind, count in struct.iter_unpack(f"{order}4sI", data[4:position]):
        name = kind[:: -1 if order == "<" else 1].decode("latin1")
        for size in islice(sizes, count):
            found.setdefault(name, []).append(data[position : position + size])
            position += size
    return found


def plain_unit(unit: str | None) -> str | None:
    """Return ImageJ's unit in the form of ``resolution_unit``: "um" for ImageJ's "\\u00B5m"."""
    text = None if unit is None else _MICRO.sub("u", unit)
    return "um" if text in ("micron", "microns") else text


def _color(table: Value) -> str | None:
    """Return the colour of a lookup table that goes evenly from black to it, or ``None``."""
    if table.size != 3 * 256:
        return None
    table = table.reshape(3, 256)
    color: str = table[:, -1].tobytes().hex().upper()
    difference = color_table(color).astype(int) - table
    return color if np.abs(difference).max() <= 1 else None


def _labels(
    labels: list[str], names: Sequence[str], shape: Sequence[int], count: int
) -> list[str] | None:
    """Return one label for each channel, if all planes of each channel have the same label."""
    planes = names[: names.index("y")] if "y" in names else names
    counts = [shape[names.index(axis)] for axis in planes]
    if len(labels) != int(np.prod(counts)):
        return None
    at = np.indices(counts)[planes.index("c")].ravel() if "c" in planes else [0] * len(labels)
    sets: list[set[str]] = [set() for _ in range(count)]
    for label, channel in zip(labels, at, strict=True):
        sets[int(channel)].add(label)
    return [found.pop() for found in sets] if all(len(found) == 1 for found in sets) else None


def _without_chosen(found: ImageMetadata, chosen: Value) -> ImageMetadata:
    """Return the metadata without colours and display ranges that polystore chose for ImageJ."""
    if not isinstance(chosen, list) or len(chosen) != len(found.channels):
        return found
    channels = [
        Channel(
            name=channel.name,
            color=None if channel.color == entry.get("color") else channel.color,
            limits=None
            if list(channel.limits or ()) == entry.get("limits")
            else channel.limits,
        )
        if isinstance(entry, dict)
        else channel
        for channel, entry in zip(found.channels, chosen, strict=True)
    ]
    return ImageMetadata(axes=found.axes, channels=tuple(channels))
