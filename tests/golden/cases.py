"""The values that ``make.py`` saves and ``test_golden.py`` compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from polystore.rois import (
    ROI,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Position,
    Rectangle,
)

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Case(NamedTuple):
    """A value, and its options to save and load."""

    path: str
    value: Callable[[], Any]
    """The value that ``load`` returns. Code makes it, so nothing is loaded for the comparison."""
    save: Mapping[str, Any] | None = NOTHING
    """Options, or ``None`` if another case writes this path."""
    load: Mapping[str, Any] = NOTHING
    info: Mapping[str, Any] = NOTHING
    """Some entries of ``info(path).metadata``."""


def ramp(*shape: int, dtype: str = "<u2", seed: int = 0) -> np.ndarray:
    """Return an image in which all neighbours differ."""
    values = np.arange(np.prod(shape)).reshape(shape) * 7 + seed
    return (values % 2 if dtype == "?" else values % 251).astype(dtype)


def rgb() -> np.ndarray:
    return ramp(6, 7, 3, dtype="u1")


def blocks(channels: int) -> np.ndarray:
    """Return grey blocks of 8 x 8, which JPEG keeps exactly at quality 100."""
    grey = np.kron(np.array([[0, 90, 200], [255, 31, 128]], "u1"), np.ones((8, 8), "u1"))
    return np.repeat(grey[..., None], channels, axis=2) if channels > 1 else grey


def numbers(dtype: str) -> np.ndarray:
    """Return values at the ends of a type."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([[limits.min, limits.max, 1], [2, 3, 4]], dtype)
    if kind == "f":
        limits = np.finfo(dtype)
        return np.array([[limits.min, limits.max, limits.tiny], [-0.0, np.nan, np.inf]], dtype)
    if kind == "c":
        return np.array([[1 - 2j, 0.1 + 3j], [complex(np.inf, -0.0), -1j]], dtype)
    return np.array([[True, False, True], [False, True, True]])


TYPES = [
    "?",
    "i1",
    "u1",
    "<i2",
    ">u2",
    "<i4",
    "<u4",
    "<i8",
    "<u8",
    "<f2",
    "<f4",
    ">f8",
    "<c8",
    "<c16",
]


def text() -> np.ndarray:
    return np.array([["A01", "Überlauf"], ["", "数"]])


def dates() -> np.ndarray:
    return np.array(["2026-01-15", "NaT"], "M8[D]")


def table() -> np.ndarray:
    rows = [("A01", 0.5, 12), ('a "b", c', -2.25e-300, -(2**62)), ("é\nü", np.nan, 0)]
    return np.array(rows, [("well", "U8"), ("area", "f8"), ("cells", "i8")])


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"well": ["A01", "B02"], "area": [0.5, 0.1], "cells": [3, 4]})


def tensors() -> dict[str, Any]:
    import torch

    return {
        "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.tensor([1.5, -0.25], dtype=torch.bfloat16),
        "steps": [torch.tensor(3), ("adam", 0.1, None)],
    }


ROIS = [
    ROI(Points([(1, 2), (3.5, 4.25)]), "points", Position(c=1, z=2, t=3)),
    ROI(Line([(0, 0), (10.125, 7)]), "line"),
    ROI(Polyline([(0, 0), (4, 7), (9, 1)]), "polyline", properties={"imagej": {"group": 3}}),
    ROI(Polygon([(1, 1), (1, 8.1), (6, 8)]), "Zelle ä", properties={"class": "x", "n": 3}),
    ROI(Rectangle((3, 12.5), (3, 6)), "rectangle", Position(z=0)),
    ROI(Rectangle((3, 12), (3, 6), 30), "turned"),
    ROI(Ellipse((20, 30), (9, 12)), "ellipse"),
    ROI(Ellipse((20, 30), (9, 12), -12.5), "turned ellipse"),
    ROI(Mask(np.array([[1, 0, 1], [0, 1, 1]], bool), (4, 5)), "mask"),
    ROI(Composite([[(0, 0), (0, 9), (9, 9), (9, 0)], [(2, 2), (2, 5), (5, 5)]]), "hole"),
]

DOCUMENT = {"scale": 0.1, "big": 2**60, "names": ["ä", "\n", ""], "none": None, "on": True}

HYPERSTACK = {
    "axes": "TCYX",
    "scale": (30.0, 1.0, 0.5, 0.25),
    "units": {"t": "s", "y": "um", "x": "um"},
    "channels": [
        {"label": "DAPI", "color": "blue", "window": {"start": 100, "end": 4000}},
        {"label": "GFP", "color": "green", "window": {"start": 100, "end": 900}},
    ],
}

