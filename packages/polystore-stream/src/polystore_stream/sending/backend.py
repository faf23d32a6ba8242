"""Backends that send: what all viewers share, and ``streaming`` for any script that listens."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec.structs import replace

from polystore_core import (
    DataSink,
    NameTemplate,
    Progress,
    batch_error,
    check_lengths,
    check_options,
    progress_reporter,
)
from polystore_core.errors import (
    InvalidOptionError,
    PolystoreError,
    ReceiverError,
    ReceiverUnavailableError,
    RejectedError,
    explained,
)

from .. import discovery
from ..discovery import Endpoint, check_name
from ..wire.describe import Encoding, Look, check_policy, check_wait, described
from ..wire.layout import Layout, Place, place_of, places_of
from .connection import Connection, Counters, Transfer
from .logs import how_ended, tidy_logs
from .remote import RemoteViewer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Path

    from ..wire.messages import Image, Policy, Rois, Wait

__all__ = ["StreamSink", "StreamingBackend", "ViewerSink"]

_WINDOW = 64
"""Values of a batch that are on their way at once."""
_TICK = 50_000_000
"""Nanoseconds: more than any clock takes to its next time stamp of a file."""


class _State:
    """Connections of one process: after a fork the child makes its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: dict[str, Connection] = {}
        """By the token of the receiver: a restarted one has another."""
        self.folder: str | None = None
        """Where receivers announce themselves: checking that it is private takes time."""


class StreamSink(DataSink):
    """Sends images and ROIs to receivers.

    ``policy`` says what happens where they come faster than they are shown: "block" waits,
    "drop_oldest" discards what has waited longest, "coalesce" keeps the newest of each path;
    ``counters`` tells how often. ``max_in_flight`` bytes are on their way at most, a receiver
    that has not answered for ``timeout`` seconds is an error, and ``connection`` is the file
    of a receiver elsewhere, copied from there.
    """

    encoding: Encoding | None = None
    """What values are on their way, for a viewer that has types and ROIs of its own."""

    def __init__(
        self,
        *,
        connection: str | os.PathLike[str] | None = None,
        policy: Policy = "block",
        timeout: float = 30.0,
        max_in_flight: int = 32 << 20,
    ) -> None:
        check_policy(policy)
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise InvalidOptionError("timeout", timeout, "a number of seconds above 0")
        if not isinstance(max_in_flight, int) or max_in_flight < 1:
            raise InvalidOptionError(
                "max_in_flight", max_in_flight, "a number of bytes above 0"
            )
        self.connection = connection
        self.policy = policy
        self.timeout = timeout
        self.max_in_flight = max_in_flight
        self._counters = Counters()
        self._states: dict[int, _State] = {}

    # ── values ───────────────────────────────────────────────────────────────────────────

    def save(
        self,
        data: Any,
        path: Path,
        /,
        *,
        wait: Wait | None = "received",
        names: str | NameTemplate | None = None,
        layout: Layout | None = None,
        at: Mapping[str, object] | None = None,
        labels: bool = False,
        axes: str | Sequence[str] | None = None,
        scale: Sequence[float] | Mapping[str, float] | None = None,
        units: str | Mapping[str, str] | None = None,
        channels: Sequence[str | Mapping[str, Any]] | None = None,
        colormap: str | None = None,
        contrast_limits: Sequence[float] | None = None,
    ) -> None:
        """Show an array, a ROI or a list of ROIs; the same path again updates it in place.

        ``wait`` is what the call waits for: "received" (the receiver holds the pixels),
        "shown" (they were on the screen), or ``None`` (they are on their way; what goes wrong
        is raised by the next call, by ``flush`` or by ``close``).

        ``names``, a template such as "{well}_s{site}_w{channel}_z{z}.tif", says what the path
        means, or ``at`` says it outright ({"z": 3}); ``layout`` says which parts of it become
        layers, sliders and windows.

        Of images: ``axes`` ("tczyx", some of them in this order, with "s" last for RGB),
        ``scale`` (pixel size, for each axis), ``units``, ``channels`` (names, or mappings with
        label, color and window), ``colormap``, ``contrast_limits``, ``labels`` for a label
        image. ROIs with ``labels=True`` are shown as a label image.

        Raises ``UnsupportedDataError`` and ``InvalidOptionError`` before anything travels,
        ``RejectedError`` if the viewer refuses it, ``ReceiverError`` if there is none.
        """
        check_wait(wait)
        layout = layout or _LAYOUT
        place = place_of(path, names=_template(names), layout=layout, at=at)
        look = Look(
            labels=labels,
            axes=axes,
            scale=scale,
            units=units,
            channels=channels,
            colormap=colormap,
            contrast_limits=contrast_limits,
        )
        item, pixels = self._described(data, path, place, look, layout, wait)
        transfers = self._send(item, pixels, wait)
        for connection, transfer in transfers if wait is not None else ():
            connection.wait_for(transfer)

    def save_batch(
        self,
        data: Sequence[Any],
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        at: Sequence[Mapping[str, object]] | None = None,
        **options: Any,
    ) -> None:
        """Show a series: without ``names`` its planes become one stack, with a slider.

        Options as for ``save``; ``at`` has one mapping for each value. Stops at the first
        failure with ``BatchError``: what came before is shown, what comes after is not.
        """
        check_lengths(data, paths)
        check_options(type(self).save, options, f"save_batch() of backend {self.name!r}")
        wait: Wait | None = options.pop("wait", "received")
        check_wait(wait)
        layout = options.pop("layout", None) or _LAYOUT
        names = _template(options.pop("names", None))
        places = places_of(paths, names=names, layout=layout, at=at)
        _Batch(self, data, paths, places, Look(**options), layout, wait).run(progress)

    def _described(
        self,
        data: Any,
        path: Path,
        place: Place,
        look: Look,
        layout: Layout,
        wait: Wait | None,
        series: int = 1,
    ) -> tuple[Image | Rois, NDArray[Any]]:
        try:
            item, pixels = described(
                data, path, place, look, layout.channels_are_layers, self.encoding
            )
        except PolystoreError as error:
            raise explained(error, self.name, os.fspath(path), "save") from error.__cause__
        if wait == "shown" or self.policy != "block" or series > 1:
            item = replace(item, wait=wait or "received", policy=self.policy, series=series)
        return item, pixels

    def _send(
        self, item: Image | Rois, pixels: NDArray[Any], wait: Wait | None
    ) -> list[tuple[Connection, Transfer]]:
        connections = self._connections()
        for connection in connections:
            connection.raise_failures()
        awaited = wait is not None
        return [(c, c.send(item, pixels, awaited=awaited)) for c in connections]

    @property
    def counters(self) -> Counters:
        """What became of all that was sent, as far as receivers have told."""
        for connection in list(self._state().connections.values()):
            with suppress(ReceiverError):  # lost: the next save tells
                connection.listen()
        return self._counters

    def flush(self) -> None:
        """Wait until everything sent is acknowledged, and raise what went wrong with it."""
        for connection in list(self._state().connections.values()):
            connection.settle()

    # ── connections ──────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _connections(self) -> list[Connection]:
        """Return who gets the next value: at least one, or ``ReceiverUnavailableError``."""

    def _state(self) -> _State:
        state = self._states.get(os.getpid())
        if state is None:
            state = self._states.setdefault(os.getpid(), _State())
            _at_exit(_close_quietly, weakref.ref(self))
        return state

    def _connected(self, state: _State, endpoint: Endpoint) -> Connection:
        found = state.connections.get(endpoint.token)
        if found is None or not found.is_usable:
            found = state.connections[endpoint.token] = Connection(
                endpoint,
                self.name,
                max_in_flight=self.max_in_flight,
                timeout=self.timeout,
                counters=self._counters,
            )
        return found

    def close(self) -> None:
        """Wait for what is on its way, then close the connections; viewers stay open."""
        self._close(self.timeout)

    def _close(self, timeout: float) -> None:
        state = self._states.pop(os.getpid(), None)
        with ExitStack() as closing:  # one that fails must not keep the others from settling
            for connection in state.connections.values() if state else ():
                closing.callback(_leave, connection, timeout)


