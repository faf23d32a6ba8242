"""ROIs as layers of one napari window: made, updated in place, and read back."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from polystore.errors import UnsupportedDataError
from polystore.rois import ROI, Area, Mask

from .rois import from_layer, to_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from polystore_stream.viewer import Delivery

    from .layers import Shown
    from .planning import Key, Plan
    from .rois import RoiLayer

__all__ = ["RoiLayers"]

Result = TypeVar("Result")
_RoiKind = tuple[str, tuple[str, ...], int]


class RoiLayers:
    """The layers of ROIs of one window, laid over its first image."""

    def __init__(self, model: ViewerModel, images: Mapping[Key, Shown]) -> None:
        """``images`` are those of the window, also the ones that come later."""
        self.model = model
        self._images = images
        self._rois: dict[Key, dict[_RoiKind, tuple[Layer, RoiLayer]]] = {}
        self._grid: tuple[float, ...] = ()
        """Scale and translation of the image that ROIs were laid over last."""

    def show(self, plan: Plan, delivery: Delivery) -> None:
        rois: list[ROI] = delivery.data  # type: ignore[assignment]
        if delivery.item.labels:  # type: ignore[union-attr]
            rois = [_filled(roi) for roi in rois]
        key = plan.targets[0].key
        shown = self._rois.setdefault(key, {})
        wanted: dict[_RoiKind, RoiLayer] = {}
        for found in to_layers(rois, self._sliders(), shape=self._image_shape()):
            kind: _RoiKind = (found.type, found.axes, 0)
            while kind in wanted:  # masks that overlap need several layers of one kind
                kind = (*kind[:2], kind[2] + 1)
            wanted[kind] = found
        for kind, roi_layer in wanted.items():
            if kind in shown:
                layer = shown[kind][0]
                _update_rois(layer, roi_layer)
                self._place(layer, roi_layer)
            else:
                layer = self._made(roi_layer, plan.title)
            shown[kind] = layer, roi_layer
        for kind in shown.keys() - wanted.keys():
            # Emptied, not removed: how it looks is the user's, and ROIs may come again.
            layer, roi_layer = shown[kind]
            empty = _emptied(roi_layer)
            _update_rois(layer, empty)
            shown[kind] = layer, empty

    def _made(self, found: RoiLayer, title: str) -> Layer:
        given = {**found.arguments, **self._placement(found), **_ROI_STYLE[found.type]}
        name = f"{title} labels" if found.type == "labels" else title
        add: Callable[..., Layer] = getattr(self.model, f"add_{found.type}")
        return _triangulated(lambda: add(name=name, **given))

    def _place(self, layer: Layer, found: RoiLayer) -> None:
        for name, value in self._placement(found).items():
            setattr(layer, name, value)

    def align(self) -> None:
        """Lay ROIs over an image that came after them, or has got another pixel size."""
        reference = self._reference()
        grid = () if reference is None else (*reference.scale, *reference.translate)
        if grid != self._grid:
            self._grid = grid
            for group in self._rois.values():
                for layer, found in group.values():
                    self._place(layer, found)

    def _placement(self, found: RoiLayer) -> dict[str, Any]:
        """Return where a layer of ROIs lies: on the pixels of the image."""
        reference = self._reference()
        scale, translate = np.array(found.scale), np.array(found.translate)
        if reference is None:
            return {"scale": scale, "translate": translate}
        count = len(found.axes)
        shared = min(count, reference.ndim)
        factors, offsets, units = np.ones(count), np.zeros(count), ["pixel"] * count
        factors[-shared:] = reference.scale[-shared:]
        offsets[-shared:] = reference.translate[-shared:]
        units[-shared:] = reference.units[-shared:]
        plain = np.array([bool(axis) for axis in found.axes])
        factors, offsets = np.where(plain, factors, 1), np.where(plain, offsets, 0)
        return {
            "scale": scale * factors, "translate": translate * factors + offsets, "units": units,
        }  # fmt: skip

    def read(self, name: str | None = None) -> Iterator[ROI]:
        """Yield the ROIs of the layer called ``name``, or of all that hold some."""
        streamed = {shown.layer for shown in self._images.values()}
        for layer in self.model.layers:
            kind = layer._type_string
            if name is not None and layer.name != name:
                continue
            if kind not in ("shapes", "points", "labels") or (
                name is None and layer in streamed
            ):
                continue
            yield from self._rois_of(layer, kind)

    def _rois_of(self, layer: Layer, kind: Any) -> list[ROI]:
        known = next(
            (r for group in self._rois.values() for held, r in group.values() if held is layer),
            None,
        )
        axes = known.axes if known is not None else self._axis_names(layer.ndim)
        shape_types = layer.shape_type if kind == "shapes" else ()
        return from_layer(
            kind, np.asarray(layer.data) if kind == "labels" else layer.data, shape_types,
            layer.features, axes, known=known.rois if known is not None else (),
            to_pixels=self._to_pixels(layer, axes),
        )  # fmt: skip

    def _to_pixels(
        self, layer: Layer, axes: Sequence[str]
    ) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Map the layer's coordinates through the world to pixels of the image below."""
        reference = self._reference()
        count = layer.ndim
        scale, translate = np.ones(count), np.zeros(count)
        if reference is not None:
            shared = min(count, reference.ndim)
            scale[-shared:] = reference.scale[-shared:]
            translate[-shared:] = reference.translate[-shared:]
        plain = np.array([bool(axis) for axis in axes])
        scale, translate = np.where(plain, scale, 1), np.where(plain, translate, 0)

        def convert(coordinates: NDArray[Any]) -> NDArray[Any]:
            world: NDArray[Any] = coordinates * layer.scale + layer.translate
            return (world - translate) / scale

        return convert

    def __iter__(self) -> Iterator[Layer]:
        return (layer for group in self._rois.values() for layer, _ in group.values())

    def clear(self) -> None:
        """Forget all; the layers are the caller's to remove."""
        self._rois.clear()

    def forget(self, removed: Layer) -> None:
        """Forget a layer that the user has removed."""
        for group in self._rois.values():
            for kind, (layer, _) in list(group.items()):
                if layer is removed:
                    del group[kind]

    def _reference(self) -> Layer | None:
        """Return the image whose pixels ROIs are counted in: the first that came."""
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


