"""Small planes for the tests without windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polystore_fiji.remote import RemoteFiji


SIZE = (12, 16)


def plane(value: float, dtype: str = "u2") -> Any:
    return np.full(SIZE, value, dtype)


def only(viewer: RemoteFiji) -> dict[str, Any]:
    """Return the only image of a viewer."""
    (layer,) = viewer.layers()
    return layer
