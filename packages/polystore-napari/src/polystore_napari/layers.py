"""What a pipeline saved, as layers of one napari window.

Written against ``napari.components.ViewerModel``, which needs no Qt and no screen; called in
the thread of the window alone.
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
    """A stack, and the layer that shows it once there is one."""

    stack: Stack
    layer: Layer | None = None
    look: Mapping[str, Any] = field(default_factory=dict)
    """What was said of it last: only what is said anew undoes what the user has set."""
    state: dict[str, Any] = field(default_factory=dict)
    """See ``layer_state``: as pipelines have left it. What differs now is the user's."""
    group: str = ""
    """Key of the image of which it shows one of several channels."""
    limits: Limits = field(default_factory=Limits)
    """Of all planes that have come to the stack."""
    automatic: tuple[float, float] | None = None
    """The display limits that were computed last; ``None`` if others were given."""
    units: tuple[str, ...] = ()
    """Of each axis, as they were said last; empty if they never were."""
    has_bar: bool = False
    """Whether it wants a scale bar, if its units allow one."""
    is_anew: bool = False
    """Whether the stack is another than the one that the layer shows."""


@dataclass(slots=True)
class _Touched:
    """A layer that deliveries change: all of them, or none if one of them fails."""

    target: Target
    """Of the last delivery."""
    deliveries: list[Delivery] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack)
    """Gives back what the layer was. Closed if a delivery fails, else left."""

    @property
    def delivery(self) -> Delivery:
        return self.deliveries[-1]

    @property
    def plan(self) -> Plan:
        return self.delivery.plan  # type: ignore[return-value]


