"""Check for a screen that answers, and report on viewers to ``polystore doctor``."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from polystore_core import Finding
from polystore_core.errors import ReceiverUnavailableError

from . import discovery
from .logs import list_ended_viewers

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GET_SCREEN", "check_screen", "missing_screen", "screen", "viewers"]

GET_SCREEN = (
    "log in with ssh -X, set DISPLAY to a screen that runs, or start the pipeline with a virtual "
    "one: xvfb-run -a python … (Debian: apt-get install xvfb)"
)
"""Advice for a machine without a screen."""
_DISPLAY = re.compile(r"(?:unix/?|(?P<host>[^/]*?))(?::(?P<number>\d+))(?:\.\d+)?")
_PORT = 6000  # TCP port of display 0. The displays of ssh -X start at 10.
_SECONDS = 5.0
_MOST_ENDED, _RECENT = 3, 48.0  # viewers, and hours since they ended
_LISTENS = "00010000"  # flags in /proc/net/unix of a socket that accepts connections


def missing_screen(*variables: str) -> str:
    """Return why windows cannot be opened here, or "" if a screen answers.

    ``variables`` are the names of environment variables that may name a screen: DISPLAY (X11),
    WAYLAND_DISPLAY. Without any, no screen is needed. Windows and macOS do not use such
    variables, and count as having a screen.
    """
    if sys.platform in ("win32", "darwin") or not variables:
        return ""
    problems = []
    for variable in variables:
        value = os.environ.get(variable)
        if value:
            problem = _ask_display(variable, value)
            if not problem:
                return ""
            problems.append(f"{variable}={value} does not answer: {problem}")
    verb = "is" if len(variables) == 1 else "are"
    return "; ".join(problems) or f"{' and '.join(variables)} {verb} not set"


def check_screen(backend: str, receiver: str, *variables: str, advice: str = "") -> None:
    """Raise ``ReceiverUnavailableError`` if ``missing_screen`` returns a reason."""
    problem = missing_screen(*variables)
    if problem:
        raise ReceiverUnavailableError(
            backend, receiver, f"needs a screen, and {problem}", GET_SCREEN + advice
        )


def _ask_display(variable: str, value: str) -> str:
    """Return why no server listens at a display, or ""."""
    problem = "expected the name of a display, such as ':0'"
    for family, address in _yield_addresses(variable, value):
        # Do not connect to a server that the kernel lists: an X server may end when its last
        # connection closes, and ours could be the last.
        if family == socket.AF_UNIX and address in _list_listening():
            return ""
        try:
            with socket.socket(family) as asked:
                asked.settimeout(_SECONDS)
                asked.connect(address)
                return ""
        except OSError as error:
            problem = error.strerror or str(error)
    return problem


def _list_listening() -> set[str]:
    """Return the names of the local sockets that accept connections."""
    try:
        rows = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return set()
    fields = (row.split(maxsplit=7) for row in rows)
    names = {found[7] for found in fields if len(found) == 8 and found[3] == _LISTENS}
    return {f"\0{name[1:]}" if name.startswith("@") else name for name in names}


def _yield_addresses(variable: str, value: str) -> Iterator[tuple[int, str | tuple[str, int]]]:
    if variable == "WAYLAND_DISPLAY":
        yield socket.AF_UNIX, os.path.join(os.environ.get("XDG_RUNTIME_DIR", ""), value)
        return
    found = _DISPLAY.fullmatch(value)
    if found is None:
        return
    number = int(found["number"])
    if found["host"]:
        with suppress(OSError):  # an unknown host: there is no address to try
            known = socket.getaddrinfo(found["host"], _PORT + number)
            for family, *_, address in known:
                yield family, (str(address[0]), int(address[1]))
        return
    path = f"/tmp/.X11-unix/X{number}"
    yield socket.AF_UNIX, f"\0{path}"  # Linux has both, and a container may share only one
    yield socket.AF_UNIX, path


def screen(*variables: str, advice: str = "") -> Finding:
    """Return whether windows can be opened, and advice if they cannot."""
    problem = missing_screen(*variables)
    if not problem:
        return Finding(what="screen", state="ok")
    return Finding(what="screen", state="missing", found=problem, remedy=GET_SCREEN + advice)


def viewers(kind: str) -> Iterator[Finding]:
    """Yield which viewers of a kind run here, and how recent ones ended."""
    titles = ", ".join(endpoint.title for endpoint in discovery.find(kind))
    yield Finding(what="running", state="ok", found=titles or "none: a save starts one")
    for ended in list_ended_viewers(kind)[:_MOST_ENDED]:
        hours = (time.time() - ended.at) / 3600
        if hours < _RECENT:
            yield Finding(
                what="ended",
                state="ok" if ended.was_closed else "note",
                found=f"{ended.title}, {_ago(hours)}: {ended.how}",
                remedy=f"see its log: {ended.log}",
            )


def _ago(hours: float) -> str:
    return f"{hours:.0f} h ago" if hours >= 1 else f"{hours * 60:.0f} min ago"
