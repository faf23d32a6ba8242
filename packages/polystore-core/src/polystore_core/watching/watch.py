"""``Watch``: waits for the items of a path."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Integral
from threading import Event
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from weakref import finalize

from ..errors import InvalidOptionError
from ..paths import check_pattern, join
from .files import Files
from .frames import Frames
from .looks import Look, Request
from .waking import can_wake, find_place, start_waking

if TYPE_CHECKING:
    from types import TracebackType

    from ..abc.backend import DataSource
    from ..values import Option, Region, Value

__all__ = ["Arrival", "Stop", "Watch"]

Stop: TypeAlias = "Callable[[], bool] | Event"

_SHORTEST, _LONGEST = 0.005, 0.25
"""Seconds between two looks, after an item and without one."""
_BUSY, _IDLE = 4, 75
"""The same as multiples of the CPU time of a look. An idle watch uses less than 2 % of a core."""
_SLICE = 0.1
"""Seconds between two calls of ``stop``."""
_FOREVER = float("inf")
_SETTLE = 0.5
"""Seconds without a change, if other programs can write at the path."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file, or a frame of an array, that ``FileManager.watch`` has found."""

    index: int
    """The index along the first axis of the array, or the number of files found before."""
    path: str
    """The path of the file, or of the array."""
    backend: str
    """The name of the backend."""
    is_frame: bool
    """Whether it is a frame of the array at ``path``, not a file."""
    _place: str = field(repr=False, compare=False)
    """``path``, absolute if it depends on the working folder."""
    _load: Callable[..., Value] = field(repr=False, compare=False)

    def load(self, *, region: Region | None = None, **options: Option) -> Value:
        """Load the frame or the file. Options are those of ``FileManager.load``.

        For example:

            item.load(as_="image")
            item.load(region=(slice(0, 64), slice(0, 64)))

        Args:
            region: A part of the frame, without the first axis of the array.
            **options: As for ``FileManager.load``.
        """
        if self.is_frame:
            inner: Any = () if region is None else region
            region = (self.index, *(inner if isinstance(inner, tuple) else (inner,)))
        if region is not None:
            options["region"] = region
        return self._load(self._place, self.backend, **options)


