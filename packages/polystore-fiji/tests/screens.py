"""Planes for the tests that look at the screen, and the list of its windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polystore_testing.display import Display


SIZE = (200, 220)
MOST = 40_000
"""A number of screen pixels: nearly all pixels of an image of that size, without zoom."""

WHOLE = (0, 255)
"""With these limits each 8-bit pixel is painted in the gray of its value."""


def plane(value: float, dtype: str = "u1") -> Any:
    return np.full(SIZE, value, dtype)


def list_windows(display: Display) -> list[str]:
    """Return the titles of the images. Other windows belong to ImageJ itself and to Java."""
    others = ("ImageJ", "java-", "sun-")
    return sorted(title for title in display.titles() if not title.startswith(others))
