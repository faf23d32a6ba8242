"""Other processes: scripts that receive, viewers, producers, and their leftovers.

A child prints lines of JSON and obeys one command a line. It ends with the process that
started it, because that closes the pipe.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from polystore_core import BackendRegistry, FileManager
from polystore_stream import Receiver, Viewer, discovery, receive
from polystore_stream.sending.connection import Connection
from polystore_stream.wire.messages import Hello, Image
from polystore_testing.processes import becomes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_stream.discovery import Endpoint
    from polystore_stream.receiving.subscription import Subscription

TIMEOUT = 60.0


class Child:
    """A Python process next to the test. Every warning in it is an error."""

    def __init__(self, *arguments: str, before: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-P", "-W", "error", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self.process.pid
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def says(self, timeout: float = TIMEOUT) -> Any:
        """Return its next message, or ``None`` once it has ended."""
        line = self._lines.get(timeout=timeout)
        return json.loads(line) if line else None

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, timeout: float = TIMEOUT) -> int:
        return self.process.wait(timeout)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def running(code: str, *arguments: object, before: Sequence[str] = ()) -> Iterator[Child]:
    """Run code until the block ends. The code has all names of this module."""
    prelude = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    prelude += "from processes import *\n"
    child = Child("-c", prelude + code, *map(str, arguments), before=before)
    try:
        yield child
    finally:
        child.end()


class Listener:
    """A script that receives values and reports them."""

    def __init__(self, channel: str = "default", **options: Any) -> None:
        arguments = json.dumps({"channel": channel, **options})
        self.child = Child(__file__, "listen", arguments)
        self.pid = self.child.pid
        self._items: list[dict[str, Any]] = []
        said = self.child.says()
        self.file = Path(said["ready"])
        self.endpoint = discovery.read_connection(self.file)

    def item(self, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Return the next value that it took: path, shape, dtype, crc, series."""
        if self._items:
            return self._items.pop(0)
        said: dict[str, Any] = self.child.says(timeout)
        return said

    def items(self, count: int) -> list[dict[str, Any]]:
        return [self.item() for _ in range(count)]

    def until(self, path: str) -> list[dict[str, Any]]:
        """Return all that it takes, up to the value with that path."""
        taken = [self.item()]
        while taken[-1]["path"] != path:
            taken.append(self.item())
        return taken

    def state(self) -> dict[str, Any]:
        """Return queued bytes, producers, rings, peak memory in bytes, and open descriptors."""
        self.child.tell("state")
        while "nbytes" not in (said := self.child.says()):
            self._items.append(said)
        found: dict[str, Any] = said
        return found

    def go_on(self) -> None:
        """Let it start to take values, or take them faster."""
        self.child.tell("go")

    def close(self) -> None:
        """Close it as its user would."""
        self.child.tell("close")

    def has_ended(self) -> bool:
        """Whether it has ended by itself. Skip the values that it still reports."""
        while (said := self.child.says()) is not None:
            if "ended" in said:
                return True
        return False

    def kill(self) -> None:
        self.child.kill()

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def carry_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        self.child.end()


@contextmanager
def listening(channel: str = "default", **options: Any) -> Iterator[Listener]:
    """Run a script that receives, with options of ``receive``. ``hold`` and ``pause`` slow it."""
    listener = Listener(channel, **options)
    try:
        yield listener
    finally:
        listener.end()


# ── code of the other process ──────────────────────────────────────────────────────────────


def say(**words: Any) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def hear() -> str:
    return sys.stdin.readline().strip()


@functools.cache
def pattern(number: int, shape: tuple[int, ...], dtype: str = "u2") -> Any:
    """Return an image whose parts all differ, also from images of other numbers."""
    chance = np.random.default_rng(number)
    return chance.integers(0, 250, shape, dtype=np.uint8).astype(dtype)


def checksum(data: Any) -> int:
    return zlib.crc32(data.tobytes() if isinstance(data, np.ndarray) else repr(data).encode())


