"""Zarr backend of polystore: chunked arrays, OME-Zarr images and plates."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .plates import save_plate

__all__ = ["save_plate"]


# Importing the package must not import zarr, which takes half a second.


def __getattr__(name: str) -> "Any":
    if name != "save_plate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .plates import save_plate

    return save_plate
