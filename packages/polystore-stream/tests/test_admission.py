"""A receiver admits producers by token, by version of the protocol, and over tcp by key."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from polystore_core.errors import (
    IncompatibleReceiverError,
    ReceiverError,
    ReceiverTimeoutError,
    ReceiverUnavailableError,
)
from polystore_stream import Endpoint, RemoteViewer, discovery, receive
from polystore_stream.sending.connection import Connection
from polystore_stream.wire.messages import (
    PROTOCOL,
    Ack,
    Hello,
    Welcome,
    encode,
    read_header,
    read_reply,
)

from .processes import (
    connect_to,
    describe,
    hello_to,
    image,
    listening,
    pattern,
    raw,
    running,
    sending,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SMALL, LARGE = (40, 50), (1500, 1100)
"""A frame, and a value of several pieces."""


def test_wrong_token_is_refused(tmp_path: Path) -> None:
    """The error says that the token is wrong, and where to read the right one."""
    with listening() as listener:
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps(asdict(listener.endpoint) | {"token": "guessed"}))
        listener.file.write_text(forged.read_text())  # the announcement is wrong too
        for options in ({"connection": forged}, {}):
            with (
                sending(**options) as files,
                pytest.raises(ReceiverUnavailableError, match="the token is wrong: read"),
            ):
                files.save(pattern(0, SMALL), "a", backend="out")


REFUSAL = (
    "protocol {} is not supported: this receiver uses {}; upgrade polystore where the {} runs"
)
"""The versions of the producer and of the receiver, and which of them is older."""
OURS = ".".join(map(str, PROTOCOL))


@pytest.mark.parametrize(("protocol", "older"), [((0, 9), "producer"), ((2, 0), "receiver")])
def test_other_producer_is_refused(protocol: tuple[int, int], older: str) -> None:
    """An old producer learns both versions, and that the producer needs an upgrade."""
    with listening() as listener, raw(listener.endpoint) as socket:
        hello = hello_to(listener.endpoint, protocol=protocol)
        socket.send(encode(hello))
        reason = REFUSAL.format(".".join(map(str, protocol)), OURS, older)
        assert read_reply(socket.recv()) == Ack(
            number=hello.number, stage="rejected", reason=reason
        )
        # This producer has the version of the receiver.
        with sending() as files:
            files.save(pattern(0, SMALL), "a", backend="out")


@pytest.mark.parametrize(("protocol", "older"), [((0, 9), "receiver"), ((2, 0), "producer")])
def test_other_receiver_refuses(protocol: tuple[int, int], older: str) -> None:
    """A receiver of another major version rejects a save, and still serves its own producers."""
    code = f"""
