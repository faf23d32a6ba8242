"""The backend ``fiji_stream``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polystore_stream import ViewerSink

from .encoding import Convert, FijiEncoding
from .remote import RemoteFiji

if TYPE_CHECKING:
    import os

    from polystore_stream import Endpoint

__all__ = ["FijiBackend"]


@dataclass(kw_only=True, eq=False, repr=False)
class FijiBackend(ViewerSink):
    """Show values in ImageJ or Fiji, as hyperstacks.

    The other options are those of ``ViewerSink`` and ``StreamSink``. ImageJ has only uint8, uint16,
    float32 and RGB. :mod:`polystore_fiji.encoding` lists the conversions.

    Args:
        fiji: Folder of a Fiji or ImageJ. By default it is POLYSTORE_FIJI, or is searched in the
            usual places.
        ij: An ``ij.jar`` without a folder. By default it is POLYSTORE_IJ.
        headless: Whether ImageJ runs without windows.
        convert: "float32" rounds float64 to float32, with a warning in the log. "exact" raises
            ``UnsupportedDataError`` if that would change a pixel.
    """

    viewer_kind = "fiji"
    start_advice = "Plugins > polystore > Receive from polystore, or polystore-fiji launch"
    remote = RemoteFiji

    fiji: str | os.PathLike[str] | None = None
    ij: str | os.PathLike[str] | None = None
    headless: bool = False
    convert: Convert = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.encoding = FijiEncoding(self.convert)

    def start(self) -> Endpoint:
        from .launching import launch

        return launch(
            self.viewer, fiji=self.fiji, ij=self.ij, headless=self.headless, backend=self.name
        )
