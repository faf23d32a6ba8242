"""A window that is filled as in the viewer, without Qt, and examples of its content."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core.rois import ROI, Mask, Points, Rectangle
from polystore_napari.layers import Layers
from polystore_napari.reach import check_new
from polystore_stream import Delivery, Image
from polystore_stream.viewers.planning import Planner

from .sending import Message, batch, one

if TYPE_CHECKING:
    from collections.abc import Sequence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from napari's own use of pydantic
    from napari.components import ViewerModel


PLANE = np.arange(20, dtype="u2").reshape(4, 5)
ZSTACK = "{well}_z{z}.npy"
BOX = ROI(Rectangle((3, 4), (2, 4)), "nucleus")
SPOTS = ROI(Points([(1, 2), (3, 4)]), "spots")


class Window:
    """A window that is filled as in the viewer: a plan for each value, then the layers."""

    def __init__(self) -> None:
        self.model = ViewerModel()
        self.planner = Planner(check_new)
        self.layers = Layers(self.model, self.planner.forget)

    def save(self, data: Any, path: str = "a.npy", **options: Any) -> list[Delivery]:
        """Show a single value."""
        return self.show(one(data, path, **options))

    def save_batch(self, data: Sequence[Any], paths: Sequence[str], **options: Any) -> None:
        """Show a series in one call, as a busy viewer does."""
        self.show(*batch(data, paths, **options))

    def show(self, *messages: Message) -> list[Delivery]:
        """Show the messages, and return the deliveries that newer ones replaced."""
        deliveries = [self._delivery(*message) for message in messages]
        superseded, failed = self.layers.show(deliveries)
        for error in failed.values():
            raise error
        return superseded

    def _delivery(self, item: Any, payload: Any) -> Delivery:
        is_image = isinstance(item, Image)
        kind = ("labels" if item.labels else "image") if is_image else "rois"
        plan = self.planner.plan(item, kind)
        data = (
            payload if is_image else [ROI.from_dict(d) for d in json.loads(payload.tobytes())]
        )
        return Delivery(item, data, b"", 0, plan)

    def __getitem__(self, name: str) -> Any:
        return self.model.layers[name]

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.model.layers]

    @property
    def only(self) -> Any:
        (layer,) = self.model.layers
        return layer

    @property
    def step(self) -> tuple[int, ...]:
        return tuple(self.model.dims.current_step)

    @property
    def text(self) -> str:
        overlay = self.model.canvas.overlays.text
        return str(overlay.text) if overlay.visible else ""

    def read_slice(self, layer: Any) -> Any:
        """Return the slice of a layer that napari has made for the screen."""
        return np.asarray(layer._slice.image.raw)

    def pixels(self, path: str, kind: str = "image") -> Any:
        place = self.planner.place("", path, kind)
        return None if place is None else self.layers.pixels(*place)


def planes(count: int, start: int = 0) -> list[Any]:
    return [np.full((4, 5), 10 * n, "u2") for n in range(start, start + count)]


MASK = ROI(Mask(np.ones((2, 3), bool), (1, 1)), "mask")
ONE_OF_EACH = [BOX, SPOTS, MASK]


def draw(layer: Any) -> ROI:
    """Draw into a layer with axes y and x, as a user does. Return the drawn ROI."""
    if layer._type_string == "shapes":
        layer.add_rectangles(np.array([(0, 0), (2, 4)]))
        return ROI(Rectangle((1, 2), (2, 4)))
    if layer._type_string == "points":
        layer.add([(9, 9)])
        return ROI(Points([(9, 9)]))
    layer.brush_size = 1
    layer.paint((3, 4), 7)
    return ROI(Mask(np.ones((1, 1), bool), (3, 4)))
