"""Show ROIs as layers of one napari window, update them in place, and read them back."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import ROI, Area, Mask
from polystore_stream import unknown_name
from polystore_stream.viewers.outlines import to_outlines
from polystore_stream.viewers.planning import Reach

from .changes import (
    add_layer,
    assign,
    content_of,
    copy_layer,
    layer_reach,
    replace_layer,
    select,
    take_out,
)
from .drawn import find_added_rois, from_layer
from .reach import check_reach
from .rois import to_layers
from .tangles import count_crossings, find_tangled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from polystore_core import Document, Pixels, Value
    from polystore_stream import Delivery
    from polystore_stream.viewers.planning import Key, Plan

    from .layers import Shown
    from .rois import RoiLayer

__all__ = ["RoiLayers"]

Result = TypeVar("Result")
_RoiKind = tuple[str, tuple[str, ...], int]


class RoiLayers:
    """The layers of ROIs of one window, placed over its first image."""

    # It needs no lock: only the thread of the window calls it.

    def __init__(self, model: ViewerModel, images: Mapping[Key, Shown]) -> None:
        """``images`` is the dict of the window's images, which changes later."""
        self.model = model
        self._images = images
        self._rois: dict[Key, dict[_RoiKind, tuple[Layer, RoiLayer]]] = {}
        self._grid: tuple[object, ...] = ()
        """Scale, translation and units of the image under the ROIs, at the last ``align``."""

    def show(self, plan: Plan, delivery: Delivery) -> None:
        """Show the ROIs of a path. If one cannot be shown, nothing changes.

        ROIs that the user has added to the path's layers stay there.
        """
        rois: list[ROI] = delivery.data  # type: ignore[assignment]
        if delivery.item.labels:  # type: ignore[union-attr]
            rois = _fill_areas(rois)
        key = plan.targets[0].key
        group = self._rois.setdefault(key, {})
        wanted = self._plan_layers(group, rois)
        # If an exception leaves the block, the callbacks restore the window in the opposite order.
        # pop_all drops them after success.
        with ExitStack() as undo:
            undo.callback(select, self.model, set(self.model.layers.selection))
            undo.callback(self._rois.__setitem__, key, dict(group))
            for kind, found in wanted.items():
                if kind in group:
                    layer = self._change(group[kind][0], found, undo)
                else:
                    layer = self._make(found, plan.title)
                    undo.callback(take_out, self.model, layer)
                group[kind] = layer, found
            undo.pop_all()

    def _plan_layers(
        self, group: dict[_RoiKind, tuple[Layer, RoiLayer]], rois: Sequence[ROI]
    ) -> dict[_RoiKind, RoiLayer]:
        """Return the new content of each layer of a path, including layers that become empty."""
        added = [
            roi
            for layer, found in group.values()
            for roi in find_added_rois(
                found, *_content(layer), layer.features, self._to_pixels(layer, found.axes)
            )
            # Skip ROIs that are being saved now: a script may have read them from this layer.
            if not any(roi.shape == o.shape and roi.position == o.position for o in rois)
        ]
        wanted: dict[_RoiKind, RoiLayer] = {}
        shape = self._image_shape()
        for found in to_layers(rois, self._sliders(), shape=shape, added=added):
            kind: _RoiKind = (found.type, found.axes, 0)
            while kind in wanted:  # masks that overlap need several layers of one kind
                kind = (*kind[:2], kind[2] + 1)
            wanted[kind] = found
        for kind in group.keys() - wanted.keys():
            # Empty the layer instead of removing it: it keeps the user's look for later ROIs.
            wanted[kind] = _empty(group[kind][1])
        return wanted

    def _make(self, found: RoiLayer, title: str) -> Layer:
        placement = self._find_placement(found)
        self._check(found, placement)
        names = self._axis_names(len(found.axes))
        given = {**placement, "axis_labels": names, **_ROI_STYLE[found.type]}
        name = f"{title} labels" if found.type == "labels" else title
        add: Callable[..., Layer] = getattr(self.model, f"add_{found.type}")
        return _draw(
            found,
            lambda shown: add_layer(
                self.model, lambda: add(name=name, **{**shown.arguments, **given})
            ),
        )

    def _change(self, layer: Layer, found: RoiLayer, undo: ExitStack) -> Layer:
        """Show ``found`` in a layer, or in a copy if napari cannot change it. Return the layer."""
        self._check(found, self._find_placement(found), layer)
        if found.type == "shapes" and layer.ndim < self.model.dims.ndisplay:
            # In 3-D, napari empties such a layer and raises. So change a copy, which is not in
            # a window yet.
            changed = copy_layer(layer)
            _fill(changed, found)
            self._place(changed, found)
            undo.callback(replace_layer, self.model, changed, layer)
            replace_layer(self.model, layer, changed)
            return changed
        undo.callback(assign, layer, content_of(layer))
        _fill(layer, found)
        self._place(layer, found)
        return layer

    def _place(self, layer: Layer, found: RoiLayer) -> None:
        for name, value in self._find_placement(found).items():
            setattr(layer, name, value)

    def align(self) -> None:
        """Move ROIs onto the first image, if it came after them or has a new pixel size."""
        reference = self._reference()
        grid: tuple[object, ...] = ()
        if reference is not None:
            grid = (*reference.scale, *reference.translate, *map(str, reference.units))
        if grid == self._grid:
            return
        # Either all layers of ROIs move, or none: a check may fail after some have moved.
        with ExitStack() as undo:
            for group in self._rois.values():
                for layer, found in group.values():
                    self._check(found, self._find_placement(found), layer)
                    undo.callback(assign, layer, {n: getattr(layer, n) for n in _PLACEMENT})
                    self._place(layer, found)
            undo.pop_all()
        self._grid = grid

    def units(self) -> Iterator[tuple[Layer, tuple[str, ...]]]:
        """Yield each layer with the units of the image. An axis without one has "pixel"."""
        for group in self._rois.values():
            for layer, found in group.values():
                placement = self._find_placement(found)
                yield layer, tuple(map(str, placement.get("units", ("pixel",) * layer.ndim)))

    def _check(
        self, found: RoiLayer, placement: Mapping[str, Value], layer: Layer | None = None
    ) -> None:
        """Raise ``UnsupportedDataError`` for ROIs too far from the other layers."""
        scale, translate = np.array(placement["scale"]), np.array(placement["translate"])
        ends = _ends(found) * scale + translate
        units = placement.get("units", ["pixel"] * len(scale))
        low, high = (tuple(end) for end in ends.tolist())
        reach = Reach(low, high, tuple(scale.tolist()), tuple(map(str, units)))
        others = (other for other in self.model.layers if other is not layer)
        check_reach(reach, map(layer_reach, others))

    def _find_placement(self, found: RoiLayer) -> Document:
        """Return the scale, translation and units that place ROIs on the pixels of the image."""
        reference = self._reference()
        scale, translate = np.array(found.scale), np.array(found.translate)
        if reference is None:
            return {"scale": scale, "translate": translate}
        count = len(found.axes)
        shared = min(count, reference.ndim)
        factors, offsets, units = np.ones(count), np.zeros(count), ["pixel"] * count
        # Align at the last axis, as napari does. The image may have fewer axes than the ROIs.
        factors[-shared:] = reference.scale[-shared:]
        offsets[-shared:] = reference.translate[-shared:]
        units[-shared:] = reference.units[-shared:]
        # An axis called "" is stretched over all planes, so the pixel size must not change it.
        plain = np.array([bool(axis) for axis in found.axes])
        factors, offsets = np.where(plain, factors, 1), np.where(plain, offsets, 0)
        return {
            "scale": scale * factors,
            "translate": translate * factors + offsets,
            "units": units,
        }

    def read(self, name: str | None = None) -> Iterator[ROI]:
        """Yield the ROIs of the layer called ``name``, or of all layers that hold ROIs.

        Label images of a pipeline are read only by name. Raises ``InvalidOptionError`` if no layer
        for ROIs has this name.
        """
        kinds = ("shapes", "points", "labels")
        layers = [layer for layer in self.model.layers if layer._type_string in kinds]
        if name is None:
            streamed = {shown.layer for shown in self._images.values()}
            layers = [layer for layer in layers if layer not in streamed]
        else:
            names = [layer.name for layer in layers]
            if name not in names:
                raise unknown_name("layer", name, "a shapes, points or labels layer", names)
            layers = [layer for layer in layers if layer.name == name]
        for layer in layers:
            yield from self._rois_of(layer, layer._type_string)

    def _rois_of(self, layer: Layer, kind: Value) -> list[ROI]:
        known = next(
            (r for group in self._rois.values() for held, r in group.values() if held is layer),
            None,
        )
        axes = known.axes if known is not None else self._axis_names(layer.ndim)
        return from_layer(
            kind,
            *_content(layer),
            layer.features,
            axes,
            known=known.rois if known is not None else (),
            to_pixels=self._to_pixels(layer, axes),
        )

    def _to_pixels(self, layer: Layer, axes: Sequence[str]) -> Callable[[Pixels], Pixels]:
        """Return a function from the layer's coordinates to pixels of the image under it."""
        reference = self._reference()
        count = layer.ndim
        scale, translate = np.ones(count), np.zeros(count)
        if reference is not None:
            shared = min(count, reference.ndim)
            scale[-shared:] = reference.scale[-shared:]
            translate[-shared:] = reference.translate[-shared:]
        plain = np.array([bool(axis) for axis in axes])
        scale, translate = np.where(plain, scale, 1), np.where(plain, translate, 0)

        def convert(coordinates: Pixels) -> Pixels:
            world: NDArray[Any] = coordinates * layer.scale + layer.translate
            return (world - translate) / scale

        return convert

    def __iter__(self) -> Iterator[Layer]:
        return (layer for group in self._rois.values() for layer, _ in group.values())

    def clear(self) -> None:
        """Forget all layers. The caller removes them."""
        self._rois.clear()

    def forget(self, removed: Layer) -> None:
        """Forget a layer that the user has removed."""
        for group in self._rois.values():
            for kind, (layer, _) in list(group.items()):
                if layer is removed:
                    del group[kind]

    def _reference(self) -> Layer | None:
        """Return the first image of the window. Coordinates of ROIs are in its pixels."""
        return next((s.layer for s in self._images.values() if s.layer is not None), None)

    def _image_shape(self) -> tuple[int, int] | None:
        shown = next((s for s in self._images.values() if s.layer is not None), None)
        if shown is None:
            return None
        rgb = bool(getattr(shown.layer, "rgb", False))
        height, width = shown.stack.block_shape[-3:-1] if rgb else shown.stack.block_shape[-2:]
        return height, width

    def _sliders(self) -> tuple[str, ...]:
        return self._axis_names(max((layer.ndim for layer in self.model.layers), default=2))[
            :-2
        ]

    def _axis_names(self, count: int) -> tuple[str, ...]:
        """Return the names of the last ``count`` axes of the window."""
        widest = max(
            (s.layer for s in self._images.values() if s.layer is not None),
            key=lambda layer: int(layer.ndim),
            default=None,
        )
        names = tuple(widest.axis_labels) if widest is not None else ()
        names = names[-count:] or ("y", "x")
        return (*(f"axis {n}" for n in range(count, len(names), -1)), *names)


