"""Starting a viewer: one process of its own, found by everybody, reaped by whoever started it."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from polystore.errors import ReceiverUnavailableError
from polystore.locking import file_lock

from . import discovery
from .discovery import Endpoint

__all__ = ["start_viewer"]

_LINES_SHOWN = 5


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
    its log if it ends, or is not ready after ``timeout`` seconds.
    """
    folder = discovery.runtime_directory()
    with file_lock(folder / f"{kind}-{name}", timeout=timeout):
        running = discovery.find(kind, name)
        if running:
            return running[0]
        log = folder / f"{kind}-{secrets.token_hex(4)}.log"
        process = _started(command, log, environment)
        try:
            return _ready(process, kind, name, log, backend, timeout)
        except BaseException:
            process.kill()  # not ready, or nobody waits for it any more (Ctrl-C)
            raise
        finally:
            # Unlinked while it is written: what the viewer still prints goes with it.
            log.unlink(missing_ok=True)


def _started(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    with open(log, "xb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # a Ctrl-C for the pipeline is not for the viewer
        )
    # A viewer that the user closes is a zombie until somebody has waited for it.
    threading.Thread(target=process.wait, name=f"reaps-{process.pid}", daemon=True).start()
    return process


def _ready(
    process: subprocess.Popen[bytes], kind: str, name: str, log: Path, backend: str, timeout: float
) -> Endpoint:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for endpoint in discovery.find(kind, name):
            if endpoint.pid == process.pid:
                return endpoint
        if process.returncode is not None:
            reason = f"ended with status {process.returncode} when it was started"
            break
        time.sleep(0.05)
    else:
        reason = f"was not ready {timeout:g} s after its start"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = "\n  ".join(lines[-_LINES_SHOWN:]) or "nothing"
    raise ReceiverUnavailableError(
        backend, f"{kind} {name!r}", reason, f"it said:\n  {said}{_hint(said)}"
    )


def _hint(said: str) -> str:
    if "xcb" in said or "display" in said.lower():
        return (
            "\nA viewer needs a screen: set DISPLAY (ssh -X), or run under a virtual one: "
            "xvfb-run python …"
        )
    return ""
