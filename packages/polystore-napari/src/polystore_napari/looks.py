"""How a layer looks: its name, colours, pixel sizes and display range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import HEX_COLOR, Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import Document, Value
    from polystore_stream import Image, Stack
    from polystore_stream.viewers.planning import Plan, Target

__all__ = [
    "COLORS",
    "choose_limits",
    "colormap",
    "describe_look",
    "find_uncolored",
    "name_layer",
]

COLORS = ("magenta", "green", "cyan", "yellow", "red", "blue")
"""Of channels without a colour, in this order."""
_SAMPLE = 1 << 20
"""Pixels that contrast limits are taken from."""


def _channel(item: Image, target: Target) -> Channel:
    number = target.key[3]
    return item.channels[number] if number < len(item.channels) else Channel()


def name_layer(item: Image, target: Target, plan: Plan) -> str:
    """Return the name of the layer of one channel, or of a whole image."""
    label = _channel(item, target).name
    if item.labels:
        return f"{plan.title} labels"  # beside the image that they belong to
    if item.layers != "c":
        return label or plan.title
    return f"{plan.title} {label or target.key[3]}"


def describe_look(item: Image, target: Target, plan: Plan) -> Document:
    """Return what was said about how it looks, as attributes of the layer."""
    look: dict[str, Any] = {}
    ones = (1.0,) * len(plan.sliders)
    letters = item.axes.rstrip("s")
    kept = [at for at, letter in enumerate(letters) if letter in plan.axes]
    if item.scale:
        look["scale"] = (*ones, *(item.scale[at] for at in kept))
    if any(item.units):
        names = [item.units[at] or "pixel" for at in kept]
        look["units"] = (*("pixel" for _ in ones), *names)
    if item.labels or item.axes.endswith("s"):
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
    return look


def find_uncolored(item: Image, target: Target, plan: Plan, look: Mapping[str, Value]) -> str:
    """Return which channel it is of several, if nobody has said how that looks."""
    if item.labels or item.axes.endswith("s") or {"colormap", "blending"} & look.keys():
        return ""
    of_several = len(plan.targets) > 1
    return item.channel or (str(target.key[3]) if of_several else "")


def colormap(name: str) -> Value:
    """Return napari's colormap of a name, or of RRGGBB from black; ``KeyError``-like if none."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    if HEX_COLOR.fullmatch(name):
        digits = name.lstrip("#")
        color = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        return Colormap([[0, 0, 0], color], name=f"#{digits}")
    return ensure_colormap(name)


def choose_limits(stack: Stack) -> tuple[float, float]:
    """Return the limits for what a stack holds: all of 8 bits, else least and greatest pixel."""
    if stack.dtype == np.bool_:
        return 0.0, 1.0
    if stack.dtype == np.uint8:
        return 0.0, 255.0
    view = stack.snapshot()
    plane = np.asarray(view[(0,) * len(stack.sliders)])
    step = max(1, int((plane.size / _SAMPLE) ** (1 / plane.ndim)))
    sample = plane[(slice(None, None, step),) * plane.ndim]
    if stack.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    low, high = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)