class Layers:
    """The layers of one window: made, grown and updated in place."""

    def __init__(self, model: ViewerModel, forget: Callable[[Key], None]) -> None:
        """``forget`` hears of layers that the user has removed."""
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
        """Show what came, in order; each layer is changed once.

        Returns those whose place a later one has taken, and those that failed.
        """
        superseded: list[Delivery] = []
        failed: dict[Delivery, Exception] = {}
        latest: dict[tuple[object, ...], Delivery] = {}
        touched: dict[Key, _Touched] = {}
        ends: dict[object, tuple[Target, Delivery]] = {}
        selected = set(self.model.layers.selection)
        for delivery in deliveries:
            plan: Plan = delivery.plan  # type: ignore[assignment]
            places = tuple((target.key, target.at) for target in plan.targets)
            if places in latest:
                superseded.append(latest[places])
            latest[places] = delivery
            if isinstance(delivery.item, Image):
                with _caught([delivery], failed):
                    blocks = blocks_of(delivery.item, delivery.data)  # type: ignore[arg-type]
                    for target, block in zip(plan.targets, blocks, strict=True):
                        touch = touched.setdefault(target.key, _Touched(target))
                        if touch.deliveries[-1:] != [delivery]:  # its first place is shown
                            touch.target = target
                            touch.deliveries.append(delivery)
                        self._put(target, block, delivery.item, plan, touch.undo)
                        ends[target.key[:3], target.at] = target, delivery
        for touch in touched.values():
            if failed.keys().isdisjoint(touch.deliveries):
                with _caught(touch.deliveries, failed):
                    self._refresh(touch)
        changed = self._without_failed(list(touched.values()), failed)
        if len(changed) < len(touched):
            select(self.model, selected)
        for last, delivery in ends.values():
            if delivery not in failed:
                with _caught([delivery], failed):
                    self._take_after(last)
        for delivery in latest.values():  # after the images whose pixels they count
            if isinstance(delivery.item, Rois):
                with _caught([delivery], failed):
                    self._rois.show(delivery.plan, delivery)  # type: ignore[arg-type]
        self._units.share()
        for touch in changed[-1:]:
            with _caught(touch.deliveries, failed):
                self._sliders.follow(touch.target.key, touch.target.at)
        return superseded, failed

    def _without_failed(
        self, touched: list[_Touched], failed: dict[Delivery, Exception]
    ) -> list[_Touched]:
        """Undo what belongs to a delivery that failed in part; return the rest.

        A delivery fails with the others of its layers, as a layer is given back whole.
        """
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
            undo.callback(self._forget, target.key)  # it was planned for the new stack
            shown.stack, shown.limits, shown.is_anew = _stack(block, plan), Limits(), True
            self._sliders.forget()
        else:
            undo.callback(_give_back, shown, replace(shown))
            undo.callback(_put_back, shown.stack, target.at, shown.stack.get(target.at))
        shown.stack.put(target.at, block)
        if has_limits(item):
            shown.limits = shown.limits.with_planes(sample_pixels(block))

    def _take_after(self, last: Target) -> None:
        """Take away the channels of a place after its last one, and layers that are empty then."""
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
        begins = shown.layer is None or shown.is_anew
        if shown.layer is None:
            self._check(shown, look, touch.plan)
            shown.group = find_group(item, touch.target, touch.plan)
            shown.layer = self._made(shown, item, touch, look)
            touch.undo.callback(take_out, self.model, shown.layer)
        elif not _can_hold(shown.layer, shown.stack, touch.plan):
            self._made_anew(shown, item, touch, look)
        else:
            changed = {k: v for k, v in look.items() if shown.look.get(k) != v}
            self._updated(shown, item.labels, changed, touch)
        assert shown.layer is not None
        if has_limits(item):
            fit_limits(shown, item, touch.target, look, begins=begins)
        shown.state = settle(shown.state, before, layer_state(shown.layer))
        shown.look, shown.is_anew = look, False
        known = shown.units if len(shown.units) == shown.layer.ndim else ()
        shown.units = look.get("units", known)
        shown.has_bar = item.scale_bar
        if before is None:
            self._color_channels(shown.group)
        self._rois.align()

    def _check(self, shown: Shown, look: Mapping[str, Value], plan: Plan) -> None:
        """Raise ``UnsupportedDataError`` for an image out of reach of the other layers."""
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

    def _made(
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
        if not is_rgb:  # napari would read the stack to find some
            common.setdefault("contrast_limits", shown.limits.pair())
        return add_layer(
            self.model,
            # Never guessed: (height, width, 3) is an RGB image for napari.
            lambda: self.model.add_image(data, rgb=is_rgb, **common),
        )

    def _made_anew(
        self, shown: Shown, item: Image, touch: _Touched, look: Mapping[str, Value]
    ) -> None:
        """Replace a layer by one with other axes, or with colours of its own."""
        old = shown.layer
        assert old is not None
        self._check(shown, look, touch.plan)
        new = self._made(shown, item, touch, look)
        touch.undo.callback(take_out, self.model, new)
        shown.layer = new  # first: what is removed while it is shown is forgotten
        touch.undo.callback(self._show_instead, shown, new, old)
        replace_layer(self.model, old, new)

    def _show_instead(self, shown: Shown, old: Layer, new: Layer) -> None:
        shown.layer = new
        replace_layer(self.model, old, new)

    def _color_channels(self, group: str) -> None:
        """Tell the channels of an image apart that nobody gave a colour, once there are two."""
        found = [s for s in self._images.values() if s.group == group and s.layer is not None]
        if group:
            for shown in color_channels(found):
                assert shown.layer is not None
                shown.state["color"] = layer_state(shown.layer)["color"]

    def _updated(
        self, shown: Shown, labels: bool, look: Mapping[str, Value], touch: _Touched
    ) -> None:
        """Show what a stack holds now in its layer, with what has changed of its look."""
        layer, stack = shown.layer, shown.stack
        assert layer is not None
        data = layer_data(stack, labels=labels)
        grows = shown.is_anew or level_shapes(layer.data) != level_shapes(data)
        if grows or {"scale", "units"} & look.keys():
            self._check(shown, look, touch.plan)
        names = ["data", *look]
        if not labels and not layer.rgb:
            names += ["contrast_limits_range", "contrast_limits"]
        touch.undo.callback(assign, layer, {name: getattr(layer, name) for name in names})
        if labels or grows or layer.multiscale:  # napari keeps the pixels of coarse levels
            layer.data = data
        else:
            layer.refresh(extent=False)  # a third of the time that new data take
        for name, value in look.items():
            setattr(layer, name, value)

    def rois(self, name: str | None = None) -> Iterator[ROI]:
        """Yield the ROIs of the layer called ``name``, or of all that hold some."""
        return self._rois.read(name)

    # ── the window ───────────────────────────────────────────────────────────────────────

    def describe(self) -> list[Document]:
        """Return what a person sees in the list of layers."""
        stacks = {id(shown.layer): shown.stack for shown in self._images.values()}
        return [describe_layer(layer, stacks.get(id(layer))) for layer in self.model.layers]

    def pixels(self, plan: Plan, item: Image) -> Pixels | None:
        """Return the pixels at the place of a plan, with the axes of the saved array."""
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
        """Return what the user has changed in the layers of a saved array."""
        found = [self._images[key] for key in plan.keys]
        states = [(s.state, layer_state(s.layer)) for s in found if s.layer is not None]
        return describe_edits(item, plan, states) if len(states) == len(found) else {}

    def clear(self) -> None:
        """Take away all that was shown here; what the user has added stays."""
        layers = self.model.layers
        images = [s.layer for s in self._images.values() if s.layer is not None]
        shown = (*images, *self._rois)
        with ExitStack() as rest:  # all of it, also if a plugin raises when a layer goes
            rest.callback(self._units.share)
            rest.callback(self._sliders.tell)
            rest.callback(self._sliders.forget)
            for known in (self._images, self._rois):
                rest.callback(known.clear)
            # A quarter of a second for each layer otherwise, in which the window is stuck.
            rest.enter_context(getattr(layers, "batched_update", nullcontext)())
            for layer in reversed(shown):
                rest.callback(take_out, self.model, layer)

    def _on_removed(self, event: Value) -> None:
        for key, shown in list(self._images.items()):
            if shown.layer is event.value:
                del self._images[key]
                self._forget(key)
                self._sliders.forget()  # without its slices sliders are somewhere else
                self._sliders.tell()
                self._units.share()
        self._rois.forget(event.value)


@contextmanager
def _caught(deliveries: list[Delivery], failed: dict[Delivery, Exception]) -> Iterator[None]:
    """Keep an exception as the reason why deliveries failed: their producers are told."""
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
    """Make of a record what it was, and show it."""
    layer = shown.layer
    for name in Shown.__slots__:
        setattr(shown, name, getattr(before, name))
    shown.layer = layer
    if shown.layer is not None:
        shown.layer.refresh(extent=False)


def _can_hold(layer: Layer, stack: Stack, plan: Plan) -> bool:
    """Whether a layer can show a stack: napari fixes axes, colours, and whether it has levels."""
    is_rgb = plan.axes.endswith("s")
    return bool(
        layer.ndim == len(stack.sliders) + len(stack.block_shape) - is_rgb
        and getattr(layer, "rgb", False) == is_rgb
        and layer.multiscale == (len(stack.snapshot().levels) > 1)
    )
