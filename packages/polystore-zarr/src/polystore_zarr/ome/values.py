"""What OME-NGFF documents say, as values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "AXIS_TYPES",
    "HEX_COLOR",
    "Attributes",
    "Axis",
    "Channel",
    "ImageMetadata",
    "Level",
    "MultiscaleImage",
    "Plate",
    "Version",
    "Well",
    "Window",
    "finite",
]

Version: TypeAlias = Literal["0.5", "0.4"]
Attributes: TypeAlias = Mapping[str, Any]
AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
HEX_COLOR = re.compile("#?([0-9A-Fa-f]{6})")


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of the arrays."""

    name: str
    type: str
    """"time", "channel" or "space"; another or none in documents of others."""
    unit: str | None = None
    """UDUNITS-2 name, such as "micrometer"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How intensities are shown."""

    min: float
    """The least that can occur."""
    max: float
    start: float
    """The intensity shown as black."""
    end: float
    """The intensity shown in full colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel, and how viewers show it."""

    label: str
    color: str | None = None
    """RRGGBB in hexadecimal."""
    window: Window | None = None
    active: bool = True
    """Whether it is shown at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """What an image says of itself, checked: see :func:`image_metadata`."""

    axes: tuple[Axis, ...]
    scale: tuple[float, ...]
    """Extent of a pixel of level 0 along each axis, in the unit of that axis."""
    channels: tuple[Channel, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image. Coordinate = index * scale + translation."""

    path: str
    """Path of the array, relative to the image's group; it never leaves it."""
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiscaleImage:
    """The first multiscale image of a group, as its document describes it."""

    version: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    """From the finest to the coarsest; at least one."""
    channels: tuple[Channel, ...] = ()
    name: str = ""
    is_label: bool = False
    source: str | None = None
    """Of a label image: the path of the labelled image relative to it, as it is written."""

    def description(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Return all this, and the names of its ``labels``, as plain values."""
        found: dict[str, Any] = {
            "ome_version": self.version,
            "axes": [axis.name for axis in self.axes],
            "scale": list(self.levels[0].scale),
            "units": [axis.unit for axis in self.axes],
            "channels": [channel.label for channel in self.channels],
            "labels": list(labels),
        }
        return found | ({"name": self.name} if self.name else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A plate as its document describes it."""

    version: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    """Paths of the wells, such as "B/03"."""
    name: str = ""
    field_count: int | None = None
    """The largest number of fields in a well, if the document tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Well:
    """A well as its document describes it."""

    version: str
    fields: tuple[str, ...]
    """Paths of its images, relative to the well."""


def finite(value: object) -> float | None:
    """Return ``value`` as a float if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
