"""The metadata of images: axes, channels and positions. ``None`` always means unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import InvalidOptionError
from ..region import select

if TYPE_CHECKING:
    from datetime import datetime

    from ..values import Region

__all__ = ["AXIS_TYPES", "Axis", "Channel", "ImageKind", "ImageMetadata", "Position"]

AXIS_TYPES = {
    "t": "time",
    "c": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
    "s": "sample",
}
"""The type of each axis of images, in the order of axes in an array."""

ImageKind: TypeAlias = Literal["intensity", "labels"]


def _show_known(words: Axis | Channel | Position | ImageMetadata) -> str:
    """Return the call that creates the value again, with its known fields only."""
    shown = [(f.name, f.default, getattr(words, f.name)) for f in fields(words) if f.repr]
    known = [f"{name}={value!r}" for name, unknown, value in shown if value != unknown]
    return f"{type(words).__name__}({', '.join(known)})"


@dataclass(frozen=True, slots=True, repr=False)
class Axis:
    """One dimension of an array."""

    name: str
    """"t", "c", "z", "y", "x" or "s" (the samples of RGB). Files of others may have more."""
    type: str | None = None
    """"time", "channel", "space", "sample" or another. ``None`` is unknown."""
    unit: str | None = None
    """UDUNITS-2 name, such as "micrometer"."""
    scale: float | None = None
    """Distance between two elements, in ``unit``. ``None`` is unknown."""
    origin: float | None = None
    """Position of the centre of element 0, in ``unit``. ``None`` is unknown, and viewers use 0."""
    coords: tuple[float, ...] | None = None
    """Position of each element, in ``unit``, if the distances are not equal."""

    __repr__ = _show_known

    @property
    def is_known(self) -> bool:
        """Whether its unit, scale, origin or coords are known."""
        return (self.unit, self.scale, self.origin, self.coords) != (None,) * 4

    def _pick(self, chosen: range, descends: bool) -> Axis:
        """Return the axis of the elements ``chosen``, ascending."""
        coords = None if self.coords is None else tuple(self.coords[i] for i in chosen)
        if coords is not None and descends:
            coords = coords[::-1]
        scale = None if self.scale is None else self.scale * chosen.step
        origin = self.origin
        # A scale is never negative, so a reversed axis cannot say where its first element is.
        if descends or not chosen:
            origin = None
        elif origin is not None and chosen.start:
            origin = None if self.scale is None else origin + chosen.start * self.scale
        return replace(self, scale=scale, origin=origin, coords=coords)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Channel:
    """One channel, and how viewers show it.

    For example:

        Channel(name="DAPI", color="0000FF", limits=(100, 4000), emission_nm=461)
    """

    name: str = ""
    color: str | None = None
    """RRGGBB in hexadecimal."""
    limits: tuple[float, float] | None = None
    """The display range: the intensities shown as black and in full colour."""
    data_range: tuple[float, float] | None = None
    """The lowest and the highest intensity that can occur."""
    visible: bool = True
    """Whether a viewer shows it at first."""
    gamma: float = 1.0
    inverted: bool = False
    """Whether a viewer shows high intensities dark."""
    excitation_nm: float | None = None
    """Wavelength in nanometres."""
    emission_nm: float | None = None
    """Wavelength in nanometres."""
    fluorophore: str | None = None

    __repr__ = _show_known


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Position:
    """The position of the field of view on the stage and in a plate."""

    name: str = ""
    x: float | None = None
    """Position on the stage, in ``unit``, like ``y`` and ``z``."""
    y: float | None = None
    z: float | None = None
    unit: str | None = None
    """UDUNITS-2 name of the unit of ``x``, ``y`` and ``z``."""
    row: str | None = None
    """The row of the well, such as "B"."""
    column: str | None = None
    """The column of the well, such as "03"."""
    field: str | None = None
    """The field in the well."""

    __repr__ = _show_known


_NAME = attrgetter("name")
_NOWHERE = Position()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ImageMetadata:
    """The metadata of an image. :func:`image_metadata` creates it from your arguments.

    ``select``, ``transpose`` and ``level`` return the metadata of a changed array.
    """

    axes: tuple[Axis, ...]
    """One axis for each dimension of the array."""
    channels: tuple[Channel, ...] = ()
    """As many as axis c is long, or one if there is no axis c. Empty if they are unknown."""
    name: str = ""
    kind: ImageKind = "intensity"
    """"intensity", or "labels" for a label image."""
    bits: int | None = None
    """Significant bits of each number, for example 12 for a 12-bit camera."""
    position: Position | None = None
    acquired: datetime | None = None
    """The time of the acquisition."""
    guessed: frozenset[str] = field(default=frozenset(), compare=False)
    """The fields that were not in the file: "axes", "scale", "limits"."""
    source: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The metadata as text of the file, by "ome-xml", "imagej" or "ngff"."""

    __repr__ = _show_known

    def __post_init__(self) -> None:
        if len(set(map(_NAME, self.axes))) < len(self.axes):
            raise InvalidOptionError("axes", "".join(self.names), "different axes")
        # It says nothing, as None does.
        if self.position is not None and self.position == _NOWHERE:
            object.__setattr__(self, "position", None)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each axis."""
        return tuple(map(_NAME, self.axes))

    @property
    def scale(self) -> tuple[float | None, ...]:
        """The scale of each axis."""
        return tuple([axis.scale for axis in self.axes])

    @property
    def units(self) -> tuple[str | None, ...]:
        """The unit of each axis."""
        return tuple([axis.unit for axis in self.axes])

    # ── derived ──────────────────────────────────────────────────────────────────────────

    def select(self, region: Region, shape: Sequence[int]) -> ImageMetadata:
        """Return the metadata of ``array[region]``, for an array of ``shape``.

        An integer removes its axis. An integer for axis c keeps the channel. A negative step keeps
        the scale of the axis, but not its origin.
        """
        self.check(shape)
        found = select(region, tuple(shape))
        items = _spread(region, len(self.axes))
        axes, channels = [], self.channels
        for axis, item, chosen, descends in zip(
            self.axes, items, found.ranges, found.descending, strict=True
        ):
            # Also for an integer: the image then has one channel and no axis c.
            if axis.name == "c" and channels:
                channels = tuple(channels[i] for i in chosen)[:: -1 if descends else 1]
            if isinstance(item, slice):
                axes.append(axis._pick(chosen, descends and len(chosen) > 1))
        return replace(self, axes=tuple(axes), channels=channels)

    def transpose(self, order: Sequence[int] | Sequence[str] | str) -> ImageMetadata:
        """Return the metadata of ``array.transpose(order)``. Axes are names or numbers."""
        names = self.names
        chosen = [
            names[a] if isinstance(a, int) and a in range(len(names)) else a for a in order
        ]
        if sorted(map(str, chosen)) != sorted(names):
            raise InvalidOptionError("order", order, f"each of {', '.join(names)} once")
        return replace(self, axes=tuple(self.axes[names.index(str(a))] for a in chosen))

    def level(self, factors: Sequence[float]) -> ImageMetadata:
        """Return the metadata of a smaller level of a pyramid.

        Along each axis one of its pixels covers ``factors`` pixels of this image. The centre of the
        pixel is in the middle of these.
        """
        axes = [
            axis
            if factor == 1
            else replace(
                axis,
                scale=None if axis.scale is None else axis.scale * factor,
                # The first pixel of the level covers several pixels, so its centre is further in.
                origin=None
                if axis.origin is None or axis.scale is None
                else axis.origin + (factor - 1) / 2 * axis.scale,
                coords=None,
            )
            for axis, factor in zip(self.axes, factors, strict=True)
        ]
        return replace(self, axes=tuple(axes))

    # ── checks ───────────────────────────────────────────────────────────────────────────

    def check(self, shape: Sequence[int]) -> None:
        """Raise ``InvalidOptionError`` if this cannot be the metadata of an array of ``shape``."""
        names, shape = self.names, tuple(shape)
        if len(names) != len(shape):
            expected = f"{len(shape)} axes for shape {shape}"
            raise InvalidOptionError("axes", "".join(names), expected)
        for axis, length in zip(self.axes, shape, strict=True):
            if axis.coords is not None and len(axis.coords) != length:
                fault = f"axis {axis.name} has {len(axis.coords)} coords, but length {length}"
                raise InvalidOptionError("coords", axis.coords, f"{length} numbers", fault)
        count = shape[names.index("c")] if "c" in names else 1
        if self.channels and len(self.channels) != count:
            raise channel_count_error(self.channels, len(self.channels), count, "c" in names)

    # ── known fields ─────────────────────────────────────────────────────────────────────

    def words(self) -> frozenset[str]:
        """Return the names of the known fields, without axes: "scale", "channels.color", …"""
        found = {
            name
            for axis in self.axes
            for name in ("unit", "scale", "origin", "coords")
            if getattr(axis, name) is not None
        }
        found |= {f.name for f in _OF_IMAGE if getattr(self, f.name) != f.default}
        for channel in self.channels:
            found |= {
                f"channels.{f.name}"
                for f in fields(channel)
                if getattr(channel, f.name) != f.default
            }
        return frozenset(found)

    def without(self, words: frozenset[str] | set[str]) -> ImageMetadata:
        """Return the same metadata without some fields, named as in :meth:`words`."""
        of_axes: dict[str, Any] = {
            name: None for name in ("unit", "scale", "origin", "coords") if name in words
        }
        of_image: dict[str, Any] = {f.name: f.default for f in _OF_IMAGE if f.name in words}
        of_channels: dict[str, Any] = {
            f.name: f.default for f in fields(Channel) if f"channels.{f.name}" in words
        }
        if of_axes:
            of_image["axes"] = tuple(replace(axis, **of_axes) for axis in self.axes)
        if of_channels:
            channels = [replace(channel, **of_channels) for channel in self.channels]
            is_empty = all(channel == Channel() for channel in channels)
            of_image["channels"] = () if is_empty else tuple(channels)
        return replace(self, **of_image)


_OF_IMAGE = tuple(
    f for f in fields(ImageMetadata) if f.name not in ("axes", "channels", "guessed", "source")
)


def channel_count_error(
    channels: object, found: int, count: int, has_axis: bool
) -> InvalidOptionError:
    """Return the error for too many or too few channels."""
    entries = f"{found} {'entry' if found == 1 else 'entries'}"
    why = f"axis c has length {count}" if has_axis else "the image has no axis c"
    fault = f"channels has {entries}, but {why}" if found >= 0 else ""
    return InvalidOptionError("channels", channels, f"a list of {count}, because {why}", fault)


def _spread(region: Region, ndim: int) -> list[Any]:
    """Return an integer or slice for each axis."""
    items: list[Any] = list(region) if isinstance(region, tuple) else [region]
    if ... not in items:
        items.append(...)
    at = items.index(...)
    items[at : at + 1] = [slice(None)] * (ndim - len(items) + 1)
    return items


def finite(value: object) -> float | None:
    """Return ``value`` as a float if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int of more than 308 digits, as JSON may have
        return None
    return number if math.isfinite(number) else None
