"""Send a batch: up to 64 values are on their way at once."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

from polystore_core import Progress, batch_error, progress_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polystore_core import Path

    from .large import Sent

__all__ = ["Batch"]

_WINDOW = 64
"""Values of a batch that are on their way at once."""


class Batch:
    """Send one value after another, and stop at the first failure.

    Args:
        backend: Name of the backend, for errors.
        paths: Path of each value.
        send: Sends the value at an index to each receiver.
        awaited: Whether a value is done when all receivers have answered. If not, it is done
            when it is sent.
    """

    def __init__(
        self,
        backend: str,
        paths: Sequence[Path],
        send: Callable[[int], list[Sent]],
        *,
        awaited: bool,
    ) -> None:
        self._backend, self._paths, self._send, self._awaited = backend, paths, send, awaited
        self._failed: dict[int, tuple[str, Exception]] = {}
        self._done: list[int] = []
        self._on_way: deque[tuple[int, list[Sent]]] = deque()

    def run(self, progress: Progress) -> None:
        """Send all values. Raises ``BatchError`` with each cause."""
        with progress_reporter(progress, len(self._paths), "save") as report:
            for index in range(len(self._paths)):
                if self._failed:
                    break
                self._attempt(index, self._start)
                while len(self._on_way) > _WINDOW:
                    self._finish(report)
            while self._on_way:
                self._finish(report)
        if self._failed:
            raise batch_error(self._backend, "save", self._paths, self._failed, self._done)

    def _start(self, index: int) -> None:
        self._on_way.append((index, self._send(index)))

    def _finish(self, report: Callable[[], Any]) -> None:
        index, sent = self._on_way.popleft()

        def settle(_: int) -> None:
            for one in sent if self._awaited else ():
                one.wait()
            self._done.append(index)

        self._attempt(index, settle)
        report()

    def _attempt(self, index: int, work: Callable[[int], None]) -> None:
        try:
            work(index)
        except Exception as error:  # BatchError reports every cause
            self._failed[index] = (os.fspath(self._paths[index]), error)