_ROI_STYLE: dict[str, dict[str, Any]] = {
    "shapes": {"face_color": "transparent", "edge_color": "yellow", "edge_width": 1},
    "points": {"face_color": "yellow", "size": 5},
    "labels": {"opacity": 0.5},
}


def _filled(roi: ROI) -> ROI:
    """Return a ROI as the pixels inside; one that holds no pixel's centre stays as it is."""
    if not isinstance(roi.shape, Area) or isinstance(roi.shape, Mask):
        return roi
    y0, x0, y1, x1 = roi.shape.bounds
    top, left = math.floor(y0), math.floor(x0)
    moved = roi.shape.translated(-top, -left)
    pixels = moved.to_mask((math.ceil(y1) - top + 1, math.ceil(x1) - left + 1))
    return replace(roi, shape=Mask(pixels, (top, left))) if pixels.any() else roi


def _triangulated(show: Callable[[], Result]) -> Result:
    """Show outlines; each of napari's triangulators gives up on some that cross themselves."""
    from napari.utils.triangulation_backend import TriangulationBackend, set_backend

    try:
        return _without_reports(show)
    except RuntimeError:
        fast = set_backend(TriangulationBackend.pure_python)
    try:
        return _without_reports(show)
    except RuntimeError:
        raise UnsupportedDataError(
            "napari cannot draw one of these regions, an outline crosses or touches itself: "
            "save them with labels=True to see their pixels"
        ) from None
    finally:
        set_backend(fast)


def _without_reports(show: Callable[[], Result]) -> Result:
    try:
        return show()
    except RuntimeError as error:
        # Each failure leaves files for napari's developers in the temporary directory.
        for report in re.findall(r"\S+napari_\w+_triang_\S+", str(error)):
            Path(report).unlink(missing_ok=True)
        raise


def _update_rois(layer: Layer, found: RoiLayer) -> None:
    if found.type == "shapes":
        before = list(zip(layer.data, layer.shape_type, strict=True))
        content = list(zip(found.data, found.shape_types, strict=True))
        try:
            _triangulated(lambda: setattr(layer, "data", content))
        except UnsupportedDataError:  # napari has emptied the layer by then
            layer.data = before
            raise
    else:
        layer.data = found.data
    layer.features = found.features
    if found.type != "labels":
        layer.feature_defaults = found.feature_defaults


def _emptied(found: RoiLayer) -> RoiLayer:
    """Return the same layer without any ROI."""
    rows = {name: column[: found.type == "labels"] for name, column in found.features.items()}
    data = found.data
    if isinstance(data, np.ndarray):
        data = np.zeros_like(data) if found.type == "labels" else data[:0]
    return replace(
        found, data=data if isinstance(data, np.ndarray) else [], features=rows, rois=(),
        shape_types=(),
    )  # fmt: skip
