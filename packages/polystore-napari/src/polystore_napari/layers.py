"""What a pipeline saved, as layers of one napari window.

Written against ``napari.components.ViewerModel``, which needs no Qt and no screen; called in
the thread of the window alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore import LazyArray
from polystore_stream.messages import Channel, Image, Rois
from polystore_stream.stack import Stack, StackView

from .roi_layers import RoiLayers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from polystore.rois import ROI
    from polystore_stream.viewer import Delivery

    from .planning import Key, Plan, Target

__all__ = ["Layers", "colormap"]

_SAMPLE = 1 << 20
"""Pixels that contrast limits are taken from."""
_COLORS = ("magenta", "green", "cyan", "yellow", "red", "blue")


@dataclass(slots=True)
class Shown:
    """A stack, and the layer that shows it once there is one."""

    stack: Stack
    layer: Layer | None = None
    look: Mapping[str, Any] = field(default_factory=dict)
    """What was said of it last: only what is said anew undoes what the user has set."""
    channel: str = ""
    """Which of several channels it is; none where its colours were given."""
    is_anew: bool = False
    """Whether the stack is another than the one that the layer shows."""


@dataclass(slots=True)
class _Touched:
    """A layer that what came has changed."""

    delivery: Delivery
    target: Target
    plan: Plan


class Layers:
    """The layers of one window: made, grown and updated in place."""

    def __init__(self, model: ViewerModel, forget: Callable[[Key], None]) -> None:
        """``forget`` hears of layers that the user has removed."""
        self.model = model
        self._forget = forget
        self._images: dict[Key, Shown] = {}
        self._rois = RoiLayers(model, self._images)
        self._followed: dict[int, int] = {}
        """Step of each slider, counted from the right, as it was set here last."""
        self._told = ""
        model.layers.events.removed.connect(self._on_removed)
        model.dims.events.current_step.connect(self._tell_position)

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
        for delivery in deliveries:
            plan: Plan = delivery.plan  # type: ignore[assignment]
            places = tuple((target.key, target.at) for target in plan.targets)
            if places in latest:
                superseded.append(latest[places])
            latest[places] = delivery
            with _caught(delivery, failed):
                if isinstance(delivery.item, Image):
                    for target, block in _blocks(delivery, plan):
                        self._put(target, block, plan)
                        touched[target.key] = _Touched(delivery, target, plan)
        for touch in touched.values():
            with _caught(touch.delivery, failed):
                self._refresh(touch)
        self._rois.align()
        for delivery in latest.values():  # after the images whose pixels they count
            if isinstance(delivery.item, Rois):
                with _caught(delivery, failed):
                    self._rois.show(delivery.plan, delivery)  # type: ignore[arg-type]
        for touch in list(touched.values())[-1:]:
            self._follow(touch.target)
        return superseded, failed

    # ── images ───────────────────────────────────────────────────────────────────────────

    def _put(self, target: Target, block: NDArray[Any], plan: Plan) -> None:
        shown = self._images.get(target.key)
        if shown is None or target.restarts:
            stack = Stack(plan.sliders, block.shape, block.dtype)
            if shown is None:
                shown = self._images[target.key] = Shown(stack)
            else:
                shown.stack, shown.is_anew = stack, True
                self._followed.clear()
        shown.stack.put(target.at, block)

    def _refresh(self, touch: _Touched) -> None:
        item = touch.delivery.item
        assert isinstance(item, Image)
        shown = self._images[touch.target.key]
        look = _look(item, touch.target, touch.plan)
        if shown.layer is None:
            shown.channel = _uncolored(item, touch, look)
            shown.layer = self._made(shown.stack, item, touch, look)
            self._color_channels()
        elif shown.is_anew and not _can_hold(shown.layer, shown.stack, touch.plan):
            self._made_anew(shown, item, touch, look)
        else:
            self._updated(shown, item.labels)
            changed = {k: v for k, v in look.items() if shown.look.get(k) != v}
            for name, value in changed.items():
                setattr(shown.layer, name, value)
        shown.look, shown.is_anew = look, False

    def _made(
        self, stack: Stack, item: Image, touch: _Touched, look: Mapping[str, Any]
    ) -> Layer:
        axes = (*touch.plan.sliders, *touch.plan.axes.rstrip("s"))
        common = {"name": _name(item, touch.target, touch.plan), "axis_labels": axes, **look}
        if item.labels:
            return self.model.add_labels(_labels_data(stack), **common)
        is_rgb = touch.plan.axes.endswith("s")
        if not is_rgb:
            common.setdefault("contrast_limits", _contrast(stack))
        return self.model.add_image(
            # Never guessed: (height, width, 3) is an RGB image for napari.
            stack.snapshot(), rgb=is_rgb, multiscale=False, **common
        )  # fmt: skip

    def _made_anew(
        self, shown: Shown, item: Image, touch: _Touched, look: Mapping[str, Any]
    ) -> None:
        """Replace a layer by one with other axes, or with colours of its own."""
        old, layers = shown.layer, self.model.layers
        assert old is not None
        new = shown.layer = self._made(shown.stack, item, touch, look)
        at, name = layers.index(old), old.name
        layers.remove(old)
        new.name = name
        layers.move(layers.index(new), at)

    def _color_channels(self) -> None:
        """Tell channels apart that nobody gave a colour, once there are two."""
        channels = [s.layer for s in self._images.values() if s.channel and s.layer is not None]
        gray = [layer for layer in channels if layer.colormap.name == "gray"]
        for layer in gray if len(channels) > 1 else ():
            layer.colormap = _COLORS[channels.index(layer) % len(_COLORS)]
            layer.blending = "additive"

    @staticmethod
    def _updated(shown: Shown, labels: bool) -> None:
        layer, stack = shown.layer, shown.stack
        assert layer is not None
        if labels or shown.is_anew or layer.data.shape != stack.snapshot().shape:
            layer.data = _labels_data(stack) if labels else stack.snapshot()
            if shown.is_anew and not labels and not layer.rgb:
                layer.contrast_limits = _contrast(stack)
        else:
            layer.refresh(extent=False)  # a third of the time that new data take

    def _follow(self, target: Target) -> None:
        """Show what came last, unless the user has moved a slider since this was done."""
        shown = self._images.get(target.key)
        if shown is None or shown.layer is None:
            return
        dims = self.model.dims
        behind = shown.layer.ndim  # axes from the layer's first slider to the right end
        steps = {at - behind: step for at, step in enumerate(shown.stack.index(target.at))}
        moved = any(
            dims.current_step[axis] != step
            for axis, step in self._followed.items()
            if -axis <= dims.ndim
        )
        if moved:
            return
        for axis, step in steps.items():
            dims.set_current_step(dims.ndim + axis, step)
        self._followed |= steps
        self._tell_position()

    def _tell_position(self, event: object = None) -> None:
        """Say which well, field or file the sliders are at: napari shows numbers alone."""
        overlay = _text_overlay(self.model)
        for shown in reversed(self._images.values()):
            if shown.layer is not None and shown.stack.sliders:
                steps = self.model.dims.current_step[-shown.layer.ndim :]
                texts = [
                    known[min(step, len(known) - 1)] if name == "image" else
                    f"{name} {known[min(step, len(known) - 1)]}"
                    for name, known, step in zip(
                        shown.stack.sliders, shown.stack.coordinates, steps, strict=False
                    )
                ]  # fmt: skip
                overlay.text = self._told = "   ".join(texts)
                overlay.visible = True
                return
        if self._told and overlay.text == self._told:
            overlay.visible = False

    def rois(self, name: str | None = None) -> Iterator[ROI]:
        """Yield the ROIs of the layer called ``name``, or of all that hold some."""
        return self._rois.read(name)

    # ── the window ───────────────────────────────────────────────────────────────────────

    def describe(self) -> list[dict[str, Any]]:
        """Return what a person sees in the list of layers."""
        stacks = {id(shown.layer): shown.stack for shown in self._images.values()}
        found = []
        for layer in self.model.layers:
            stack = stacks.get(id(layer))
            found.append({
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
                "coordinates": [list(c) for c in stack.coordinates] if stack is not None else [],
            })  # fmt: skip
        return found

    def pixels(self, plan: Plan, axes: str) -> NDArray[Any] | None:
        """Return what is held at the place of a plan, with the ``axes`` of the saved array."""
        blocks = []
        for target in plan.targets:
            shown = self._images.get(target.key)
            if shown is None or target.at not in shown.stack:
                return None
            block: NDArray[Any] = shown.stack.snapshot()[shown.stack.index(target.at)]
            blocks.append(block)
        if "c" in axes and "c" not in plan.axes:
            return np.stack(blocks, axis=axes.index("c"))
        return blocks[0]

    def clear(self) -> None:
        """Take away all that was shown here; what the user has added stays."""
        layers = self.model.layers
        # A quarter of a second for each layer otherwise, in which the window is stuck.
        with getattr(layers, "batched_update", nullcontext)():
            images = [s.layer for s in self._images.values() if s.layer is not None]
            for layer in (*images, *self._rois):
                layers.remove(layer)
        self._images.clear()
        self._rois.clear()
        self._followed.clear()
        self._tell_position()

    def _on_removed(self, event: Any) -> None:
        for key, shown in list(self._images.items()):
            if shown.layer is event.value:
                del self._images[key]
                self._forget(key)
                self._followed.clear()  # without its slices sliders are somewhere else
                self._tell_position()
        self._rois.forget(event.value)


class _caught:  # noqa: N801 - a context manager that reads as a word
    """Keep what goes wrong with one delivery: it is told to whoever saved it."""

    def __init__(self, delivery: Delivery, failed: dict[Delivery, Exception]) -> None:
        self.delivery, self.failed = delivery, failed

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self.failed[self.delivery] = error
        return True


def _blocks(delivery: Delivery, plan: Plan) -> Iterator[tuple[Target, NDArray[Any]]]:
    data: Any = delivery.data
    item = delivery.item
    if isinstance(item, Image) and item.layers == "c":
        yield from zip(plan.targets, np.moveaxis(data, item.axes.index("c"), 0), strict=True)
    else:
        yield plan.targets[0], data


def _channel(item: Image, target: Target) -> Channel:
    number = target.key[3]
    return item.channels[number] if number < len(item.channels) else Channel()


def _name(item: Image, target: Target, plan: Plan) -> str:
    label = _channel(item, target).label
    if item.labels:
        return f"{plan.title} labels"  # beside the image that they belong to
    if item.layers != "c":
        return label or plan.title
    return f"{plan.title} {label or target.key[3]}"


def _look(item: Image, target: Target, plan: Plan) -> dict[str, Any]:
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
    limits = item.contrast_limits or channel.window
    if limits:
        look["contrast_limits"] = limits
    return look


def _uncolored(item: Image, touch: _Touched, look: Mapping[str, Any]) -> str:
    """Return which channel it is of several, if nobody has said how that looks."""
    if item.labels or item.axes.endswith("s") or {"colormap", "blending"} & look.keys():
        return ""
    of_several = len(touch.plan.targets) > 1
    return item.channel or (str(touch.target.key[3]) if of_several else "")


def _can_hold(layer: Layer, stack: Stack, plan: Plan) -> bool:
    """Whether a layer can show a stack instead of its own: napari fixes axes and colours."""
    is_rgb = plan.axes.endswith("s")
    return bool(
        layer.ndim == len(stack.sliders) + len(stack.block_shape) - is_rgb
        and getattr(layer, "rgb", False) == is_rgb
    )


def colormap(name: str) -> Any:
    """Return napari's colormap of a name, or of RRGGBB from black; ``KeyError``-like if none."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    from polystore.images import HEX_COLOR

    if HEX_COLOR.fullmatch(name):
        digits = name.lstrip("#")
        color = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        return Colormap([[0, 0, 0], color], name=f"#{digits}")
    return ensure_colormap(name)


