"""Changes of napari's layers that leave a window as it was if they fail, and copies of them."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from polystore_stream.viewers.planning import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel
    from napari.layers import Layer

    from polystore_core import Document, Value

__all__ = [
    "add_layer",
    "assign",
    "content_of",
    "copy_layer",
    "layer_reach",
    "replace_layer",
    "select",
    "take_out",
]

_OF_ROWS = {
    "shapes": ("edge_width", "edge_color", "face_color", "z_index"),
    "points": ("size", "symbol", "border_width", "border_color", "face_color", "shown"),
}
"""Attributes with a value for each shape or point: napari cuts them to the length of new data."""


def add_layer(model: ViewerModel, add: Callable[[], Layer]) -> Layer:
    """Call ``add``, one of the model's; if it raises, take out the layers that it has left."""
    before = list(model.layers)
    try:
        return add()
    except Exception:
        for layer in [layer for layer in model.layers if layer not in before]:
            with suppress(Exception):  # of napari's listeners, which the layer never reached
                take_out(model, layer)
        raise


def take_out(model: ViewerModel, layer: Layer) -> None:
    """Remove a layer, if it is there."""
    if layer in model.layers:
        model.layers.remove(layer)


def replace_layer(model: ViewerModel, old: Layer, new: Layer) -> None:
    """Show ``new`` instead of ``old``: at its place in the list, selected if that was."""
    layers, name = model.layers, old.name
    selected = {new if layer is old else layer for layer in layers.selection}
    if new not in layers:
        add_layer(model, lambda: model.add_layer(new))
    at = layers.index(old)
    layers.remove(old)
    new.name = name
    layers.move(layers.index(new), at)
    select(model, selected)


def select(model: ViewerModel, layers: set[Layer]) -> None:
    """Select the layers of a set that are still there, and no others."""
    model.layers.selection.clear()
    model.layers.selection.update(layers & set(model.layers))


def copy_layer(layer: Layer) -> Layer:
    """Return a layer that shows the same, and is in no window."""
    data, attributes, kind = layer.as_layer_data_tuple()
    return type(layer).create(data, attributes, kind)


def assign(layer: Layer, values: Mapping[str, Value]) -> None:
    """Set attributes in order, also the ones after one that fails."""
    with ExitStack() as rest:
        for name, value in reversed(list(values.items())):
            rest.callback(setattr, layer, name, value)


def layer_reach(layer: Layer) -> Reach:
    """Return the reach of a layer of napari."""
    (low, high), step = layer.extent.world, layer.extent.step
    return Reach(
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(step.tolist()),
        tuple(map(str, layer.units)),
    )


def content_of(layer: Layer) -> Document:
    """Return what :func:`assign` takes to show again what a layer of ROIs shows now."""
    kind = layer._type_string
    content: dict[str, Any] = {
        "data": layer.data
        if kind != "shapes"
        else list(zip(layer.data, layer.shape_type, strict=True)),
        "features": layer.features.copy(),
    }
    if kind != "labels":
        content["feature_defaults"] = layer.feature_defaults.copy()
        # napari sets no attribute of the rows of an empty layer.
        names = _OF_ROWS[kind] if len(layer.data) else ()
        content |= {name: getattr(layer, name) for name in names}
        content["selected_data"] = set(layer.selected_data)
    return content | {name: getattr(layer, name) for name in ("scale", "translate", "units")}
