"""The text and the scale bar that napari draws over the images of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from polystore_core import Value

__all__ = ["ScaleBar", "find_overlay"]


def find_overlay(model: ViewerModel, name: Literal["text", "scale_bar"]) -> Value:
    """Return an overlay of a window. napari 0.9 has moved them."""
    canvas = getattr(model, "canvas", None)
    if canvas is not None:
        return getattr(canvas.overlays, name)
    return model.text_overlay if name == "text" else model.scale_bar


class ScaleBar:
    """The scale bar of a window. It is shown while an image has a size, or as the user wants."""

    def __init__(self, model: ViewerModel) -> None:
        self.model = model
        self._wanted = False
        self._left = bool(find_overlay(model, "scale_bar").visible)
        """Visibility as we set it last. If it differs now, the user has changed it."""

    def show(self, unit: str) -> None:
        """Show the bar in ``unit``; "" hides it."""
        bar = find_overlay(self.model, "scale_bar")
        if unit and getattr(self.model, "canvas", None) is None:
            bar.unit = unit  # from 0.9 on, napari uses the unit of the layers
        if self._wanted != bool(unit):
            self._wanted = bool(unit)
            if bar.visible == self._left:
                bar.visible = self._left = self._wanted
