"""Images that the tests of a real napari save."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZE = (64, 64)
MANY = 50_000
"""Pixels of the screen: fewer than an image that fills the window has, more than buttons have."""


def plane(value: int) -> Any:
    return np.full(SIZE, value, "u1")