DISK = [
    *(
        Case(f"types{i}.npy", lambda dtype=dtype: numbers(dtype))
        for i, dtype in enumerate(TYPES)
    ),
    Case("text.npy", text),
    Case("bytes.npy", lambda: np.array([b"ab", b"\0c"])),
    Case("dates.npy", dates),
    Case("structured.npy", table),
    Case("scalar.npy", lambda: np.array(7.5)),
    Case("empty.npy", lambda: np.zeros((0, 3), "f4")),
    Case("fortran.npy", lambda: ramp(4, 5).T),
    Case("part.npy", lambda: ramp(6, 7)[2:4, ::3], None, {"region": np.s_[2:4, ::3]}),
    Case("part.npy", lambda: ramp(6, 7)),
    Case("named.npz", lambda: {"image": ramp(4, 5), "text": text(), "0/ä": numbers(">f8")}),
    Case("packed.npz", lambda: {"image": ramp(4, 5)}, {"compressed": True}),
    Case("document.json", lambda: DOCUMENT),
    Case("indented.json", lambda: DOCUMENT, {"indent": 2}),
    Case("rois.json", lambda: [roi.to_dict() for roi in ROIS]),
    Case("notes.txt", lambda: "ä\r\nsecond line\n"),
    Case("latin.txt", lambda: "größer", {"encoding": "latin-1"}, {"encoding": "latin-1"}),
    Case("table.csv", table),
    Case("semicolons.csv", table, {"delimiter": ";"}, {"delimiter": ";"}),
    Case("frame.csv", frame, load={"as_": "pandas"}),
    *(
        Case(f"types{i}.tif", lambda dtype=dtype: numbers(dtype))
        for i, dtype in enumerate(TYPES)
    ),
    *(
        Case(f"{codec}.tif", lambda: ramp(3, 18, 17), {"compression": codec})
        for codec in ("lzma", "lzw", "packbits", "zlib", "zstd")
    ),
    Case("tiled.tiff", lambda: ramp(2, 40, 33), {"compression": "zlib", "tile": (16, 16)}),
    Case("predicted.tif", lambda: ramp(9, 8), {"compression": "zlib", "predictor": True}),
    Case("big.tif", lambda: ramp(9, 8), {"bigtiff": True}),
    Case("rgb.tif", rgb, {"photometric": "rgb"}),
    Case(
        "imagej.tif",
        lambda: ramp(2, 2, 5, 6),
        {"imagej": True, **HYPERSTACK},
        info={
            "scale": [30.0, 1.0, 0.5, 0.25],
            "units": ["second", None, "micrometer", "micrometer"],
        },
    ),
    Case(
        "ome.tif",
        lambda: ramp(2, 3, 5, 6),
        {
            "ome": True,
            "axes": "CZYX",
            "metadata": {"PhysicalSizeX": 0.4, "PhysicalSizeXUnit": "µm"},
        },
    ),
    Case("grey8.png", lambda: ramp(6, 7, dtype="u1")),
    Case("grey16.png", lambda: ramp(6, 7) * 257),
    Case("rgb.png", rgb),
    Case("rgba16.png", lambda: ramp(6, 7, 4) * 200),
    Case("grey.jpg", lambda: blocks(1), {"quality": 100}),
    Case("rgb.jpeg", lambda: blocks(3), {"quality": 100}),
    *(Case(f"roi{i}.roi", lambda roi=roi: roi) for i, roi in enumerate(ROIS)),
    Case("rois.roi.zip", lambda: ROIS),
    Case("RoiSet.zip", lambda: ROIS),
    Case("state.pt", tensors),
    Case("state.pth", tensors),
]

IMAGE = {
    "scale": {"z": 2.0, "y": 0.65, "x": 0.65},
    "units": "um",
    "channels": ["DAPI", {"label": "GFP", "color": "green"}],
}
SHOWN = {
    "axes": ["c", "z", "y", "x"],
    "scale": [1.0, 2.0, 0.65, 0.65],
    "units": [None, "micrometer", "micrometer", "micrometer"],
    "channels": ["DAPI", "GFP"],
}
ATTRIBUTES = {"attributes": {"note": "ä", "n": [1, None]}}


def coarse(image: np.ndarray) -> np.ndarray:
    """Return every second pixel of a constant image, which has the same mean."""
    return image[..., ::2, ::2]