class Watch(Iterator[Arrival]):
    """An iterator over the items of a path as they appear. ``FileManager.watch`` returns it.

    One thread iterates. Any thread can call ``close``, which ends a wait at once. For example:

        with fm.watch("plate", "disk") as items:
            for item in items:
                process(item.load())
    """

    # Threads: _closed and _changed are events that any thread may set. All other fields belong to
    # the thread that iterates.

    def __init__(
        self,
        source: DataSource,
        path: str,
        load_frame: Callable[..., Value],
        load_file: Callable[..., Value],
        *,
        start: int = 0,
        timeout: float | None = None,
        poll: float | None = None,
        pattern: str | None = None,
        recursive: bool = False,
        settle: float | None = None,
        stop: Stop | None = None,
    ) -> None:
        _check_options(start, timeout, poll, settle)
        check_pattern(pattern)
        self._path = path
        place, folder = find_place(source, path)
        self._folder = folder if folder is not None and can_wake() else None
        """The folder whose changes should wake us. ``None`` after that was started."""
        # Files need time to settle on this machine only, where other programs write them.
        usual = 0.0 if folder is None else _SETTLE
        seconds = usual if settle is None else settle
        usually = settle is None
        self._request = Request(source, place, start, pattern, seconds, recursive, usually)
        self._load_frame, self._load_file = load_frame, load_file
        self._timeout, self._poll = timeout, poll
        self._stop, self._is_stopped = _question(stop), False
        self._items: Frames | Files | None = None
        self._is_decided = False
        """Whether an item was found. Before that, a folder may still become an array."""
        self._found: Iterator[int | str] = iter(())
        self._files_found = 0
        self._closed, self._changed = Event(), Event()
        self._end_waking: Callable[[], object] = _nothing

    def __next__(self) -> Arrival:
        while not self._closed.is_set():
            for found in self._found:
                if isinstance(found, int):
                    return self._arrival(found)
                self._files_found += 1
                if self._files_found > self._request.start:
                    return self._arrival(self._files_found - 1, found)
            if not self._wait():
                self.close()
        raise StopIteration

    def _arrival(self, index: int, name: str | None = None) -> Arrival:
        path, place = self._path, self._request.path
        if name is not None:
            path, place = join(path, name), join(place, name)
        backend = self._request.source.name
        load = self._load_frame if name is None else self._load_file
        return Arrival(index, path, backend, name is None, place, load)

    def _wait(self) -> bool:
        """Wait for items. Returns ``False`` if the watch has ended."""
        began, pause = time.monotonic(), _SHORTEST
        while not self._closed.is_set():
            # Before the look, so that the look finds all items that were written before the stop.
            self._is_stopped = self._is_stopped or self._stop()
            before = time.thread_time()
            look = self._look()
            cost = time.thread_time() - before
            if self._is_stopped and self._items is not None:
                self._items.freeze()
            if look.new:
                self._found = iter(look.new)
                return True
            left = (
                _FOREVER if self._timeout is None else began + self._timeout - time.monotonic()
            )
            if (left <= 0 or self._is_stopped) and not look.waits:
                break
            # A look over a network may take long. Pauses grow with its cost, and with each look
            # that finds nothing.
            least = max(_SHORTEST, _BUSY * cost)
            pause = min(max(pause, least), max(_LONGEST, _IDLE * cost))
            most = pause if self._poll is None else self._poll
            most = min(most, max(self._request.settle, _IDLE * cost) if look.waits else left)
            self._pause(min(least, most), most)
            pause *= 2
        return False

    def _look(self) -> Look:
        if not self._is_decided:
            source, path = self._request.source, self._request.path
            kind = Frames if source.is_file(path) else Files if source.is_dir(path) else None
            if kind is None:
                self._items = None
            elif not isinstance(self._items, kind):
                self._items = kind(self._request)
        look = Look([], waits=False) if self._items is None else self._items.look()
        self._is_decided = self._is_decided or bool(look.new)
        return look

    def _pause(self, least: float, most: float) -> None:
        """Wait ``most`` seconds, or less if the folder changes, but at least ``least``."""
        if self._folder is not None and os.path.isdir(self._folder):
            end_waking = start_waking(
                self._folder, self._changed.set, recursive=self._request.recursive
            )
            self._folder = None
            if end_waking is not None:
                # Also ends the thread of a watch that is dropped without ``close``.
                self._end_waking = finalize(self, end_waking)
                return  # look again: changes between the last look and now did not wake us
        # The shortest pause, as a folder may change all the time.
        self._sleep(self._closed, least)
        self._sleep(self._changed, most - least)
        self._changed.clear()

    def _sleep(self, event: Event, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and (self._is_stopped or not self._stop()):
            # In short parts, because on Windows Ctrl-C does not end a wait.
            if event.wait(min(left, _SLICE)):
                break

    def close(self) -> None:
        """End the watch. A loop over it ends, even if it waits in another thread."""
        # In this order, because a wait that ``_changed`` ends looks at ``_closed`` next.
        self._closed.set()
        self._changed.set()
        self._end_waking()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = ", closed" if self._closed.is_set() else ""
        return f"<Watch {self._path!r} in {self._request.source.name!r}{closed}>"


def _nothing() -> None:
    pass


def _check_options(start: object, timeout: object, poll: object, settle: object) -> None:
    if not _is_index(start):
        raise InvalidOptionError("start", start, "an index of at least 0")
    for option, seconds in (("timeout", timeout), ("settle", settle), ("poll", poll)):
        if seconds is not None and not _is_time(seconds):
            raise InvalidOptionError(option, seconds, "seconds of at least 0, or None")


def _is_index(value: Any) -> bool:
    return isinstance(value, Integral) and value is not True and int(value) >= 0


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _question(stop: Any) -> Callable[[], bool]:
    """Return the option ``stop`` as a function without arguments."""
    if stop is None:
        return lambda: False
    ask = getattr(stop, "is_set", stop)
    if not callable(ask):
        expected = "a function, an event such as threading.Event, or None"
        raise InvalidOptionError("stop", stop, expected)
    return lambda: bool(ask())