def listen(
    channel: str,
    *,
    pause: float = 0.0,
    hold: bool = False,
    announce_items: bool = True,
    **options: Any,
) -> None:
    goes = threading.Event()
    if not hold and not pause:
        goes.set()
    items = receive(channel, **options)
    threading.Thread(target=_obey, args=(items, goes), daemon=True).start()
    say(ready=str(items.receiver.connection_file))
    if hold:
        goes.wait()
    with items:
        for item in items:
            shape = getattr(item.data, "shape", (len(item.data),))
            kind = item.data.dtype.str if isinstance(item.data, np.ndarray) else "rois"
            if announce_items:
                say(path=item.path, shape=shape, dtype=kind, crc=checksum(item.data))
            goes.wait(pause)
    say(ended=True)
    hear()


def _obey(items: Subscription, goes: threading.Event) -> None:
    for word in sys.stdin:
        if word == "go\n":
            goes.set()
        elif word == "close\n":
            items.receiver.close()
            goes.set()
        else:
            say(**state_of(items.receiver))
    os._exit(0)  # the process that started this one has ended


def state_of(receiver: Receiver) -> dict[str, Any]:
    status = Path("/proc/self/status").read_text()
    return {
        "nbytes": receiver.inbox.nbytes,
        "producers": len(receiver._sessions.by_identity),
        "rings": Path("/proc/self/maps").read_text().count("memfd:polystore-ring"),
        "peak": int(status.partition("VmHWM:")[2].split()[0]) << 10,
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


class Toy(Viewer):
    """A viewer without a window, which shows each value at once."""

    kind = "toy"

    def __init__(self, name: str = "default") -> None:
        self.came = threading.Event()
        self.receiver = Receiver(self, name)

    def wake(self) -> None:
        self.came.set()

    def show(self) -> None:
        while not self.receiver.is_closed:
            self.came.wait()
            self.came.clear()
            for delivery in self.receiver.take():
                self.receiver.settle(delivery, "shown")


TOY = [sys.executable, "-P", "-W", "error", __file__, "toy"]


@contextmanager
def sending(**options: Any) -> Iterator[FileManager]:
    """Give a file manager whose backend "out" is ``streaming`` with these options."""
    with BackendRegistry() as registry:
        registry.add("out", "streaming", **options)
        yield FileManager(registry)


def describe(path: str, data: Any) -> dict[str, Any]:
    """Return the report of a listener about a value that arrived whole."""
    return {
        "path": path,
        "shape": list(data.shape),
        "dtype": data.dtype.str,
        "crc": checksum(data),
    }


def image(path: str, data: Any) -> Image:
    return Image(
        path=path, nbytes=data.nbytes, shape=data.shape, dtype=data.dtype.str, axes="yx"
    )


@contextmanager
def raw(endpoint: Endpoint) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvtimeo = 0, 60_000
        socket.connect(endpoint.address)
        yield socket


def hello_to(endpoint: Endpoint, *, protocol: tuple[int, int] = (1, 0)) -> Hello:
    return Hello(
        number=1,
        protocol=protocol,
        token=endpoint.token,
        producer="test",
        pid=os.getpid(),
        host=endpoint.host,
    )


@contextmanager
def connect_to(endpoint: Endpoint, **options: Any) -> Iterator[Connection]:
    connection = Connection(endpoint, "out", **options)
    try:
        yield connection
    finally:
        connection.close()


# ── help for the tests ────────────────────────────────────────────────────────────────────


def wait_for_receiver(kind: str = "script", name: str | None = None) -> Endpoint:
    assert becomes(lambda: discovery.find(kind, name), TIMEOUT)
    return discovery.find(kind, name)[0]


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        arguments = json.loads(sys.argv[2])
        listen(arguments.pop("channel"), **arguments)
    else:
        Toy(*sys.argv[2:]).show()
