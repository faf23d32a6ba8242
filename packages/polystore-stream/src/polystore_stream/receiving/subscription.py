"""Receive in a script: ``for item in receive(): …``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ..wire.messages import Image, Query, Rois
from .receiver import Receiver
from .viewer import Delivery, Viewer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Channel
    from polystore_core.rois import ROI

__all__ = ["Received", "Subscription", "receive"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Received:
    """A value that a pipeline saved."""

    path: str
    data: NDArray[Any] | list[ROI]
    """An array that belongs to this process, or a list of ROIs."""
    axes: str = ""
    """One letter for each axis: t c z y x, and s for the samples of RGB."""
    labels: bool = False
    """Whether it is a label image."""
    at: Mapping[str, str] = field(default_factory=dict)
    """Coordinate on each slider, read from the path by its template. For example {"z": "3"}."""
    layer: str = ""
    """Title of the layer."""
    window: str = ""
    """Title of the window. "" is the main window."""
    scale: tuple[float, ...] = ()
    """Pixel size along each axis except s, in ``units``."""
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    colormap: str | None = None
    contrast_limits: tuple[float, float] | None = None
    """Display range that the caller gave for all channels."""


def receive(
    channel: str = "default",
    *,
    timeout: float | None = None,
    listen: str | None = None,
    max_queued: int = 256 << 20,
) -> Subscription:
    """Receive the values that pipelines save with ``backend="streaming"``.

    Every receiver of a ``channel`` gets every value. The iterator closes its receiver when it
    is exhausted, when you call ``close``, and at the end of a ``with`` block.

    Args:
        channel: Name that producers give with ``channel=``.
        timeout: Seconds after the last value when the iteration ends. ``None`` never ends it.
        listen: Address for producers of other machines, such as "tcp://0.0.0.0:5555". See
            :class:`Receiver`.
        max_queued: Bytes that may wait for your script.

    Raises:
        InvalidOptionError: The channel is not a valid name, or ``listen`` cannot be bound.
    """
    return Subscription(channel, timeout=timeout, listen=listen, max_queued=max_queued)


class Subscription(Viewer, Iterator[Received]):
    """Yield received values one by one. A value counts as shown when you ask for the next one."""

    # It needs no lock: one thread iterates. The receiver and its inbox have their own locks.

    kind = "script"

    def __init__(
        self, channel: str, *, timeout: float | None, listen: str | None, max_queued: int
    ) -> None:
        self.timeout = timeout
        self._current: Delivery | None = None
        self.receiver = Receiver(
            self, channel, listen=listen, max_queued=max_queued, exclusive=False
        )

    def wake(self) -> None:
        """Do nothing: the iterator waits in the inbox."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Received:
        self._settle("shown")
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while not self.receiver.is_closed:
            # Wait in short slices: on some systems Ctrl-C does not interrupt a longer wait.
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            for delivery in self.receiver.take(max(left, 0), most=1):
                if not isinstance(delivery.item, Query):
                    self._current = delivery
                    return _to_received(delivery.item, delivery.data)
                self.receiver.settle(delivery, "rejected", "a script does not answer queries")
            if left <= 0:
                break
        self.close()
        raise StopIteration

    def _settle(self, stage: Any) -> None:
        if self._current is not None:
            self.receiver.settle(self._current, stage)
            self._current = None

    def close(self) -> None:
        """Close the receiver. The last value counts as shown."""
        try:
            self._settle("shown")
        finally:
            self.receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Subscription {self.receiver.name!r}: {len(self.receiver.inbox)} waiting>"


def _to_received(item: Image | Rois, data: Any) -> Received:
    common: dict[str, Any] = {
        "path": item.path,
        "data": data,
        "labels": item.labels,
        "at": dict(item.at),
        "layer": item.title,
        "window": item.window,
    }
    if isinstance(item, Image):
        for name in ("axes", "scale", "units", "channels", "colormap", "contrast_limits"):
            common[name] = getattr(item, name)
    return Received(**common)
