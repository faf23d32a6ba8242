"""Regions of interest as plain values: what every viewer and every file of ROIs has in common.

**Coordinates** are ``(y, x)`` in pixels, and a pixel's *centre* has integers: the first pixel is
centred on (0, 0) and spans -0.5 to 0.5 on both axes; y grows downwards. That is the convention
of napari (``layer.data``) and of scikit-image: theirs need no change.

ImageJ writes ``(x, y)`` and counts *areas* from the corner of the first pixel, but *lines and
points* from its centre (``Roi.useLineSubpixelConvention`` in its source)::

    areas            y = Y - 0.5, x = X - 0.5      polygon, rectangle, oval, composite, angle
    lines and points y = Y,       x = X            line, polyline, point

**Angles** are in degrees, counter-clockwise as seen on the screen (ImageJ, scikit-image): the
offset (dy, dx) from the centre becomes (dy cos a - dx sin a, dy sin a + dx cos a).

**Inside** are the pixels whose centre is, by the even-odd rule. A centre on a straight edge is
inside if what touches it on the right is (on a level edge: what is below), so shapes that share
an edge share no pixel. This is Java's rule too (``java.awt.Shape``, "insideness").

All values are immutable, compare by content, hash and pickle. Nothing here knows a viewer or a
file: each conversion stands beside the foreign type.
"""

from __future__ import annotations

from .fields import LIMIT
from .geometry import Bounds
from .roi import ROI, VERSION, Position
from .shapes import (
    Area,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Rectangle,
    Shape,
)

__all__ = [
    "LIMIT",
    "ROI",
    "VERSION",
    "Area",
    "Bounds",
    "Composite",
    "Ellipse",
    "Line",
    "Mask",
    "Points",
    "Polygon",
    "Polyline",
    "Position",
    "Rectangle",
    "Shape",
]

for (
    _name
) in __all__:  # tracebacks and pickles name the public module, wherever a class is defined
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
