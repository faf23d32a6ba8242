"""A script as a receiver: ``for item in receive(): …``."""

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
    """What a pipeline saved."""

    path: str
    data: NDArray[Any] | list[ROI]
    """The array, this process's own; or regions of interest."""
    axes: str = ""
    """One letter for each axis: t c z y x, and s for the samples of RGB."""
    labels: bool = False
    at: Mapping[str, str] = field(default_factory=dict)
    """What the path, by its template, says of sliders: {"z": "3"}."""
    layer: str = ""
    window: str = ""
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    colormap: str | None = None
    contrast_limits: tuple[float, float] | None = None


def receive(
    channel: str = "default",
    *,
    timeout: float | None = None,
    listen: str | None = None,
    max_queued: int = 256 << 20,
) -> Subscription:
    """Receive what pipelines save with ``backend="streaming"``.

    Every receiver of a ``channel`` gets all of it. Iterating ends ``timeout`` seconds after
    the last value, or never. ``listen`` takes producers of other machines: see ``Receiver``.
    The iterator closes what it opened when it is exhausted, closed or left by ``with``.
    """
    return Subscription(channel, timeout=timeout, listen=listen, max_queued=max_queued)


class Subscription(Viewer, Iterator[Received]):
    """Values that come, one by one. What was yielded counts as shown when the next is asked for."""

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
        """The iterator waits in the inbox itself."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Received:
        self._settle("shown")
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while not self.receiver.is_closed:
            # In slices: a signal such as Ctrl-C is not noticed in a wait without an end.
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            for delivery in self.receiver.take(max(left, 0), most=1):
                if not isinstance(delivery.item, Query):
                    self._current = delivery
                    return _received(delivery.item, delivery.data)
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


def _received(item: Image | Rois, data: Any) -> Received:
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