def _contrast(stack: Stack) -> tuple[float, float]:
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


def _labels_data(stack: Stack) -> Any:
    """Return what the user can paint in: the block itself, or a view that writes into blocks."""
    return PaintableView(stack.snapshot()) if stack.sliders else stack.snapshot()[...]


class PaintableView(LazyArray):
    """The blocks of a stack as napari's brushes need them: they write, and index with arrays."""

    def __init__(self, view: StackView) -> None:
        self._view = view
        self.shape, self.dtype, self.chunks = view.shape, view.dtype, view.chunks

    def __getitem__(self, region: Any) -> NDArray[Any]:
        if not _has_arrays(region):
            return self._view[region]
        where = np.broadcast_arrays(*region)
        found = np.empty(where[0].shape, self.dtype)
        for chosen, block, inner in self._pixels(where):
            found[chosen] = block[inner]
        return found

    def __setitem__(self, region: Any, value: Any) -> None:
        if _has_arrays(region):
            where = np.broadcast_arrays(*region)
            values = np.broadcast_to(value, where[0].shape)
        else:
            axes = [
                np.arange(length)[key] if isinstance(key, slice) else np.array([key])
                for key, length in zip(region, self.shape, strict=True)
            ]
            where = np.broadcast_arrays(*np.ix_(*axes))
            values = np.broadcast_to(value, self[region].shape).reshape(where[0].shape)
        for chosen, block, inner in self._pixels(where):
            if block.flags.writeable:  # where no label image has come yet, there is no block
                block[inner] = values[chosen]

    def _pixels(
        self, where: Sequence[NDArray[Any]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], tuple[NDArray[Any], ...]]]:
        """Yield which of the pixels are in one block, the block, and where in it they are."""
        count = len(self._view.coordinates)
        outer = np.stack(where[:count], axis=-1)
        for place in np.unique(outer.reshape(-1, count), axis=0):
            chosen = (outer == place).all(axis=-1)
            block = self._view[tuple(map(int, place))]
            yield chosen, block, tuple(axis[chosen] for axis in where[count:])


def _has_arrays(region: Any) -> bool:
    return isinstance(region, tuple) and any(isinstance(key, np.ndarray) for key in region)


def _text_overlay(model: ViewerModel) -> Any:
    """Return the line of text over the images, which has moved in napari 0.9."""
    canvas = getattr(model, "canvas", None)
    return model.text_overlay if canvas is None else canvas.overlays.text
