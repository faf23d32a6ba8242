"""Connections that never say hello keep no pipeline out, and no error blames a correct key."""

from __future__ import annotations

import re
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_stream import discovery
from polystore_testing.processes import becomes

from .processes import connect_to, describe, image, listening, pattern, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_stream.discovery import Endpoint

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SMALL = (40, 50)
GREETING = b"\xff" + bytes(8) + b"\x7f\3\1CURVE" + bytes(47)
"""The first half of a handshake."""
SAID = {
    "nothing": b"",
    "cut": GREETING[:11],
    "greeting": GREETING,
    "http": b"GET / HTTP/1.1\r\n",
}

LISTENS = {
    "tcp": """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
listen("default", listen="tcp://127.0.0.1:0")
""",
    "ipc": """
listen("default")
""",
}
"""Over ipc, ZeroMQ aborts if it has no free files. Only processes of the user connect there."""


@contextmanager
def strangers(
    endpoint: Endpoint, count: int, said: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Open ``count`` connections, without ZeroMQ, and send ``said`` on each."""
    transport, _, place = endpoint.address.partition("://")
    host, _, port = place.rpartition(":")
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            if transport == "ipc":
                one = stack.enter_context(socket.socket(socket.AF_UNIX))
                one.connect(place)
            else:
                one = stack.enter_context(socket.create_connection((host, int(port))))
            # The receiver may have closed it already.
            with suppress(ConnectionError):
                one.sendall(said)
            made.append(one)
        yield made


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def save(endpoint: Endpoint, path: str) -> None:
    data = pattern(1, SMALL)
    with connect_to(endpoint, timeout=20) as connection:
        connection.wait_for(connection.send(image(path, data), data, awaited=True))


@pytest.mark.parametrize("listens", LISTENS.values(), ids=LISTENS)
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_strangers_keep_nobody_out(said: bytes, listens: str) -> None:
    """A receiver with few files serves old and new producers, and closes the oldest strangers."""
    with running(listens) as child:
        endpoint = discovery.read_connection(child.says()["ready"])
        data = pattern(1, SMALL)
        with (
            connect_to(endpoint, timeout=20) as first,
            strangers(endpoint, 200, said) as silent,
        ):
            save(endpoint, "new")
            assert child.says() == describe("new", data)
            first.wait_for(first.send(image("old", data), data, awaited=True))
            assert child.says() == describe("old", data)
            assert becomes(lambda: sum(map(is_closed, silent)) >= 200 - 64)
            if not said:
                # Text that is not ZeroMQ is closed at once.
                assert all(map(is_closed, silent[: 200 - 64]))
                assert not any(map(is_closed, silent[-32:]))
        save(endpoint, "last")
        assert child.says() == describe("last", data)


def test_few_strangers_stay() -> None:
    """A producer may be stopped before its greeting and go on later, so a few are kept."""
    with (
        listening(listen="tcp://127.0.0.1:0") as listener,
        strangers(listener.endpoint, 60) as silent,
    ):
        save(listener.endpoint, "a")
        assert listener.item()["path"] == "a"
        assert not any(map(is_closed, silent))
        with strangers(listener.endpoint, 60):
            assert becomes(lambda: all(map(is_closed, silent[:56])))
            assert listener.state()["producers"] == 0


# ── the error in the pipeline ──────────────────────────────────────────────────────────────


@contextmanager
def tunnel(target: Endpoint, *, loses: int) -> Iterator[Endpoint]:
    """Forward connections as ssh does. The first ones are closed without a word."""
    host, _, port = target.address.removeprefix("tcp://").rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        threads = []

        def copy(source: socket.socket, other: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(1 << 16):
                    other.sendall(data)
                other.shutdown(socket.SHUT_WR)

        def serve() -> None:
            for number in range(loses + 1):
                with suppress(OSError):  # the test is over
                    here = server.accept()[0]
                    if number < loses:
                        here.close()
                        continue
                    there = socket.create_connection((host, int(port)))
                    for opened, other in ((here, there), (there, here)):
                        stack.enter_context(opened)
                        threads.append(threading.Thread(target=copy, args=(opened, other)))
                        threads[-1].start()

        threads.append(threading.Thread(target=serve))
        threads[0].start()
        yield replace(target, address=f"tcp://127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        threads[0].join()
        for thread in threads[1:]:
            thread.join()


def test_lost_handshake_is_tried_again() -> None:
    """A connection that is lost in its handshake does not blame the key."""
    with (
        listening(listen="tcp://127.0.0.1:0") as listener,
        tunnel(listener.endpoint, loses=2) as endpoint,
    ):
        save(endpoint, "a")
        assert listener.item() == describe("a", pattern(1, SMALL))


@pytest.mark.parametrize("encrypts", [True, False])
def test_tunnel_to_nowhere_is_named(encrypts: bool) -> None:
    """If connections end before a greeting, the error does not blame the key."""
    with (
        listening(listen="tcp://127.0.0.1:0") as listener,
        tunnel(listener.endpoint, loses=100) as endpoint,
        pytest.raises(ReceiverUnavailableError, match="before a greeting") as caught,
        connect_to(endpoint if encrypts else replace(endpoint, server_key="")),
    ):
        pass
    assert not re.search(r"\bkey\b", str(caught.value))
