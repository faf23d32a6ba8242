"""Show saved values as layers of one napari window.

This module uses ``napari.components.ViewerModel``, which needs neither Qt nor a screen.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_stream import Image, Rois, Stack
from polystore_stream.viewers.looks import Limits
from polystore_stream.viewers.planning import Reach, blocks_of, grid_reach

from .changes import add_layer, assign, layer_reach, replace_layer, select, take_out
from .edits import describe_edits, layer_state, settle
from .looks import (
    color_channels,
    describe_layer,
    describe_look,
    find_group,
    fit_limits,
    has_limits,
    title_layer,
)
from .reach import check_reach
from .roi_layers import RoiLayers
from .sliders import Sliders
from .sources import check_held, layer_data, level_shapes, sample_pixels
from .units import PIXEL, WindowUnits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from polystore_core import Document, Pixels, Value
    from polystore_core.rois import ROI
    from polystore_stream import Block, Delivery
    from polystore_stream.viewers.planning import Key, Plan, Target

__all__ = ["Layers"]

log = logging.getLogger("polystore.napari")


@dataclass(slots=True)
class Shown:
    """A stack, and the layer that shows it, if there is one already."""

    stack: Stack
    layer: Layer | None = None
    look: Mapping[str, Any] = field(default_factory=dict)
    """Look from the last save. Only a value that a later save changes replaces the user's."""
    state: dict[str, Any] = field(default_factory=dict)
    """Result of ``layer_state`` after the last save. Later differences are the user's changes."""
    group: str = ""
    """Key of the image, if the layer shows one of its several channels."""
    limits: Limits = field(default_factory=Limits)
    """Display limits of all planes in the stack."""
    automatic: tuple[float, float] | None = None
    """The display limits that were computed last. ``None`` if a save gave limits."""
    units: tuple[str, ...] = ()
    """Units of the axes from the last save that had units, or empty."""
    has_bar: bool = False
    """Whether it gets a scale bar, if its units allow one."""
    is_new: bool = False
    """Whether the stack was replaced, and the layer does not show the new one yet."""


@dataclass(slots=True)
class _Touched:
    """A layer that some deliveries change. If one of them fails, all their changes are undone."""

    target: Target
    """Target of the last delivery."""
    deliveries: list[Delivery] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)
    """Restores the layer. It is closed if a delivery fails, and dropped if not."""

    @property
    def delivery(self) -> Delivery:
        return self.deliveries[-1]

    @property
    def plan(self) -> Plan:
        return self.delivery.plan  # type: ignore[return-value]


