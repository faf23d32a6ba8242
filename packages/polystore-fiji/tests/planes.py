"""Small planes that the tests without windows save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polystore_fiji.remote import RemoteFiji


SIZE = (12, 16)


def plane(value: float, dtype: str = "u2") -> Any:
    return np.full(SIZE, value, dtype)


def only(viewer: RemoteFiji) -> dict[str, Any]:
    (layer,) = viewer.layers()
    return layer
