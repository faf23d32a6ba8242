"""The pipeline's side of ``fiji_stream``."""

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
    """Show in ImageJ or Fiji, as hyperstacks.

    ``fiji`` is the folder of a Fiji or ImageJ (else the environment variable POLYSTORE_FIJI, or
    where one is usually installed), ``ij`` an ``ij.jar`` alone (POLYSTORE_IJ); ``headless`` starts
    one without windows. Further options are those of ``ViewerSink`` and ``StreamSink``.

    ImageJ has uint8, uint16, float32 and RGB: see :mod:`polystore_fiji.encoding`.
    ``convert="float32"`` rounds float64 to float32, with a warning in the log.
    ``convert="exact"`` raises ``UnsupportedDataError`` if that would change a pixel.
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