class Layers:
    """The layers of one window. They are created, extended and updated in place."""

    # It needs no lock: only the thread of the window calls it. Other threads read the stacks, which
    # have their own locks.

    def __init__(self, model: ViewerModel, forget: Callable[[Key], None]) -> None:
        """``forget`` is called with the key of each layer that the user removes."""
        self.model = model
        self._forget = forget
        self._images: dict[Key, Shown] = {}
        self._rois = RoiLayers(model, self._images)
        self._sliders = Sliders(model, self._images)
        self._units = WindowUnits(model, self._images, self._rois)
        model.layers.events.removed.connect(self._on_removed)

    def show(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[list[Delivery], dict[Delivery, Exception]]:
        """Show deliveries in their order. Each layer is changed only once.

        Returns the deliveries that a later one replaced, and those that failed with their errors.
        """
        superseded: list[Delivery] = []
        failed: dict[Delivery, Exception] = {}
        latest: dict[tuple[object, ...], Delivery] = {}
        touched: dict[Key, _Touched] = {}
        ends: dict[object, tuple[Target, Delivery]] = {}
        selected = set(self.model.layers.selection)
        # First put all blocks into their stacks, then refresh each layer once: a batch of 100
        # planes changes the same layer 100 times, and each refresh repaints the window.
        for delivery in deliveries:
            plan: Plan = delivery.plan  # type: ignore[assignment]
            places = tuple((target.key, target.at) for target in plan.targets)
            if places in latest:
                superseded.append(latest[places])
            latest[places] = delivery
            if isinstance(delivery.item, Image):
                with _catch([delivery], failed):
                    blocks = blocks_of(delivery.item, delivery.data)  # type: ignore[arg-type]
                    for target, block in zip(plan.targets, blocks, strict=True):
                        touch = touched.setdefault(target.key, _Touched(target))
                        if touch.deliveries[-1:] != [delivery]:  # follow its first target
                            touch.target = target
                            touch.deliveries.append(delivery)
                        self._put(target, block, delivery.item, plan, touch.undo)
                        ends[target.key[:3], target.at] = target, delivery
        for touch in touched.values():
            if failed.keys().isdisjoint(touch.deliveries):
                with _catch(touch.deliveries, failed):
                    self._refresh(touch)
        # Undo failures before anything else uses the layers: ROIs, units and sliders must see
        # the window as it stays.
        changed = self._without_failed(list(touched.values()), failed)
        if len(changed) < len(touched):
            select(self.model, selected)
        for last, delivery in ends.values():
            if delivery not in failed:
                with _catch([delivery], failed):
                    self._take_after(last)
        # After the images, which define the pixel size of ROIs.
        for delivery in latest.values():
            if isinstance(delivery.item, Rois):
                with _catch([delivery], failed):
                    self._rois.show(delivery.plan, delivery)  # type: ignore[arg-type]
        self._units.share()
        for touch in changed[-1:]:
            with _catch(touch.deliveries, failed):
                self._sliders.follow(touch.target.key, touch.target.at)
        return superseded, failed

    def _without_failed(
        self, touched: list[_Touched], failed: dict[Delivery, Exception]
    ) -> list[_Touched]:
        """Undo the changes of layers with a failed delivery. Return the other layers.

        All deliveries of such a layer fail, because a layer can only be restored as a whole.
        """
        # A delivery may touch several layers, and a layer may have several deliveries. So a
        # failure can spread: repeat until no kept layer has a failed delivery.
        kept = touched
        while bad := [t for t in kept if not failed.keys().isdisjoint(t.deliveries)]:
            kept = [touch for touch in kept if touch not in bad]
            for touch in bad:
                error = next(failed[d] for d in touch.deliveries if d in failed)
                failed |= {d: error for d in touch.deliveries if d not in failed}
                try:
                    touch.undo.close()
                except Exception:
                    log.exception("layer %r could not be restored", touch.plan.title)
        if len(kept) < len(touched):
            self._rois.align()
        return kept

    # ── images ───────────────────────────────────────────────────────────────────────────

    def _put(
        self, target: Target, block: Block, item: Image, plan: Plan, undo: ExitStack
    ) -> None:
        shown = self._images.get(target.key)
        if shown is None:
            shown = self._images[target.key] = Shown(_stack(block, plan))
            undo.callback(self._drop, target.key)
        elif target.restarts or not (plan.sliders or _holds(shown.stack, block)):
            undo.callback(_give_back, shown, replace(shown))
            undo.callback(self._forget, target.key)  # the planner knows only the new stack
            shown.stack, shown.limits, shown.is_new = _stack(block, plan), Limits(), True
            self._sliders.forget()
        else:
            undo.callback(_give_back, shown, replace(shown))
            undo.callback(_put_back, shown.stack, target.at, shown.stack.get(target.at))
        shown.stack.put(target.at, block)
        if has_limits(item):
            shown.limits = shown.limits.with_planes(sample_pixels(block))

    def _take_after(self, last: Target) -> None:
        """Remove channels that the last value at a place does not have, and empty layers."""
        window, name, kind, number = last.key
        while (shown := self._images.get((window, name, kind, number + 1))) is not None:
            number += 1
            if shown.layer is None or last.at not in shown.stack:
                continue
            shown.stack.remove(last.at)
            if not len(shown.stack):
                take_out(self.model, shown.layer)
            else:
                shown.layer.data = layer_data(shown.stack, labels=kind == "labels")

    def _drop(self, key: Key) -> None:
        """Forget a layer that was never shown."""
        self._images.pop(key, None)
        self._forget(key)

    def _refresh(self, touch: _Touched) -> None:
        item = touch.delivery.item
        assert isinstance(item, Image)
        shown = self._images[touch.target.key]
        look = describe_look(item, touch.target, touch.plan)
        before = None if shown.layer is None else layer_state(shown.layer)
        begins = shown.layer is None or shown.is_new
        if shown.layer is None:
            self._check(shown, look, touch.plan)
            shown.group = find_group(item, touch.target, touch.plan)
            shown.layer = self._make(shown, item, touch, look)
            touch.undo.callback(take_out, self.model, shown.layer)
        elif not _can_hold(shown.layer, shown.stack, touch.plan):
            self._remake(shown, item, touch, look)
        else:
            changed = {k: v for k, v in look.items() if shown.look.get(k) != v}
            self._update(shown, item.labels, changed, touch)
        assert shown.layer is not None
        # Set the limits after the data: napari clips limits to the range of the old data.
        if has_limits(item):
            fit_limits(shown, item, touch.target, look, begins=begins)
        shown.state = settle(shown.state, before, layer_state(shown.layer))
        shown.look, shown.is_new = look, False
        known = shown.units if len(shown.units) == shown.layer.ndim else ()
        shown.units = look.get("units", known)
        shown.has_bar = item.scale_bar
        if before is None:
            self._color_channels(shown.group)
        self._rois.align()

    def _check(self, shown: Shown, look: Mapping[str, Value], plan: Plan) -> None:
        """Raise ``UnsupportedDataError`` for an image too far from the other layers."""
        shape = shown.stack.snapshot().shape
        shape = shape[:-1] if plan.axes.endswith("s") else shape
        layer = shown.layer
        same = layer if layer is not None and layer.ndim == len(shape) else None
        scale = look.get("scale", (1.0,) * len(shape) if same is None else same.scale)
        units = look.get("units", ("pixel",) * len(shape) if same is None else same.units)
        reach = grid_reach(shape, tuple(map(float, scale)), tuple(map(str, units)))
        if same is not None:
            low, high = reach.low + same.translate, reach.high + same.translate
            reach = Reach(tuple(low.tolist()), tuple(high.tolist()), reach.step, reach.units)
        check_reach(reach, (layer_reach(o) for o in self.model.layers if o is not layer))

    def _make(
        self, shown: Shown, item: Image, touch: _Touched, look: Mapping[str, Value]
    ) -> Layer:
        stack = shown.stack
        axes = (*touch.plan.sliders, *touch.plan.axes.rstrip("s"))
        common = {
            "name": title_layer(item, touch.target, touch.plan),
            "axis_labels": axes,
            **look,
            "units": self._units.prepare(look.get("units", (PIXEL,) * len(axes))),
        }
        data = layer_data(stack, labels=item.labels)
        common["multiscale"] = isinstance(data, list)
        if item.labels:
            return add_layer(self.model, lambda: self.model.add_labels(data, **common))
        is_rgb = touch.plan.axes.endswith("s")
        if not is_rgb:  # without limits, napari would read the whole stack to compute them
            common.setdefault("contrast_limits", shown.limits.pair())
        return add_layer(
            self.model,
            # Always give rgb=: napari would take any shape (height, width, 3) as RGB.
            lambda: self.model.add_image(data, rgb=is_rgb, **common),
        )

    def _remake(
        self, shown: Shown, item: Image, touch: _Touched, look: Mapping[str, Value]
    ) -> None:
        """Replace a layer by one with other axes, or with RGB colours."""
        old = shown.layer
        assert old is not None
        self._check(shown, look, touch.plan)
        new = self._make(shown, item, touch, look)
        touch.undo.callback(take_out, self.model, new)
        shown.layer = (
            new  # before the removal of the old layer, or _on_removed forgets all of it
        )
        touch.undo.callback(self._show_instead, shown, new, old)
        replace_layer(self.model, old, new)

    def _show_instead(self, shown: Shown, old: Layer, new: Layer) -> None:
        shown.layer = new
        replace_layer(self.model, old, new)

    def _color_channels(self, group: str) -> None:
        """Give colours to channels without one, if an image has at least two channels."""
        found = [s for s in self._images.values() if s.group == group and s.layer is not None]
        if group:
            for shown in color_channels(found):
                assert shown.layer is not None
                shown.state["color"] = layer_state(shown.layer)["color"]

    def _update(
        self, shown: Shown, labels: bool, look: Mapping[str, Value], touch: _Touched
    ) -> None:
        """Show the current blocks of a stack in its layer, and apply the changes of its look."""
        layer, stack = shown.layer, shown.stack
        assert layer is not None
        data = layer_data(stack, labels=labels)
        grows = shown.is_new or level_shapes(layer.data) != level_shapes(data)
        if grows or {"scale", "units"} & look.keys():
            self._check(shown, look, touch.plan)
        # Remember every attribute that is set below, before the first one is set.
        names = ["data", *look]
        if not labels and not layer.rgb:
            names += ["contrast_limits_range", "contrast_limits"]
        touch.undo.callback(assign, layer, {name: getattr(layer, name) for name in names})
        if labels or grows or layer.multiscale:  # napari caches the pixels of coarse levels
            layer.data = data
        else:
            layer.refresh(extent=False)  # three times as fast as new data
        for name, value in look.items():
            setattr(layer, name, value)

    def rois(self, name: str | None = None) -> Iterator[ROI]:
        """Yield the ROIs of the layer called ``name``, or of all layers that hold ROIs."""
        return self._rois.read(name)

    # ── the window ───────────────────────────────────────────────────────────────────────

    def describe(self) -> list[Document]:
        """Return a description of each layer, in the order of the list of layers."""
        stacks = {id(shown.layer): shown.stack for shown in self._images.values()}
        return [describe_layer(layer, stacks.get(id(layer))) for layer in self.model.layers]

    def pixels(self, plan: Plan, item: Image) -> Pixels | None:
        """Return the pixels of a saved array with its axes, or ``None`` if they are gone."""
        axes, blocks = item.axes, []
        for target in plan.targets:
            shown = self._images.get(target.key)
            block = None if shown is None else shown.stack.get(target.at)
            if block is None:
                return None
            blocks.append(block)
        check_held(item, blocks)
        if "c" in axes and "c" not in plan.axes:
            return np.stack(blocks, axis=axes.index("c"))
        return np.asarray(blocks[0])

    def edits(self, plan: Plan, item: Image) -> Document:
        """Return the user's changes in the layers of a saved array."""
        found = [self._images[key] for key in plan.keys]
        states = [(s.state, layer_state(s.layer)) for s in found if s.layer is not None]
        return describe_edits(item, plan, states) if len(states) == len(found) else {}

    def clear(self) -> None:
        """Remove everything that pipelines have shown. Layers of the user stay."""
        layers = self.model.layers
        images = [s.layer for s in self._images.values() if s.layer is not None]
        shown = (*images, *self._rois)
        with ExitStack() as rest:  # remove every layer, even if a plugin raises at one of them
            rest.callback(self._units.share)
            rest.callback(self._sliders.tell)
            rest.callback(self._sliders.forget)
            for known in (self._images, self._rois):
                rest.callback(known.clear)
            # Without batched updates, the window freezes for a quarter of a second per layer.
            rest.enter_context(getattr(layers, "batched_update", nullcontext)())
            for layer in reversed(shown):
                rest.callback(take_out, self.model, layer)

    def _on_removed(self, event: Value) -> None:
        for key, shown in list(self._images.items()):
            if shown.layer is event.value:
                del self._images[key]
                self._forget(key)
                self._sliders.forget()  # without this layer, steps mean other coordinates
                self._sliders.tell()
                self._units.share()
        self._rois.forget(event.value)


@contextmanager
def _catch(deliveries: list[Delivery], failed: dict[Delivery, Exception]) -> Iterator[None]:
    """Note an exception as the error of deliveries, so that their producers are told."""
    try:
        yield
    except Exception as error:
        failed |= dict.fromkeys(deliveries, error)


def _stack(block: Block, plan: Plan) -> Stack:
    return Stack(plan.sliders, block.shape, block.dtype)


def _holds(stack: Stack, block: Block) -> bool:
    return (stack.block_shape, stack.dtype) == (block.shape, block.dtype)


def _put_back(stack: Stack, at: tuple[str, ...], before: Block | None) -> None:
    if before is not None:
        stack.put(at, before)
    elif at in stack:
        stack.remove(at)


def _give_back(shown: Shown, before: Shown) -> None:
    """Restore a record, except its layer, and show the restored stack."""
    layer = shown.layer
    for name in Shown.__slots__:
        setattr(shown, name, getattr(before, name))
    shown.layer = layer
    if shown.layer is not None:
        shown.layer.refresh(extent=False)


def _can_hold(layer: Layer, stack: Stack, plan: Plan) -> bool:
    """Whether a layer can show a stack. napari cannot change its axes, RGB, or use of levels."""
    is_rgb = plan.axes.endswith("s")
    return bool(
        layer.ndim == len(stack.sliders) + len(stack.block_shape) - is_rgb
        and getattr(layer, "rgb", False) == is_rgb
        and layer.multiscale == (len(stack.snapshot().levels) > 1)
    )
