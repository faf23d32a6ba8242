"""Unusable messages to the Java transport, and producers that die."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_stream.sending.connection import Connection
from polystore_stream.wire.messages import (
    PIECE,
    PROTOCOL,
    Ack,
    Bye,
    Image,
    Piece,
    Query,
    Ring,
    Rois,
    encode,
    read_reply,
)
from polystore_testing.processes import becomes, left_in

from .echo import (
    GREETING,
    READY,
    Echo,
    compile_echo,
    connect,
    connect_plain,
    connect_raw,
    echo,
    greet,
    make_hello,
    pattern,
    read_back,
    run_producer,
    send,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

IMAGE = Image(number=7, path="a", nbytes=12, shape=(3, 4), dtype="|u1", axes="yx")
PIXELS = bytes(range(12))


def vary(**changes: Any) -> Image:
    found: Image = msgspec.structs.replace(IMAGE, **changes)
    return found


NBYTES = 2 * PIECE + PIECE // 2
LARGE = vary(nbytes=NBYTES, shape=(2, NBYTES // 2))


@pytest.fixture(scope="module", params=[-1, 0], ids=["ipc", "tcp"])
def shared_receiver(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Echo]:
    """One receiver for all tests of the module. It must survive them and print no complaint."""
    folder = tmp_path_factory.mktemp("ps")
    folder.chmod(0o700)
    classes = tmp_path_factory.mktemp("classes")
    compile_echo(classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
        with echo(classes, port=request.param) as running:
            yield running
    assert running.complaints == b""
    assert not left_in(folder)


@pytest.fixture
def receiver(shared_receiver: Echo) -> Iterator[Echo]:
    """The shared receiver. After the test it must serve a correct producer."""
    yield shared_receiver
    shared_receiver.tell("go")
    data = pattern(1, (1200, 1000))
    with connect(shared_receiver.endpoint) as producer:
        send(producer, "fine", data)
        np.testing.assert_array_equal(read_back(producer, "fine")[0], data)
    assert becomes(shared_receiver.is_idle)


# ── unreadable messages ──────────────────────────────────────────────────────────────────

UNREADABLE: dict[str, list[bytes]] = {
    "empty": [b""],
    "garbage": [b"\x80\x04\x95garbage"],
    "no-object": [b"[1, 2]"],
    "two-values": [b'{"type":"bye"} {}'],
    "cut": [b'{"type":"bye"'],
    "unknown-type": [b'{"type":"launch_missiles","number":1}'],
    "no-type": [b'{"number":1}'],
    "deep": [b"[" * 100_000],
    "deep-arguments": [b'{"type":"query","name":"a","arguments":{"a":' + b"[" * 9999],
    "wrong-field": [b'{"type":"piece","number":1,"of":"x","start":0,"nbytes":1}'],
    "surrogate": [b'{"type":"query","number":1,"name":"\\ud800"}'],
    "no-utf8": [b'{"type":"query","number":1,"name":"\xff"}'],
    "control": [b'{"type":"query","number":1,"name":"\x01"}'],
    "huge-number": [b'{"type":"query","number":123456789012345678901,"name":"a"}'],
    "infinite": [b'{"type":"query","name":"a","arguments":{"a":1e999}}'],
    "bad-number": [b'{"type":"query","name":"a","arguments":{"a":01}}'],
    "object-dtype": [encode(vary(dtype="|O")), PIXELS],
    "big-endian": [encode(vary(dtype=">u2")), PIXELS],
    "negative-shape": [encode(vary(shape=(-3, -4))), PIXELS],
    "overflow": [encode(vary(shape=(1 << 31, 1 << 31))), PIXELS],
    "product-overflows": [encode(vary(shape=(1 << 30, 1 << 30, 16), axes="zyx")), PIXELS],
    "other-nbytes": [encode(vary(nbytes=11)), PIXELS[:11]],
    "axes": [encode(vary(axes="xy")), PIXELS],
    "scale": [encode(vary(scale=(1.0,))), PIXELS],
    "policy": [encode(vary()).replace(b'"a"', b'"a","policy":"none"'), PIXELS],
    "no-path": [encode(vary(path="")), PIXELS],
    "no-bytes": [encode(Rois(number=7, path="a", nbytes=0, count=0))],
    "samples": [encode(vary(shape=(3, 2, 2), axes="yxs")), PIXELS],
}


@pytest.mark.parametrize("frames", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_message_ends_session(receiver: Echo, frames: list[bytes]) -> None:
    """An unreadable message gets one reply, and the producer must say hello again."""
    with greet(receiver.endpoint) as ask:
        reply = ask(*frames)
        assert (reply.stage, reply.number) == ("rejected", 0)
        assert "damaged" in reply.reason or "Java's limit" in reply.reason
        assert ask(IMAGE, PIXELS).reason == "the first message must be hello"
        ask(make_hello(receiver.endpoint))
        assert ask(IMAGE, PIXELS) == Ack(number=7, stage="received")


def test_hello_comes_first(receiver: Echo) -> None:
    """Before hello all messages are refused."""
    with connect_raw(receiver.endpoint) as producer:
        for header in (IMAGE, Piece(of=1, start=0, nbytes=3), Query(name="layers"), Bye()):
            producer.send_multipart([encode(header), PIXELS])
            refusal = Ack(
                number=header.number, stage="rejected", reason="the first message must be hello"
            )
            assert read_reply(producer.recv()) == refusal


def test_wrong_token_or_protocol(receiver: Echo) -> None:
    """A wrong token or protocol is refused with the reason, and does not count as hello."""
    with connect_raw(receiver.endpoint) as producer:
        for changes, reason in (
            ({"token": "x" * 22}, "the token is wrong"),
            ({"token": ""}, "the token is wrong"),
            ({"protocol": (2, 0)}, "protocol 2.0 is not supported: this receiver uses 1.1"),
        ):
            producer.send(encode(make_hello(receiver.endpoint, **changes)))
            reply: Any = read_reply(producer.recv())
            assert (reply.number, reply.stage) == (1, "rejected")
            assert reply.reason.startswith(reason)
            producer.send_multipart([encode(IMAGE), PIXELS])
            assert read_reply(producer.recv()).reason == "the first message must be hello"  # type: ignore[union-attr]
    wrong = replace(receiver.endpoint, token="x")
    with pytest.raises(ReceiverUnavailableError, match="the token is wrong"):
        Connection(wrong, "out")


REFUSED: dict[str, tuple[list[Any], str]] = {
    "no-frame": ([IMAGE], "expected one frame of 12 bytes"),
    "short-frame": ([IMAGE, PIXELS[:5]], "expected one frame of 12 bytes"),
    "long-frame": ([IMAGE, PIXELS * 2], "expected one frame of 12 bytes"),
    "two-frames": ([IMAGE, PIXELS, PIXELS], "expected one frame of 12 bytes"),
    "no-ring": ([vary(slot=0)], "this connection does not have a ring"),
    "unknown-message": (
        [Piece(number=7, of=99, start=0, nbytes=3), b"abc"],
        "message 99, which",
    ),
    "too-large": (
        [vary(shape=(1 << 30, 1 << 20, 1 << 10), nbytes=1 << 60, axes="zyx"), PIXELS],
        "Memory & Threads",
    ),
    "too-wide": ([vary(shape=(1 << 30, 1 << 30), nbytes=1 << 60), PIXELS], "an array of Java"),
    "many-planes": (
        [vary(shape=(1 << 30, 1, 1), nbytes=1 << 30, axes="zyx"), PIXELS],
        "Memory & Threads",
    ),
}


@pytest.mark.parametrize(("frames", "reason"), REFUSED.values(), ids=REFUSED)
def test_unusable_message_is_refused(receiver: Echo, frames: list[Any], reason: str) -> None:
    """A readable message with wrong content is rejected with its number. The session goes on."""
    with greet(receiver.endpoint) as ask:
        reply = ask(*frames)
        assert (reply.stage, reply.number) == ("rejected", 7)
        assert reason in reply.reason
        assert ask(vary(number=8), PIXELS).stage == "received"


def test_pieces_come_in_order(receiver: Echo) -> None:
    """A piece in the wrong place ends the value and frees its room."""
    whole = bytes(PIECE)
    for start, nbytes in (
        (0, PIECE),
        (2 * PIECE, PIECE // 2),
        (PIECE, PIECE + 1),
        (PIECE, 0),
        (PIECE, -5),
        (PIECE, PIECE // 2),
        (-PIECE, PIECE),
        (1 << 62, 1 << 62),
    ):
        with greet(receiver.endpoint) as ask:
            assert ask(LARGE, whole).stage == "received"
            assert receiver.ask("state")["nbytes"] == LARGE.nbytes
            wrong = ask(Piece(number=8, of=7, start=start, nbytes=nbytes), whole)
            assert (wrong.number, wrong.stage) == (8, "rejected")
            assert receiver.ask("state")["nbytes"] == 0
            late = ask(Piece(number=9, of=7, start=PIECE, nbytes=PIECE), whole)
            assert (late.number, late.stage) == (9, "rejected")


def test_number_is_used_once(receiver: Echo) -> None:
    """A second message with a number in use, or a second hello, leaks no room."""
    with greet(receiver.endpoint) as ask:
        ask(LARGE, bytes(PIECE))
        assert "message number 7 is already in use" in ask(LARGE, bytes(PIECE)).reason
        assert receiver.ask("state")["nbytes"] == LARGE.nbytes
        assert ask(make_hello(receiver.endpoint)).pid == receiver.pid
        assert receiver.ask("state")["nbytes"] == 0


def test_goodbye_frees_room(receiver: Echo) -> None:
    """Bye or a lost connection ends an unfinished value and frees its room."""
    with greet(receiver.endpoint) as ask:
        ask(LARGE, bytes(PIECE))
        ask(Bye(), hear=False)
        assert becomes(lambda: receiver.ask("state")["nbytes"] == 0, 1)
        assert ask(IMAGE, PIXELS).reason == "the first message must be hello"
    with greet(receiver.endpoint) as ask:
        ask(LARGE, bytes(PIECE))
        assert receiver.ask("state")["nbytes"] == LARGE.nbytes
    assert becomes(lambda: receiver.ask("state")["nbytes"] == 0, 1)  # this process lives on


def test_odd_frames_do_no_harm(receiver: Echo) -> None:
    """Empty messages, a thousand frames, a huge header and 100 MB at once."""
    with greet(receiver.endpoint) as ask:
        ask(b"", hear=False)
        ask(*[b"x"] * 1000, hear=False)
        ask(b'{"type":"query","name":"' + b"x" * 8_000_000 + b'"}', hear=False)
    with greet(receiver.endpoint) as ask:
        ask(vary(nbytes=100 << 20, shape=(100, 1 << 20)), bytes(100 << 20), hear=False)
        assert becomes(lambda: receiver.ask("state")["nbytes"] == 0, 3)


def test_random_messages_do_no_harm(receiver: Echo) -> None:
    """Two thousand messages, each a correct one with some changed bytes."""
    chance = random.Random(5)
    ring = Ring(number=1, path=f"/proc/{os.getpid()}/fd/1", size=4096, nonce="00")
    honest = [
        [encode(IMAGE), PIXELS],
        [encode(LARGE), bytes(PIECE)],
        [encode(Piece(number=8, of=7, start=PIECE, nbytes=PIECE)), bytes(PIECE)],
        [encode(Rois(number=7, path="a", nbytes=2, count=0)), b"[]"],
        [encode(ring)],
        [encode(Query(number=3, name="layers", arguments={"a": [1, {}]}))],
        [encode(make_hello(receiver.endpoint))],
        [encode(Bye())],
    ]
    with connect_raw(receiver.endpoint) as producer:
        for _ in range(2000):
            frames = [bytearray(frame) for frame in chance.choice(honest)]
            for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
                frame = chance.choice(frames)
                index = chance.randrange(len(frame))
                frame[index] = chance.choice(b'0123456789-."{}[]ax\xff\0')
            if chance.random() < 0.1:
                chance.shuffle(frames)
            producer.send_multipart(frames)
            while producer.poll(0):
                read_reply(producer.recv_multipart()[0])


# ── other protocols than ZeroMQ ──────────────────────────────────────────────────────────


def is_dropped(connection: socket.socket) -> bool:
    with suppress(ConnectionError):  # dropped before all was read
        while connection.recv(4096):
            pass
    return True


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(64),
    "old": GREETING.replace(b"\x7f\3", b"\x7f\2") + READY,
    "curve": GREETING.replace(b"NULL\0", b"CURVE"),
    "publisher": GREETING + b"\4\x19\5READY\13Socket-Type\0\0\0\3PUB",
    "no-ready": GREETING + b"\0\1x",
    "flags": GREETING + READY + b"\xf0\1x",
    "long": GREETING + READY + b"\2" + bytes([0x7F]) + b"\xff" * 7,
    "negative": GREETING + READY + b"\2" + b"\xff" * 8,
    "long-header": GREETING + READY + b"\2" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20),
    "long-command": GREETING + READY + b"\6" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20),
    "error": GREETING + READY + b"\4\x09\5ERROR\2no",
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_dropped(receiver: Echo, sent: bytes) -> None:
    """A connection with another protocol is dropped."""
    with connect_plain(receiver.endpoint) as connection:
        with suppress(ConnectionError):  # it may be dropped already
            connection.sendall(sent)
        assert is_dropped(connection)


def test_random_bytes_are_survived(receiver: Echo) -> None:
    """Three hundred starts of a session, cut off or damaged."""
    chance = random.Random(6)
    hello = encode(make_hello(receiver.endpoint))
    start = GREETING + READY + b"\2" + len(hello).to_bytes(8, "big") + hello
    for _ in range(300):
        damaged = bytearray(start[: chance.randrange(len(start))])
        for _ in range(chance.choice((0, 1, 3))):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with connect_plain(receiver.endpoint) as connection:
            connection.sendall(damaged)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("greeting", [b"", GREETING + READY], ids=["nothing", "greeting"])
def test_silent_connections_are_dropped(receiver: Echo, greeting: bytes) -> None:
    """Of many connections without greeting or hello, the oldest are dropped.

    They keep out no producer, old or new, and the newest of them stay.
    """
    with connect(receiver.endpoint) as good, ExitStack() as stack:
        silent = [stack.enter_context(connect_plain(receiver.endpoint)) for _ in range(600)]
        for connection in silent:
            with suppress(ConnectionError):  # it may be dropped already
                connection.sendall(greeting)
        with connect(receiver.endpoint) as new:
            send(new, "a", pattern(1, (9, 9)))
        assert becomes(lambda: all(map(is_ended, silent[: 600 - 64])))
        assert not any(map(is_ended, silent[-32:]))
        assert good.is_usable
        send(good, "a", pattern(1, (9, 9)))


def is_ended(connection: socket.socket) -> bool:
    """Return whether a connection was dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_connections_are_limited(receiver: Echo) -> None:
    """Connections above the limit are dropped, and room for new ones is free again."""
    with ExitStack() as stack:
        opened = [stack.enter_context(connect_plain(receiver.endpoint)) for _ in range(1000)]
        assert is_dropped(opened[0])
        assert receiver.ask("state")["producers"] <= 500
    assert becomes(lambda: receiver.ask("state")["producers"] == 0)


