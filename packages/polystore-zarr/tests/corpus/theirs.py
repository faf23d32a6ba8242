"""Documents and images as other programs write them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import zarr

NAN = {"missing_value": math.nan, "valid_range": [-math.inf, math.inf]}
IMAGE = np.arange(64, dtype="u2").reshape(8, 8)


def attributes_of(path: str) -> dict[str, Any]:
    """Return the attributes as zarr reads them."""
    return dict(zarr.open(path, mode="r").attrs)


def make_image(path: str, zarr_format: int, **more: Any) -> None:
    """Make an OME-Zarr image of one level, with ``more`` in its multiscale image."""
    group = zarr.create_group(path, zarr_format=zarr_format)
    group.create_array("0", shape=IMAGE.shape, dtype=IMAGE.dtype, chunks=(4, 4))[:] = IMAGE
    multiscale = {
        "axes": [{"name": name, "type": "space"} for name in "yx"],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.25]}],
            }
        ],
    } | more
    window = {"min": math.nan, "max": math.nan, "start": 0, "end": 1}
    channel = {"color": "FFFFFF", "window": window, "mine": math.inf}
    ome = {"multiscales": [multiscale], "omero": {"channels": [channel]}}
    if zarr_format == 2:
        multiscale.setdefault("version", "0.4")
        group.attrs.update(ome)
    else:
        group.attrs["ome"] = {"version": "0.5", **ome}


def document(**change: Any) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
        "attributes": NAN,
    } | change


def document_2(**change: Any) -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": [4],
        "chunks": [4],
        "dtype": "|u1",
        "compressor": None,
        "fill_value": None,
        "order": "C",
        "filters": None,
    } | change
