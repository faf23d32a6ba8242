"""A ROI of each kind, and functions that add ROIs to napari's layers and read them back."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from polystore_core.rois import (
    ROI,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Rectangle,
    Shape,
)
from polystore_napari.drawn import from_layer
from polystore_napari.rois import RoiLayer, to_layers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from napari's own use of pydantic
    from napari.components import ViewerModel


SQUARE = [(1.1, 1.2), (1.1, 9.3), (9.4, 9.3), (9.4, 1.2)]
HOLE = [(3.1, 3.2), (3.1, 5.3), (5.4, 5.3), (5.4, 3.2)]
EXAMPLES: list[Shape] = [
    Points([(0.1, 0.2)]),
    Points([(0.25, -3), (1e12, 1 / 3), (0.25, -3)]),
    Line([(0, 0.1), (3, 4)]),
    Polyline([(0, 0.1), (1, 2), (3, 5)]),
    Polygon(SQUARE),
    Polygon([(1e12, 1e12), (1e12, -1e12), (1 / 3, 1e-9)]),
    Rectangle((3, 12.5), (3, 6)),
    Rectangle((3, 12.5), (3, 6), 1030.1),
    Ellipse((3, 12.5), (3, 6), -45.5),
    Mask(np.eye(3, 11, dtype=bool), (-2, 7)),
    Composite([SQUARE, HOLE]),
]
PROPERTIES = {"stroke": {"color": "#ff0000", "width": 1.5}, "counters": [1, 2], "n": None}


def add_layer(viewer: ViewerModel, layer: RoiLayer) -> Any:
    return getattr(viewer, f"add_{layer.type}")(**layer.arguments)


def read(made: Any, layer: RoiLayer) -> list[ROI]:
    types = made.shape_type if layer.type == "shapes" else ()
    return from_layer(
        layer.type,
        made.data,
        types,
        made.features,
        layer.axes,
        known=layer.rois,
        to_pixels=layer.to_pixels,
    )


def pairs(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> list[tuple[Any, RoiLayer]]:
    """Add the layers of ROIs to a viewer. Return each layer of napari with ours."""
    viewer = ViewerModel()
    return [(add_layer(viewer, layer), layer) for layer in to_layers(rois, sliders)]


def make_round_trip(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> list[ROI]:
    return [roi for made, layer in pairs(rois, sliders) for roi in read(made, layer)]


def only(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> tuple[Any, RoiLayer]:
    """Return the only layer of ROIs, as ``pairs`` does."""
    ((made, layer),) = pairs(rois, sliders)
    return made, layer