MOST_FILLED = 2**28
"""Most pixels in the boxes around areas that ``labels=True`` fills. They take some seconds."""
_MOST_ROWS = 2**24
"""Most rows of pixels that the outlines of these areas cross. They take some seconds, too."""
_PLACEMENT = ("scale", "translate", "units")
_ROI_STYLE: dict[str, dict[str, Any]] = {
    "shapes": {"face_color": "transparent", "edge_color": "yellow", "edge_width": 1},
    "points": {"face_color": "yellow", "size": 5},
    "labels": {"opacity": 0.5},
}


def _fill_areas(rois: Sequence[ROI]) -> list[ROI]:
    """Return ROIs as masks of the pixels inside. A ROI without a pixel's centre stays as it is.

    Raises ``UnsupportedDataError`` if filling them would take long.
    """
    pixels = rows = 0.0
    for roi in rois:
        if isinstance(roi.shape, Area) and not isinstance(roi.shape, Mask):
            y0, x0, y1, x1 = roi.shape.bounds
            pixels += (y1 - y0 + 1) * (x1 - x0 + 1)
            for _, outline in to_outlines(roi.shape):
                rows += float(np.abs(np.diff(outline[:, 0], append=outline[:1, 0])).sum())
    for count, most, name in (
        (pixels, MOST_FILLED, "the boxes around these areas have {:.3g} pixels"),
        (rows, _MOST_ROWS, "the outlines of these areas pass {:.3g} rows of pixels"),
    ):
        if count > most:
            raise UnsupportedDataError(
                f"{name.format(count)}, but labels=True fills areas of at most {most}: save "
                "them without labels=True, or save fewer at a time"
            )
    return [_mask_of(roi) for roi in rois]


