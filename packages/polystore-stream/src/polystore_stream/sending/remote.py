"""A handle on a running viewer, which sends it queries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from polystore_core import Image
from polystore_core.errors import DamagedDataError
from polystore_core.rois import ROI

from ..discovery import process_runs
from ..wire.messages import DTYPES, Query
from ..wire.seen import read_held_words
from .connection import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..discovery import Endpoint

__all__ = ["RemoteViewer", "restore_dtype"]


class RemoteViewer:
    """Ask a viewer. It answers after it has handled everything that you sent before.

    Raises:
        RejectedError: The viewer cannot answer the query.
        ReceiverError: The viewer is gone or does not answer.
    """

    def __init__(self, endpoint: Endpoint, *, backend: str = "", timeout: float = 30.0) -> None:
        self.endpoint = endpoint
        self.backend = backend or endpoint.kind
        self.timeout = timeout
        self._is_closed = False
        self._connection = Connection(endpoint, self.backend, timeout=timeout)

    def query(self, name: str, **arguments: Any) -> tuple[Any, list[NDArray[Any]]]:
        """Return a viewer's answer: a JSON value, and arrays."""
        if not self._is_closed and not self._connection.is_usable:
            # The connection is lost, or Ctrl-C came in the middle of a message. The viewer may
            # still run.
            self._connection.close()
            self._connection = Connection(self.endpoint, self.backend, timeout=self.timeout)
        query = Query(name=name, arguments=arguments)
        answer, frames = self._connection.ask(query, self.timeout)
        if len(frames) != len(answer.arrays) or any(d not in DTYPES for _, d in answer.arrays):
            reason = f"{len(frames)} frames do not fit the arrays {answer.arrays}"
            raise DamagedDataError(reason, "message")
        arrays = [
            np.frombuffer(frame, dtype).reshape(shape).copy()
            for frame, (shape, dtype) in zip(frames, answer.arrays, strict=True)
        ]
        return answer.value, arrays

    def layers(self) -> list[dict[str, Any]]:
        """Return the window, name, type, shape and so on of each layer."""
        layers: list[dict[str, Any]] = self.query("layers")[0]
        return layers

    def pixels(self, path: str, *, window: str = "") -> NDArray[Any]:
        """Return the pixels that the viewer holds for ``path``, as they were saved."""
        return self._ask_pixels(path, window)[0]

    def image(self, path: str, *, window: str = "") -> Image:
        """Return the pixels for ``path`` with the metadata that they were saved with.

        If you have changed sizes, names, colours or display limits in the viewer, the result has
        your changes. Raises ``RejectedError`` for a path that the viewer does not show.
        """
        pixels, answer = self._ask_pixels(path, window)
        return Image(pixels, read_held_words(answer, pixels.shape))

    def _ask_pixels(self, path: str, window: str) -> tuple[NDArray[Any], Any]:
        """Return the pixels for a path as they were saved, and the rest of the answer."""
        answer, arrays = self.query("pixels", path=str(path), window=window)
        return restore_dtype(arrays[0], answer.get("original")), answer

    def screenshot(self, *, window: str = "", canvas_only: bool = True) -> NDArray[np.uint8]:
        """Return a picture of the viewer, RGBA, shape (height, width, 4)."""
        _, arrays = self.query("screenshot", window=window, canvas_only=canvas_only)
        return arrays[0]

    def rois(self, *, layer: str | None = None, window: str = "") -> list[ROI]:
        """Return the ROIs of all layers, or of one layer, including those that you drew."""
        found, _ = self.query("rois", layer=layer, window=window)
        return [ROI.from_dict(document) for document in found]

    def clear(self, *, window: str = "") -> None:
        """Remove everything that pipelines have shown in a window."""
        self.query("clear", window=window)

    def close(self) -> None:
        """Close the connection. The viewer stays open."""
        self._is_closed = True
        self._connection.close()

    def quit(self) -> None:
        """Close the viewer with all its windows. Return when it is gone, or after 5 seconds."""
        self.query("quit")
        self.close()
        here, deadline = self.endpoint, time.monotonic() + 5
        while here.is_local and process_runs(here.pid, here.started):
            if time.monotonic() > deadline:  # it may be showing a dialog to its user
                break
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RemoteViewer {self.endpoint.title}>"


def restore_dtype(shown: NDArray[Any], dtype: str | None) -> NDArray[Any]:
    """Return pixels in the element type that they were saved with."""
    if dtype not in DTYPES:
        return shown
    if dtype == "|b1":
        return shown.astype(np.bool_)
    with np.errstate(invalid="ignore"):  # the user may have put NaN into an image of integers
        return shown.astype(dtype, copy=False)
