"""Regions of interest as plain values, the same for all viewers and files.

For example:

    cell = ROI(Polygon([(10, 10), (10, 30), (25, 20)]), name="cell 1")
    mask = cell.shape.to_mask((512, 512))
    fm.save([cell], "cells.roi.zip", "disk")

**Coordinates** are ``(y, x)`` in pixels. The *centre* of a pixel has integer coordinates: the first
pixel is centred on (0, 0), and extends from -0.5 to 0.5 on both axes. y grows downwards. napari
(``layer.data``) and scikit-image have the same convention, so their coordinates need no change.

ImageJ writes ``(x, y)``. It measures *areas* from the corner of the first pixel, but *lines and
points* from its centre (``Roi.useLineSubpixelConvention`` in its source):

    areas            y = Y - 0.5, x = X - 0.5      polygon, rectangle, oval, composite, angle
    lines and points y = Y,       x = X            line, polyline, point

**Angles** are in degrees, counter-clockwise on the screen, as in ImageJ and scikit-image. The
offset (dy, dx) from the centre becomes (dy cos a - dx sin a, dy sin a + dx cos a).

**Inside** are the pixels whose centre is inside, by the even-odd rule. A centre on a straight edge
is inside if the area to its right is inside. On a horizontal edge it is the area below. So shapes
with a common edge have no common pixel. Java has the same rule (``java.awt.Shape``, "insideness").

All values are immutable, are compared by their content, and can be hashed and pickled. Conversions
to the types of a viewer or a file are in the module of that viewer or file.
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

# Tracebacks and pickles name the public module. The modules below it can move.
for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
