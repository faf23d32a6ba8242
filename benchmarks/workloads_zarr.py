"""Workloads of chunked arrays: batches, volumes, single planes, long lists, pyramids."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from contenders_zarr import (
    ArrayLayout,
    HandWritten,
    HandWrittenDefaults,
    Image,
    IncumbentZarr,
    PolystoreZarr,
    Store,
)
from workloads import Workload, check, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ListArrays",
    "LoadArray",
    "LoadArrays",
    "LoadOne",
    "LoadPlane",
    "Pyramid",
    "SaveArray",
    "SaveArrays",
]

Shape = tuple[int, ...]

_TILE = 1024
_TILES = 16


def microscope_tile(number: int, size: int = _TILE) -> Image:
    """Return a uint16 image as a camera gives it: spots on uneven light, and photon noise.

    An offset of 100, 300 to 500 photons of background and up to 3,000 in the spots: lossless
    codecs take it to a half or less, as they do real fluorescence images.
    """
    random = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    light = 300 + 200 * np.exp(-((x / size - 0.45) ** 2 + (y / size - 0.55) ** 2) / 0.36)
    for _ in range(size * size // 16384):
        (cy, cx), radius = random.uniform(0, size, 2), random.uniform(5, 14)
        reach = int(3 * radius)
        spot = (
            slice(max(0, int(cy) - reach), int(cy) + reach + 1),
            slice(max(0, int(cx) - reach), int(cx) + reach + 1),
        )
        squared = (y[spot] - cy) ** 2 + (x[spot] - cx) ** 2
        light[spot] += random.uniform(300, 3000) * np.exp(-squared / (2 * radius**2))
    image: Image = random.poisson(light).astype(np.uint16) + np.uint16(100)
    return image


def fill(images: Image) -> None:
    """Fill an array with tiles, none the same as another within 128 of them."""
    size = min(_TILE, *images.shape[-2:])
    tiles = [microscope_tile(number, size) for number in range(_TILES)]
    number = 0
    for index in np.ndindex(images.shape[:-2]):
        for y in range(0, images.shape[-2], size):
            for x in range(0, images.shape[-1], size):
                tile = np.rot90(tiles[number % _TILES], number // _TILES % 4)
                if number // _TILES // 4 % 2:
                    tile = tile[::-1]
                place = images[index][y : y + size, x : x + size]
                place[...] = tile[: place.shape[0], : place.shape[1]]
                number += 1


def default_layouts(shape: Shape, scratch: Path, *, pyramid: bool = False) -> list[ArrayLayout]:
    """Return how polystore stores an array of this shape, or the levels of an image."""
    ours, blank = PolystoreZarr(), np.zeros(shape, np.uint16)
    nothing = ArrayLayout(shape, shape, None, ())
    if not pyramid:
        ours.save(blank, scratch, "blank", nothing)
        nodes = [ours.node(scratch, "blank")]
    else:
        (first,) = ours.save_pyramid(blank, scratch, [nothing])
        nodes = sorted(
            (node for node in first.parent.iterdir() if node.name.isdigit()),
            key=lambda node: int(node.name),
        )
    return [ArrayLayout.of(node) for node in nodes]


@dataclass(frozen=True)
class _Arrays(Workload):
    """``count`` arrays of ``shape``; all libraries get the same, and save them alike."""

    shape: Shape
    count: int = 1
    pyramid: bool = False

    def prepare(self, directory: Path) -> None:
        whole = (self.count, *self.shape)
        images = np.lib.format.open_memmap(directory / "images.npy", "w+", np.uint16, whole)
        fill(images)
        layouts = default_layouts(self.shape, directory / "layout", pyramid=self.pyramid)
        shutil.rmtree(directory / "layout")
        text = json.dumps([asdict(layout) for layout in layouts])
        (directory / "layouts.json").write_text(text)

    def images(self, prepared: Path) -> list[Image]:
        """Return the arrays; large ones are a memory map, which all workers share."""
        if self.count > 1:
            return list(np.load(prepared / "images.npy"))
        return [np.asarray(np.load(prepared / "images.npy", mmap_mode="r")[0])]

    def layouts(self, prepared: Path) -> list[ArrayLayout]:
        def tuples(value: Any) -> Any:
            return tuple(value) if isinstance(value, list) else value

        found = json.loads((prepared / "layouts.json").read_text())
        return [ArrayLayout(**{k: tuples(v) for k, v in fields.items()}) for fields in found]

    @property
    def names(self) -> list[str]:
        return [f"A01_s{number}_w1" for number in range(self.count)]

    def saved(self, contender: Store, prepared: Path) -> Path:
        """Return a folder where this library has saved the arrays, once."""
        folder = prepared / type(contender).__name__
        if not folder.exists():
            folder.mkdir()
            layout = self.layouts(prepared)[0]
            if self.count == 1:
                contender.save(self.images(prepared)[0], folder, self.names[0], layout)
            else:
                contender.save_batch(self.images(prepared), folder, self.names, layout)
        return folder


def _read_back(
    contender: Store, folder: Path, names: Sequence[str], layout: ArrayLayout
) -> list[Image]:
    """Read the arrays of ``contender`` with zarr itself, where zarr can."""
    if isinstance(contender, IncumbentZarr) and len(names) > 1:
        return contender.load_batch(folder, names, layout)
    reader = contender if isinstance(contender, IncumbentZarr) else HandWritten()
    return [reader.load(folder, name, layout) for name in names]


def _check_layout(contender: Store, node: Path, layout: ArrayLayout) -> None:
    if isinstance(contender, HandWrittenDefaults | IncumbentZarr):
        return
    found = ArrayLayout.of(node)
    if found != layout:
        raise AssertionError(f"not stored as polystore does: {found}, not {layout}")


@dataclass(frozen=True)
class SaveArrays(_Arrays):
    """Save all arrays in one call, into a new store."""

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        images, layout = self.images(prepared), self.layouts(prepared)[0]
        taken, _ = seconds(lambda: contender.save_batch(images, fresh, self.names, layout))
        check(_read_back(contender, fresh, self.names, layout), images)
        _check_layout(contender, contender.node(fresh, self.names[0]), layout)
        return (taken,)


@dataclass(frozen=True)
class SaveArray(_Arrays):
    """Save one array, into a new store."""

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        (image,), (name,), layout = self.images(prepared), self.names, self.layouts(prepared)[0]
        taken, _ = seconds(lambda: contender.save(image, fresh, name, layout))
        checked = prepared / f"checked {type(contender).__name__}"
        if not checked.exists():  # once: reading it takes longer than the round
            check(_read_back(contender, fresh, [name], layout), [image])
            _check_layout(contender, contender.node(fresh, name), layout)
            checked.touch()
        return (taken,)


@dataclass(frozen=True)
class LoadArrays(_Arrays):
    """Load the arrays that the library itself has saved, in one call."""

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        folder, layout = self.saved(contender, prepared), self.layouts(prepared)[0]
        taken, found = seconds(lambda: contender.load_batch(folder, self.names, layout))
        check(found, self.images(prepared))
        return (taken,)


@dataclass(frozen=True)
class LoadArray(_Arrays):
    """Load one array that the library itself has saved."""

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        folder, layout = self.saved(contender, prepared), self.layouts(prepared)[0]
        taken, found = seconds(lambda: contender.load(folder, self.names[0], layout))
        check([found], self.images(prepared))
        return (taken,)


@dataclass(frozen=True)
class LoadOne(_Arrays):
    """Load one array of a batch; the figure is the mean of ``calls`` of them."""

    calls: int = 8

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        folder, layout = self.saved(contender, prepared), self.layouts(prepared)[0]
        chosen = [number * 7 % self.count for number in range(self.calls)]
        taken, found = seconds(
            lambda: [contender.load(folder, self.names[n], layout) for n in chosen]
        )
        images = self.images(prepared)
        check(found, [images[n] for n in chosen])
        return (taken / self.calls,)


@dataclass(frozen=True)
class LoadPlane(_Arrays):
    """Load one plane of a volume; the figure is the mean of ``calls`` of them."""

    calls: int = 8

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        folder, layout = self.saved(contender, prepared), self.layouts(prepared)[0]
        chosen = [number * 7 % self.shape[0] for number in range(self.calls)]
        taken, found = seconds(
            lambda: [contender.plane(folder, self.names[0], n, layout) for n in chosen]
        )
        (image,) = self.images(prepared)
        check(found, [image[n] for n in chosen])
        return (taken / self.calls,)


@dataclass(frozen=True)
class ListArrays(_Arrays):
    """Open a store and list the arrays in it: ``many`` copies of one that it saved."""

    many: int = 1

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        folder = self.saved(contender, prepared)
        names = [self.names[0], *(f"A{i % 24:02}_s{i // 24}_w2" for i in range(1, self.many))]
        if not contender.node(folder, names[-1]).exists():
            for name in names[1:]:
                shutil.copytree(contender.node(folder, names[0]), contender.node(folder, name))
        taken, found = seconds(lambda: contender.list_arrays(folder))
        if sorted(found) != sorted(names):
            raise AssertionError(f"{len(found)} names, not those of the {len(names)} arrays")
        return (taken,)


@dataclass(frozen=True)
class Pyramid(_Arrays):
    """Write an image with all levels of its pyramid, in a new process.

    Figures: the time, and by how many bytes the private memory of the process (``RssAnon``,
    looked at every 5 ms) was at most above its value after a small pyramid. The image is a
    memory map and is not counted. NaN where the system has no ``/proc``.
    """

    pyramid: bool = True

    def run(self, contender: Store, prepared: Path, fresh: Path) -> tuple[float, ...]:  # type: ignore[override]
        context = multiprocessing.get_context("spawn")
        small = default_layouts((_TILE, _TILE), fresh / "layout", pyramid=True)
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            tile = microscope_tile(0)
            warm = executor.submit(
                _write_pyramid, type(contender), tile, fresh / "small", small
            )
            warm.result()
            (process,) = multiprocessing.active_children()
            assert process.pid is not None
            before = most = private_bytes(process.pid)
            layouts = self.layouts(prepared)
            future = executor.submit(
                _write_pyramid,
                type(contender),
                prepared / "images.npy",
                fresh / "large",
                layouts,
            )
            while not wait([future], timeout=0.005).done:
                most = max(most, private_bytes(process.pid))
            taken, nodes = future.result()
        self._check(prepared, nodes)
        return taken, most - before

    def _check(self, prepared: Path, nodes: Sequence[Path]) -> None:
        import zarr

        (image,), layouts = self.images(prepared), self.layouts(prepared)
        levels: list[Any] = [zarr.open_array(str(node), mode="r") for node in nodes]
        if [level.shape for level in levels] != [layout.shape for layout in layouts]:
            raise AssertionError("the levels have other shapes")
        middle = image.shape[-2] // 2
        check([levels[0][..., middle, :]], [image[..., middle, :]])
        # Each level rounds, and not everybody rounds halves up.
        factor = 2 ** (len(levels) - 1)
        corner = image[..., : 8 * factor, : 8 * factor].astype(np.float64)
        blocks = corner.reshape(*corner.shape[:-2], 8, factor, 8, factor)
        expected = blocks.mean(axis=(-3, -1))
        if np.abs(levels[-1][..., :8, :8] - expected).max() > len(levels) / 2:
            raise AssertionError("the smallest level is not the mean of the image")


_contenders: dict[type[Store], Store] = {}


def _write_pyramid(
    contender: type[Store], image: Image | Path, folder: Path, layouts: Sequence[ArrayLayout]
) -> tuple[float, list[Path]]:
    store = _contenders.setdefault(contender, contender())
    if isinstance(image, Path):
        image = np.asarray(np.load(image, mmap_mode="r")[0])
    folder.mkdir()
    start = time.perf_counter()
    nodes = store.save_pyramid(image, folder, layouts)
    return time.perf_counter() - start, nodes


def private_bytes(pid: int) -> float:
    """Return the resident memory of a process that does not belong to a file, in bytes."""
    if sys.platform != "linux":
        return float("nan")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(found) * 1024.0