class StreamingBackend(StreamSink):
    """Send to every script that runs ``polystore_stream.receive(channel)`` on this machine.

    Nobody listening is an error. Further options are those of :class:`StreamSink`.
    """

    def __init__(
        self,
        *,
        channel: str = "default",
        connection: str | os.PathLike[str] | None = None,
        policy: Policy = "block",
        timeout: float = 30.0,
        max_in_flight: int = 32 << 20,
    ) -> None:
        super().__init__(
            connection=connection, policy=policy, timeout=timeout, max_in_flight=max_in_flight
        )
        self.channel = check_name("channel", channel)
        self._seen: tuple[int, list[Endpoint]] = -1, []

    def _connections(self) -> list[Connection]:
        state = self._state()
        with state.lock:
            for token in [t for t, c in state.connections.items() if not c.is_usable]:
                self._seen = -1, []  # its file stands as it was, if it has died
                _leave(state.connections.pop(token), self.timeout)
            found, errors = [], list[ReceiverError]()
            for endpoint in self._endpoints(state):
                try:
                    found.append(self._connected(state, endpoint))
                except ReceiverUnavailableError as error:  # it ends at this very moment
                    errors.append(error)
                    self._seen = -1, []
            gone = state.connections.keys() - {c.endpoint.token for c in found}
            for token in gone:
                _leave(state.connections.pop(token), self.timeout)
        if not found:
            raise self._nobody(errors)
        return found

    def _endpoints(self, state: _State) -> list[Endpoint]:
        if self.connection is not None:
            return [discovery.read_connection(self.connection)]
        # A look at the folder alone, unless receivers have come, gone or died.
        changed = _last_change(state)
        seen, found = self._seen
        if changed != seen or not all(c.is_usable for c in state.connections.values()):
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


