"""Logs of viewers: one file for each, next to the announcements, says how the viewer ended.

A viewer that polystore starts prints into its log. The process that started it waits for its
end, and notes a status or signal there. Other viewers write a log of their own (``ViewerLog``):
when they began, their errors, and how they were closed. A viewer that starts, or that is connected
to, has old logs removed and long ones emptied: the folder may be in memory.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from . import discovery

if TYPE_CHECKING:
    import threading

    from .discovery import Endpoint

__all__ = [
    "PRINTS",
    "EndedViewer",
    "ViewerLog",
    "ended_viewers",
    "how_ended",
    "last_lines",
    "log_of",
    "name_of_signal",
    "note_end",
    "tidy_logs",
    "waits_for",
]

PRINTS = "POLYSTORE_VIEWER_LOG"
"""Set for a viewer whose output is its log."""
_LINES, _WIDTH, _TAIL = 8, 200, 1 << 16
_MOST_LOGS, _MOST_BYTES = 20, 4 << 20
_NOTE = "polystore: "
_END, _CLOSED = "it ", "it was closed"
"""How a note begins that tells the end, and the end that somebody wanted."""
_SECONDS = 0.5
"""In which a process that has closed its connection ends, and in which its status is noted."""
_FILE = re.compile(r"(?P<kind>\w+)-(?P<name>.+)-(?P<pid>\d+)\.log")
_waiting: dict[Path, threading.Thread] = {}
"""The threads of this process that wait for viewers, by their logs."""


def log_of(endpoint: Endpoint) -> Path:
    """Return the path of a viewer's log."""
    name = f"{endpoint.kind}-{endpoint.name}-{endpoint.pid}.log"
    return discovery.runtime_directory() / name


class ViewerLog(logging.Handler):
    """The log of the viewer in this process: it gets what the loggers of polystore report."""

    # The lock of logging.Handler is held in emit. The viewer's thread calls end, and alone
    # uses _is_ended.

    def __init__(self, endpoint: Endpoint, version: str) -> None:
        super().__init__(logging.WARNING)
        self._is_ended = False
        # Popped: programs that this viewer starts do not print into its log.
        prints = os.environ.pop(PRINTS, None) is not None
        self._path = None if prints else log_of(endpoint)
        tidy_logs(endpoint.kind)
        self._note(f"started {time.strftime('%Y-%m-%d %H:%M:%S')}: {endpoint.kind} {version}")
        logging.getLogger("polystore").addHandler(self)
        atexit.register(self.end, "with its process")

    def end(self, how: str) -> None:
        """Note once that the viewer was closed: "by its user", "by quit()"."""
        if not self._is_ended:
            self._is_ended = True
            atexit.unregister(self.end)
            logging.getLogger("polystore").removeHandler(self)
            self._note(f"{_CLOSED} {how}")

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))
        if self._path is not None and not logging.getLogger().handlers and logging.lastResort:
            logging.lastResort.handle(record)  # as without this handler: on the user's console

    def _note(self, text: str) -> None:
        self._write(f"{_NOTE}{text}")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # no space is left: the viewer itself goes on
            if self._path is None:
                print(text, file=sys.stderr, flush=True)
                return
            with open(
                self._path, "a", encoding="utf-8", errors="replace", opener=_private
            ) as log:
                log.write(f"{text}\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def waits_for(log: Path, thread: threading.Thread) -> None:
    """Remember which thread calls ``note_end`` for a log."""
    _waiting[log] = thread


def name_of_signal(number: int) -> str:
    """Return "signal 9 (SIGKILL)"."""
    with suppress(ValueError):  # one without a name
        return f"signal {number} ({signal.Signals(number).name})"
    return f"signal {number}"


def note_end(output: BinaryIO, log: Path, status: int) -> None:
    """Note how the process of a viewer ended. One that was closed may have noted that itself."""
    if status == 0:
        if _end_in(log):
            return
        text = _CLOSED
    else:
        how = name_of_signal(-status) if status < 0 else f"status {status}"
        text = f"{_END}ended with {how}"
    with suppress(OSError):  # no space is left: nobody is there to be told
        output.write(f"\n{_NOTE}{text}\n".encode())
        output.flush()


def _tail(log: Path) -> list[str]:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:  # removed since, or no open file is left
        return []
    return [line[:_WIDTH] for line in text.splitlines() if line.strip()]


def _end_in(log: Path) -> str:
    """Return how a viewer ended as its log says; "" if it does not say that."""
    notes = [line.removeprefix(_NOTE) for line in _tail(log) if line.startswith(_NOTE)]
    return notes[-1] if notes and notes[-1].startswith(_END) else ""


def last_lines(log: Path) -> list[str]:
    """Return the end of a log without our notes, cut to what fits into an error."""
    return [line for line in _tail(log) if not line.startswith(_NOTE)][-_LINES:]


def how_ended(endpoint: Endpoint) -> tuple[str, str]:
    """Return how a viewer ended, and the end of its log; "" for what is not known.

    Waits a moment for a process that is about to end.
    """
    if not endpoint.is_local:
        return "", ""
    log = log_of(endpoint)
    thread = _waiting.get(log)
    if thread is None and not log.exists():
        return "", ""
    deadline = time.monotonic() + _SECONDS
    while discovery.process_runs(endpoint.pid, endpoint.started):
        if _end_in(log).startswith(_CLOSED):  # a program of its user's goes on without it
            break
        if time.monotonic() > deadline:
            return "", ""
        time.sleep(0.01)
    else:
        if thread is not None:
            thread.join(_SECONDS)
    how = _end_in(log)
    if how.startswith(_CLOSED):
        return how, ""
    said = "".join(f"\n  {line}" for line in last_lines(log)) or " it is empty"
    return how, f"The end of its log ({log}):{said}"


class EndedViewer(NamedTuple):
    """A viewer that no longer runs."""

    title: str
    how: str
    """"it was closed by its user"."""
    at: float
    """When its log was written last, in seconds since 1970."""
    log: Path

    @property
    def was_closed(self) -> bool:
        return self.how.startswith(_CLOSED)


def ended_viewers(kind: str) -> list[EndedViewer]:
    """Return the viewers of a kind that have ended, as far as their logs are kept, newest first."""
    running = {log_of(endpoint).name for endpoint in discovery.find(kind)}
    ended = []
    for log in discovery.runtime_directory().glob(f"{kind}-*.log"):
        parts = _FILE.fullmatch(log.name)
        if parts is None or log.name in running:
            continue
        with suppress(FileNotFoundError):  # another process tidies up
            how = _end_in(log) or "it ended without a word: it was killed, or it crashed"
            title = f"{kind} {parts['name']!r} (process {parts['pid']})"
            ended.append(EndedViewer(title, how, log.stat().st_mtime, log))
    return sorted(ended, key=lambda viewer: viewer.at, reverse=True)


def tidy_logs(kind: str) -> None:
    """Remove all logs but the newest, and empty those that are too long."""
    found = []
    for log in discovery.runtime_directory().glob(f"{kind}-*.log"):
        with suppress(FileNotFoundError):  # another process does the same
            status = log.stat()
            found.append((status.st_mtime, log))
            if status.st_size > _MOST_BYTES:
                os.truncate(log, 0)  # its viewer appends, and goes on at the start
    for _, log in sorted(found, reverse=True)[_MOST_LOGS:]:
        log.unlink(missing_ok=True)