def _mask_of(roi: ROI) -> ROI:
    if not isinstance(roi.shape, Area) or isinstance(roi.shape, Mask):
        return roi
    y0, x0, y1, x1 = roi.shape.bounds
    top, left = math.floor(y0), math.floor(x0)
    moved = roi.shape.translate(-top, -left)
    pixels = moved.to_mask((math.ceil(y1) - top + 1, math.ceil(x1) - left + 1))
    return replace(roi, shape=Mask(pixels, (top, left))) if pixels.any() else roi


def _content(layer: Layer) -> tuple[Value, Sequence[str]]:
    """Return the data of a layer, and the types of its shapes."""
    if layer._type_string == "labels":
        return np.asarray(layer.data), ()
    return layer.data, getattr(layer, "shape_type", ())


def _ends(found: RoiLayer) -> NDArray[np.float64]:
    """Return the least and the greatest coordinates of the data, or NaN without ROIs."""
    if found.type == "labels":
        size = np.shape(found.data)
        return np.array([np.zeros(len(size)), np.array(size) - 1.0])
    if not len(found.data):
        return np.full((2, len(found.axes)), np.nan)
    rows = np.concatenate(found.data) if found.type == "shapes" else np.asarray(found.data)
    return np.array([rows.min(axis=0), rows.max(axis=0)])


