"""Time a save into a live napari, and how long the window freezes.

The published ``polystore`` takes no part: it sends to a napari viewer, but brings none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Protocol, TypeAlias

import numpy as np
from contenders_streaming import Image
from report import Cell

import polystore_napari
from polystore import BackendRegistry, FileManager

__all__ = ["measured"]

Save: TypeAlias = Callable[[Image, str], object]
"""``FileManager.save`` with the backend of the viewer: takes an image and its path."""
SaveBatch: TypeAlias = Callable[[list[Image], list[str]], object]
SIDE = 512

NOTES = """\
All images are 512² uint16, saved by one caller into a napari that draws them. Best round and, in
brackets, median; of 99th percentiles and freezes the worst round and the median. A freeze is the
largest gap between two beats of a timer of 5 ms in the viewer's GUI.

- polystore 0.6.3 has no line: it ships no viewer to send to."""


class Viewer(Protocol):
    """The questions to the viewer's process."""

    def query(self, name: str, /) -> tuple[Any, Sequence[Any]]:
        """Return the answer of the viewer, and the arrays that belong to it."""


def longest_freeze(viewer: Viewer) -> float:
    """Return the largest gap between two beats of the GUI since it was last asked, in seconds."""
    seconds, _ = viewer.query("pulse")
    return float(seconds)


def one_by_one(save: Save, *, count: int = 300) -> tuple[float, float]:
    """Save into the same place, again and again.

    Returns:
        50th and 99th percentile of the time of a save after the first, in seconds.
    """
    waits = []
    for image in _images(count + 1):
        begin = time.perf_counter()
        save(image, "live.npy")
        waits.append(time.perf_counter() - begin)
    p50, p99 = np.percentile(waits[1:], [50, 99])
    return float(p50), float(p99)


def in_place(save: Save, viewer: Viewer, *, count: int = 500) -> tuple[float, float]:
    """Save into the same place as fast as it goes.

    Returns:
        Images per second for the caller; the longest freeze during that time, in seconds.
    """
    images = _images(count + 1)
    save(images[0], "live.npy")  # the first one makes the layer
    longest_freeze(viewer)
    rate = _rate(save, images[1:], ["live.npy"] * count)
    return rate, longest_freeze(viewer)


def growing(save: Save, stack: int, *, count: int = 1000) -> float:
    """Save slices one by one, each of which grows one stack; return images per second."""
    return _rate(save, _images(count), _slices(stack, count))


def growing_by_batch(save_batch: SaveBatch, stack: int, *, count: int = 1000) -> float:
    """Save the slices of one stack by one call; return images per second for the caller."""
    images, paths = _images(count), _slices(stack, count)
    begin = time.perf_counter()
    save_batch(images, paths)
    return count / (time.perf_counter() - begin)


def _slices(stack: int, count: int) -> list[str]:
    return [f"stack{stack}_z{number:04}.npy" for number in range(count)]


def measured(*, rounds: int = 3, quick: bool = False) -> str:
    """Start a napari, measure it, and close it; return a table in Markdown."""
    with BackendRegistry() as registry:
        fm = FileManager(registry)
        registry.add("bench", "napari_stream", viewer="bench")
        polystore_napari.launch("bench")
        with polystore_napari.connect("bench") as viewer:
            try:
                return table(fm, viewer, rounds=rounds, quick=quick)
            finally:
                viewer.query("quit")


def table(fm: FileManager, viewer: Viewer, *, rounds: int, quick: bool) -> str:
    """Measure all of it, in turns; return a table in Markdown."""
    save = partial(fm.save, backend="bench")
    stacked: dict[str, Any] = {
        "backend": "bench",
        "names": "stack{stack}_z{z}.npy",
        "layout": polystore_napari.Layout(layer=("stack",)),
    }
    scale = 20 if quick else 1
    found: dict[_Figure, list[float]] = {figure: [] for figure in _FIGURES}
    for number in range(rounds):
        p50, p99 = one_by_one(save, count=300 // scale)
        rate, freeze = in_place(save, viewer, count=500 // scale)
        count = 1000 // scale
        grown = growing(partial(fm.save, **stacked), 2 * number, count=count)
        batch = growing_by_batch(partial(fm.save_batch, **stacked), 2 * number + 1, count=count)
        values = p50, p99, rate, freeze, grown, batch
        for figure, value in zip(_FIGURES, values, strict=True):
            found[figure].append(value * figure.scale)
    lines = [("", "unit", "polystore"), ("---", "---", "--:")]
    lines += [
        (figure.title, figure.unit, str(Cell(figure.first(values), median(values))))
        for figure, values in found.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{NOTES}"


@dataclass(frozen=True)
class _Figure:
    title: str
    unit: str
    scale: float
    first: Callable[[Sequence[float]], float]


_FIGURES = (
    _Figure("one by one: 50th percentile of 300 saves", "ms", 1e3, min),
    _Figure("one by one: 99th percentile", "ms", 1e3, max),
    _Figure("500 in place: rate for the caller", "images/s", 1, max),
    _Figure("500 in place: longest freeze of the window", "ms", 1e3, max),
    _Figure("1,000 slices that grow a stack, one by one: rate", "images/s", 1, max),
    _Figure("1,000 slices that grow a stack, one batch: rate", "images/s", 1, max),
)


def _images(count: int) -> list[Image]:
    """Return images that differ from their neighbours in every pixel."""
    noise = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE), np.uint16)
    return [noise + np.uint16(number) for number in range(count)]


def _rate(save: Save, images: Sequence[Image], paths: Sequence[str]) -> float:
    begin = time.perf_counter()
    for image, path in zip(images, paths, strict=True):
        save(image, path)
    return len(images) / (time.perf_counter() - begin)
