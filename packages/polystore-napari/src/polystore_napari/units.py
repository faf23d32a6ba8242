"""The units of the layers of one window.

napari shows sizes in units if all layers have units of one kind on each axis. Otherwise it drops
the units of all of them: it draws the bare numbers, and its scale bar has no unit. So a layer that
says no unit gets that of the window. Nothing moves by that: napari draws one pixel of an image of
unknown size as long as one unit in any case.
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
"""The unit of an axis of which nothing is known."""


def find_shared(units: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the unit of each axis of a window, x last, from the units of its layers.

    It is the one that the first layer says, or ``PIXEL`` if no layer says one, or if they are of
    different kinds.
    """
    said: list[list[str]] = []
    for names in units:
        said += [[] for _ in range(len(names) - len(said))]
        for axis, name in enumerate(reversed(names)):
            if name != PIXEL:
                said[axis].append(name)
    return tuple(_agreed(names) for names in reversed(said))


def _agreed(names: Sequence[str]) -> str:
    kinds = {base_unit(name)[1] for name in names}
    return names[0] if len(kinds) == 1 else PIXEL


def fill_units(units: Sequence[str], shared: Sequence[str]) -> tuple[str, ...]:
    """Return the units of a layer, with those of the window where it says none."""
    pairs = zip(units, shared[len(shared) - len(units) :], strict=True)
    return tuple(of_window if own == PIXEL else own for own, of_window in pairs)


@cache
def base_unit(name: str) -> tuple[float, str]:
    """Return how many base units a unit is, and the kind of it."""
    registry: Any = pint.get_application_registry()
    factor, base = registry.get_base_units(name)
    return float(factor), str(base.dimensionality)


class WindowUnits:
    """Keeps the units of one window together, and shows its scale bar."""

    def __init__(
        self, model: ViewerModel, images: Mapping[Key, Shown], rois: RoiLayers
    ) -> None:
        """``images`` and ``rois`` are those of the window, also the ones that come later."""
        self.model = model
        self._images, self._rois = images, rois
        self._bar = ScaleBar(model)
        self._shared: object = None
        """All that the units depend on, when they were shared last."""

    def prepare(self, own: tuple[str, ...]) -> tuple[str, ...]:
        """Return the units of a new layer that says ``own``, and share these with the others.

        napari warns its user if a layer comes whose units do not fit, also for a moment.
        """
        self._shared = None
        return fill_units(own, self._fill([own]))

    def share(self) -> None:
        """Give layers that say no unit those of the window, and show a scale bar if one is right.

        The layers that the user has added stay as they are.
        """
        layers, images = list(self.model.layers), self._shown()
        state = layers, [(shown.units, shown.has_bar) for shown in images]
        if state == self._shared:
            return
        self._fill()
        self._shared = state
        has_units = self.model.layers.extent.units is not None
        units = [_own(shown)[-1] for shown in images if shown.has_bar and has_units]
        self._bar.show(next((unit for unit in units if unit != PIXEL), ""))

    def _shown(self) -> list[Shown]:
        layers = list(self.model.layers)
        return [shown for shown in self._images.values() if shown.layer in layers]

    def _fill(self, new: Sequence[tuple[str, ...]] = ()) -> tuple[str, ...]:
        """Give units to all layers that say none, and return those of the window."""
        images = self._shown()
        ours = {*self._rois, *(shown.layer for shown in images)}
        others = [_units(layer) for layer in self.model.layers if layer not in ours]
        shared = find_shared([*map(_own, images), *new, *others])
        try:
            for shown in images:
                _fill_image(shown, shared)
            self._rois.align()
            for layer, own in self._rois.units():
                _set_units(layer, fill_units(own, shared))
        except Exception:  # of a plugin that hears of the change
            log.exception("the layers of a window could not get the same units")
        return shared


def _fill_image(shown: Shown, shared: Sequence[str]) -> None:
    layer = shown.layer
    assert layer is not None
    now = _units(layer)
    filled = fill_units(_own(shown, now), shared)
    if filled != now:
        layer.units = filled
        if now == shown.state["units"]:
            shown.state["units"] = _units(layer)


def _own(shown: Shown, now: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the units of a layer that a pipeline or the user has said, else ``PIXEL``."""
    assert shown.layer is not None
    now = now or _units(shown.layer)
    is_ours = now == shown.state["units"]
    return (shown.units or (PIXEL,) * len(now)) if is_ours else now


def _units(layer: Layer) -> tuple[str, ...]:
    return tuple(map(_name, layer.units))


@cache
def _name(unit: Value) -> str:
    return str(unit)  # a quarter of the time that a new layer takes among 150


def _set_units(layer: Layer, units: tuple[str, ...]) -> None:
    if units != _units(layer):
        layer.units = units
