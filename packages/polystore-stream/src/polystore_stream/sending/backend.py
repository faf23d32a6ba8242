"""The backend ``streaming``, which sends to scripts, and the base class of viewer backends."""

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
from ..logs import explain_end, tidy_logs
from .remote import RemoteViewer
from .sink import StreamSink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Image, Path

    from .connection import Connection
    from .sink import State

__all__ = ["StreamingBackend", "ViewerSink"]

_TICK = 50_000_000
"""Nanoseconds. The time stamps of files change at least this often on any file system."""


@dataclass(kw_only=True, eq=False, repr=False)
class StreamingBackend(StreamSink):
    """Send to every script that runs ``polystore_stream.receive(channel)`` on this machine.

    A save raises ``ReceiverUnavailableError`` if no script listens. The other options are those
    of :class:`StreamSink`.
    """

    # State.lock guards _seen.

    channel: str = "default"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("channel", self.channel)
        self._seen: tuple[int, list[Endpoint]] = -1, []

    def _connections(self) -> list[Connection]:
        state = self._state()
        with state.lock:
            for token in [t for t, c in state.connections.items() if not c.is_usable]:
                # Search again: if the receiver has died, its file is still there, so the time
                # stamp of the folder did not change.
                self._seen = -1, []
                state.connections.pop(token).leave(self.timeout)
            found, errors = [], list[ReceiverError]()
            for endpoint in self._endpoints(state):
                try:
                    found.append(self._connect(state, endpoint))
                except ReceiverUnavailableError as error:  # it is just ending
                    errors.append(error)
                    self._seen = -1, []
            gone = state.connections.keys() - {c.endpoint.token for c in found}
            for token in gone:
                state.connections.pop(token).leave(self.timeout)
        if not found:
            raise self._explain_nobody(errors)
        return found

    def _endpoints(self, state: State) -> list[Endpoint]:
        if self.connection is not None:
            return [discovery.read_connection(self.connection)]
        # Only read the folder's time stamp, unless receivers have come, gone or died.
        changed = _last_change(state)
        seen, found = self._seen
        if changed != seen:
            found = discovery.find("script", self.channel)
            # Another change within the same tick would not change the time stamp. So keep the
            # result only if the last change is old enough.
            is_settled = abs(time.time_ns() - changed) > _TICK
            self._seen = changed if is_settled else -1, found
        return found

    def _explain_nobody(self, errors: list[ReceiverError]) -> ReceiverError:
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
        with suppress(FileNotFoundError):  # it was removed: runtime_directory creates it again
            return os.stat(state.folder).st_mtime_ns
    state.folder = os.fspath(discovery.runtime_directory())
    return os.stat(state.folder).st_mtime_ns


@dataclass(kw_only=True, eq=False, repr=False)
class ViewerSink(StreamSink, DataSource):
    """Send to one viewer, and load from it. The first ``save`` starts it if none runs.

    If the viewer is closed or dies, polystore does not start it again. Saves raise
    ``ReceiverUnavailableError`` until you start it.

    Args:
        viewer: Name of the viewer, if you use several.
        launch: Whether ``save`` may start the viewer.
    """

    # _last is not locked: threads that set it at the same time set it to the same viewer, because
    # start_viewer holds a lock.

    viewer_kind: ClassVar[str]
    """Kind that the viewer announces, such as "napari"."""
    start_advice: ClassVar[str]
    """Command that starts the viewer, for errors."""
    remote: ClassVar[type[RemoteViewer]] = RemoteViewer
    """Class of the handle that ``connect`` returns."""

    viewer: str = "default"
    launch: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("viewer", self.viewer)
        self._last: Endpoint | None = None
        """The viewer that this backend used last."""

    @abstractmethod
    def start(self) -> Endpoint:
        """Start the viewer, or return the one that runs."""

    def connect(self) -> RemoteViewer:
        """Return a handle on the viewer, for screenshots, ROIs and layers.

        Starts the viewer if ``save`` would start it.
        """
        return self.remote(self._endpoint(), backend=self.name, timeout=self.timeout)

    def load(self, path: Path, /, *, window: str = "") -> NDArray[Any]:
        """Return the pixels that the viewer holds for ``path``, as they were saved.

        Does not start a viewer. ``window`` is the title of the window that ``path`` was saved into.

        Raises:
            RejectedError: The viewer does not show ``path``.
            ReceiverError: The viewer does not run or does not answer.
        """
        with self._open_viewer() as viewer:
            return viewer.pixels(os.fspath(path), window=window)

    def load_image(  # type: ignore[override]  # a viewer sends all pixels: there is no region
        self, path: Path, /, *, window: str = ""
    ) -> Image:
        """Return the pixels with their metadata, including changes made in the viewer.

        Raises the errors of :meth:`load`.
        """
        with self._open_viewer() as viewer:
            return viewer.image(os.fspath(path), window=window)

    def _open_viewer(self) -> RemoteViewer:
        self.flush()  # the query uses another connection, and must not overtake saved values
        return self.remote(
            self._endpoint(launch=False), backend=self.name, timeout=self.timeout
        )

    def _connections(self) -> list[Connection]:
        state = self._state()
        # Look without the lock first: every save comes here, and the connection is usually fine.
        connection = next(iter(state.connections.values()), None)
        if connection is not None and connection.is_usable:
            return [connection]
        with state.lock:
            connection = next(iter(state.connections.values()), None)
            if connection is None or not connection.is_usable:
                if connection is not None:
                    state.connections.clear()
                    connection.leave(self.timeout)
                connection = self._connect(state, self._endpoint())
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
            raise self._explain_missing()
        return self._last

    def _explain_missing(self) -> ReceiverUnavailableError:
        advice = f"start it: {self.start_advice}"
        if self.viewer != "default":
            advice += f" --name {self.viewer!r}"
        if self._last is not None:
            how, log = explain_end(self._last)
            reason = f"no longer runs: {how or 'it was closed or died'}"
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
