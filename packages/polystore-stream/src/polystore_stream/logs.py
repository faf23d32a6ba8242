"""Keep a log for each viewer, next to the announcements. It records how the viewer ended.

A viewer that polystore starts prints into its log. The process that started it waits for its
end, and notes the status or signal there. Other viewers write their own log (``ViewerLog``): when
they started, their errors, and how they were closed. Starting a viewer, or connecting to one,
removes old logs and empties long ones, because the folder may be in memory.
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
    "explain_end",
    "find_log",
    "list_ended_viewers",
    "name_of_signal",
    "note_end",
    "read_last_lines",
    "remember_thread",
    "tidy_logs",
]

PRINTS = "POLYSTORE_VIEWER_LOG"
"""Environment variable that is set for a viewer whose output is its log."""
_LINES, _WIDTH, _TAIL = 8, 200, 1 << 16
_MOST_LOGS, _MOST_BYTES = 20, 4 << 20
_NOTE = "polystore: "
_END, _CLOSED = "it ", "it was closed"
"""Start of a note about the end of a viewer, and start of the note if a user closed it."""
_SECONDS = 0.5
"""Time for a process to end after it closed its connection, and to note its status."""
_FILE = re.compile(r"(?P<kind>\w+)-(?P<name>.+)-(?P<pid>\d+)\.log")
_waiting: dict[Path, threading.Thread] = {}
"""By its log, the thread of this process that waits for the viewer to end."""


def find_log(endpoint: Endpoint) -> Path:
    """Return the path of a viewer's log."""
    name = f"{endpoint.kind}-{endpoint.name}-{endpoint.pid}.log"
    return discovery.runtime_directory() / name


class ViewerLog(logging.Handler):
    """The log of the viewer in this process: the handler of polystore's loggers."""

    # The lock of logging.Handler guards emit. Only the viewer's thread calls end, and only end
    # uses _is_ended.

    def __init__(self, endpoint: Endpoint, version: str) -> None:
        super().__init__(logging.WARNING)
        self._is_ended = False
        # Remove the variable: programs that this viewer starts must not print into its log.
        prints = os.environ.pop(PRINTS, None) is not None
        self._path = None if prints else find_log(endpoint)
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
            logging.lastResort.handle(record)  # on the console, as without this handler

    def _note(self, text: str) -> None:
        self._write(f"{_NOTE}{text}")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the disk is full: a log must not stop the viewer
            if self._path is None:
                print(text, file=sys.stderr, flush=True)
                return
            with open(
                self._path, "a", encoding="utf-8", errors="replace", opener=_private
            ) as log:
                log.write(f"{text}\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def remember_thread(log: Path, thread: threading.Thread) -> None:
    """Remember which thread will call ``note_end`` for a log."""
    _waiting[log] = thread


def name_of_signal(number: int) -> str:
    """Return "signal 9 (SIGKILL)"."""
    with suppress(ValueError):  # a real-time signal does not have a name
        return f"signal {number} ({signal.Signals(number).name})"
    return f"signal {number}"


def note_end(output: BinaryIO, log: Path, status: int) -> None:
    """Note how the process of a viewer ended, unless the viewer noted it itself."""
    if status == 0:
        if _read_end(log):
            return
        text = _CLOSED
    else:
        how = name_of_signal(-status) if status < 0 else f"status {status}"
        text = f"{_END}ended with {how}"
    with suppress(OSError):  # the disk is full, and no caller waits for this
        output.write(f"\n{_NOTE}{text}\n".encode())
        output.flush()


def _read_tail(log: Path) -> list[str]:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:  # it was removed, or too many files are open
        return []
    return [line[:_WIDTH] for line in text.splitlines() if line.strip()]


def _read_end(log: Path) -> str:
    """Return how a viewer ended according to its log, or ""."""
    notes = [line.removeprefix(_NOTE) for line in _read_tail(log) if line.startswith(_NOTE)]
    return notes[-1] if notes and notes[-1].startswith(_END) else ""


def read_last_lines(log: Path) -> list[str]:
    """Return the last lines of a log without our notes, short enough for an error."""
    return [line for line in _read_tail(log) if not line.startswith(_NOTE)][-_LINES:]


def explain_end(endpoint: Endpoint) -> tuple[str, str]:
    """Return how a viewer ended, and the end of its log. Each is "" if it is unknown.

    Waits half a second for a process that is about to end.
    """
    if not endpoint.is_local:
        return "", ""
    log = find_log(endpoint)
    thread = _waiting.get(log)
    if thread is None and not log.exists():
        return "", ""
    deadline = time.monotonic() + _SECONDS
    while discovery.process_runs(endpoint.pid, endpoint.started):
        if _read_end(log).startswith(_CLOSED):  # the user's program runs on without the viewer
            break
        if time.monotonic() > deadline:
            return "", ""
        time.sleep(0.01)
    else:
        if thread is not None:
            thread.join(_SECONDS)
    how = _read_end(log)
    if how.startswith(_CLOSED):
        return how, ""
    said = "".join(f"\n  {line}" for line in read_last_lines(log)) or " it is empty"
    return how, f"The end of its log ({log}):{said}"


class EndedViewer(NamedTuple):
    """A viewer that no longer runs."""

    title: str
    how: str
    """"it was closed by its user"."""
    at: float
    """Time when its log was last written, in seconds since 1970."""
    log: Path

    @property
    def was_closed(self) -> bool:
        """Whether a user or a program closed it. If not, it crashed or was killed."""
        return self.how.startswith(_CLOSED)


def list_ended_viewers(kind: str) -> list[EndedViewer]:
    """Return the viewers of a kind that have ended and still have a log, newest first."""
    running = {find_log(endpoint).name for endpoint in discovery.find(kind)}
    ended = []
    for log in discovery.runtime_directory().glob(f"{kind}-*.log"):
        parts = _FILE.fullmatch(log.name)
        if parts is None or log.name in running:
            continue
        with suppress(FileNotFoundError):  # another process has just removed it
            how = _read_end(log) or "it crashed or was killed (its log has no last note)"
            title = f"{kind} {parts['name']!r} (process {parts['pid']})"
            ended.append(EndedViewer(title, how, log.stat().st_mtime, log))
    return sorted(ended, key=lambda viewer: viewer.at, reverse=True)


def tidy_logs(kind: str) -> None:
    """Remove all logs except the 20 newest, and empty logs of more than 4 MiB."""
    found = []
    for log in discovery.runtime_directory().glob(f"{kind}-*.log"):
        with suppress(FileNotFoundError):  # another process has just removed it
            status = log.stat()
            found.append((status.st_mtime, log))
            if status.st_size > _MOST_BYTES:
                os.truncate(log, 0)  # its viewer opened it for appending, so it continues at 0
    for _, log in sorted(found, reverse=True)[_MOST_LOGS:]:
        log.unlink(missing_ok=True)
