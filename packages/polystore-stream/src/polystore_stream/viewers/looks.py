"""Choose how images look at first: display limits, the range of their slider, names of layers.

All viewers follow these rules. The vectors in docs/protocol/looks test each of them.
"""

from __future__ import annotations

import json
import math
import sys
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Pixels

    from ..wire.messages import Image

__all__ = ["Limits", "choose_range", "find_bits", "find_limits", "name_layer"]

_SAMPLE = 16384
"""Pixels of a plane from which its limits are computed, at most. That takes 0.2 ms."""
_CUT = 1000
"""One pixel of the sample in this many is darker than the limits, and one is brighter."""
_MOST = sys.float_info.max / 2
"""Largest limit. The difference of two limits must be finite, because a slider has that length."""

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Limits:
    """The display limits of a channel over all received planes. Their order does not matter."""

    low: float | None = None
    """``None`` before the first plane with finite numbers, as is ``high``."""
    high: float | None = None

    def with_planes(self, block: Pixels) -> Limits:
        """Return the limits that also cover the planes of ``block``, shape (…, y, x)."""
        found = [pair for plane in _planes(block) if (pair := find_limits(plane)) is not None]
        if self.low is not None and self.high is not None:
            found.append((self.low, self.high))
        if not found:
            return self
        lows, highs = zip(*found, strict=True)
        return Limits(min(lows), max(highs))

    def pair(self, bits: int | None = None) -> Pair:
        """Return the intensities that are shown as black and as full brightness. black < bright.

        ``bits`` is the number of significant bits of an image of integers. It is used for an image
        whose pixels are all equal.
        """
        if self.low is None or self.high is None:
            return 0.0, 1.0
        if math.isinf(self.high - self.low):
            return max(self.low, -_MOST), min(self.high, _MOST)
        if self.low < self.high:
            return self.low, self.high
        if bits is not None:
            return 0.0, 2.0**bits - 1
        return (min(self.low, 0.0), max(self.low, 0.0)) if self.low else (0.0, 1.0)


def find_limits(plane: Pixels) -> Pair | None:
    """Return the display limits of one plane, shape (y, x). They may be equal.

    The limits leave out the darkest and the brightest thousandth of a sample of its pixels. Boolean
    planes have (0, 1). A plane without finite numbers gives ``None``.
    """
    if plane.dtype.kind == "b":
        return 0.0, 1.0
    step = _find_step(*plane.shape)
    sample = _finite(plane[::step, ::step])
    if sample.size:
        cut = sample.size // _CUT
        last = sample.size - 1 - cut
        ordered = np.partition(sample, (cut, last))
        low, high = float(ordered[cut]), float(ordered[last])
        if low < high:
            return low, high
    pixels = _finite(plane)
    return (float(pixels.min()), float(pixels.max())) if pixels.size else None


def _planes(block: Pixels) -> Iterator[Pixels]:
    for at in np.ndindex(block.shape[:-2]):  # reshape would copy the channel out of the array
        yield block[at]


def _find_step(height: int, width: int) -> int:
    """Return the smallest step that takes at most ``_SAMPLE`` pixels of every row and column."""
    steps = range(1, max(height, width) + 1)
    return 1 + bisect_left(
        steps, x=True, key=lambda step: -(-height // step) * -(-width // step) <= _SAMPLE
    )


def _finite(pixels: Pixels) -> Pixels:
    """Return the finite numbers among pixels, in one dimension."""
    if pixels.dtype.kind == "f":
        is_finite = np.isfinite(pixels)
        if not is_finite.all():
            return pixels[is_finite]
    return pixels.ravel()


def choose_range(
    limits: Pair, dtype: str, bits: int | None = None, data_range: Pair | None = None
) -> Pair:
    """Return the range in which a user can drag the limits. It contains ``limits``.

    The range is ``data_range`` if it is given, or else the range of ``bits``. For images of 8 bits
    it is the range of the type. For other images it is three times as wide as the limits, with the
    limits in the middle, if that is finite.
    """
    low, high = limits
    kind = np.dtype(dtype)
    if data_range is not None:
        least, greatest = data_range
    elif bits is not None:
        least, greatest = 0.0, 2.0**bits - 1
    elif kind.kind == "b":
        least, greatest = 0.0, 1.0
    else:
        known = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
        least, greatest = float(known.min), float(known.max)
        if math.isinf(3 * (high - low)):
            least, greatest = low, high
        elif kind.itemsize > 1:
            least = max(least, low - (high - low))
            greatest = min(greatest, high + (high - low))
    return min(low, least), max(high, greatest)


def find_bits(item: Image) -> int | None:
    """Return the number of significant bits of an image of integers, if its metadata has it."""
    return _read_bits(item.words) if item.dtype[1] in "ui" and item.words else None


@lru_cache(maxsize=256)
def _read_bits(words: str) -> int | None:
    try:
        bits = json.loads(words).get("bits")
    except (AttributeError, ValueError, RecursionError):
        return None  # another producer wrote something else
    return bits if type(bits) is int and 1 <= bits <= 64 else None


def name_layer(
    title: str, *, channel: str = "", number: int | None = None, labels: bool = False
) -> str:
    """Return the name of the layer of an image, or of one of its channels.

    ``channel`` is the name of the channel that the layer shows. ``number`` is its index among
    several, from 0. The name of a label image ends in "labels", so that it differs from its image.
    """
    if labels:
        return f"{title} labels"
    which = channel or ("" if number is None else str(number))
    # Pipelines often name a file after its channel: "DNA.tif" is one layer "DNA", not "DNA DNA".
    return f"{title} {which}" if which and which != title else title
