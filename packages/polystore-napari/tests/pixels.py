"""Images for the tests with a real napari."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZE = (64, 64)
MANY = 50_000
"""A number of screen pixels: fewer than those of a full window, and more than those of buttons."""


def plane(value: int) -> Any:
    return np.full(SIZE, value, "u1")
