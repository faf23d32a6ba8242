"""Change and copy layers of napari. If a change fails, the window stays as it was."""

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
"""Attributes with a value for each shape or point. napari cuts them when new data are shorter, so
restore them after the data."""


def add_layer(model: ViewerModel, add: Callable[[], Layer]) -> Layer:
    """Call a method of the model that adds a layer. If it raises, remove the layers it added.

    napari inserts a layer before it tells its listeners, and a plugin's listener may raise.
    """
    before = list(model.layers)
    try:
        return add()
    except Exception:
        for layer in [layer for layer in model.layers if layer not in before]:
            with suppress(Exception):  # a listener that never got the layer may raise again
                take_out(model, layer)
        raise


def take_out(model: ViewerModel, layer: Layer) -> None:
    """Remove a layer, if it is there."""
    if layer in model.layers:
        model.layers.remove(layer)


def replace_layer(model: ViewerModel, old: Layer, new: Layer) -> None:
    """Show ``new`` instead of ``old``, at the same position in the list and in the selection."""
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
    """Return a copy of a layer that is not in a window."""
    data, attributes, kind = layer.as_layer_data_tuple()
    return type(layer).create(data, attributes, kind)


def assign(layer: Layer, values: Mapping[str, Value]) -> None:
    """Set attributes in order. Continue after one that fails, and raise its error at the end."""
    with ExitStack() as rest:
        for name, value in reversed(list(values.items())):
            rest.callback(setattr, layer, name, value)


def layer_reach(layer: Layer) -> Reach:
    """Return the extent of a layer of napari."""
    (low, high), step = layer.extent.world, layer.extent.step
    return Reach(
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(step.tolist()),
        tuple(map(str, layer.units)),
    )


def content_of(layer: Layer) -> Document:
    """Return the values with which :func:`assign` restores a layer of ROIs."""
    kind = layer._type_string
    content: dict[str, Any] = {
        "data": layer.data
        if kind != "shapes"
        else list(zip(layer.data, layer.shape_type, strict=True)),
        "features": layer.features.copy(),
    }
    if kind != "labels":
        content["feature_defaults"] = layer.feature_defaults.copy()
        # napari raises if an attribute of rows is set on an empty layer.
        names = _OF_ROWS[kind] if len(layer.data) else ()
        content |= {name: getattr(layer, name) for name in names}
        content["selected_data"] = set(layer.selected_data)
    return content | {name: getattr(layer, name) for name in ("scale", "translate", "units")}
