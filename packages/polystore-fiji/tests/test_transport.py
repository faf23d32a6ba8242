"""Real producers send to the Java transport, and get its replies."""

from __future__ import annotations

import json
import os
import random
import stat
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import ReceiverUnavailableError, RejectedError
from polystore_core.rois import ROI, Polygon
from polystore_stream import discovery
from polystore_stream.sending import connection
from polystore_stream.wire.messages import PIECE, PROTOCOL, Query, Rois, encode, read_reply
from polystore_stream.wire.ring import RingWriter
from polystore_testing.processes import becomes, left_in, pipeline

from .echo import (
    Echo,
    compile_echo,
    connect,
    connect_raw,
    echo,
    greet,
    image,
    make_hello,
    pattern,
    read_back,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

LARGE = (1500, 1101)
"""An image of this shape is sent in several pieces."""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_echo(folder)
    return folder


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A private folder whose name is short enough for the names of sockets."""
    folder = tmp_path_factory.mktemp("ps")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", params=[-1, 0], ids=["ipc", "tcp"])
def viewer(runtime: Path, classes: Path, request: pytest.FixtureRequest) -> Iterator[Echo]:
    with echo(classes, port=request.param) as running:
        yield running
        assert running.complaints == b""


@pytest.fixture
def small_receiver(runtime: Path, classes: Path) -> Iterator[Echo]:
    """A receiver with 8 MiB of room, for one test."""
    with echo(classes, "alone", heap="64m") as running:
        yield running
        assert running.process.poll() is not None or becomes(running.has_no_producers)
    assert running.complaints == b""
    assert not [name for name in left_in(runtime) if str(running.pid) in name]


# ── values ───────────────────────────────────────────────────────────────────────────────

TYPES = {
    "?": "byte[]", "i1": "byte[]", "u1": "byte[]", "i2": "short[]", "u2": "short[]",
    "f2": "short[]", "i4": "int[]", "u4": "int[]", "f4": "float[]", "i8": "long[]",
    "u8": "long[]", "f8": "double[]",
}  # fmt: skip


@pytest.mark.parametrize("shares", [True, False], ids=["ring", "frames"])
def test_every_type_arrives(viewer: Echo, shares: bool) -> None:
    """Each element type fills arrays of the Java type with the same width."""
    with connect(viewer.endpoint, share_memory=shares) as producer:
        for dtype, expected in TYPES.items():
            for shape in ((3, 5), (130, 131), LARGE):
                data = pattern(1, shape, dtype)
                assert send(producer, f"{dtype}{shape}", data).stage == "received"
                found, types = read_back(producer, f"{dtype}{shape}")
                assert found.dtype == data.dtype
                np.testing.assert_array_equal(found, data)
                assert types == [expected]
        assert viewer.count_rings() == shares


@pytest.mark.parametrize("shares", [True, False], ids=["ring", "frames"])
def test_stacks_arrive_as_planes(viewer: Echo, shares: bool) -> None:
    """Each position on the leading axes is a plane, and samples stay with their pixels."""
    with connect(viewer.endpoint, share_memory=shares) as producer:
        for axes, shape, dtype, count in (
            ("zyx", (3, 700, 601), "f4", 3),
            ("tczyx", (2, 3, 4, 51, 47), "u2", 24),
            ("yxs", (900, 1001, 3), "u1", 1),
            ("zyxs", (3, 1000, 999, 4), "u1", 3),
            ("zyx", (40_000, 3, 3), "f8", 40_000),
            ("zyx", (3, 1, (2 << 20) + 1), "u1", 3),
        ):
            data = pattern(2, shape, dtype)
            send(producer, axes, data, axes)
            found, types = read_back(producer, axes)
            assert len(types) == count
            np.testing.assert_array_equal(found, data)


def test_rois_arrive(viewer: Echo) -> None:
    """The payload of ROIs arrives unchanged, also in several pieces."""
    with connect(viewer.endpoint) as producer:
        for count in (2, 200_000):
            payload = np.frombuffer(
                json.dumps([{"name": "Zelle µ"}] * count).encode(), np.uint8
            )
            item = Rois(path="rois", nbytes=payload.nbytes, count=count)
            producer.wait_for(producer.send(item, payload, awaited=True))
            answer, _ = producer.ask(Query(name="pixels", arguments={"path": "rois"}), 10)
            assert answer.value.encode() == payload.tobytes()


def test_producers_interleave(viewer: Echo) -> None:
    """Four producers send at the same time, by memory and by frames, and each image is whole."""

    def produce(thread: int) -> None:
        with connect(viewer.endpoint, share_memory=thread % 2 == 0) as producer:
            for number in range(12):
                shape = ((40, 50), (300, 301), LARGE)[number % 3]
                data = pattern(100 * thread + number, shape)
                send(producer, f"{thread}", data)
                np.testing.assert_array_equal(read_back(producer, f"{thread}")[0], data)
            done.append(thread)

    done: list[int] = []
    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]
    assert becomes(viewer.is_idle)


def test_joined_headers_are_all_answered(viewer: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several headers in one message are all answered, also after a refused one."""
    monkeypatch.setattr(connection, "_SOON", 1e9)
    shapes = [(300, 300), (40, 50), (300, 200), LARGE]  # in slots, a frame, and pieces
    names = [f"{'refuse' if n % 5 == 4 else 'together'}{n}" for n in range(20)]
    data = [pattern(n, shapes[n % 4]) for n in range(20)]
    with connect(viewer.endpoint) as producer:
        assert producer.welcome is not None
        assert producer.welcome.protocol == PROTOCOL
        transfers = [
            producer.send(image(name, value), value, awaited=True, more=True)
            for name, value in zip(names, data, strict=True)
        ]
        for name, value, transfer in zip(names, data, transfers, strict=True):
            if name.startswith("refuse"):
                with pytest.raises(RejectedError, match=f"told to refuse {name}"):
                    producer.wait_for(transfer)
            else:
                assert producer.wait_for(transfer).stage == "received"
                np.testing.assert_array_equal(read_back(producer, name)[0], value)


def test_value_precedes_answer(viewer: Echo) -> None:
    """After the reply to a value, another connection can read the value."""
    with connect(viewer.endpoint) as one, connect(viewer.endpoint) as other:
        for number in range(100):
            data = pattern(number, (200, 200))
            send(one, "same", data)
            np.testing.assert_array_equal(read_back(other, "same")[0], data)


def test_each_is_answered_once(viewer: Echo) -> None:
    """Each of many messages is answered once, and one reply can answer several."""
    numbers = range(2, 302)
    data = pattern(0, (9, 9))
    with connect_raw(viewer.endpoint) as socket:
        socket.send(encode(make_hello(viewer.endpoint)))
        for number in numbers:
            wait = "shown" if number % 3 == 0 else "received"
            header = image("many", data, number=number, wait=wait)
            socket.send_multipart([encode(header), data])
        answered: list[int] = []
        replies = 0
        while len(answered) < len(numbers) + 1:
            reply: Any = read_reply(socket.recv())
            answered += [reply.number, *getattr(reply, "others", ())]
            replies += 1
        assert sorted(answered) == [1, *numbers]
        assert replies < len(numbers)
        assert not socket.poll(200)


def test_answers_have_stages(viewer: Echo) -> None:
    """A value is shown, refused before its pixels are sent, or refused afterwards."""
    data = pattern(3, LARGE)
    with connect(viewer.endpoint) as producer:
        assert send(producer, "a", data, wait="shown").stage == "shown"
        with pytest.raises(RejectedError, match="told to refuse refuse it"):
            send(producer, "refuse it", data)
        with pytest.raises(RejectedError, match="told to fail late"):
            send(producer, "late", data, wait="shown")
        assert send(producer, "late", data).stage == "received"
        assert becomes(lambda: producer.listen() or producer._in_flight.failures)
        with pytest.raises(RejectedError, match="told to fail late"):
            producer.raise_failures()
        with pytest.raises(RejectedError, match="asked for nonsense"):
            producer.ask(Query(name="nonsense"), 5)
    assert becomes(viewer.is_idle)


def test_backend_sends_values(viewer: Echo) -> None:
    """Values that a file manager saves through the general backend arrive."""
    images = {f"w{number}.tif": pattern(number, (50 * number, 99)) for number in range(1, 9)}
    rois = [ROI(Polygon([[1.0, 1.0], [1.0, 8.0], [6.0, 8.0]]), name="cell")]
    with pipeline("streaming", connection=str(viewer.file)) as files:
        files.save_batch(list(images.values()), list(images), backend="screen")
        files.save(rois, "rois.json", backend="screen")
    with connect(viewer.endpoint) as producer:
        for path, data in images.items():
            np.testing.assert_array_equal(read_back(producer, path)[0], data)
        answer, _ = producer.ask(Query(name="pixels", arguments={"path": "rois.json"}), 10)
        assert [ROI.from_dict(found) for found in json.loads(answer.value)] == rois


def test_silent_connection_stays(viewer: Echo) -> None:
    """A connection without traffic stays open."""
    with connect(viewer.endpoint) as producer:
        time.sleep(2)
        assert producer.is_usable
        assert send(producer, "a", pattern(1, (9, 9))).stage == "received"


def test_json_is_preserved(viewer: Echo) -> None:
    """Questions and answers preserve each number and character."""
    chance = random.Random(7)

    def value(depth: int) -> Any:
        kind = chance.randrange(9 if depth else 7)
        if kind == 0:
            return chance.choice([None, True, False, "", 0, -1, 0.0, [], {}])
        if kind in (1, 2):
            return struct.unpack("<d", chance.randbytes(8))[0] if kind == 1 else chance.random()
        if kind in (3, 4):
            bits = chance.randrange(64)
            return chance.getrandbits(bits) * chance.choice((1, -1)) * 10.0 ** (kind - 4)
        if kind == 5:
            return chance.getrandbits(63) * chance.choice((1, -1)) >> chance.randrange(63)
        if kind == 6:
            return "".join(chance.choice('ab"\\/\b\n\t\0\x1f\x7fµ\u2028語🔬') for _ in range(5))
        inner = [value(depth - 1) for _ in range(chance.randrange(5))]
        return inner if kind == 7 else {f"{n}µ\n": found for n, found in enumerate(inner)}

    with connect(viewer.endpoint) as producer:
        for _ in range(300):
            found = {"a": json.loads(json.dumps(value(4)).replace("NaN", "0"))}
            answer, _ = producer.ask(Query(name="same", arguments=found), 10)
            assert repr(answer.value) == repr(found)


# ── announcement and end ─────────────────────────────────────────────────────────────────


def test_announcement(viewer: Echo) -> None:
    """The connection file has the fields of Python's receivers, and only this user can read it."""
    file, endpoint = viewer.file, viewer.endpoint
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.name.startswith(f"echo-{viewer.pid}-")
    assert (endpoint.kind, endpoint.name, endpoint.pid) == ("echo", "one", viewer.pid)
    assert endpoint.host == discovery.host_identity()
    assert endpoint.started == discovery.process_start(viewer.pid)
    assert abs(endpoint.since - file.stat().st_mtime) < 60
    assert len(endpoint.token) == 22
    assert discovery.find("echo", "one")[0] == endpoint
    assert endpoint.address.startswith(("ipc:///", "tcp://127.0.0.1:"))


def test_names_are_unique(viewer: Echo, classes: Path) -> None:
    """A second receiver with the same name is refused and leaves no file."""
    with echo(classes, "one") as second:
        assert f"in use by echo (process {viewer.pid})" in second.first_line["refused"]
    with echo(classes, "a/b") as second:
        assert "1 to 64 letters" in second.first_line["refused"]
    with echo(classes, "Zwei µm.x-y") as second:
        assert second.endpoint.name == "Zwei µm.x-y"
    assert len(left_in(viewer.file.parent)) <= 2


def test_killed_receiver_frees_its_name(runtime: Path, classes: Path) -> None:
    """The name of a killed receiver is free, and its files are removed."""
    with echo(classes, "killed") as first:
        first.process.kill()
        first.process.wait()
        with echo(classes, "killed") as second:
            assert second.endpoint.pid == second.pid
            assert not [name for name in left_in(runtime) if str(first.pid) in name]


def test_unusable_port_is_refused(viewer: Echo, classes: Path) -> None:
    """The error for a port that is in use or invalid names the port."""
    with echo(classes, "first", port=0) as first:
        port = int(first.endpoint.address.rpartition(":")[2])
        with echo(classes, "second", port=port) as second:
            assert f"port {port} of 127.0.0.1 cannot be used" in second.first_line["refused"]
    for wrong in (70_000, -2, "many", ""):
        with echo(classes, port=wrong) as running:
            assert running.first_line["refused"] == (
                f"port '{wrong}' is not valid: expected a number from 0 (any free port) to 65535"
            )


def test_folder_is_private(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that other users can enter is refused.

    For a long folder name the socket is elsewhere.
    """
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path / "open"))
    (tmp_path / "open").mkdir(mode=0o755)
    with echo(classes) as running:
        assert "not a private folder of this user" in running.first_line["refused"]
    for variable in ("POLYSTORE_RUNTIME_DIR", "TMPDIR"):
        (tmp_path / variable / ("long" * 25)).mkdir(mode=0o700, parents=True)
        monkeypatch.setenv(variable, str(tmp_path / variable / ("long" * 25)))
    with echo(classes) as running, connect(running.endpoint) as producer:
        socket = running.endpoint.address.removeprefix("ipc://")
        assert os.path.exists(socket)
        assert send(producer, "a", pattern(1, (9, 9))).stage == "received"
    assert not os.path.exists(os.path.dirname(socket))
    assert not left_in(tmp_path / "POLYSTORE_RUNTIME_DIR" / ("long" * 25))
    assert not [*(tmp_path / "TMPDIR" / ("long" * 25)).iterdir()]


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_end_is_announced(small_receiver: Echo, how: str) -> None:
    """A closed or terminated receiver removes its files and answers waiting saves with "closed"."""
    small_receiver.tell("hold")
    data = pattern(1, (1024, 1024))
    with connect(small_receiver.endpoint) as producer, greet(small_receiver.endpoint):
        shown = producer.send(image("a", data, wait="shown"), data, awaited=True)
        parked = [producer.send(image("b", data), data, awaited=True) for _ in range(5)]
        time.sleep(0.3)
        if how == "close":
            assert small_receiver.ask("close") == {"closed": True}
        else:
            small_receiver.process.terminate()
        for transfer in (shown, parked[-2]):
            with pytest.raises(ReceiverUnavailableError, match="was closed"):
                producer.wait_for(transfer)
        assert not small_receiver.file.exists()
    small_receiver.tell("go") if how == "close" else small_receiver.process.wait(60)


def test_close_ends_sends(small_receiver: Echo) -> None:
    """Each producer that sends during the close gets one error, and the receiver ends."""

    def produce(number: int) -> None:
        with connect(small_receiver.endpoint, share_memory=number % 2 == 0) as producer:
            begun.release()
            try:
                while True:
                    send(producer, f"{number}", data)
            except ReceiverUnavailableError as error:
                errors.append(error)

    data, begun, errors = pattern(1, LARGE), threading.Semaphore(0), list[Exception]()
    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire()
    time.sleep(0.2)
    assert small_receiver.ask("close") == {"closed": True}
    for thread in threads:
        thread.join()
    assert len(errors) == 4


def test_ring_is_checked(viewer: Echo) -> None:
    """Wrong slots, a wrong nonce, a wrong size and memory that is not a ring are refused."""
    pipe = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    ring, named = RingWriter(2), RingWriter(2, named=True)
    fields: dict[str, Any] = {"path": ring.message.path, "size": ring.message.size}

    def offer(**changes: Any) -> bytes:
        nonce = {"nonce": ring.message.nonce}
        return json.dumps({"type": "ring", "number": 7} | fields | nonce | changes).encode()

    with greet(viewer.endpoint) as ask:
        for changes in (
            {"nonce": "00" * 16}, {"nonce": "no hexadecimal"}, {"size": fields["size"] + PIECE},
            {"path": f"/proc/{os.getpid()}/fd/{pipe[0]}"}, {"path": "/etc/passwd"},
            {"path": f"/proc/{os.getpid()}/fd/{null}"}, {"path": "/dev/shm/../etc/passwd"},
            {"path": "/proc/1/fd/999"}, {"path": "\0"}, {"path": ""},
        ):  # fmt: skip
            reply = ask(offer(**changes))
            assert (reply.number, reply.stage) == (7, "rejected"), changes
        message = {"path": named.message.path, "nonce": named.message.nonce}
        assert ask(offer(**message)).stage == "received"
        assert ask(offer()).stage == "received"
        data = pattern(0, (3, 4), "u1")
        for slot in (2, 1 << 40):
            reply = ask(image("a", data, number=7, slot=slot))
            assert (reply.number, reply.stage) == (7, "rejected")
        assert ask(image("a", data, number=9, slot=1)).stage == "received"
        assert viewer.count_rings() == 1
    ring.close()
    named.close()
    for descriptor in (*pipe, null):
        os.close(descriptor)
    assert becomes(lambda: viewer.count_rings() == 0)
