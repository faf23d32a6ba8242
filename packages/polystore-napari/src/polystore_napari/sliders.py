"""Move the sliders of a window to the latest image, and show their position as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .overlays import find_overlay

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from polystore_core import Value
    from polystore_stream.viewers.planning import Key

    from .layers import Shown

__all__ = ["Sliders"]


class Sliders:
    """Move the sliders of a window until the user moves one, and show their position."""

    def __init__(self, model: ViewerModel, images: dict[Key, Shown]) -> None:
        """``images`` is the dict of the window's images, which changes later."""
        self.model = model
        self._images = images
        self._followed: dict[int, int] = {}
        """Step of each slider as we set it last. Sliders are counted from the right."""
        self._told = ""
        model.dims.events.current_step.connect(self.tell)

    def follow(self, key: Key, at: tuple[str, ...]) -> None:
        """Show the latest image, unless the user has moved a slider since the last call."""
        shown = self._images.get(key)
        if shown is None or shown.layer is None:
            return
        dims = self.model.dims
        behind = shown.layer.ndim  # axes from the layer's first slider to the right end
        steps = {at - behind: step for at, step in enumerate(shown.stack.index(at))}
        # If a slider is not where we set it, the user has moved it, and wants it to stay there.
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
        self.tell()

    def forget(self) -> None:
        """Follow again, even if the user has moved a slider. Steps mean other images now."""
        self._followed.clear()

    def tell(self, event: Value = None) -> None:
        """Show which well, field or file the sliders are at. napari shows only numbers."""
        overlay = find_overlay(self.model, "text")
        for shown in reversed(self._images.values()):
            if shown.layer is not None and shown.stack.sliders:
                steps = self.model.dims.current_step[-shown.layer.ndim :]
                texts = [
                    known[min(step, len(known) - 1)]
                    if name == "image"
                    else f"{name} {known[min(step, len(known) - 1)]}"
                    for name, known, step in zip(
                        shown.stack.sliders, shown.stack.coordinates, steps, strict=False
                    )
                ]
                overlay.text = self._told = "   ".join(texts)
                overlay.visible = True
                return
        if self._told and overlay.text == self._told:
            overlay.visible = False