def _draw(found: RoiLayer, show: Callable[[RoiLayer], Result]) -> Result:
    """Show ROIs. Polygons that napari cannot fill, or not in time, are shown as lines.

    napari's triangulators fail for some polygons that cross or touch themselves. So this tries
    three times: with tangled polygons as lines, with crossing ones, and with all of them.
    """
    polygons = [row for row, kind in enumerate(found.shape_types) if kind == "polygon"]
    outlines = [found.data[row][:, -2:] for row in polygons]
    failure: Exception | None = None
    finders = (find_tangled, _find_crossed, lambda outlines: [True] * len(outlines))
    for find in finders if polygons else finders[:1]:
        is_line = find(outlines)
        lines = {row for row, chosen in zip(polygons, is_line, strict=True) if chosen}
        shown = found.with_lines(lines) if lines else found
        try:
            return _without_reports(lambda shown=shown: show(shown))  # type: ignore[misc]
        except RuntimeError as error:
            if "riangulation failed" not in str(error):
                raise
            failure = error
    raise UnsupportedDataError(
        "napari cannot draw one of these outlines, not even as a line: save areas with "
        "labels=True to see their pixels"
    ) from failure


def _find_crossed(outlines: Sequence[NDArray[np.float64]]) -> list[bool]:
    return (count_crossings(outlines) > 0).tolist()  # type: ignore[no-any-return]


def _without_reports(show: Callable[[], Result]) -> Result:
    try:
        return show()
    except RuntimeError as error:
        # napari writes a report for its developers into the temporary directory at each failure.
        for report in re.findall(r"\S+napari_\w+_triang_\S+", str(error)):
            Path(report).unlink(missing_ok=True)
        raise


def _fill(layer: Layer, found: RoiLayer) -> None:
    """Replace the ROIs of a layer. If it raises, the layer may be empty."""
    if found.type == "shapes":
        _draw(
            found,
            lambda shown: setattr(
                layer, "data", list(zip(shown.data, shown.shape_types, strict=True))
            ),
        )
    else:
        layer.data = found.data
    layer.features = found.features
    # Set the defaults last: setting features has changed them.
    if found.type != "labels":
        layer.feature_defaults = found.feature_defaults


def _empty(found: RoiLayer) -> RoiLayer:
    """Return the same layer without any ROI."""
    rows = {name: column[: found.type == "labels"] for name, column in found.features.items()}
    data = found.data
    if isinstance(data, np.ndarray):
        data = np.zeros_like(data) if found.type == "labels" else data[:0]
    return replace(
        found,
        data=data if isinstance(data, np.ndarray) else [],
        features=rows,
        rois=(),
        saved=0,
        shape_types=(),
    )
