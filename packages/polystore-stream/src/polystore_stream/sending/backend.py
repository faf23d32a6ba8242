"""Backends that send: ``streaming`` to any script that listens, and what viewers share."""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from polystore_core import DataSource
from polystore_core.errors import ReceiverError, ReceiverUnavailableError

from .. import discovery
from ..discovery import Endpoint, check_name
from ..logs import how_ended, tidy_logs
from .remote import RemoteViewer
from .sink import StreamSink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Image, Path

    from .connection import Connection
    from .sink import State

__all__ = ["StreamingBackend", "ViewerSink"]

_TICK = 50_000_000
"""Nanoseconds: more than any clock takes to its next time stamp of a file."""


@dataclass(kw_only=True, eq=False, repr=False)
class StreamingBackend(StreamSink):
    """Send to every script that runs ``polystore_stream.receive(channel)`` on this machine.

    Nobody listening is an error. Further options are those of :class:`StreamSink`.
    """

    channel: str = "default"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("channel", self.channel)
        self._seen: tuple[int, list[Endpoint]] = -1, []

    def _connections(self) -> list[Connection]:
        state = self._state()
        with state.lock:
            for token in [t for t, c in state.connections.items() if not c.is_usable]:
                self._seen = -1, []  # its file stands as it was, if it has died
                state.connections.pop(token).leave(self.timeout)
            found, errors = [], list[ReceiverError]()
            for endpoint in self._endpoints(state):
                try:
                    found.append(self._connected(state, endpoint))
                except ReceiverUnavailableError as error:  # it ends at this very moment
                    errors.append(error)
                    self._seen = -1, []
            gone = state.connections.keys() - {c.endpoint.token for c in found}
            for token in gone:
                state.connections.pop(token).leave(self.timeout)
        if not found:
            raise self._nobody(errors)
        return found

    def _endpoints(self, state: State) -> list[Endpoint]:
        if self.connection is not None:
            return [discovery.read_connection(self.connection)]
        # A look at the folder alone, unless receivers have come, gone or died.
        changed = _last_change(state)
        seen, found = self._seen
        if changed != seen:
            found = discovery.find("script", self.channel)
            # One more change within a tick of the file system's clock would not be noticed.
            is_settled = abs(time.time_ns() - changed) > _TICK
            self._seen = changed if is_settled else -1, found
        return found

    def _nobody(self, errors: list[ReceiverError]) -> ReceiverError:
        if errors:
            return errors[0]
        others = sorted({endpoint.name for endpoint in discovery.find("script")})
        channel = "" if self.channel == "default" else repr(self.channel)
        return ReceiverUnavailableError(
            self.name,
            f"channel {self.channel!r}",
            "has no receiver" + (f" (running: {', '.join(others)})" if others else ""),
            f"start one: for item in polystore_stream.receive({channel}): …",
        )


def _last_change(state: State) -> int:
    if state.folder is not None:
        with suppress(FileNotFoundError):  # removed: it is made again
            return os.stat(state.folder).st_mtime_ns
    state.folder = os.fspath(discovery.runtime_directory())
    return os.stat(state.folder).st_mtime_ns


@dataclass(kw_only=True, eq=False, repr=False)
class ViewerSink(StreamSink, DataSource):
    """Sends to one viewer, and loads from it. The first ``save`` starts it if none runs.

    ``viewer`` is its name, for several of them. Once it was there and is gone, because it was
    closed or has died, only the user starts it again: saves are errors until then.
    ``launch=False`` never starts one.
    """

    viewer_kind: ClassVar[str]
    """As the viewer announces itself: "napari"."""
    start_advice: ClassVar[str]
    """What starts it: a command."""
    remote: ClassVar[type[RemoteViewer]] = RemoteViewer
    """What ``connect`` returns."""

    viewer: str = "default"
    launch: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("viewer", self.viewer)
        self._last: Endpoint | None = None
        """The viewer that was there last."""

    @abstractmethod
    def start(self) -> Endpoint:
        """Start the viewer, or find the one that runs."""

    def connect(self) -> RemoteViewer:
        """Return a handle on the viewer: screenshots, ROIs, layers. Starts it as ``save`` does."""
        return self.remote(self._endpoint(), backend=self.name, timeout=self.timeout)

    def load(self, path: Path, /, *, window: str = "") -> NDArray[Any]:
        """Return the pixels that the viewer holds for ``path``, as they were saved.

        ``window`` is the window of the layout that it was saved with. Starts no viewer. Raises
        ``RejectedError`` if the viewer does not show ``path``, ``ReceiverError`` without a viewer.
        """
        with self._asked() as viewer:
            return viewer.pixels(os.fspath(path), window=window)

    def load_image(  # type: ignore[override]  # a viewer sends all pixels: there is no region
        self, path: Path, /, *, window: str = ""
    ) -> Image:
        """Return the pixels with their words, and with the changes of the viewer's user."""
        with self._asked() as viewer:
            return viewer.image(os.fspath(path), window=window)

    def _asked(self) -> RemoteViewer:
        self.flush()  # a question on another connection must not overtake what was saved
        return self.remote(
            self._endpoint(launch=False), backend=self.name, timeout=self.timeout
        )

    def _connections(self) -> list[Connection]:
        state = self._state()
        connection = next(iter(state.connections.values()), None)
        if connection is not None and connection.is_usable:
            return [connection]
        with state.lock:
            connection = next(iter(state.connections.values()), None)
            if connection is None or not connection.is_usable:
                if connection is not None:
                    state.connections.clear()
                    connection.leave(self.timeout)
                connection = self._connected(state, self._endpoint())
        return [connection]

    def _endpoint(self, *, launch: bool = True) -> Endpoint:
        if self.connection is not None:
            return discovery.read_connection(self.connection)
        tidy_logs(self.viewer_kind)
        running = discovery.find(self.viewer_kind, self.viewer)
        if running:
            self._last = running[0]
        elif launch and self.launch and self._last is None:
            self._last = self.start()
        else:
            raise self._missing()
        return self._last

    def _missing(self) -> ReceiverUnavailableError:
        advice = f"start it: {self.start_advice}"
        if self.viewer != "default":
            advice += f" --name {self.viewer!r}"
        if self._last is not None:
            how, log = how_ended(self._last)
            reason = f"no longer runs: {how or 'it was closed, or it died'}"
            advice += f"\n{log}" if log else ""
        else:
            reason = "does not run"
            others = sorted({endpoint.name for endpoint in discovery.find(self.viewer_kind)})
            if others:
                reason += f" (running: {', '.join(map(repr, others))})"
        receiver = f"{self.viewer_kind} {self.viewer!r}"
        return ReceiverUnavailableError(self.name, receiver, reason, advice)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name or self.viewer_kind!r}: viewer {self.viewer!r}>"
        )
