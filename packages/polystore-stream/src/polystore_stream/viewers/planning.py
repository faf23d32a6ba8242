"""Decide which layers a value goes to, before its pixels are sent. Works for every viewer.

The receiver's thread plans and refuses, and the viewer's thread shows. So if a value does not fit,
the ``save`` that sent it raises the error, even while the viewer is busy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ..receiving.opening import Part
    from ..wire.messages import Image, Rois

__all__ = ["Key", "Plan", "Planner", "Reach", "Target", "blocks_of", "grid_reach"]

Key: TypeAlias = tuple[str, str, str, int]
"""Window, key of the layer in it, kind ("image", "labels" or "rois"), number of the channel."""
_Sliders: TypeAlias = tuple[tuple[str, str], ...]

_LONGEST_TITLE = 255
"""Characters: a longer title is cut for the screen."""


@dataclass(frozen=True, slots=True)
class Target:
    """One layer, and the coordinates in it."""

    key: Key
    at: tuple[str, ...]
    """Coordinates on the layer's sliders."""
    restarts: bool = False
    """Whether the layer is emptied first, for another shape or type."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers that one value goes to: one for each of its channels, or a single one."""

    targets: tuple[Target, ...]
    sliders: tuple[str, ...]
    axes: str
    """Axes of the block that each layer gets, without channels that are layers."""
    title: str

    @property
    def keys(self) -> tuple[Key, ...]:
        """The layers, each once. A source with its own sliders has several targets in a layer."""
        return tuple(dict.fromkeys(target.key for target in self.targets))


def blocks_of(item: Image, data: NDArray[Any] | Part) -> Iterator[NDArray[Any] | Part]:
    """Yield the part of an image for each target of its plan, in order of the targets."""
    lead = len(item.sliders)
    axes = [*range(lead)]
    if item.layers == "c":
        axes.insert(0, lead + item.axes.index("c"))
    for index in product(*(range(item.shape[axis]) for axis in axes)):
        fixed = dict(zip(axes, index, strict=True))
        if isinstance(data, np.ndarray):
            yield data[tuple([fixed.get(axis, slice(None)) for axis in range(data.ndim)])]
        else:
            yield data.at(fixed)


