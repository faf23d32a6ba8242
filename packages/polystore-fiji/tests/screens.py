"""Planes for the tests that look at the screen, and the windows on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polystore_testing.display import Display


SIZE = (200, 220)
MOST = 40_000
"""Pixels of the screen: nearly all of such an image, at its own size."""

WHOLE = (0, 255)
"""Limits with which 8-bit pixels are painted in the gray of their value."""


def plane(value: float, dtype: str = "u1") -> Any:
    return np.full(SIZE, value, dtype)


def windows(display: Display) -> list[str]:
    """Titles of the images: ImageJ itself and Java have windows, too."""
    others = ("ImageJ", "java-", "sun-")
    return sorted(title for title in display.titles() if not title.startswith(others))
