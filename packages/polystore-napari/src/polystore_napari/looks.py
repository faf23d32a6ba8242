"""Choose how a layer looks: its name, colours, pixel sizes and display range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polystore_core import HEX_COLOR, Channel, channel_colors
from polystore_stream.viewers.looks import choose_range, find_bits, name_layer

from .edits import layer_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari.layers import Layer

    from polystore_core import Document, Value
    from polystore_stream import Image, Stack
    from polystore_stream.viewers.planning import Plan, Target

    from .layers import Shown

__all__ = [
    "color_channels",
    "colormap",
    "describe_layer",
    "describe_look",
    "find_group",
    "fit_limits",
    "has_limits",
    "title_layer",
]


def _channel(item: Image, target: Target) -> Channel:
    number = target.key[3]
    return item.channels[number] if number < len(item.channels) else Channel()


def title_layer(item: Image, target: Target, plan: Plan) -> str:
    """Return the name of the layer of one channel, or of a whole image."""
    channel = _channel(item, target).name
    if item.channel and channel and not item.layers:
        return channel  # the title names the channel too, but the metadata is better
    number = target.key[3] if item.layers else None
    return name_layer(plan.title, channel=channel, number=number, labels=item.labels)


def describe_look(item: Image, target: Target, plan: Plan) -> Document:
    """Return the look that a message asks for, as attributes of the layer."""
    look: dict[str, Any] = {}
    ones = (1.0,) * len(plan.sliders)
    letters = item.axes.rstrip("s")
    kept = [at for at, letter in enumerate(letters) if letter in plan.axes]
    if item.scale:
        look["scale"] = (*ones, *(item.scale[at] for at in kept))
    if any(item.units):
        names = [item.units[at] or "pixel" for at in kept]
        look["units"] = (*("pixel" for _ in ones), *names)
    if not has_limits(item):
        return look
    channel = _channel(item, target)
    color = item.colormap or channel.color
    if color:
        look["colormap"] = colormap(color)
    if channel.color:
        look["blending"] = "additive"
    limits = item.contrast_limits or channel.limits
    if limits:
        look["contrast_limits"] = limits
    if not channel.visible:
        look["visible"] = False
    if channel.gamma != 1:
        look["gamma"] = channel.gamma
    return look


def has_limits(item: Image) -> bool:
    """Return whether napari shows an image with display limits. Labels and RGB have none."""
    return not (item.labels or item.axes.endswith("s"))


def describe_layer(layer: Layer, stack: Stack | None) -> Document:
    """Return the description of a layer. ``stack`` holds the values of pipelines, if any."""
    return {
        "name": layer.name,
        "type": layer._type_string,
        "shape": list(getattr(layer.data, "shape", None) or [len(layer.data)]),
        "dtype": str(getattr(layer.data, "dtype", "")),
        "scale": list(map(float, layer.scale)),
        "units": [str(unit) for unit in layer.units],
        "visible": bool(layer.visible),
        "rgb": bool(getattr(layer, "rgb", False)),
        "colormap": str(getattr(getattr(layer, "colormap", None), "name", "")),
        "contrast_limits": [float(v) for v in getattr(layer, "contrast_limits", ())],
        "axes": list(layer.axis_labels),
        "coordinates": [] if stack is None else [list(c) for c in stack.coordinates],
    }


# ── colours ──────────────────────────────────────────────────────────────────────────────


def find_group(item: Image, target: Target, plan: Plan) -> str:
    """Return the key of an image whose channels are several layers, or ""."""
    if not has_limits(item):
        return ""
    if item.channel:
        return item.group or target.key[1]
    return target.key[1] if len(plan.keys) > 1 else ""


def color_channels(channels: Sequence[Shown]) -> Iterator[Shown]:
    """Give colours to the channels of an image, if it has at least two. Yield those that change.

    Colours that a save has given or that the user has chosen stay.
    """
    colors = channel_colors([Channel()] * len(channels)) if len(channels) > 1 else []
    for shown, color in zip(channels, colors, strict=False):
        layer = shown.layer
        assert layer is not None
        is_ours = layer_state(layer)["color"] == shown.state["color"]
        if is_ours and "colormap" not in shown.look and layer.colormap.name == "gray":
            layer.colormap, layer.blending = colormap(color), "additive"
            yield shown


def colormap(name: str) -> Value:
    """Return napari's colormap with a name, or one from black to a colour RRGGBB.

    Raises ``KeyError``, ``ValueError`` or ``TypeError`` if napari does not know it.
    """
    from napari.utils.colormaps import Colormap, ensure_colormap

    if HEX_COLOR.fullmatch(name):
        digits = name.lstrip("#")
        color = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        return Colormap([[0, 0, 0], color], name=f"#{digits}")
    return ensure_colormap(name)


# ── display limits ───────────────────────────────────────────────────────────────────────


def fit_limits(
    shown: Shown, item: Image, target: Target, look: Mapping[str, Value], *, begins: bool
) -> None:
    """Show a layer with the limits of all its planes, unless a save or the user has set others.

    ``begins`` says that the layer is new or was emptied, so that the user has not set limits.
    """
    layer, bits = shown.layer, find_bits(item)
    assert layer is not None
    low, high = map(float, layer.contrast_limits)
    wanted = current = low, high
    if "contrast_limits" in look:
        shown.automatic = None
        wanted = look["contrast_limits"] if begins else current
    elif begins or current == shown.automatic:
        wanted = shown.automatic = shown.limits.pair(bits)
    if wanted != current:
        layer.contrast_limits = wanted
    # The range of the slider only grows while a layer exists: the user may have set it wider.
    low, high = choose_range(wanted, item.dtype, bits, _channel(item, target).data_range)
    if not begins:
        least, greatest = layer.contrast_limits_range
        low, high = min(low, least), max(high, greatest)
    layer.contrast_limits_range = low, high
