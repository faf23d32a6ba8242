"""What is timed of chunked arrays: batches, volumes, single planes, long lists, pyramids."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders_zarr import ArrayLayout, HandWritten, Image, IncumbentZarr, PolystoreZarr, Store
from workloads import Workload, check, seconds

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
_VIEWS: tuple[Callable[[Image], Image], ...] = tuple(
    functools.partial(_turn, quarters=quarters, mirrored=mirrored)
    for quarters in range(4)
    for mirrored in (False, True)
) if False else ()


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
    return random.poisson(light).astype(np.uint16) + np.uint16(100)
