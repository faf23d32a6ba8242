"""Starting a viewer: one process of its own, found by everybody, reaped by whoever started it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from contextlib import suppress
from errno import ENOTCONN
from typing import TYPE_CHECKING

from polystore_core import file_lock
from polystore_core.errors import LockTimeoutError, ReceiverUnavailableError

from .. import discovery
from ..checks import GET_SCREEN
from ..logs import PRINTS, last_lines, log_of, note_end, tidy_logs, waits_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..discovery import Endpoint

__all__ = ["start_viewer"]


def start_viewer(
    command: Sequence[str],
    kind: str,
    name: str,
    *,
    backend: str,
    timeout: float = 90.0,
    environment: Mapping[str, str] | None = None,
) -> Endpoint:
    """Return the running viewer ``name``; where there is none, run ``command`` and wait for it.

    Of several processes that call this at once, one starts it. The viewer outlives its
    starter, and leaves no zombie in it. Raises ``ReceiverUnavailableError`` with the end of
    its log if it cannot be started, ends, or is not ready after ``timeout`` seconds.
    """
    try:
        with file_lock(discovery.runtime_directory() / f"{kind}-{name}", timeout=timeout):
            running = discovery.find(kind, name)
            if running:
                return running[0]
            return _launched(command, kind, name, backend, timeout, environment)
    except LockTimeoutError as error:
        reason = f"is still being started by another process after {timeout:g} s"
        raise ReceiverUnavailableError(backend, f"{kind} {name!r}", reason) from error


def _launched(
    command: Sequence[str],
    kind: str,
    name: str,
    backend: str,
    timeout: float,
    environment: Mapping[str, str] | None,
) -> Endpoint:
    tidy_logs(kind)
    log = discovery.runtime_directory() / f"{kind}-{secrets.token_hex(4)}.log"
    start = _Start(command, log, environment)
    try:
        try:
            process = start.process()
        except OSError as error:
            reason = f"cannot be started: {error}"
            raise ReceiverUnavailableError(
                backend, f"{kind} {name!r}", reason, errno=error.errno or ENOTCONN
            ) from error
        endpoint = _ready(process, kind, name, log, backend, timeout)
        start.keep_log(log_of(endpoint))
        return endpoint
    except BaseException:  # not ready, or nobody waits for it any more (Ctrl-C)
        start.undo()
        raise


class _Start:
    """Starts a command, and waits for its end: a viewer that is closed leaves no zombie.

    A thread does both. Ctrl-C strikes only the main thread, and would lose a process that has
    begun and that nobody holds yet.
    """

    # There is no lock. The thread appends to _made and _failed, and the caller reads them. The
    # caller changes _log before it sets _is_kept, and the thread reads it at the start and after.

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None
    ) -> None:
        self._command, self._log, self._environment = command, log, environment
        self._made: list[subprocess.Popen[bytes]] = []
        self._failed: list[Exception] = []
        self._is_kept = threading.Event()
        """Set once ``_log`` has its last name, or there is none."""
        self._thread = threading.Thread(target=self._run, name="starts-viewer", daemon=True)

    def _run(self) -> None:
        try:
            # Appended to, as it may be emptied while the viewer writes.
            with open(self._log, "xb", opener=_append) as output:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, PRINTS: "1", **(self._environment or {})},
                    start_new_session=True,  # a Ctrl-C for the pipeline is not for the viewer
                )
                self._made.append(process)
                status = process.wait()
                self._is_kept.wait()
                note_end(output, self._log, status)
        except Exception as error:  # raised by ``process``, where the caller is
            self._failed.append(error)

    def process(self) -> subprocess.Popen[bytes]:
        """Return the process. Raises ``OSError``."""
        self._thread.start()
        self._wait()
        if self._failed:
            raise self._failed[0]
        return self._made[0]

    def _wait(self) -> None:
        while self._thread.is_alive() and not self._made:
            time.sleep(0.002)

    def undo(self) -> None:
        """Kill the process, if there is one."""
        self._wait()
        for process in self._made:
            _kill(process)
        self._log.unlink(missing_ok=True)
        self._is_kept.set()

    def keep_log(self, name: Path) -> None:
        """Name the log after the viewer: it tells how that ended."""
        waits_for(name, self._thread)
        self._log = self._log.replace(name)
        self._is_kept.set()


def _append(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o600)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its children: the command may be a wrapper."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended already
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _ready(
    process: subprocess.Popen[bytes],
    kind: str,
    name: str,
    log: Path,
    backend: str,
    timeout: float,
) -> Endpoint:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for endpoint in discovery.find(kind, name):  # a child's, if the command is a wrapper
            return endpoint
        if process.returncode is not None:
            reason = f"ended with status {process.returncode} while it was starting"
            break
        time.sleep(0.05)
    else:
        reason = f"was not ready {timeout:g} s after its start"
    said = "\n  ".join(last_lines(log)) or "nothing"
    raise ReceiverUnavailableError(
        backend, f"{kind} {name!r}", reason, f"it printed:\n  {said}{_hint(said)}"
    )


def _hint(said: str) -> str:
    """Return what helps a viewer whose toolkit has found no screen."""
    if "xcb" in said or "display" in said.lower():
        return f"\nA viewer needs a screen: {GET_SCREEN}"
    return ""
