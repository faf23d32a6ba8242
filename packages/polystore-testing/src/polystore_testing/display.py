"""A virtual screen for tests, with the actions of a window manager and of a user."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from polystore_core import Value

__all__ = ["Display", "private_display"]

SIZE = "1280x900x24"


class Display:
    """A running Xvfb."""

    def __init__(self, name: str, framebuffer: Path) -> None:
        self.name = name
        """Value for DISPLAY, such as ":99"."""
        self._framebuffer = framebuffer

    def capture(self) -> NDArray[np.uint8]:
        """Return the content of the screen, RGB, shape (height, width, 3)."""
        content = self._framebuffer.read_bytes()
        # The framebuffer is an X Window Dump: a header, a table of colours, and the rows. The
        # positions of the fields are in XWDFile.h.
        header = struct.unpack_from(">20I", content)
        header_size, width, height, row, colors = (header[at] for at in (0, 4, 5, 12, 19))
        # A row can be longer than the width. A pixel is blue, green, red and an unused byte.
        rows = np.frombuffer(content, np.uint8, height * row, header_size + 12 * colors)
        return rows.reshape(height, -1, 4)[:, :width, 2::-1]

    def count(self, color: tuple[int, int, int], tolerance: int = 2) -> int:
        """Return how many pixels of the screen have this colour, within ``tolerance``."""
        off = np.abs(self.capture().astype(int) - color).max(axis=-1)
        return int((off <= tolerance).sum())

    def titles(self) -> list[str]:
        """Return the titles of the open windows."""
        with _connect(self.name) as (x11, display):
            return [title for _, title in _windows(x11, display)]

    def hide(self, title: str) -> None:
        """Hide a window, as if the user had minimized it."""
        with _connect(self.name) as (x11, display):
            x11.XUnmapWindow(display, _window(x11, display, title))

    def press_close(self, title: str, timeout: float = 5.0) -> None:
        """Press the close button of a window. Wait up to ``timeout`` seconds for the window."""
        with _connect(self.name) as (x11, display):
            window = _window(x11, display, title, timeout)
            # A window manager does not close a window. It sends the message WM_DELETE_WINDOW, and
            # the program decides what to do.
            protocols, delete = (
                x11.XInternAtom(display, name, 0)
                for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
            )
            event = _ClientMessage(
                type=_CLIENT_MESSAGE, window=window, message_type=protocols, format=32
            )
            event.data[0] = delete
            x11.XSendEvent(display, window, 0, 0, ctypes.byref(event))


@contextmanager
def private_display() -> Iterator[Display]:
    """Run an Xvfb until the block ends. Raises ``FileNotFoundError`` if it is not installed."""
    program = shutil.which("Xvfb")
    if program is None:
        raise FileNotFoundError("Xvfb")
    folder = tempfile.mkdtemp(prefix="ps-x")
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [
            program,
            # Xvfb finds a free number itself. A number that we choose could be taken by then.
            "-displayfd",
            str(writing),
            "-screen",
            "0",
            SIZE,
            "-nolisten",
            "tcp",
            "-noreset",  # or it restarts when its last client ends, and refuses the next one
            "-fbdir",
            folder,
        ],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        # Keep the pipe open while Xvfb runs: writing into a closed pipe would end it.
        with open(reading) as pipe:
            number = pipe.readline().strip()
            assert number, f"Xvfb ended with status {process.wait()}"
            yield Display(f":{number}", Path(folder, "Xvfb_screen0"))
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
        with suppress(OSError):  # another screen uses the folder
            Path("/tmp/.X11-unix").rmdir()


_CLIENT_MESSAGE = 33


class _ClientMessage(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("rest", ctypes.c_long * 24),  # Xlib reads the union of all events, so fill its size
    ]


# It needs a name in the module: ctypes frees a callback without references, and Xlib would
# then call freed memory.
_ignore_error = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)


@contextmanager
def _connect(name: str) -> Iterator[tuple[Value, int]]:
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    # Without types, ctypes passes each pointer as a C int and cuts it to 32 bits.
    for function, arguments in (
        ("XInternAtom", [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
        ("XDefaultRootWindow", [ctypes.c_void_p]),
        ("XFetchName", [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p]),
        ("XQueryTree", [ctypes.c_void_p, ctypes.c_ulong, *[ctypes.c_void_p] * 4]),
        (
            "XSendEvent",
            [ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p],
        ),
        ("XUnmapWindow", [ctypes.c_void_p, ctypes.c_ulong]),
        ("XFree", [ctypes.c_void_p]),
        ("XCloseDisplay", [ctypes.c_void_p]),
    ):
        getattr(x11, function).argtypes = arguments
    for function in ("XInternAtom", "XDefaultRootWindow"):
        getattr(x11, function).restype = ctypes.c_ulong
    # A window may close while we ask for its title. Xlib's own handler would end the process.
    x11.XSetErrorHandler(_ignore_error)
    display = x11.XOpenDisplay(name.encode())
    assert display
    try:
        yield x11, display
    finally:
        x11.XCloseDisplay(display)  # also sends the requests that Xlib still has in its buffer


def _window(x11: Value, display: int, title: str, timeout: float = 60.0) -> int:
    deadline = time.monotonic() + timeout
    while title not in (found := {text: at for at, text in _windows(x11, display)}):
        assert time.monotonic() < deadline, f"no window {title!r} among {list(found)}"
        time.sleep(0.02)
    return found[title]


def _windows(x11: Value, display: int) -> list[tuple[int, str]]:
    unused = (ctypes.c_ulong * 2)()
    children = ctypes.POINTER(ctypes.c_ulong)()
    count = ctypes.c_uint()
    root = x11.XDefaultRootWindow(display)
    x11.XQueryTree(
        display,
        root,
        ctypes.byref(unused),
        ctypes.byref(unused, 8),
        ctypes.byref(children),
        ctypes.byref(count),
    )
    found = []
    for at in range(count.value):
        text = ctypes.c_char_p()
        if x11.XFetchName(display, children[at], ctypes.byref(text)):
            found.append((children[at], (text.value or b"").decode("utf-8", "replace")))
            x11.XFree(text)
    if children:
        x11.XFree(children)
    return found