def _last_change(state: _State) -> int:
    if state.folder is not None:
        with suppress(FileNotFoundError):  # removed: it is made again
            return os.stat(state.folder).st_mtime_ns
    state.folder = os.fspath(discovery.runtime_directory())
    return os.stat(state.folder).st_mtime_ns


class ViewerSink(StreamSink):
    """Sends to one viewer, which is started by the first ``save`` if none runs.

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

    def __init__(
        self,
        *,
        viewer: str = "default",
        launch: bool = True,
        connection: str | os.PathLike[str] | None = None,
        policy: Policy = "block",
        timeout: float = 30.0,
        max_in_flight: int = 32 << 20,
    ) -> None:
        super().__init__(
            connection=connection, policy=policy, timeout=timeout, max_in_flight=max_in_flight
        )
        self.viewer = check_name("viewer", viewer)
        self.launch = launch
        self._last: Endpoint | None = None
        """The viewer that was there last."""

    @abstractmethod
    def start(self) -> Endpoint:
        """Start the viewer, or find the one that runs."""

    def connect(self) -> RemoteViewer:
        """Return a handle on the viewer: screenshots, ROIs, layers. Starts it as ``save`` does."""
        return self.remote(self._endpoint(), backend=self.name, timeout=self.timeout)

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
                    _leave(connection, self.timeout)
                connection = self._connected(state, self._endpoint())
        return [connection]

    def _endpoint(self) -> Endpoint:
        if self.connection is not None:
            return discovery.read_connection(self.connection)
        tidy_logs(self.viewer_kind)
        running = discovery.find(self.viewer_kind, self.viewer)
        if running:
            self._last = running[0]
        elif self.launch and self._last is None:
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


class _Batch:
    """A series on its way."""

    def __init__(
        self,
        sink: StreamSink,
        data: Sequence[Any],
        paths: Sequence[Path],
        places: Sequence[Place],
        look: Look,
        layout: Layout,
        wait: Wait | None,
    ) -> None:
        self.sink, self.data, self.paths, self.places = sink, data, paths, places
        self.look, self.layout, self.wait = look, layout, wait
        self.failed: dict[int, tuple[str, Exception]] = {}
        self.done: list[int] = []
        self.on_way: deque[tuple[int, list[tuple[Connection, Transfer]]]] = deque()

    def run(self, progress: Progress) -> None:
        with progress_reporter(progress, len(self.paths), "save") as report:
            for index in range(len(self.paths)):
                if self.failed:
                    break
                self._attempt(index, self._start)
                while len(self.on_way) > _WINDOW:
                    self._finish(report)
            while self.on_way:
                self._finish(report)
        if self.failed:
            raise self._error()

    def _message(self, index: int) -> tuple[Image | Rois, NDArray[Any]]:
        return self.sink._described(
            self.data[index],
            self.paths[index],
            self.places[index],
            self.look,
            self.layout,
            self.wait,
            len(self.paths),
        )

    def _start(self, index: int) -> None:
        item, pixels = self._message(index)
        self.on_way.append((index, self.sink._send(item, pixels, self.wait)))

    def _finish(self, report: Any) -> None:
        index, transfers = self.on_way.popleft()

        def settle(_: int) -> None:
            for connection, transfer in transfers if self.wait is not None else ():
                connection.wait_for(transfer)
            self.done.append(index)

        self._attempt(index, settle)
        report()

    def _attempt(self, index: int, work: Any) -> None:
        try:
            work(index)
        except Exception as error:  # collected: BatchError carries every cause
            self.failed[index] = (os.fspath(self.paths[index]), error)

    def _error(self) -> Exception:
        return batch_error(self.sink.name, "save", self.paths, self.failed, self.done)


_LAYOUT = Layout()


def _template(names: str | NameTemplate | None) -> NameTemplate | None:
    return NameTemplate(names) if isinstance(names, str) else names


def _leave(connection: Connection, timeout: float) -> None:
    """Wait for the last answers, raise what went wrong with what nobody waited for, and close."""
    try:
        if connection.is_usable:
            connection.settle(timeout)
        else:
            connection.raise_failures()
    finally:
        connection.close()


def _at_exit(work: Callable[..., None], *arguments: object) -> None:
    atexit.register(work, *arguments)
    if "multiprocessing.util" in sys.modules:  # a forked worker ends without those of atexit
        from multiprocessing.util import Finalize

        Finalize(None, work, arguments, exitpriority=0)


def _close_quietly(backend: weakref.ref[StreamSink]) -> None:
    """Give what nobody waited for a moment, as the process ends; nobody can be told more."""
    sink = backend()
    if sink is not None:
        with suppress(ReceiverError, RejectedError):
            sink._close(min(sink.timeout, 2.0))
