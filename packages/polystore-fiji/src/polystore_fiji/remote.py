"""A handle on a running Fiji."""

from __future__ import annotations

import struct

from polystore_core.errors import DamagedDataError
from polystore_core.rois import ROI, Composite
from polystore_stream import RemoteViewer

__all__ = ["RemoteFiji"]


class RemoteFiji(RemoteViewer):
    """Ask a Fiji for its images, pixels and ROIs. ``window`` is the title of an image.

    ``pixels`` returns the element type that was saved. ``layers`` returns a mapping for each image
    of a pipeline: "name", "shape" and "scale" along "axes" (tzcyx), "units", "channels" (color,
    window), "labels" of the slices, "position" (t, z, c), and the number of "rois".
    """

    def rois(self, *, layer: str | None = None, window: str = "") -> list[ROI]:
        """Return the ROIs of all images: of overlays, selections and the ROI Manager.

        ``layer`` is the name of a ROI, ``window`` the title of an image.
        """
        from polystore_formats.imagej.roi import decode_roi

        sources, arrays = self.query("rois", layer=layer, window=window)
        content, start, found = arrays[0].tobytes(), 0, list[ROI]()
        for _ in sources:
            if start + 4 > len(content):
                raise DamagedDataError(
                    f"expected {len(sources)} ROIs, got {len(found)}", "message"
                )
            (length,) = struct.unpack_from("<I", content, start)
            one = content[start + 4 : start + 4 + length]
            # Do not keep ImageJ's bytes: it rounds its integers in another way, so no ROI would
            # equal the one that was saved. Composites are different: they may have arcs, and only
            # the bytes hold these.
            roi = decode_roi(one, keep_bytes=False)
            found.append(decode_roi(one) if isinstance(roi.shape, Composite) else roi)
            start += 4 + length
        return found
