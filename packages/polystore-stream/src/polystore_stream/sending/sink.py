"""The base class of all backends that send values to receivers."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from abc import abstractmethod
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from polystore_core import DataSink, NameTemplate, Progress, check_lengths, check_options
from polystore_core.errors import (
    InvalidOptionError,
    PolystoreError,
    ReceiverError,
    RejectedError,
    with_context,
)

from ..wire.describe import (
    Encoding,
    Look,
    check_policy,
    check_wait,
    describe_source,
    describe_value,
)
from ..wire.layout import Layout, Place, place_of, places_of
from ..wire.messages import Image
from .agreement import Agreement
from .batch import Batch
from .connection import Connection
from .large import Large, Whole, large_array
from .transfers import Counters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Path

    from ..discovery import Endpoint
    from ..wire.messages import Policy, Rois, Wait
    from .large import Outgoing, Sent

__all__ = ["State", "StreamSink"]

_LOOK = 0.001
"""Seconds between two searches for receivers during a batch. A search costs as much as sending a
small image."""


class State:
    """The connections of one process. After a fork, the child makes its own."""

    # lock guards changes of connections, and _seen of ``streaming``. counters, flush and close
    # read a copy of connections without it. folder is a cache: a lost update costs only time.

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: dict[str, Connection] = {}
        """Connections by the token of their receiver. A restarted receiver has another token."""
        self.folder: str | None = None
        """The folder of announcements. Checking that it is private takes time, so keep it."""


@dataclass(kw_only=True, eq=False, repr=False)
class StreamSink(DataSink):
    """Send images and ROIs to receivers. The options are the fields of the class.

    Args:
        connection: Connection file of a receiver on another machine, copied from there.
        policy: Applies when values come faster than they are shown. "block" makes ``save``
            wait. "drop_oldest" discards the value that has waited longest. "coalesce" keeps the
            newest value of each path. ``counters`` says how often each happened.
        timeout: Seconds without an answer after which ``save`` raises ``ReceiverTimeoutError``.
        max_in_flight: Bytes that may be on their way at once.
        scale_bar: Whether viewers show a scale bar for images with a unit of length.
    """

    # _states maps a process id to its State: a forked child must not use its parent's sockets.
    # Each State has its own lock.

    connection: str | os.PathLike[str] | None = None
    policy: Policy = "block"
    timeout: float = 30.0
    max_in_flight: int = 32 << 20
    scale_bar: bool = True
    encoding: Encoding | None = field(default=None, init=False)
    """How values are encoded, for a viewer with its own element types or ROIs."""

    def __post_init__(self) -> None:
        check_policy(self.policy)
        if not isinstance(self.timeout, int | float) or not self.timeout > 0:
            raise InvalidOptionError("timeout", self.timeout, "a number of seconds above 0")
        if not isinstance(self.max_in_flight, int) or self.max_in_flight < 1:
            raise InvalidOptionError(
                "max_in_flight", self.max_in_flight, "a number of bytes above 0"
            )
        if not isinstance(self.scale_bar, bool):
            raise InvalidOptionError("scale_bar", self.scale_bar, "True or False")
        self._counters = Counters()
        self._states: dict[int, State] = {}

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
        """Show an array, a ROI or a list of ROIs. Saving to the same path updates it in place.

        An Image or a DataArray brings its own metadata: axes, scale, units, and the names, colours
        and display ranges of its channels. An option that you give replaces that metadata. An
        Image of the kind "labels" is a label image.

        Args:
            data: Array, Image, ROI, or list of ROIs.
            path: Name of the value in the viewer.
            wait: Until when the call waits. "received": the receiver holds the pixels. "shown": the
                pixels were on the screen. ``None``: nothing. Then the next call, ``flush`` or
                ``close`` raises an error of this one.
            names: Template that says what the path means, such as
                "{well}_s{site}_w{channel}_z{z}.tif".
            layout: Which parts of the path become layers, sliders and windows.
            at: Coordinates that the path does not have, such as ``{"z": 3}``.
            labels: Whether it is a label image. ROIs are then shown as a label image.
            axes: Letters from "tczyx" in this order, with "s" last for RGB.
            scale: Pixel size for each axis, in ``units``.
            units: Unit of each axis, or one for y and x.
            channels: For each channel its name, or a mapping with name, color and limits.
            colormap: Name of a colormap for an image that is not RGB.
            contrast_limits: Display range (low, high) for all channels.

        Raises:
            UnsupportedDataError: No viewer can show the value. Nothing was sent.
            InvalidOptionError: An option is wrong. Nothing was sent.
            RejectedError: The viewer refuses the value.
            ReceiverError: The receiver does not run or does not answer.
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
        outgoing = self._outgoing(data, path, place, look, layout, wait)
        for sent in self._send(self._connections(), outgoing, awaited=wait is not None):
            if wait is not None:
                sent.wait()

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
        """Show a series of values. Without ``names``, its planes become one stack with a slider.

        The options are those of ``save``. ``at`` has one mapping for each value.

        Raises:
            BatchError: A value failed. The values before it are shown, the values after it are not.
            InvalidOptionError: Images of one layer differ in axes, scale, units or channels. A list
                or tuple is checked before anything is sent.
        """
        check_lengths(data, paths)
        check_options(type(self).save, options, f"save_batch() of backend {self.name!r}")
        wait: Wait | None = options.pop("wait", "received")
        check_wait(wait)
        layout = options.pop("layout", None) or _LAYOUT
        names = _template(options.pop("names", None))
        places = places_of(paths, names=names, layout=layout, at=at)
        look, awaited = Look(**options), wait is not None
        agreement = Agreement(look.given)
        # Another sequence may load each value from disk when it is indexed, so check only these.
        if isinstance(data, list | tuple):
            for value, path, place in zip(data, paths, places, strict=True):
                agreement.check(value, path, place)

        connections, looked = list[Connection](), 0.0

        def send(index: int) -> list[Sent]:
            nonlocal connections, looked
            value, path, place = data[index], paths[index], places[index]
            agreement.check(value, path, place)
            outgoing = self._outgoing(value, path, place, look, layout, wait, len(paths))
            if time.monotonic() - looked > _LOOK:
                connections, looked = self._connections(), time.monotonic()
            more = awaited and index + 1 < len(paths)
            return self._send(connections, outgoing, awaited=awaited, more=more)

        Batch(self.name, paths, send, awaited=awaited).run(progress)

    def _outgoing(
        self,
        data: Any,
        path: Path,
        place: Place,
        look: Look,
        layout: Layout,
        wait: Wait | None,
        series: int = 1,
    ) -> Outgoing:
        """Return the value as it is sent. Raises for a value that no receiver can show."""
        splits = layout.channels_are_layers

        def finish(item: Any) -> Any:
            if isinstance(item, Image) and not self.scale_bar:
                item = replace(item, scale_bar=False)
            if wait == "shown" or self.policy != "block" or series > 1:
                item = replace(item, wait=wait or "received", policy=self.policy, series=series)
            return item

        def describe(value: Any, look: Look) -> tuple[Image | Rois, NDArray[Any]]:
            try:
                item, pixels = describe_value(value, path, place, look, splits, self.encoding)
            except PolystoreError as error:
                raise with_context(
                    error, self.name, os.fspath(path), "save"
                ) from error.__cause__
            return finish(item), pixels

        try:
            if large_array(data) is None:
                return Whole(*describe(data, look))
            named = describe_source(data, path, place, look, splits)
        except PolystoreError as error:
            raise with_context(error, self.name, os.fspath(path), "save") from error.__cause__
        return Large(data, path, look, describe, named and finish(named))

    def _send(
        self,
        connections: Sequence[Connection],
        outgoing: Outgoing,
        *,
        awaited: bool,
        more: bool = False,
    ) -> list[Sent]:
        for connection in connections:
            connection.raise_failures()
        return [outgoing.send(c, awaited=awaited, more=more) for c in connections]

    @property
    def counters(self) -> Counters:
        """Counts of the sent values and of their answers so far."""
        for connection in list(self._state().connections.values()):
            with suppress(ReceiverError):  # the connection is lost: the next save raises
                connection.listen()
        return self._counters

    def flush(self) -> None:
        """Wait until everything sent is acknowledged. Raise the errors of values that failed."""
        for connection in list(self._state().connections.values()):
            connection.settle()

    # ── connections ──────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _connections(self) -> list[Connection]:
        """Return the connections that get the next value, at least one.

        Raises ``ReceiverUnavailableError`` if there is no receiver.
        """

    def _state(self) -> State:
        state = self._states.get(os.getpid())
        if state is None:
            state = self._states.setdefault(os.getpid(), State())
            _at_exit(_close_quietly, weakref.ref(self))
        return state

    def _connect(self, state: State, endpoint: Endpoint) -> Connection:
        found = state.connections.get(endpoint.token)
        if found is None:  # it is new, or the caller has removed the lost one
            found = state.connections[endpoint.token] = Connection(
                endpoint,
                self.name,
                max_in_flight=self.max_in_flight,
                timeout=self.timeout,
                counters=self._counters,
            )
        return found

    def close(self) -> None:
        """Wait for values on their way, then close the connections. Viewers stay open."""
        self._close(self.timeout)

    def _close(self, timeout: float) -> None:
        state = self._states.pop(os.getpid(), None)
        with ExitStack() as closing:  # close every connection, even if one fails
            for connection in state.connections.values() if state else ():
                closing.callback(connection.leave, timeout)


_LAYOUT = Layout()


def _template(names: str | NameTemplate | None) -> NameTemplate | None:
    return NameTemplate(names) if isinstance(names, str) else names


def _at_exit(work: Callable[..., None], *arguments: object) -> None:
    atexit.register(work, *arguments)
    if "multiprocessing.util" in sys.modules:  # a worker process does not run atexit functions
        from multiprocessing.util import Finalize

        Finalize(None, work, arguments, exitpriority=0)


def _close_quietly(backend: weakref.ref[StreamSink]) -> None:
    """Wait up to 2 seconds for values on their way, as the process ends.

    Errors are dropped: at this point no caller is left to handle them.
    """
    sink = backend()
    if sink is not None:
        with suppress(ReceiverError, RejectedError):
            sink._close(min(sink.timeout, 2.0))
