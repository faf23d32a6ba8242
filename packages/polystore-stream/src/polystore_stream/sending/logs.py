"""What viewers print, and how they ended: one file for each, next to the announcements.

The process that started a viewer waits for its end. It removes the log of a viewer that was
closed, and notes the status of one that failed at the end of its log. A viewer that starts, or
that is connected to, has old logs removed and long ones emptied: the folder may be in memory.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from .. import discovery

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from ..discovery import Endpoint

__all__ = ["how_ended", "last_lines", "log_of", "note_end", "tidy_logs", "waits_for"]

_LINES, _WIDTH, _TAIL = 8, 200, 1 << 16
_MOST_LOGS, _MOST_BYTES = 20, 4 << 20
_NOTE = "polystore: "
_SECONDS = 0.5
"""In which a process that has closed its connection ends, and in which its status is noted."""
_waiting: dict[Path, threading.Thread] = {}
"""The threads of this process that wait for viewers, by their logs."""


def log_of(endpoint: Endpoint) -> Path:
    """Return the path of a viewer's log; only a viewer that polystore has started has one."""
    name = f"{endpoint.kind}-{endpoint.name}-{endpoint.pid}.log"
    return discovery.runtime_directory() / name


def waits_for(log: Path, thread: threading.Thread) -> None:
    """Remember which thread calls ``note_end`` for a log."""
    _waiting[log] = thread


def note_end(output: BinaryIO, log: Path, status: int) -> None:
    """Note how a viewer ended; one that was closed needs no log."""
    if status == 0:
        log.unlink(missing_ok=True)
        return
    text = f"status {status}"
    if status < 0:
        text = f"signal {-status}"
        with suppress(ValueError):  # one without a name
            text += f" ({signal.Signals(-status).name})"
    with suppress(OSError):  # no space is left: nobody is there to be told
        output.write(f"\n{_NOTE}it ended with {text}\n".encode())
        output.flush()


def last_lines(log: Path) -> list[str]:
    """Return the end of a log, cut to what fits into an error."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:  # removed since, or no open file is left
        return []
    lines = [line[:_WIDTH] for line in text.splitlines() if line.strip()]
    return lines[-_LINES:]


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
        if time.monotonic() > deadline:
            return "", ""
        time.sleep(0.01)
    if thread is not None:
        thread.join(_SECONDS)
    if not log.exists():
        return "it was closed", ""
    lines, how = last_lines(log), ""
    if lines and lines[-1].startswith(_NOTE):
        how = lines.pop().removeprefix(_NOTE)
    said = "".join(f"\n  {line}" for line in lines) or " it is empty"
    return how, f"The end of its log ({log}):{said}"


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
