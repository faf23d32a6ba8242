"""The pipeline's side of ``fiji_stream``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_stream import ViewerSink

from .encoding import FijiEncoding
from .remote import RemoteFiji

if TYPE_CHECKING:
    import os

    from polystore_stream import Endpoint, Policy

__all__ = ["FijiBackend"]


class FijiBackend(ViewerSink):
    """Show in ImageJ or Fiji, as hyperstacks.

    ``fiji`` is the folder of a Fiji or ImageJ (else the environment variable POLYSTORE_FIJI, or
    where one is usually installed), ``ij`` an ``ij.jar`` alone (POLYSTORE_IJ); ``headless`` starts
    one without windows. Further options are those of ``ViewerSink`` and ``StreamSink``.

    ImageJ has uint8, uint16, float32 and RGB: see :mod:`polystore_fiji.encoding`.
    """

    viewer_kind = "fiji"
    start_advice = "Plugins > polystore > Receive from polystore, or polystore-fiji launch"
    remote = RemoteFiji

    def __init__(
        self,
        *,
        viewer: str = "default",
        launch: bool = True,
        fiji: str | os.PathLike[str] | None = None,
        ij: str | os.PathLike[str] | None = None,
        headless: bool = False,
        connection: str | os.PathLike[str] | None = None,
        policy: Policy = "block",
        timeout: float = 30.0,
        max_in_flight: int = 32 << 20,
    ) -> None:
        super().__init__(
            viewer=viewer,
            launch=launch,
            connection=connection,
            policy=policy,
            timeout=timeout,
            max_in_flight=max_in_flight,
        )
        self.fiji, self.ij, self.headless = fiji, ij, headless
        self.encoding = FijiEncoding()

    def start(self) -> Endpoint:
        from .launching import launch

        return launch(
            self.viewer, fiji=self.fiji, ij=self.ij, headless=self.headless, backend=self.name
        )