from polystore_stream.receiving import intake
intake.PROTOCOL = {protocol}
listen("default")
"""
    with running(code) as child:
        file = child.says()["ready"]
        with sending() as files, pytest.raises(IncompatibleReceiverError) as caught:
            files.save(pattern(0, SMALL), "a", backend="out")
        endpoint = discovery.read_connection(file)
        reason = REFUSAL.format(OURS, ".".join(map(str, protocol)), older)
        expected = f"backend 'out': {endpoint.title} rejected the connection: {reason}"
        assert str(caught.value) == expected
        with raw(endpoint) as socket:
            socket.send(encode(hello_to(endpoint, protocol=protocol)))
            assert isinstance(read_reply(socket.recv()), Welcome)


def test_newer_minor_version_is_admitted() -> None:
    """A newer minor version is admitted, with fields that this receiver does not know."""
    with listening() as listener, raw(listener.endpoint) as socket:
        hello = json.loads(encode(hello_to(listener.endpoint, protocol=(1, 7))))
        socket.send(json.dumps(hello | {"colour": "red"}).encode())
        assert isinstance(read_reply(socket.recv()), Welcome)


WELCOME = '{"type":"welcome","number":1,"kind":"script","name":"default","version":"9","pid":1,'


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (WELCOME + '"protocol":[2,0]}', REFUSAL.format(OURS, "2.0", "producer")),
        (WELCOME + '"protocol":[0,9]}', REFUSAL.format(OURS, "0.9", "receiver")),
        ('{"type":"answer","number":1}', "answered hello with Answer"),
        ("HTTP/1.1 400 Bad Request", "sent an answer that cannot be read"),
        (
            '{"type":"ack","stage":"rejected","reason":"what?"}',
            "cannot read this producer's messages: w",
        ),
    ],
    ids=["newer", "older", "other", "garbage", "confused"],
)
def test_other_answer_is_refused(runtime_directory: Path, answer: str, text: str) -> None:
    """The error says if a receiver welcomes another protocol or no protocol at all."""
    with (
        fake_receiver(runtime_directory, lambda header: answer.encode()) as endpoint,
        pytest.raises(IncompatibleReceiverError, match=re.escape(text)),
    ):
        Connection(endpoint, "out")


def test_confused_receiver_ends_the_connection(runtime_directory: Path) -> None:
    """If a receiver cannot read a message, the connection ends and the caller does not wait."""

    def reply(header: Any) -> bytes:
        if isinstance(header, Hello):
            return encode(welcome(header))
        return b'{"type":"ack","stage":"rejected","reason":"no such axes"}'

    with (
        fake_receiver(runtime_directory, reply) as endpoint,
        connect_to(endpoint) as connection,
    ):
        data = pattern(0, SMALL)
        with pytest.raises(IncompatibleReceiverError, match="no such axes"):
            connection.wait_for(connection.send(image("a", data), data, awaited=True))
        assert not connection.is_usable


def test_silent_receiver_times_out(runtime_directory: Path) -> None:
    """A receiver that never answers raises an error after the time-out, with a remedy."""

    def reply(header: Any) -> bytes | None:
        return encode(welcome(header)) if isinstance(header, Hello) else None

    with (
        fake_receiver(runtime_directory, reply) as endpoint,
        connect_to(endpoint, timeout=0.3) as connection,
    ):
        data = pattern(0, SMALL)
        transfer = connection.send(image("a", data), data, awaited=True)
        with pytest.raises(ReceiverTimeoutError, match=r"not answered for 0.3 s; .*timeout="):
            connection.wait_for(transfer)


def welcome(hello: Hello) -> Welcome:
    return Welcome(
        number=hello.number,
        protocol=(1, 0),
        kind="script",
        name="default",
        version="",
        pid=os.getpid(),
    )


@contextmanager
def fake_receiver(folder: Path, reply: Any) -> Iterator[Endpoint]:
    """Run a ROUTER that sends ``reply`` for each message, like a receiver of another make."""
    endpoint = Endpoint(
        kind="script",
        name="default",
        address=f"ipc://{folder}/fake.sock",
        token="t",
        pid=os.getpid(),
        host="elsewhere",
    )
    ends = threading.Event()

    def serve() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.linger = 0
            socket.bind(endpoint.address)
            while not ends.is_set():
                if socket.poll(20):
                    identity, frame, *_ = socket.recv_multipart()
                    answer = reply(read_header(frame))
                    if answer is not None:
                        socket.send_multipart([identity, answer])

    thread = threading.Thread(target=serve)
    thread.start()
    yield endpoint
    ends.set()
    thread.join()
    (folder / "fake.sock").unlink(missing_ok=True)


# ── tcp ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [True, False], ids=["ring", "frames"])
def test_tcp_brings_images(share: bool) -> None:
    """Images travel encrypted if the producer has the connection file."""
    with listening(listen="tcp://127.0.0.1:0") as listener:
        assert listener.endpoint.address.startswith("tcp://127.0.0.1:")
        with sending(connection=listener.file) as files:
            files.save(pattern(1, LARGE), "a", backend="out")
        with connect_to(listener.endpoint, share_memory=share) as connection:
            data = pattern(2, LARGE)
            connection.wait_for(connection.send(image("b", data), data, awaited=True))
        assert listener.items(2) == [
            describe("a", pattern(1, LARGE)),
            describe("b", pattern(2, LARGE)),
        ]


def test_elsewhere_gets_frames() -> None:
    """A producer on another machine shares no memory, so the pixels travel as frames."""
    with listening(listen="tcp://127.0.0.1:0") as listener:
        endpoint = replace(listener.endpoint, host="elsewhere")
        with connect_to(endpoint) as connection:
            data = pattern(2, LARGE)
            connection.wait_for(connection.send(image("b", data), data, awaited=True))
        assert listener.state()["rings"] == 0
        assert listener.item() == describe("b", data)


def test_plain_client_is_unheard() -> None:
    """Over tcp, a producer without the key gets no answer."""
    with listening(listen="tcp://127.0.0.1:0") as listener:
        with raw(listener.endpoint) as socket:
            socket.rcvtimeo = 500
            socket.send(encode(hello_to(listener.endpoint)))
            with pytest.raises(zmq.Again):
                socket.recv()
        with sending(connection=listener.file) as files:
            files.save(pattern(1, SMALL), "a", backend="out")


@pytest.mark.parametrize("key", [zmq.curve_keypair()[0].decode(), ""], ids=["other", "none"])
def test_wrong_key_is_error(tmp_path: Path, key: str) -> None:
    """A wrong key is an error at once, not a time-out."""
    with listening(listen="tcp://127.0.0.1:0") as listener:
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps(asdict(listener.endpoint) | {"server_key": key}))
        with (
            sending(connection=forged) as files,
            pytest.raises(ReceiverUnavailableError, match="key"),
        ):
            files.save(pattern(0, SMALL), "a", backend="out")


def test_wrong_key_is_error_each_time() -> None:
    """The error also comes if ZeroMQ is slow to forget the connection before the next try."""
    with listening(listen="tcp://127.0.0.1:0") as listener:
        endpoint = replace(listener.endpoint, server_key="")
        for _ in range(50):
            with pytest.raises(ReceiverUnavailableError, match="key"):
                Connection(endpoint, "out")


def test_secrets_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The token is in no text, log or pickle."""
    caplog.set_level(logging.DEBUG)
    with receive(listen="tcp://127.0.0.1:0") as items:
        endpoint, receiver = items.receiver.endpoint, items.receiver
        with (
            sending(connection=receiver.connection_file) as files,
            connect_to(endpoint) as connection,
            RemoteViewer(endpoint) as viewer,
        ):
            files.save(pattern(0, SMALL), "a", backend="out")
            backend = files.registry["out"]
            texts = [*map(repr, (endpoint, connection, backend, files, viewer, receiver))]
            texts += [str(connection.__dict__), *map(str, items._current or ())]
            texts.append(pickle.dumps(files).decode("latin-1"))
            for unpicklable in (endpoint, connection, viewer):
                with pytest.raises(TypeError):
                    pickle.dumps(unpicklable)
    with pytest.raises(ReceiverError) as caught:
        Connection(replace(endpoint, token="guessed"), "out")
    texts += [str(caught.value), repr(caught.value), caplog.text]
    assert not [text for text in texts if endpoint.token in text]