def plain(channels: int, size: int = 300) -> np.ndarray:
    planes = [np.full((1, size, size), 100 * (c + 1), "<u2") for c in range(channels)]
    return np.stack(planes)


def nuclei(size: int = 300) -> np.ndarray:
    labels = np.zeros((1, size, size), "u1")
    labels[:, :100] = 7
    return labels


def filled() -> np.ndarray:
    volume = np.full((4, 32, 32), 9, "<u2")
    volume[1] = ramp(32, 32)
    volume[2:, :16, 16:] = 3
    return volume


ZARR = [
    *(
        Case(
            f"types{version}.zarr/{group}/t{i}",
            lambda dtype=dtype: numbers(dtype),
            {"zarr_format": version},
        )
        for version, group in ((3, "deep/group"), (2, "group"))
        for i, dtype in enumerate(TYPES)
    ),
    *(
        Case(f"types{version}.zarr/{name}", value, {"zarr_format": version})
        for version in (3, 2)
        for name, value in (
            ("text", text),
            ("dates", dates),
            ("structured", table),
            ("bytes", lambda: np.array([b"ab", b"cd"])),
            ("scalar", lambda: np.array(7.5)),
            ("empty", lambda: np.zeros((0, 3), "f4")),
        )
    ),
    *(
        Case(
            f"codecs{version}.zarr/{codec}",
            lambda: ramp(3, 37, 41),
            {"zarr_format": version, "compressor": codec, "chunks": (1, 16, 16)},
        )
        for version in (3, 2)
        for codec in ("blosc", "zstd", "gzip", "none")
    ),
    Case("root.zarr", lambda: ramp(37, 41), ATTRIBUTES, info=ATTRIBUTES),
    Case("unchecked.zarr", lambda: ramp(37, 41), {"checksum": False}),
    Case(
        "sharded.zarr/volume",
        lambda: ramp(4, 37, 41),
        {"chunks": (1, 8, 8), "shards": (2, 16, 16)},
    ),
    Case(
        "sharded.zarr/volume",
        lambda: ramp(4, 37, 41)[1:3, ::2, 5],
        None,
        {"region": np.s_[1:3, ::2, 5]},
    ),
    Case("parts.zarr/volume", filled, None),
    Case("folder/a.tif", lambda: ramp(9, 8)),
    Case("folder/images.zarr/a.tif", lambda: ramp(9, 8), None),
    Case("image.ome.zarr", lambda: plain(2), IMAGE, info={**SHOWN, "labels": ["nuclei"]}),
    Case("image.ome.zarr", lambda: coarse(plain(2)), None, {"level": 1}),
    Case("image.ome.zarr/labels/nuclei", nuclei),
    Case("image.ome.zarr/labels/nuclei", lambda: coarse(nuclei()), None, {"level": 1}),
    Case("old.ome.zarr", lambda: plain(2), {**IMAGE, "ome": "0.4"}, info=SHOWN),
    Case("old.ome.zarr", lambda: coarse(plain(2)), None, {"level": 1}),
    Case(
        "named.zarr", lambda: ramp(9, 8), {"ome": True, "axes": "yx"}, info={"axes": ["y", "x"]}
    ),
    Case("several.ome.zarr/first", lambda: ramp(9, 8)),
    Case("several.ome.zarr/second", lambda: ramp(3, 9, 8), {"axes": "cyx"}),
    *(
        Case(f"plate{name}.ome.zarr/{field}", lambda i=i: ramp(9, 8, seed=i), options)
        for name, options in (("", {}), ("04", {"ome": "0.4"}))
        for i, field in enumerate(("A/1/0", "A/1/1", "B/03/0"))
    ),
    Case("plate.ome.zarr/A/1/0/labels/nuclei", lambda: ramp(9, 8, dtype="u1")),
    Case(
        "scan.ome.zarr/A/01/0",
        lambda: np.stack([ramp(9, 8, seed=c) for c in range(2)]),
        None,
        info={"axes": list("cyx"), "scale": [1.0, 0.65, 0.65]},
    ),
]

CASES = {"disk": DISK, "zarr": ZARR}

SUBDIRECTORIES = {
    "TimePoint_1": {"available_backends": {"zarr": True, "disk": False}, "pixel_size": 0.65},
    "TimePoint_2": {"channels": {"1": "DAPI", "2": "GFP"}},
}
SETTINGS = {"threads": 4, "name": "Prüfung"}
