"""Keep the units of the layers of one window consistent.

napari shows sizes in units if all layers have units of one kind on each axis. Otherwise it ignores
all units: it draws the numbers without units, and its scale bar does not have a unit. So a layer
without a unit gets the unit of the window. This does not move anything, because napari draws a
pixel of unknown size as long as one unit in any case.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

import pint

from .overlays import ScaleBar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from polystore_core import Value
    from polystore_stream.viewers.planning import Key

    from .layers import Shown
    from .roi_layers import RoiLayers

__all__ = ["PIXEL", "WindowUnits", "base_unit", "fill_units", "find_shared"]

log = logging.getLogger("polystore.napari")

PIXEL = "pixel"
"""The unit of an axis whose unit is unknown."""


def find_shared(units: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the unit of each axis of a window, x last, from the units of its layers.

    It is the unit of the first layer that has one. It is ``PIXEL`` if no layer has one, or if the
    layers have units of different kinds.
    """
    said: list[list[str]] = []
    for names in units:
        said += [[] for _ in range(len(names) - len(said))]
        for axis, name in enumerate(reversed(names)):
            if name != PIXEL:
                said[axis].append(name)
    return tuple(_agree(names) for names in reversed(said))


def _agree(names: Sequence[str]) -> str:
    kinds = {base_unit(name)[1] for name in names}
    return names[0] if len(kinds) == 1 else PIXEL


def fill_units(units: Sequence[str], shared: Sequence[str]) -> tuple[str, ...]:
    """Return the units of a layer. An axis without a unit gets the unit of the window."""
    pairs = zip(units, shared[len(shared) - len(units) :], strict=True)
    return tuple(of_window if own == PIXEL else own for own, of_window in pairs)


@cache
def base_unit(name: str) -> tuple[float, str]:
    """Return the size of a unit in base units, and its kind, such as "[length]"."""
    registry: Any = pint.get_application_registry()
    factor, base = registry.get_base_units(name)
    return float(factor), str(base.dimensionality)


class WindowUnits:
    """Keep the units of one window consistent, and show its scale bar."""

    def __init__(
        self, model: ViewerModel, images: Mapping[Key, Shown], rois: RoiLayers
    ) -> None:
        """``images`` and ``rois`` belong to the window, and change later."""
        self.model = model
        self._images, self._rois = images, rois
        self._bar = ScaleBar(model)
        self._shared: object = None
        """Layers and units at the last ``share``, to skip the work if nothing has changed."""

    def prepare(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """Return the units for a new layer with the units ``own``, and give them to the others.

        Call it before the layer is added: napari warns its user about units that do not fit, even
        for a moment.
        """
        self._shared = None
        return fill_units(own, self._fill([own]))

    def share(self) -> None:
        """Give layers without a unit the unit of the window, and show or hide the scale bar.

        Layers that the user has added stay as they are.
        """
        # Skip the work if nothing has changed: with 150 layers it takes longer than an image.
        layers, images = list(self.model.layers), self._list_shown()
        state = layers, [(shown.units, shown.has_bar) for shown in images]
        if state == self._shared:
            return
        self._fill()
        self._shared = state
        has_units = self.model.layers.extent.units is not None
        units = [_find_own(shown)[-1] for shown in images if shown.has_bar and has_units]
        self._bar.show(next((unit for unit in units if unit != PIXEL), ""))

    def _list_shown(self) -> list[Shown]:
        layers = list(self.model.layers)
        return [shown for shown in self._images.values() if shown.layer in layers]

    def _fill(self, new: Sequence[tuple[str, ...]] = ()) -> tuple[str, ...]:
        """Give units to all layers without units. Return the units of the window."""
        images = self._list_shown()
        ours = {*self._rois, *(shown.layer for shown in images)}
        others = [_units(layer) for layer in self.model.layers if layer not in ours]
        shared = find_shared([*map(_find_own, images), *new, *others])
        try:
            for shown in images:
                _fill_image(shown, shared)
            self._rois.align()
            for layer, own in self._rois.units():
                _set_units(layer, fill_units(own, shared))
        except Exception:  # a plugin that listens to the change may raise
            log.exception("the layers of a window could not get the same units")
        return shared


def _fill_image(shown: Shown, shared: Sequence[str]) -> None:
    layer = shown.layer
    assert layer is not None
    now = _units(layer)
    filled = fill_units(_find_own(shown, now), shared)
    if filled != now:
        layer.units = filled
        if now == shown.state["units"]:
            shown.state["units"] = _units(layer)


def _find_own(shown: Shown, now: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the units that a pipeline or the user has set for a layer, or else ``PIXEL``."""
    assert shown.layer is not None
    now = now or _units(shown.layer)
    is_ours = now == shown.state["units"]
    return (shown.units or (PIXEL,) * len(now)) if is_ours else now


def _units(layer: Layer) -> tuple[str, ...]:
    return tuple(map(_name, layer.units))


@cache
def _name(unit: Value) -> str:
    return str(unit)  # without the cache, a quarter of the time of a new layer among 150


def _set_units(layer: Layer, units: tuple[str, ...]) -> None:
    if units != _units(layer):
        layer.units = units
