"""Find the changes that a user of napari made to a layer after a pipeline saved to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Layer

    from polystore_core import Document, Value
    from polystore_stream import Image
    from polystore_stream.viewers.planning import Plan

__all__ = ["describe_edits", "layer_state", "settle"]


def layer_state(layer: Layer) -> dict[str, Value]:
    """Return the metadata of an image that a layer shows, as values that can be compared."""
    is_gray = hasattr(layer, "contrast_limits") and not layer.rgb
    return {
        "name": layer.name,
        "scale": tuple(map(float, layer.scale)),
        "units": tuple(map(str, layer.units)),
        "limits": tuple(map(float, layer.contrast_limits)) if is_gray else None,
        "color": _color(layer.colormap) if is_gray else None,
    }


def settle(
    known: Mapping[str, Value], before: Mapping[str, Value] | None, now: Mapping[str, Value]
) -> dict[str, Value]:
    """Return the state as pipelines have set it, after a save changed ``before`` into ``now``.

    The result keeps the value in ``known`` for a word that the user has changed, unless this save
    has replaced the user's value.
    """
    if before is None:
        return dict(now)
    return {
        word: known[word] if now[word] == before[word] != known[word] else value
        for word, value in now.items()
    }


def _color(colormap: Value) -> str | None:
    """Return RRGGBB for a colormap from black to one colour, or ``None`` for other colormaps."""
    colors = colormap.colors
    if len(colors) != 2 or any(colors[0][:3]):
        return None
    return "".join(f"{round(float(part) * 255):02X}" for part in colors[1][:3])


def describe_edits(
    item: Image, plan: Plan, layers: Sequence[tuple[Mapping[str, Value], Mapping[str, Value]]]
) -> Document:
    """Return the user's changes, with the keys of ``metadata_document``.

    ``layers`` has the state set by pipelines and the state now, for the layer of each channel, or
    for the single layer of the image.
    """
    changes: dict[str, Any] = {}
    axes = [_axis_edit(letter, plan, *layers[0]) for letter in item.axes]
    if any(len(axis) > 1 for axis in axes):
        changes["axes"] = axes
    is_split = item.layers == "c"
    if is_split or "c" not in item.axes:
        is_named = is_split or bool(item.channels and item.channels[0].name)
        prefix = f"{plan.title} " if is_named else ""
        channels = [_channel_edit(prefix, *one) for one in layers]
        if not is_named:
            channel = channels[0]
            if "name" in channel:  # the layer has the name of the image, not of its channel
                changes["name"] = channel.pop("name")
        if any(channels):
            changes["channels"] = channels
    return changes


def _axis_edit(
    letter: str, plan: Plan, before: Mapping[str, Value], now: Mapping[str, Value]
) -> Document:
    edit: dict[str, Any] = {"name": letter}
    if letter == "s" or letter not in plan.axes:
        return edit
    at = len(plan.sliders) + plan.axes.index(letter)
    if (before["scale"][at], before["units"][at]) != (now["scale"][at], now["units"][at]):
        edit["scale"] = now["scale"][at]
        if now["units"][at] != "pixel":
            edit["unit"] = now["units"][at]
    return edit


def _channel_edit(
    prefix: str, before: Mapping[str, Value], now: Mapping[str, Value]
) -> Document:
    edit: dict[str, Any] = {
        word: now[word]
        for word in ("color", "limits")
        if now[word] is not None and now[word] != before[word]
    }
    if now["name"] != before["name"]:
        edit["name"] = now["name"].removeprefix(prefix)
    return edit
