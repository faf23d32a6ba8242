"""The viewer's side: one process that receives images and writes the page."""

from collections.abc import Callable
from typing import Any

from polystore_core import BackendRegistry
from polystore_core.errors import UnsupportedDataError
from polystore_stream import (
    Answer,
    Answers,
    Image,
    Query,
    Receiver,
    Rois,
    Viewer,
    unknown_name,
)

from .backend import Gallery, draw


class GalleryViewer(Viewer):
    """Draws the images that a receiver takes in."""

    # The receiver's thread calls accept and wake, which share nothing with the main thread.

    kind = "gallery"

    def __init__(self, folder: str, name: str) -> None:
        self.gallery = Gallery(folder, BackendRegistry()["disk"])
        self.held: dict[str, Any] = {}
        """The newest delivery of each path."""
        self.is_open = True
        questions: dict[str, Callable[..., Answer]] = {
            "pixels": self.tell_pixels,
            "clear": self.clear,
            "quit": self.quit,
        }
        self.answers = Answers(self.kind, questions)
        self.receiver = Receiver(self, name)  # last: now pipelines find it

    # ── the receiver's thread ────────────────────────────────────────────────────────────

    def accept(self, item: Image | Rois) -> None:
        if isinstance(item, Rois) or item.window:
            raise UnsupportedDataError("a gallery shows images, and has one window")

    def wake(self) -> None:
        """``run`` waits in ``take``."""

    # ── the main thread ──────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Show deliveries until a pipeline says quit."""
        with self.receiver:
            while self.is_open:
                newest: dict[str, Any] = {}
                for delivery in self.receiver.take(timeout=0.5):
                    item = delivery.item
                    if isinstance(item, Query):  # it is about all that came before it
                        self.show(newest)
                        newest = {}
                        self.answers.reply(self.receiver, delivery)
                        continue
                    # A slow page shows only the newest of many versions.
                    if item.path in newest:
                        self.receiver.settle(newest[item.path], "coalesced")
                    newest[item.path] = delivery
                self.show(newest)

    def show(self, newest: dict[str, Any]) -> None:
        """Draw the newest delivery of each path, and tell the pipelines."""
        if not newest:
            return
        self.held |= newest
        try:
            self.gallery.show({path: draw(d.data, d.item.axes) for path, d in newest.items()})
        except Exception as error:  # pipelines that wait must hear of it, and others go on
            reason = f"the page is not written: {type(error).__name__}: {error}"
            for delivery in newest.values():
                self.receiver.settle(delivery, "rejected", reason)
            return
        for delivery in newest.values():
            self.receiver.settle(delivery, "shown")

    # ── questions ────────────────────────────────────────────────────────────────────────

    def tell_pixels(self, *, path: str, window: str = "") -> Answer:
        """Return the pixels of a path as they were sent, with the words of the image."""
        if path not in self.held:
            raise unknown_name("path", path, "a path that is shown", sorted(self.held))
        item, pixels = self.held[path].item, self.held[path].data
        about = {"axes": item.axes, "words": item.words, "original": item.original}
        return {**about, "changes": {}}, [pixels]

    def clear(self, *, window: str = "") -> Answer:
        """Remove all images from the page."""
        self.held.clear()
        self.gallery.clear()
        return None, []

    def quit(self) -> Answer:
        """End ``run``."""
        self.is_open = False
        return None, []
