"""Stopped producers (SIGSTOP) block no other producer, and can continue later."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_stream.wire.messages import PIECE, Piece, encode
from polystore_testing.processes import becomes

from .echo import (
    GREETING,
    READY,
    Echo,
    compile_echo,
    connect,
    connect_plain,
    echo,
    image,
    make_hello,
    pattern,
    read_back,
    run_producer,
    send,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_stream.sending.connection import Connection

pytestmark = [
    pytest.mark.faults,
    pytest.mark.screen,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

LARGE = (4000, 3000)
"""An image of this shape has 24 MB. The room is enough for one of them, but not for two."""


STOPS = """
import signal
from polystore_stream.discovery import read_connection
from polystore_stream.sending.link import Link
written, write = 0, Link.write
def write_or_stop(link, frames):
    global written
    written += 1
    if written == {message}:
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    write(link, frames)
Link.write = write_or_stop
with connect(read_connection({file!r}), share_memory={shares}) as producer:
    send(producer, "stopped{number}", pattern({number}, {shape}), policy={policy!r})
    print("saved", flush=True)
"""
MESSAGES = {"hello": 1, "header": 3, "piece": 4, "amid": 8, "last": 14}
"""A producer is stopped before it writes the message with this number."""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_echo(folder)
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ps")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", params=[-1, 0], ids=["ipc", "tcp"])
def shared_receiver(
    runtime: Path, classes: Path, request: pytest.FixtureRequest
) -> Iterator[Echo]:
    """A receiver with 32 MiB of room."""
    with echo(classes, "stopped", port=request.param) as running:
        yield running
    assert running.complaints == b""


@pytest.fixture
def receiver(shared_receiver: Echo) -> Iterator[Echo]:
    """The shared receiver. After the test it must not hold a value or a ring of any producer."""
    yield shared_receiver
    with connect(shared_receiver.endpoint) as producer:
        send(producer, "other", pattern(2, LARGE))
    assert becomes(shared_receiver.is_idle)


@contextmanager
def stop_producer(
    receiver: Echo, number: int, message: int, *, shares: bool = True, policy: str = "block"
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a producer that stops before it writes that message."""
    code = STOPS.format(
        file=str(receiver.file),
        number=number,
        message=message,
        shares=shares,
        shape=LARGE,
        policy=policy,
    )
    with run_producer(code) as producer:
        assert read_line(producer) == b"stops\n"
        yield producer


def read_line(producer: subprocess.Popen[bytes]) -> bytes:
    assert producer.stdout is not None
    return producer.stdout.readline()


def check_end(producer: subprocess.Popen[bytes]) -> None:
    assert read_line(producer) == b"saved\n"
    assert producer.wait() == 0


def check_held(connection: Connection, path: str, number: int) -> None:
    np.testing.assert_array_equal(read_back(connection, path)[0], pattern(number, LARGE))


@pytest.mark.parametrize("shares", [True, False], ids=["ring", "frames"])
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_stopped_producer_blocks_no_other(receiver: Echo, message: int, shares: bool) -> None:
    """Others are served, and the value of the stopped producer arrives whole later."""
    message -= not shares and message > 1  # the second message offers the ring
    with (
        stop_producer(receiver, 7, message, shares=shares) as producer,
        connect(receiver.endpoint) as other,
    ):
        for number in range(3):
            assert send(other, "other", pattern(number, LARGE), wait="shown").stage == "shown"
            check_held(other, "other", number)
        producer.send_signal(signal.SIGCONT)
        check_end(producer)
        check_held(other, "stopped7", 7)


def test_stopped_before_hello(receiver: Echo) -> None:
    """A producer may say hello after any time."""
    with stop_producer(receiver, 7, 1) as producer, connect(receiver.endpoint) as other:
        time.sleep(7)  # longer than any deadline
        producer.send_signal(signal.SIGCONT)
        check_end(producer)
        check_held(other, "stopped7", 7)


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_several_stopped_producers(receiver: Echo, policy: str) -> None:
    """A producer that runs has room, and all values arrive in the end."""
    with (
        stop_producer(receiver, 1, 8, policy=policy) as one,
        stop_producer(receiver, 2, 12, policy=policy) as two,
        stop_producer(receiver, 3, 5, policy=policy) as three,
        connect(receiver.endpoint) as other,
    ):
        assert send(other, "other", pattern(4, LARGE)).stage == "received"
        for producer in (three, one, two):
            producer.send_signal(signal.SIGCONT)
        for producer in (three, one, two):
            check_end(producer)
        for number in (1, 2, 3):
            check_held(other, f"stopped{number}", number)


def test_continued_producer_waits_for_room(receiver: Echo) -> None:
    """If others use its room, a producer that continues waits for room like any other."""
    receiver.tell("hold")
    with (
        stop_producer(receiver, 7, 8) as producer,
        connect(receiver.endpoint, timeout=60) as other,
    ):
        send(other, "other", pattern(1, LARGE))
        full = receiver.ask("state")["nbytes"]
        producer.send_signal(signal.SIGCONT)
        assert receiver.ask("state")["nbytes"] == full
        receiver.tell("go")
        check_end(producer)
        check_held(other, "stopped7", 7)


def test_killed_after_stop(receiver: Echo) -> None:
    """If a stopped producer without room dies, the receiver holds no room for it."""
    with connect(receiver.endpoint) as other:
        with stop_producer(receiver, 7, 8):
            send(other, "other", pattern(1, LARGE))
        assert becomes(lambda: receiver.ask("state")["producers"] == 1)
        assert receiver.ask("state")["nbytes"] == 0
        send(other, "other", pattern(2, LARGE))
        check_held(other, "other", 2)


def test_stopped_within_frame(receiver: Echo) -> None:
    """A frame that arrives in part blocks no other producer."""
    data = pattern(7, LARGE)
    item = image("stopped7", data, number=2)
    payload = data.tobytes()

    def frame(body: bytes, more: bool = False) -> bytes:
        return bytes([2 | more]) + len(body).to_bytes(8, "big") + body

    with connect_plain(receiver.endpoint) as connection, connect(receiver.endpoint) as other:
        hello = frame(encode(make_hello(receiver.endpoint)))
        connection.sendall(GREETING + READY + hello)
        sent = frame(encode(item), more=True) + frame(payload[:PIECE])
        connection.sendall(sent[:-1001])  # ends within an element
        send(other, "other", pattern(1, LARGE))
        check_held(other, "other", 1)
        connection.sendall(sent[-1001:])
        for start in range(PIECE, len(payload), PIECE):
            part = payload[start : start + PIECE]
            piece = Piece(number=start, of=2, start=start, nbytes=len(part))
            connection.sendall(frame(encode(piece), more=True) + frame(part))
        assert becomes(lambda: "stopped7" in receiver.taken)
        check_held(other, "stopped7", 7)
