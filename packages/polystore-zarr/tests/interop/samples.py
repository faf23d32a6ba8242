"""Values to save, checks of foreign stores, and short functions to open them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from polystore_core import FileManager

VERSIONS = ("0.5", "0.4")
ZARR_FORMAT = {"0.5": 3, "0.4": 2}
Require = Callable[[str], ModuleType]


@dataclass(frozen=True)
class Sample:
    """An image, and the options that describe it."""

    axes: str
    shape: tuple[int, ...]
    dtype: str = "uint16"
    scale: tuple[float, ...] | None = None
    units: Any = None
    channels: tuple[Any, ...] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def pixels(self, seed: int = 0) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(seed + len(self.axes))
        return rng.integers(0, 250, self.shape).astype(self.dtype)

    def options(self, version: str) -> dict[str, Any]:
        metadata = {"scale": self.scale, "units": self.units, "channels": self.channels}
        given = {key: value for key, value in metadata.items() if value is not None}
        return {"ome": version, "axes": self.axes, "levels": 3, **given, **self.more}

    @property
    def all_scales(self) -> tuple[float, ...]:
        return self.scale or (1.0,) * len(self.axes)

    @property
    def labels(self) -> list[str]:
        return [c if isinstance(c, str) else c["label"] for c in self.channels or ()]


SAMPLES = {
    "plain": Sample("yx", (65, 50)),
    "pixel": Sample("yx", (1, 9), "uint8", more={"levels": 1}),
    "stack": Sample("zyx", (3, 64, 50), "float32", (2.0, 0.5, 0.25), "micrometer"),
    "movie": Sample("tyx", (4, 33, 40), "int16", (30.0, 1.5, 1.5), {"t": "second", "x": "nm"}),
    "grey": Sample("yx", (40, 40), "uint8", channels=("bright field",)),
    "rgb": Sample(
        "cyx",
        (3, 48, 64),
        "uint8",
        channels=(
            {"label": "R", "color": "red"},
            {"label": "G", "color": "green"},
            {"label": "B", "color": "blue"},
        ),
    ),
    "volume": Sample(
        "czyx",
        (2, 3, 60, 70),
        "uint16",
        (1.0, 3.0, 0.65, 0.65),
        "um",
        (
            {
                "label": "DAPI",
                "color": "0000FF",
                "window": {"min": 0, "max": 4095, "start": 10, "end": 240},
            },
            {"label": "GFP", "active": False},
        ),
    ),
    "small": Sample(
        "tczyx",
        (2, 2, 2, 33, 47),
        "uint16",
        (0.5, 1.0, 2.0, 0.1, 0.1),
        {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
        ("α", "β"),
    ),
    "sharded": Sample(
        "zyx", (4, 64, 64), "uint16", more={"chunks": (1, 16, 16), "shards": (2, 64, 64)}
    ),
}
ROWS_COLUMNS = (("B", "2"), ("B", "10"), ("C", "2"), ("AA", "12"))


@dataclass(frozen=True)
class StoredImage:
    """A store on the disk, and the values that were saved in it."""

    path: str
    version: str
    sample: Sample
    pixels: np.ndarray[Any, Any]

    @property
    def ome(self) -> dict[str, Any]:
        return document(self.path)


def document(path: str) -> dict[str, Any]:
    """Return the OME-Zarr metadata of a group, read as a file."""
    if (file := Path(path, "zarr.json")).exists():
        found: dict[str, Any] = json.loads(file.read_text())["attributes"]["ome"]
        return found
    return json.loads(Path(path, ".zattrs").read_text())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class LabelledImage:
    path: str
    pixels: np.ndarray[Any, Any]
    labels: dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class PlateOfOurs:
    path: str
    version: str
    fields: dict[str, np.ndarray[Any, Any]]


def open_group(path: str, version: str = "") -> zarr.Group:
    return zarr.open_group(path, mode="r", zarr_format=ZARR_FORMAT.get(version))  # type: ignore[arg-type]


def levels_of(path: str, fm: FileManager) -> list[np.ndarray[Any, Any]]:
    count = len(fm.info(path, backend="zarr").metadata["levels"])
    return [fm.load(path, backend="zarr", level=number) for number in range(count)]


def halve(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the next level of integers of even height and width: means, with halves rounded up."""
    *before, height, width = pixels.shape
    squares = pixels.astype(np.int64).reshape(*before, height // 2, 2, width // 2, 2)
    means: np.ndarray[Any, Any] = (squares.sum((-3, -1)) + 2) // 4
    return means.astype(pixels.dtype)


KINDS = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    ">u2",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)

PIXELS = np.random.default_rng(5).integers(0, 999, (2, 3, 64, 48)).astype("uint16")
SCALE = {"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
UNITS = dict.fromkeys("zyx", "micrometer")
WINDOW = {"min": 0, "max": 9, "start": 1, "end": 8}
CHANNELS = [
    {"label": "DAPI", "color": "0000FF", "window": WINDOW},
    {"label": "GFP", "color": "00FF00", "window": WINDOW},
]


def check_image(
    fm: FileManager, path: str, levels: int, pixels: np.ndarray[Any, Any] = PIXELS
) -> dict[str, Any]:
    """Check an image that others wrote with axes czyx, ``SCALE`` and ``UNITS``."""
    np.testing.assert_array_equal(fm.load(path, backend="zarr"), pixels)
    np.testing.assert_array_equal(
        fm.load(path, backend="zarr", region=np.s_[1, :, 10:50:3, -5:]),
        pixels[1, :, 10:50:3, -5:],
    )
    info = fm.info(path, backend="zarr")
    assert (info.shape, info.dtype) == (pixels.shape, "<u2")
    found: dict[str, Any] = dict(info.metadata)
    assert found["axes"] == list("czyx")
    assert found["scale"] == list(SCALE.values())
    assert found["units"] == [None, *["micrometer"] * 3]
    assert len(found["levels"]) == levels
    for number, shape in enumerate(found["levels"]):
        theirs = zarr.open_array(path + "/" + document_levels(path)[number], mode="r")
        ours = fm.load(path, backend="zarr", level=number)
        assert shape == ours.shape == (2, 3, 64 // 2**number, 48 // 2**number)
        np.testing.assert_array_equal(ours, theirs[...])
    return found


def document_levels(path: str) -> list[str]:
    return [level["path"] for level in document(path)["multiscales"][0]["datasets"]]
