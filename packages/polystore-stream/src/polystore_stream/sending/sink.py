"""What all backends that send have in common: values become messages, and go to receivers."""

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
    described,
    described_source,
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
"""Seconds between two looks of a batch at who receives: each costs as much as a small image."""


class State:
    """Connections of one process: after a fork the child makes its own."""

    # lock guards changes of connections, and with them _seen of ``streaming``. counters, flush
    # and close read a copy of connections without it. folder is only remembered.

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections: dict[str, Connection] = {}
        """By the token of the receiver: a restarted one has another."""
        self.folder: str | None = None
        """Where receivers announce themselves: checking that it is private takes time."""


@dataclass(kw_only=True, eq=False, repr=False)
class StreamSink(DataSink):
    """Sends images and ROIs to receivers.

    ``policy`` says what happens where they come faster than they are shown: "block" waits,
    "drop_oldest" discards what has waited longest, "coalesce" keeps the newest of each path;
    ``counters`` tells how often. ``max_in_flight`` bytes are on their way at most, a receiver
    that has not answered for ``timeout`` seconds is an error, and ``connection`` is the file
    of a receiver elsewhere, copied from there. Viewers show a scale bar beside images with a unit
    of length, unless ``scale_bar`` is false.

    Options are the fields of the class: a subclass adds its own.
    """

    connection: str | os.PathLike[str] | None = None
    policy: Policy = "block"
    timeout: float = 30.0
    max_in_flight: int = 32 << 20
    scale_bar: bool = True
    encoding: Encoding | None = field(default=None, init=False)
    """What values are on their way, for a viewer that has types and ROIs of its own."""

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
        """Show an array, a ROI or a list of ROIs; the same path again updates it in place.

        ``wait`` is what the call waits for: "received" (the receiver holds the pixels),
        "shown" (they were on the screen), or ``None`` (they are on their way; what goes wrong
        is raised by the next call, by ``flush`` or by ``close``).

        ``names``, a template such as "{well}_s{site}_w{channel}_z{z}.tif", says what the path
        means, or ``at`` says it outright ({"z": 3}); ``layout`` says which parts of it become
        layers, sliders and windows.

        An Image or a DataArray says itself what it is, and an option that is given holds instead
        of its word. A viewer shows axes, scale, units, and names, colours and limits of channels.
        An Image of the kind "labels" is a label image.

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
        """Show a series: without ``names`` its planes become one stack, with a slider.

        Options as for ``save``; ``at`` has one mapping for each value. Stops at the first
        failure with ``BatchError``: what came before is shown, what comes after is not.

        Raises ``InvalidOptionError`` for images of one layer whose axes, scale, units or channels
        differ: in a list or tuple before anything is sent.
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
        if isinstance(data, list | tuple):  # another sequence may load a value when it is asked
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
        """Return what travels of a value. Raises for a value that no receiver takes."""
        splits = layout.channels_are_layers

        def finish(item: Any) -> Any:
            if isinstance(item, Image) and not self.scale_bar:
                item = replace(item, scale_bar=False)
            if wait == "shown" or self.policy != "block" or series > 1:
                item = replace(item, wait=wait or "received", policy=self.policy, series=series)
            return item

        def describe(value: Any, look: Look) -> tuple[Image | Rois, NDArray[Any]]:
            try:
                item, pixels = described(value, path, place, look, splits, self.encoding)
            except PolystoreError as error:
                raise with_context(
                    error, self.name, os.fspath(path), "save"
                ) from error.__cause__
            return finish(item), pixels

        try:
            if large_array(data) is None:
                return Whole(*describe(data, look))
            named = described_source(data, path, place, look, splits)
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

    def _state(self) -> State:
        state = self._states.get(os.getpid())
        if state is None:
            state = self._states.setdefault(os.getpid(), State())
            _at_exit(_close_quietly, weakref.ref(self))
        return state

    def _connected(self, state: State, endpoint: Endpoint) -> Connection:
        found = state.connections.get(endpoint.token)
        if found is None:  # callers have removed those that are lost
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
                closing.callback(connection.leave, timeout)


_LAYOUT = Layout()


def _template(names: str | NameTemplate | None) -> NameTemplate | None:
    return NameTemplate(names) if isinstance(names, str) else names


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
