"""A small synthetic plate, and the functions that the demo calls: NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_overview", "draw_plate", "find_nuclei", "find_threshold", "measure_nuclei"]

Pixels = NDArray[Any]

_SIDE = 256
_COLUMNS = 6  # fields in a row of the plate: 3 wells with 2 fields each
_SMALLEST = 30  # pixels: noise is smaller
_SEED = 7  # two runs draw the same images


def draw_plate() -> Iterator[tuple[str, int, Pixels]]:
    """Yield well, field and image of 6 wells with 2 fields: channels DNA and actin, uint16.

    The wells of column 1 have the most nuclei and those of column 3 the fewest.
    """
    random = np.random.default_rng(_SEED)
    for row in "AB":
        for column in (1, 2, 3):
            for field in (1, 2):
                count = int(random.integers(30, 36)) - 10 * (column - 1)
                yield f"{row}{column:02}", field, _draw_field(random, count)


def _draw_field(random: np.random.Generator, count: int) -> Pixels:
    """Draw ``count`` cells that do not touch, on a noisy and uneven background."""
    y, x = np.mgrid[:_SIDE, :_SIDE]
    image = random.normal(200, 12, (2, _SIDE, _SIDE)) + 0.3 * (y + x)
    # Each cell gets a place of its own in a grid of 6 x 6, so that no two of them touch.
    for place in random.choice(36, count, replace=False):
        cy, cx = 28 + 40 * np.array(divmod(place, 6)) + random.integers(-6, 7, 2)
        turned = (y - cy + 1j * (x - cx)) * np.exp(1j * random.uniform(0, np.pi))
        distance = np.hypot(turned.real, turned.imag * random.uniform(1, 1.5))
        radius = random.uniform(7, 10)
        image[0] += random.uniform(1200, 1800) / (1 + np.exp(distance - radius))
        image[1] += random.uniform(500, 900) / (1 + np.exp((distance - 1.7 * radius) / 3))
    pixels: Pixels = image.astype(np.uint16)
    return pixels


def find_nuclei(plane: Pixels) -> Pixels:
    """Return the labels of bright objects in a plane: 0 is background, nuclei count from 1.

    Pixels above the threshold that touch are one object. Objects of less than 30 pixels are left
    out.
    """
    # The border is background. np.roll moves pixels over the edge, so without it two objects
    # at opposite edges would become one.
    mask = np.pad(plane > find_threshold(plane), 1)
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    changed = True
    while changed:  # each pixel takes the largest number next to it, until nothing changes
        before = labels.copy()
        for axis in (0, 1):
            for shift in (1, -1):
                labels = np.maximum(labels, np.roll(labels, shift, axis) * mask)
        changed = not np.array_equal(labels, before)
    numbers, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = (numbers > 0) & (sizes >= _SMALLEST)
    # Numbers without gaps, although small objects are left out.
    renumbered = np.where(kept, kept.cumsum(), 0).astype(np.uint16)
    return renumbered[inverse].reshape(mask.shape)[1:-1, 1:-1]


def find_threshold(plane: Pixels) -> float:
    """Return Otsu's threshold between dark and bright pixels (IEEE Trans. SMC 9:62, 1979)."""
    counts, edges = np.histogram(plane, bins=256)
    levels = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    weighted = (counts * levels).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):  # the last level has nothing above it
        between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(levels[np.nanargmax(between)])


def measure_nuclei(image: Pixels, labels: Pixels, pixel_size: float) -> list[tuple[float, ...]]:
    """Return number, y, x, area, and mean DNA and actin of each nucleus. ``pixel_size`` in µm."""
    count = int(labels.max())
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count + 1)[1:]

    def mean(weights: Pixels) -> Pixels:
        found: Pixels = np.bincount(flat, weights.ravel(), count + 1)[1:] / sizes
        return found

    y, x = (mean(axis) * pixel_size for axis in np.mgrid[: labels.shape[0], : labels.shape[1]])
    columns = (y, x, sizes * pixel_size**2, mean(image[0]), mean(image[1]))
    return [
        (number, *map(float, row))
        for number, row in enumerate(zip(*columns, strict=True), start=1)
    ]


def draw_overview(images: Sequence[Pixels], labels: Sequence[Pixels]) -> Pixels:
    """Return the plate as one RGB picture: DNA magenta, actin green, outlines of nuclei yellow."""
    tiles = [_draw_tile(*pair) for pair in zip(images, labels, strict=True)]
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    return np.vstack([np.hstack(row) for row in rows])


def _draw_tile(image: Pixels, labels: Pixels) -> Pixels:
    dna, actin = (_stretch(plane) for plane in image)
    tile = np.stack([dna, actin // 2, dna], axis=-1)
    inside = labels > 0
    for axis in (0, 1):
        for shift in (1, -1):
            inside &= np.roll(labels, shift, axis) == labels
    tile[(labels > 0) & ~inside] = (255, 220, 0)
    return np.pad(tile, ((2, 2), (2, 2), (0, 0)))


def _stretch(plane: Pixels) -> Pixels:
    low, high = np.percentile(plane, (1, 99.8))
    stretched: Pixels = (((plane - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)
    return stretched
