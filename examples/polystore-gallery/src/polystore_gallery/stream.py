"""The pipeline's side: finds the viewer or starts it, and sends images to it."""

import sys
from dataclasses import dataclass

from polystore_core import full_path
from polystore_stream import Endpoint, ViewerSink, start_viewer


@dataclass(kw_only=True, eq=False, repr=False)
class GalleryStream(ViewerSink):
    """``folder`` is where the viewer writes its page, if this backend starts it."""

    viewer_kind = "gallery"
    start_advice = "python -m polystore_gallery FOLDER"

    folder: str = "gallery"

    def start(self) -> Endpoint:
        folder = full_path(self.folder, "folder")
        command = [sys.executable, "-m", "polystore_gallery", folder, "--name", self.viewer]
        return start_viewer(command, self.viewer_kind, self.viewer, backend=self.name)