@dataclass(frozen=True, slots=True)
class Reach:
    """The extent of a layer in its window. Each tuple has one value for each axis, x last."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    """Centres of the first and the last pixel, in ``units``. NaN for an empty layer."""
    step: tuple[float, ...]
    """Size of a pixel, in ``units``."""
    units: tuple[str, ...]


def grid_reach(shape: Sequence[int], scale: Sequence[float], units: Sequence[str]) -> Reach:
    """Return the reach of an image whose first pixel is at 0."""
    high = tuple((length - 1) * step for length, step in zip(shape, scale, strict=True))
    return Reach((0.0,) * len(high), high, tuple(scale), tuple(units))


@dataclass(slots=True)
class _Outline:
    """The content of a layer, including values that were accepted and have not come yet."""

    sliders: tuple[str, ...]
    own: tuple[int, ...]
    """Lengths of the last sliders: those that each value has itself."""
    axes: str
    shape: tuple[int, ...]
    dtype: str
    reach: Reach
    held: set[tuple[str, ...]] = field(default_factory=set)
    """Coordinates of the values, on the sliders that they do not have themselves."""

    def fits(self, other: _Outline) -> bool:
        """Whether both have the same sliders, axes, shape and type."""
        mine = self.sliders, self.own, self.axes, self.shape, self.dtype
        return mine == (other.sliders, other.own, other.axes, other.shape, other.dtype)

    def __str__(self) -> str:
        text = f"{np.dtype(self.dtype)} of shape {self.shape}, axes {self.axes}"
        own = ", ".join(
            f"{name} {n}" for name, n in zip(self._own_names(), self.own, strict=True)
        )
        return f"{text}, {own}" if own else text

    def replaces_series(self, coordinates: tuple[str, ...], series: int) -> bool:
        """Whether a series of another shape or type replaces all values of the layer."""
        return coordinates in self.held and series >= len(self.held)

    def _own_names(self) -> tuple[str, ...]:
        return self.sliders[len(self.sliders) - len(self.own) :]


def _reach(
    item: Image,
    sliders: tuple[str, ...],
    axes: str,
    shape: tuple[int, ...],
    old: _Outline | None,
) -> Reach:
    """Return the extent of one block. If ``item`` has no scale or units, the old ones stay."""
    letters = axes.rstrip("s")
    known = (
        old.reach if old is not None and (old.sliders, old.axes) == (sliders, axes) else None
    )
    extents = (*(1 for _ in sliders), *shape[: len(letters)])
    scale, units = (1.0,) * len(extents), ("pixel",) * len(extents)
    if known is not None:
        scale, units = known.step, known.units
    if item.scale:
        given = dict(zip(item.axes, item.scale, strict=False))
        scale = (*(1.0 for _ in sliders), *(given[letter] for letter in letters))
    if any(item.units):
        named = dict(zip(item.axes, item.units, strict=False))
        units = (*("pixel" for _ in sliders), *(named[letter] or "pixel" for letter in letters))
    return grid_reach(extents, scale, units)


class Planner:
    """Remember the outline of each layer, and the layer of each path."""

    # _lock guards _outlines, _places and _plans. The receiver's thread calls plan. The viewer's
    # thread calls the other methods.

    def __init__(self, check: Callable[[Reach, Iterable[Reach]], None] | None = None) -> None:
        """``check`` gets the extent of a new image and of the other images in its window.

        It raises ``UnsupportedDataError`` if the window cannot show them together.
        """
        self._check = check
        self._lock = threading.Lock()
        self._outlines: dict[Key, _Outline] = {}
        self._places: dict[tuple[str, str, str], tuple[str, str, _Sliders]] = {}
        self._plans: dict[tuple[str, str, str], tuple[Plan, Image | Rois]] = {}

    def plan(self, item: Image | Rois, kind: str) -> Plan:
        """Return the layers that an item goes to, and remember them.

        A value of another shape or type empties its layer first, if it belongs to a series that
        replaces all values of the layer.

        Raises:
            UnsupportedDataError: The item does not fit its layer.
        """
        with self._lock:
            place = item.window, item.path, kind
            layer, title, at = self._place(item, place)
            if kind == "rois":
                plan = Plan((Target((item.window, layer, kind, 0), ()),), (), "yx", title)
            else:
                plan = self._image_plan(item, kind, layer, title, at)  # type: ignore[arg-type]
            self._places[place] = layer, title, at
            self._plans[place] = plan, item
            return plan

    def place(self, window: str, path: str, kind: str) -> tuple[Plan, Image | Rois] | None:
        """Return the last plan of a path, and the item that it was made for."""
        with self._lock:
            return self._plans.get((window, path, kind))

    def paths(self, window: str) -> set[str]:
        """Return the paths of images and labels that were saved into a window."""
        with self._lock:
            return {p for w, p, kind in self._plans if w == window and kind != "rois"}

    def _place(
        self, item: Image | Rois, place: tuple[str, str, str]
    ) -> tuple[str, str, _Sliders]:
        title = item.title[:_LONGEST_TITLE]
        if item.layer is not None:
            return item.layer, title, item.at
        # If a path was part of a series and is saved alone now, update it where it is.
        return self._places.get(place, (f"path\0{item.path}", title, item.at))

    def _image_plan(self, item: Image, kind: str, layer: str, title: str, at: _Sliders) -> Plan:
        own, shape = item.shape[: len(item.sliders)], item.shape[len(item.sliders) :]
        axes, count = item.axes, 1
        if item.layers == "c":
            channel = axes.index("c")
            count = shape[channel]
            axes, shape = axes.replace("c", ""), shape[:channel] + shape[channel + 1 :]
        sliders = (*(name for name, _ in at), *item.sliders)
        coordinates = tuple(value for _, value in at)
        places = [(*coordinates, *map(str, index)) for index in product(*map(range, own))]
        targets, news = [], []
        for number in range(count):
            key = item.window, layer, kind, number
            old = self._outlines.get(key)
            new = _Outline(
                sliders, own, axes, shape, item.dtype, _reach(item, sliders, axes, shape, old)
            )
            restarts = old is not None and not old.fits(new)
            replaces = old is not None and old.replaces_series(coordinates, item.series)
            if old is not None and restarts and not replaces:
                raise UnsupportedDataError(
                    f"it is {new}, but layer {title!r} holds {len(old.held)} of {old}: save it "
                    "under another name or with labels=True, to show it in another layer. Or "
                    f"save all {len(old.held)} as one batch, or remove the layer"
                )
            if old is None or restarts or old.reach != new.reach:
                self._check_reach(new.reach, item.window, layer)
            targets += [Target(key, place, restarts and place is places[0]) for place in places]
            news.append((key, new, restarts))
        # Change the outlines only now: if a channel was refused above, none of them has changed.
        for key, new, restarts in news:
            outline = self._outlines.get(key)
            if outline is None or restarts:
                outline = self._outlines[key] = new
            outline.reach = new.reach
            outline.held.add(coordinates)
        self._drop_channels((item.window, layer, kind, count), coordinates)
        return Plan(tuple(targets), sliders, axes, title)

    def _drop_channels(self, key: Key, at: tuple[str, ...]) -> None:
        """Forget channels from ``key`` on, if an older value at ``at`` had more channels."""
        window, layer, kind, number = key
        while (outline := self._outlines.get((window, layer, kind, number))) is not None:
            outline.held.discard(at)
            if not outline.held:
                del self._outlines[window, layer, kind, number]
            number += 1

    def _check_reach(self, reach: Reach, window: str, layer: str) -> None:
        """Raise ``UnsupportedDataError`` for a pixel size too far from the window's others."""
        if self._check is not None:
            self._check(
                reach,
                [
                    outline.reach
                    for key, outline in self._outlines.items()
                    if key[0] == window and key[1] != layer
                ],
            )

    def forget(self, key: Key) -> None:
        """Forget a layer that was removed. The next value for it makes a new layer."""
        with self._lock:
            self._outlines.pop(key, None)

    def forget_window(self, window: str) -> None:
        """Forget all layers and paths of a window that was closed."""
        with self._lock:
            self._outlines = {k: v for k, v in self._outlines.items() if k[0] != window}
            self._places = {k: v for k, v in self._places.items() if k[0] != window}
            self._plans = {k: v for k, v in self._plans.items() if k[0] != window}
