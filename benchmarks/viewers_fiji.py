"""Time a live ImageJ from the side of the pipeline, without windows and with them.

The published ``polystore`` takes no part: its receiver for Fiji is part of another application.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from report import Cell
from viewers_streaming import growing, growing_by_batch, in_place, one_by_one

import polystore_fiji
from polystore import BackendRegistry, FileManager
from polystore.rois import ROI, Polygon

__all__ = ["measured"]

LARGE = {2048: 100, 4096: 32}
"""Pixels along each side of larger images, and images in a round."""
ROIS = 2000

NOTES = """\
Best round and, in brackets, median; of 99th percentiles and freezes the worst round and the
median. A round before them only warms Java up. Small images are 512² uint16. "In place" is one
path, again and again; "without a wait" is wait=None, and only the last image is acknowledged; "as a
batch" is save_batch.
memcpy is `np.copyto` between two arrays, one thread, in the same round. "First image" is saved
with wait="shown" as soon as the receiver is announced; "from nothing" includes the start of the
JVM and of ImageJ. ROIs are polygons of 20 vertices, laid over an image and acknowledged as shown.

- polystore 0.6.3 has no line: it ships no receiver for ImageJ."""


@dataclass
class _Table:
    """Figures in the order in which they were first seen."""

    found: dict[tuple[str, str, Callable[[Sequence[float]], float]], list[float]] = field(
        default_factory=dict
    )

    def add(
        self, title: str, unit: str, value: float, best: Callable[[Sequence[float]], float]
    ) -> None:
        self.found.setdefault((title, unit, best), []).append(value)

    def __str__(self) -> str:
        lines = [("", "unit", "polystore"), ("---", "---", "--:")]
        lines += [
            (title, unit, str(Cell(best(values), median(values))))
            for (title, unit, best), values in self.found.items()
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measured(*, rounds: int = 5, quick: bool = False) -> str:
    """Start ImageJ, measure it, and close it; return tables in Markdown."""
    scale = 20 if quick else 1
    rounds = 2 if quick else rounds
    parts = ["## ImageJ without windows", str(_headless(rounds, scale))]
    if os.environ.get("DISPLAY"):
        parts += ["## ImageJ with windows", str(_on_screen(rounds, scale))]
    return "\n\n".join([*parts, NOTES])


@contextmanager
def _fiji(*, headless: bool) -> Iterator[tuple[FileManager, Any]]:
    with BackendRegistry() as registry:
        registry.add("bench", "fiji_stream", viewer="bench")
        polystore_fiji.launch("bench", headless=headless)
        with polystore_fiji.connect("bench") as viewer:
            try:
                yield FileManager(registry), viewer
            finally:
                viewer.quit()


def _headless(rounds: int, scale: int) -> _Table:
    table = _Table()
    for _ in range(rounds):
        _first_image(table, headless=True)
    with _fiji(headless=True) as (fm, viewer):
        for number in range(rounds + 1):
            into = table if number else _Table()  # the first round only warms Java up
            _small(into, fm, viewer, number, scale)
            for side, count in LARGE.items():
                _large(into, fm, side, max(5, count // scale))
            _rois(into, fm, ROIS // scale)
            viewer.clear()
    return table


def _on_screen(rounds: int, scale: int) -> _Table:
    table = _Table()
    for _ in range(rounds):
        _first_image(table, headless=False)
    with _fiji(headless=False) as (fm, viewer):
        for number in range(rounds + 1):
            into = table if number else _Table()
            _small(into, fm, viewer, number, scale, freezes=True)
            _rois(into, fm, ROIS // scale)
            shapes = [layer["shape"] for layer in viewer.layers()]
            assert shapes.count([1, 1000 // scale, 1, 512, 512]) == 2, shapes  # a window each
            viewer.clear()
    return table


def _first_image(table: _Table, *, headless: bool) -> None:
    start = time.perf_counter()
    with _fiji(headless=headless) as (fm, _):
        ready = time.perf_counter()
        fm.save(np.zeros((512, 512), "u2"), "first.npy", backend="bench", wait="shown")
        done = time.perf_counter()
    table.add("first image", "s", done - ready, min)
    table.add("first image, from nothing", "s", done - start, min)


def _small(
    table: _Table,
    fm: FileManager,
    viewer: Any,
    number: int,
    scale: int,
    *,
    freezes: bool = False,
) -> None:
    save = partial(fm.save, backend="bench")
    stacked: dict[str, Any] = {
        "backend": "bench",
        "names": "stack{stack}_z{z}.npy",
        "layout": polystore_fiji.Layout(layer=("stack",)),
    }
    p50, p99 = one_by_one(save, count=300 // scale)
    table.add("one by one: 50th percentile of 300 saves", "ms", p50 * 1e3, min)
    table.add("one by one: 99th percentile", "ms", p99 * 1e3, max)
    rate, freeze = in_place(save, viewer, count=500 // scale)
    table.add("500 in place, one by one", "images/s", rate, max)
    if freezes:
        table.add("500 in place: longest freeze of the windows", "ms", freeze * 1e3, max)
    images = [np.full((512, 512), step, "u2") for step in range(500 // scale)]
    table.add(
        "500 in place, without a wait for each",
        "images/s",
        _in_place(fm, images, "live.npy"),
        max,
    )
    count = 1000 // scale
    rate = growing(partial(fm.save, **stacked), 2 * number, count=count)
    table.add("1,000 slices of a stack, one by one", "images/s", rate, max)
    rate = growing_by_batch(partial(fm.save_batch, **stacked), 2 * number + 1, count=count)
    table.add("1,000 slices of a stack, as a batch", "images/s", rate, max)


def _large(table: _Table, fm: FileManager, side: int, count: int) -> None:
    image = np.arange(side * side, dtype="u2").reshape(side, side)
    target = image.copy()  # touched already: the first touch of new memory is not measured
    start = time.perf_counter()
    for _ in range(count):
        np.copyto(target, image)
    copies = count / (time.perf_counter() - start)
    rate = _in_place(fm, [image] * count, f"large{side}.npy")
    title = f"{side}² uint16, {image.nbytes >> 20} MiB, in place, without a wait"
    table.add(title, "images/s", rate, max)
    table.add(title, "GB/s", rate * image.nbytes / 1e9, max)
    table.add(title, "÷ memcpy", rate / copies, max)


def _in_place(fm: FileManager, images: list[Any], path: str) -> float:
    """Return images per second of saves to one path, the last of which waits."""
    start = time.perf_counter()
    for image in images[:-1]:
        fm.save(image, path, backend="bench", wait=None)
    fm.save(images[-1], path, backend="bench")
    return len(images) / (time.perf_counter() - start)


def _rois(table: _Table, fm: FileManager, count: int) -> None:
    random = np.random.default_rng(0)
    outlines = random.random((count, 20, 2)) * 30 + random.random((count, 1, 2)) * 480
    rois = [ROI(Polygon(outline), f"cell {at}") for at, outline in enumerate(outlines)]
    fm.save(np.zeros((512, 512), "u2"), "below.npy", backend="bench", wait="shown")
    start = time.perf_counter()
    fm.save(rois, "below.npy", backend="bench", wait="shown")
    table.add("2,000 ROIs", "s", time.perf_counter() - start, min)
