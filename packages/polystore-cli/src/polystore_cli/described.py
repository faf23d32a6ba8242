"""What a source knows of an image, in the words in which the ``save`` of a viewer is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from polystore_core import Info, PolystoreError, image_metadata

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from polystore_core import ImageMetadata

__all__ = ["Described", "described"]

_AXES = "tczyxs"
"""In the order that viewers take; s are the samples of RGB."""


@dataclass(frozen=True, slots=True)
class Described:
    """An image as it is sent to a viewer."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """For ``save``."""
    order: tuple[int, ...] | None = None
    """How the stored array must be transposed for that."""
    image: ImageMetadata | None = None
    """Its words, where it is sent as an image: it needs no options, and a viewer orders it."""

    def arranged(self, stored: Any) -> Any:
        return stored if self.order is None else stored.transpose(self.order)


def described(info: Info, given: Mapping[str, Any], wanted: Collection[str]) -> Described:
    """Return what ``info`` knows of axes, scale, units and channels, if it is ``wanted``.

    What is ``given`` counts more, and what no viewer understands (an axis "q", a unit "pixel")
    is left out: it is not the fault of who asks to see the image.
    """
    if info.shape is None or info.dtype is None:
        return Described(info.shape, info.dtype)
    known = {option: value for option, value in _known(info).items() if option in wanted}
    shape, kept = info.shape, dict[str, Any]()
    order = _order(known.pop("axes", ""), shape) if "axes" not in given else None
    if order is not None:
        axes, places = order
        arranged = tuple(shape[place] for place in places)
        if _is_possible(arranged, info.dtype, {**given, "axes": axes}):
            shape, kept["axes"] = arranged, axes
    for option, value in known.items():
        together = {**given, **kept, option: value}
        if option not in given and _is_possible(shape, info.dtype, together):
            kept[option] = value
    return Described(shape, info.dtype, kept, order[1] if order and "axes" in kept else None)


def _order(axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]] | None:
    """Return the axes as viewers take them, and where each stands now."""
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not set(axes) <= set(_AXES):
        return None
    ordered = "".join(sorted(axes, key=_AXES.index))
    return ordered, tuple(map(axes.index, ordered))


def _is_possible(shape: tuple[int, ...], dtype: str, said: Mapping[str, Any]) -> bool:
    axes = said.get("axes")
    try:
        image_metadata(
            shape,
            dtype,
            axes=axes,
            scale=said.get("scale"),
            units=said.get("units"),
            channels=said.get("channels"),
            label=said.get("labels") is True,
        )
    except PolystoreError:
        return False
    return True


def _known(info: Info) -> dict[str, Any]:
    """Return what the formats and zarr tell: see what their ``info`` gives as metadata."""
    about = info.metadata
    names = about.get("axes") or about.get("dimension_names") or ()
    known: dict[str, Any] = {}
    if all(isinstance(name, str) and len(name) == 1 for name in names):
        names = known["axes"] = "".join(names).lower()
    if "scale" in about:
        known["scale"] = dict(zip(names, about["scale"], strict=False))
        units = zip(names, about.get("units", ()), strict=False)
        known["units"] = {name: unit for name, unit in units if unit is not None}
    if any(about.get("channels", ())):
        known["channels"] = list(about["channels"])
    return {option: value for option, value in known.items() if value}