# ── producers that die ───────────────────────────────────────────────────────────────────

PRODUCER = """
from polystore_stream.discovery import read_connection
with connect(read_connection({file!r}), max_in_flight=4 << 20) as producer:
    data = pattern(1, (1200, 1000))
    send(producer, "before", data)
    {fork}
    print(flush=True)
    data = pattern(1, (4000, 4000))
    while True:
        producer.send(image("large", data), data, awaited=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("holds", [False, True], ids=["reading", "waiting"])
def test_killed_producer_frees_all(receiver: Echo, holds: bool) -> None:
    """The ring and the unfinished image of a killed producer are released, also while it waits."""
    for trial in range(2):
        with run_producer(PRODUCER.format(file=str(receiver.file), fork="")) as producer:
            assert producer.stdout is not None
            assert producer.stdout.readline()
            assert receiver.count_rings() == 1
            receiver.tell("hold" if holds else "go")
            time.sleep(0.5 + trial * 0.05)
            producer.kill()
            receiver.tell("go")
            assert becomes(receiver.is_idle)


@pytest.mark.faults
def test_killed_while_child_lives(receiver: Echo) -> None:
    """A child that inherited the descriptors does not keep the ring at the receiver."""
    fork = "child = os.fork() or time.sleep(8) or os._exit(0)"
    code = "import time\n" + PRODUCER.format(file=str(receiver.file), fork=fork)
    with run_producer(code) as producer:
        assert producer.stdout is not None
        assert producer.stdout.readline()
        child = int(Path(f"/proc/{producer.pid}/task/{producer.pid}/children").read_text())
        time.sleep(0.2)
        producer.kill()
        try:
            assert becomes(receiver.is_idle)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.faults
def test_unread_replies_block_no_other(receiver: Echo) -> None:
    """A producer that reads no replies blocks neither the viewer nor other producers."""
    with run_producer(PRODUCER.format(file=str(receiver.file), fork="")) as producer:
        assert producer.stdout is not None
        assert producer.stdout.readline()
        producer.send_signal(signal.SIGSTOP)
        data = pattern(1, (300, 300))
        with connect(receiver.endpoint) as other:
            for _ in range(50):
                send(other, "other", data, wait="shown")


def test_unknown_fields_are_ignored(receiver: Echo) -> None:
    """A later minor version may send more fields."""
    header = json.loads(encode(IMAGE)) | {
        "more": {"of": ["it"]},
        "group": "g",
        "original": "|b1",
    }
    with greet(receiver.endpoint) as ask:
        assert ask(json.dumps(header).encode(), PIXELS).stage == "received"
        assert ask(make_hello(receiver.endpoint, protocol=(1, 7))).protocol == PROTOCOL
