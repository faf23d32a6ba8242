"""The Java transport in its own process, and producers that follow the protocol or break it."""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import zmq

from polystore_stream import discovery
from polystore_stream.sending.connection import Connection
from polystore_stream.wire.messages import Hello, Image, Query, encode, read_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polystore_stream.discovery import Endpoint

HERE = Path(__file__).parent


def java(tool: str) -> str:
    """Return the path of a JDK program from JAVA_HOME or the PATH. Skip the test without it."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(f"{home}/bin/{tool}") if home else shutil.which(tool)
    if found is None:
        pytest.skip(f"no {tool}: apt-get install default-jdk-headless")
    return found


def compile_echo(folder: Path) -> None:
    """Compile the transport and the viewer of the tests. Any warning is an error."""
    command = [java("javac"), "--release", "8", "-Xlint:all,-options", "-Werror", "-sourcepath"]
    source = HERE / "java/Echo.java"
    subprocess.run([*command, HERE.parent / "java", "-d", folder, source], check=True)


class Echo:
    """A running receiver, see java/Echo.java."""

    def __init__(
        self, classes: Path, name: str = "one", *, port: int | str = -1, heap: str = "256m"
    ) -> None:
        options = [f"-Xmx{heap}", "-cp", str(classes), "polystore.fiji.transport.Echo"]
        self.process = subprocess.Popen(
            [java("java"), *options, name, str(port), "true"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.pid = self.process.pid
        self.taken: list[str] = []
        self.complaints = b""
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._readers = [threading.Thread(target=f) for f in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()
        self.first_line = self._lines.get(timeout=60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            found = json.loads(line)
            if "path" in found:
                self.taken.append(found["path"])
            else:
                self._lines.put(found)
        self._lines.put({"ended": True})

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.complaints = self.process.stderr.read()

    @property
    def file(self) -> Path:
        return Path(self.first_line["ready"])

    @property
    def endpoint(self) -> Endpoint:
        return discovery.read_connection(self.file)

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, word: str) -> dict[str, Any]:
        self.tell(word)
        return self._lines.get(timeout=60)

    def is_idle(self) -> bool:
        """Return whether the receiver holds no producer, no ring and no value."""
        return self.has_no_producers() and self.ask("state")["nbytes"] == 0

    def has_no_producers(self) -> bool:
        """Return whether the receiver holds no producer and no ring of one."""
        return self.ask("state")["producers"] == 0 and self.count_rings() == 0

    def count_rings(self) -> int:
        """Return how many rings of producers the receiver has mapped."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return maps.count("memfd:polystore-ring")

    def end(self) -> None:
        """Close its input, and wait until the process ends. After a minute, kill it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        try:
            self.process.stdin.close()
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            for reader in self._readers:
                reader.join()
            self.process.stdout.close()
            self.process.stderr.close()


@contextmanager
def echo(classes: Path, *arguments: Any, **options: Any) -> Iterator[Echo]:
    running = Echo(classes, *arguments, **options)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def connect(endpoint: Endpoint, **options: Any) -> Iterator[Connection]:
    connection = Connection(endpoint, "out", **options)
    try:
        yield connection
    finally:
        connection.close()


def image(path: str, data: Any, axes: str = "yx", **fields: Any) -> Image:
    dtype = data.dtype.str
    return Image(
        path=path, nbytes=data.nbytes, shape=data.shape, dtype=dtype, axes=axes, **fields
    )


def send(connection: Connection, path: str, data: Any, axes: str = "yx", **fields: Any) -> Any:
    """Send an image, and return the last reply about it."""
    item = image(path, data, axes, **fields)
    return connection.wait_for(connection.send(item, data, awaited=True))


def read_back(connection: Connection, path: str) -> tuple[Any, list[str]]:
    """Return the array that the receiver holds for a path, and the Java types of its planes."""
    query = Query(name="pixels", arguments={"path": path})
    answer, frames = connection.ask(query, 10)
    [(shape, dtype)] = answer.arrays
    return np.frombuffer(frames[0], dtype).reshape(shape), answer.value


def pattern(number: int, shape: tuple[int, ...], dtype: str = "u2") -> Any:
    """Return an image of random pixels. Each number gives another image."""
    chance = np.random.default_rng(number)
    return chance.integers(0, 250, shape, dtype=np.uint8).astype(dtype)


# ── producers of single messages ─────────────────────────────────────────────────────────


def make_hello(endpoint: Endpoint, **changes: Any) -> Hello:
    fields: dict[str, Any] = {"number": 1, "protocol": (1, 0), "token": endpoint.token}
    fields |= {"producer": "test", "pid": os.getpid(), "host": endpoint.host}
    return Hello(**(fields | changes))


def make_header(shape: tuple[int, ...], axes: str, **fields: Any) -> Image:
    """Return the message for an 8-bit image. Its pixels need not exist."""
    given: dict[str, Any] = {"number": 7, "path": "a", "nbytes": math.prod(shape)}
    return Image(shape=shape, dtype="|u1", axes=axes, **(given | fields))


@contextmanager
def connect_raw(endpoint: Endpoint) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as made:
        made.linger, made.rcvtimeo = 0, 60_000
        made.connect(endpoint.address)
        yield made


@contextmanager
def greet(endpoint: Endpoint) -> Iterator[Callable[..., Any]]:
    """Say hello, and yield a function that sends frames and returns the reply."""
    with connect_raw(endpoint) as connection:

        def ask(*frames: Any, hear: bool = True) -> Any:
            parts = [encode(f) if isinstance(f, msgspec.Struct) else f for f in frames]
            connection.send_multipart(parts)
            return read_reply(connection.recv()) if hear else None

        ask(make_hello(endpoint))
        yield ask


GREETING = b"\xff" + bytes(8) + b"\x7f\3\1NULL" + bytes(48)
READY = b"\4\x1c\5READY\13Socket-Type\0\0\0\6DEALER"


def connect_plain(endpoint: Endpoint) -> socket.socket:
    """Connect without ZeroMQ. The caller must send GREETING and READY first."""
    transport, _, place = endpoint.address.partition("://")
    if transport == "ipc":
        made = socket.socket(socket.AF_UNIX)
        made.connect(place)
    else:
        host, _, port = place.rpartition(":")
        made = socket.create_connection((host, int(port)))
    made.settimeout(60)
    return made


@contextmanager
def run_producer(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a producer in its own process. Its code can use the names of this module."""
    prelude = f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom echo import *\n"
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", prelude + code], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
