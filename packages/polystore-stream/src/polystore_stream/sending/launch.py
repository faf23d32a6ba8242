"""Start a viewer in its own process. The process that starts it also waits for its end."""

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
from ..logs import PRINTS, find_log, note_end, read_last_lines, remember_thread, tidy_logs

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
    """Return the running viewer ``name``. If none runs, run ``command`` and wait for it.

    If several processes call this at once, one of them starts the viewer. The viewer continues
    after the process that started it has ended, and does not leave a zombie.

    Args:
        command: Program and arguments.
        kind: Kind of the viewer, such as "napari".
        name: Name of the viewer.
        backend: Name of the backend, for errors.
        timeout: Seconds to wait until the viewer is ready.
        environment: Variables to set for the viewer, in addition to those of this process.

    Raises:
        ReceiverUnavailableError: The viewer cannot be started, ends, or is not ready in time.
            The error has the end of its log.
    """
    try:
        with file_lock(discovery.runtime_directory() / f"{kind}-{name}", timeout=timeout):
            running = discovery.find(kind, name)
            if running:
                return running[0]
            return _launch(command, kind, name, backend, timeout, environment)
    except LockTimeoutError as error:
        reason = f"is still being started by another process after {timeout:g} s"
        raise ReceiverUnavailableError(backend, f"{kind} {name!r}", reason) from error


def _launch(
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
        endpoint = _wait_until_ready(process, kind, name, log, backend, timeout)
        start.keep_log(find_log(endpoint))
        return endpoint
    except BaseException:  # it is not ready, or Ctrl-C came: do not leave a viewer behind
        start.undo()
        raise


class _Start:
    """Start a command in a thread that also waits for its end, so that no zombie remains.

    Ctrl-C strikes only the main thread. There it could come after the process has started and
    before any variable holds it, and the process would be lost.
    """

    # It has no lock.
    #   _made and _failed: the thread appends, and the caller reads.
    #   _log: the caller changes it before it sets _is_kept. The thread reads it at the start, and
    #     again after _is_kept is set.

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None
    ) -> None:
        self._command, self._log, self._environment = command, log, environment
        self._made: list[subprocess.Popen[bytes]] = []
        self._failed: list[Exception] = []
        self._is_kept = threading.Event()
        """Set when ``_log`` has its final name, or was removed."""
        self._thread = threading.Thread(target=self._run, name="starts-viewer", daemon=True)

    def _run(self) -> None:
        try:
            # Open for appending: if tidy_logs empties the file, the viewer continues at 0.
            with open(self._log, "xb", opener=_append) as output:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, PRINTS: "1", **(self._environment or {})},
                    start_new_session=True,  # or Ctrl-C in the terminal would end the viewer too
                )
                self._made.append(process)
                status = process.wait()
                self._is_kept.wait()
                note_end(output, self._log, status)
        except Exception as error:  # ``process`` raises it in the caller's thread
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
        """Kill the process if it was started, and remove its log."""
        self._wait()
        for process in self._made:
            _kill(process)
        self._log.unlink(missing_ok=True)
        self._is_kept.set()

    def keep_log(self, name: Path) -> None:
        """Rename the log after the viewer, so that others can find how it ended."""
        remember_thread(name, self._thread)
        self._log = self._log.replace(name)
        self._is_kept.set()


def _append(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, 0o600)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its children, because the command may be a wrapper script."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended already
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _wait_until_ready(
    process: subprocess.Popen[bytes],
    kind: str,
    name: str,
    log: Path,
    backend: str,
    timeout: float,
) -> Endpoint:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        # Search by name, not by pid: if the command is a wrapper, the viewer is its child.
        for endpoint in discovery.find(kind, name):
            return endpoint
        if process.returncode is not None:
            reason = f"ended with status {process.returncode} while it was starting"
            break
        time.sleep(0.05)
    else:
        reason = f"was not ready {timeout:g} s after its start"
    said = "\n  ".join(read_last_lines(log)) or "nothing"
    raise ReceiverUnavailableError(
        backend, f"{kind} {name!r}", reason, f"it printed:\n  {said}{_hint(said)}"
    )


def _hint(said: str) -> str:
    """Return advice if the viewer's toolkit did not find a screen."""
    if "xcb" in said or "display" in said.lower():
        return f"\nA viewer needs a screen: {GET_SCREEN}"
    return ""
