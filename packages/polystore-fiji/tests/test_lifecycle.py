"""Start, end, crash and restart of ImageJ, and its producers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zmq

import polystore_fiji
from polystore_core.errors import (
    BatchError,
    IncompatibleReceiverError,
    ReceiverError,
    ReceiverTimeoutError,
    ReceiverUnavailableError,
    RejectedError,
    UnsupportedDataError,
)
from polystore_stream import discovery
from polystore_stream.logs import find_log
from polystore_stream.sending import connection
from polystore_testing.processes import becomes, left_in, pipeline, runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
    pytest.mark.usefixtures("cleanup"),
]

PLANE = np.full((64, 64), 7, "u1")
LARGE = np.ones((1500, 1500), "u2")


@pytest.fixture
def cleanup(desktop: Path) -> Iterator[None]:
    """End the viewers of a test, which outlive their pipelines, and check that no file is left."""
    before = {*os.listdir("/dev/shm")}
    yield
    for endpoint in discovery.find("fiji"):
        with suppress(ProcessLookupError):
            os.kill(endpoint.pid, signal.SIGKILL)
        assert becomes(lambda pid=endpoint.pid: not runs(pid))  # type: ignore[misc]
    discovery.find("fiji")  # removes the files of killed viewers
    assert left_in(desktop) == []
    assert {name for name in os.listdir("/dev/shm") if "polystore" in name} <= before


def save(files: FileManager, path: str = "a.npy", **options: Any) -> None:
    files.save(PLANE, path, backend="screen", **options)


def ends_cleanly(pid: int, folder: Path) -> bool:
    """Return whether an ImageJ ends and removes its files."""
    return becomes(lambda: not runs(pid)) and left_in(folder) == []


# ── start and end ────────────────────────────────────────────────────────────────────────


def test_first_save_starts_ImageJ(desktop: Path) -> None:
    """A save starts ImageJ. After its end only the user starts it again."""
    with pipeline("fiji_stream") as files:
        save(files, wait="shown")
        with polystore_fiji.connect() as viewer:
            assert np.array_equal(viewer.pixels("a.npy"), PLANE)
            assert viewer.layers()[0]["visible"]
            assert find_log(viewer.endpoint).exists()
            viewer.quit()
        assert ends_cleanly(viewer.endpoint.pid, desktop)
        for _ in range(2):
            with pytest.raises(ReceiverUnavailableError) as caught:
                save(files)
        assert "fiji 'default' no longer runs: it was closed by quit(); start it" in str(
            caught.value
        )
        assert "polystore: it was closed by quit()" in find_log(viewer.endpoint).read_text()
        assert (
            "start it: Plugins > polystore > Receive from polystore, or polystore-fiji launch"
            in str(caught.value)
        )
        endpoint = polystore_fiji.launch()
        assert endpoint.pid != viewer.endpoint.pid
        save(files, "again.npy")
        with polystore_fiji.connect() as viewer:
            assert np.array_equal(viewer.pixels("again.npy"), PLANE)


def test_ImageJ_needs_no_screen(desktop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a screen, headless=True starts ImageJ without windows."""
    monkeypatch.delenv("DISPLAY")
    with (
        pipeline("fiji_stream", viewer="blind") as files,
        pytest.raises(ReceiverUnavailableError, match=r"DISPLAY is not set.*headless=True"),
    ):
        save(files)
    with pipeline("fiji_stream", viewer="blind", headless=True) as files:
        save(files, wait="shown")
        with polystore_fiji.connect("blind") as viewer:
            assert not viewer.layers()[0]["visible"]
            viewer.quit()
    assert ends_cleanly(viewer.endpoint.pid, desktop)


def test_processes_share_ImageJ(desktop: Path) -> None:
    """A second process saves into the ImageJ that the first process started."""
    code = (
        "import numpy as np; from polystore_core import BackendRegistry, FileManager\n"
        "with BackendRegistry() as registry:\n"
        "    registry.add('screen', 'fiji_stream', viewer='both', headless=True)\n"
        "    FileManager(registry).save(np.ones((4, 5), 'u1'), 'b.npy', backend='screen')"
    )
    with pipeline("fiji_stream", viewer="both", headless=True) as files:
        save(files)
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
        with polystore_fiji.connect("both") as viewer:
            assert [layer["name"] for layer in viewer.layers()] == ["a", "b"]
    assert len(discovery.find("fiji")) == 1


def test_concurrent_saves_start_one_ImageJ(desktop: Path) -> None:
    """Several pipelines that save at the same time start one ImageJ."""

    def work(number: int) -> None:
        with pipeline("fiji_stream", viewer="one", headless=True) as files:
            save(files, f"{number}.npy")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(discovery.find("fiji")) == 1
    with polystore_fiji.connect("one") as viewer:
        assert sorted(layer["name"] for layer in viewer.layers()) == ["0", "1", "2", "3"]


def test_two_ImageJs_by_name(desktop: Path) -> None:
    """Two names are two ImageJs. A signal closes one of them without leaving files."""
    with (
        pipeline("fiji_stream", viewer="left", headless=True) as left,
        pipeline("fiji_stream", viewer="right") as right,
    ):
        save(left, "left.npy")
        save(right, "right.npy")
        for name in ("left", "right"):
            with polystore_fiji.connect(name) as viewer:
                assert [layer["name"] for layer in viewer.layers()] == [name]
        pids = {endpoint.name: endpoint.pid for endpoint in discovery.find("fiji")}
        for name, number in (("left", signal.SIGTERM), ("right", signal.SIGINT)):
            os.kill(pids[name], number)
            assert becomes(lambda name=name: not runs(pids[name]))  # type: ignore[misc]
        assert left_in(desktop) == []
        with pytest.raises(ReceiverUnavailableError, match="no longer runs"):
            save(left)


def test_missing_viewer_is_reported() -> None:
    """With launch=False the error names the command that starts ImageJ."""
    with (
        pipeline("fiji_stream", viewer="absent", launch=False) as files,
        pytest.raises(ReceiverUnavailableError) as caught,
    ):
        save(files)
    assert "fiji 'absent' does not run" in str(caught.value)
    assert "polystore-fiji launch" in str(caught.value)
    assert "--name 'absent'" in str(caught.value)
    with pytest.raises(ReceiverUnavailableError, match="does not run"):
        polystore_fiji.connect("absent")


# ── the user ─────────────────────────────────────────────────────────────────────────────


def test_closed_ImageJ_ends(desktop: Path, display: Display) -> None:
    """If the user closes ImageJ, it ends, and the next save raises an error."""
    with pipeline("fiji_stream", viewer="closed") as files:
        save(files, wait="shown")
        (endpoint,) = discovery.find("fiji", "closed")
        display.press_close("ImageJ")
        assert ends_cleanly(endpoint.pid, desktop)
        for _ in range(2):
            with pytest.raises(ReceiverUnavailableError, match="was closed"):
                save(files)
        assert discovery.find("fiji") == []


def test_images_outlive_pipelines(desktop: Path, display: Display) -> None:
    """Images stay open when their pipeline has ended."""
    with pipeline("fiji_stream", viewer="stays") as files:
        save(files, wait="shown")
    time.sleep(0.3)
    with polystore_fiji.connect("stays") as viewer:
        assert viewer.layers()[0]["visible"]
    assert "a" in display.titles()


# ── sudden ends ──────────────────────────────────────────────────────────────────────────


@pytest.mark.faults
@pytest.mark.parametrize("wait", ["shown", None])
@pytest.mark.parametrize("headless", [False, True])
def test_kill_ends_saves(wait: Any, headless: bool) -> None:
    """If ImageJ is killed during a save, the save raises an error and does not hang."""
    endpoint = polystore_fiji.launch("victim", headless=headless)

    def stream(files: FileManager) -> None:
        with suppress(ReceiverUnavailableError):
            while True:
                files.save(LARGE, "a.npy", backend="screen", wait=wait)

    with pipeline("fiji_stream", viewer="victim") as files, ThreadPoolExecutor(1) as pool:
        files.save(LARGE, "a.npy", backend="screen")
        failing = pool.submit(stream, files)
        time.sleep(0.5)
        os.kill(endpoint.pid, signal.SIGKILL)
        failing.result(timeout=60)
        with pytest.raises(ReceiverUnavailableError, match="--name 'victim'"):
            save(files)


@pytest.mark.faults
def test_restart_after_kill() -> None:
    """After a kill the user starts another ImageJ, which receives the next save."""
    with pipeline("fiji_stream", viewer="phoenix", headless=True) as files:
        save(files)
        (endpoint,) = discovery.find("fiji", "phoenix")
        os.kill(endpoint.pid, signal.SIGKILL)
        assert becomes(lambda: not runs(endpoint.pid))
        with pytest.raises(ReceiverUnavailableError, match="no longer runs"):
            save(files)
        polystore_fiji.launch("phoenix", headless=True)
        save(files, wait="shown")


@pytest.mark.faults
def test_quit_ends_saves(desktop: Path) -> None:
    """If ImageJ quits while it is filled, the save raises an error."""
    polystore_fiji.launch("leaves")

    def stream(files: FileManager) -> str:
        try:
            while True:
                files.save(LARGE, "a.npy", backend="screen", wait="shown")
        except ReceiverError as error:
            return str(error)

    with pipeline("fiji_stream", viewer="leaves") as files, ThreadPoolExecutor(1) as pool:
        telling = pool.submit(stream, files)
        time.sleep(0.5)
        with polystore_fiji.connect("leaves") as viewer:
            viewer.quit()
        assert "closed" in telling.result(timeout=60) or "gone" in telling.result()
    assert ends_cleanly(viewer.endpoint.pid, desktop)


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.parametrize("shape", [(64, 64), (3000, 3000)], ids=["small", "large"])
def test_stopped_ImageJ_times_out(shape: tuple[int, int]) -> None:
    """Saves into a stopped ImageJ, as in a debugger, time out. Once it continues, they work."""
    data = np.ones(shape, "u1")
    endpoint = polystore_fiji.launch("stopped", headless=True)
    with (
        pipeline("fiji_stream", viewer="stopped", launch=False, timeout=2) as files,
        pipeline("fiji_stream", viewer="stopped", launch=False, timeout=2) as fresh,
        polystore_fiji.connect("stopped") as viewer,
    ):
        assert becomes(lambda: saves_in_time(files, PLANE))
        viewer.timeout = 2
        with stop(endpoint.pid):
            for sender in (files, fresh, files):
                with pytest.raises(ReceiverTimeoutError, match="has not answered"):
                    sender.save(data, "while.npy", backend="screen")
            with pytest.raises(ReceiverTimeoutError, match="has not answered"):
                viewer.layers()
        viewer.timeout = 30
        viewer.layers()
        for sender in (files, fresh):
            assert becomes(lambda sender=sender: saves_in_time(sender, data))  # type: ignore[misc]
        assert np.array_equal(viewer.pixels("after.npy"), data)


@contextmanager
def stop(pid: int) -> Iterator[None]:
    """Stop a process, and wait until all its threads have stopped. Continue it at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        assert becomes(lambda: {*list_states(pid)} == {"T"})
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def list_states(pid: int) -> Iterator[str]:
    """Yield the state of each thread as one letter."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield status.read_text().rpartition(")")[2].split()[0]


def saves_in_time(files: FileManager, data: Any) -> bool:
    """Return whether a save with a short time-out succeeds. The machine may be slow."""
    try:
        files.save(data, "after.npy", backend="screen", wait="shown")
    except ReceiverTimeoutError:
        return False
    return True


# ── producers ────────────────────────────────────────────────────────────────────────────

PRODUCER = """
import sys
import numpy as np
from polystore_core import BackendRegistry, FileManager

viewer, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with BackendRegistry() as registry:
    registry.add("screen", "fiji_stream", viewer=viewer, launch=False)
    files = FileManager(registry)
    for index in range(count):
        image = np.full((300, 400), index % 50000, "u2")
        at = {"producer": name, "z": index % 20}
        files.save(image, "slice.npy", at=at, backend="screen")
        if not index:
            print("begun", flush=True)
"""


def produce(viewer: str, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", PRODUCER, viewer, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_producers_share_ImageJ() -> None:
    """Two processes fill one hyperstack at the same time."""
    polystore_fiji.launch("shares")
    for producer in [produce("shares", "one", 20), produce("shares", "two", 20)]:
        producer.communicate(timeout=60)
        assert producer.returncode == 0
    with polystore_fiji.connect("shares") as viewer:
        (layer,) = viewer.layers()
    assert layer["shape"] == [2, 20, 1, 300, 400]
    assert layer["coordinates"][0] == ["one", "two"]


@pytest.mark.faults
def test_killed_producer_does_no_harm() -> None:
    """If a producer is killed during a series, ImageJ still serves the others."""
    polystore_fiji.launch("survives", headless=True)
    producer = produce("survives", "killed", 10_000_000)
    assert producer.stdout is not None
    assert producer.stdout.readline() == b"begun\n"
    time.sleep(0.3)
    os.kill(producer.pid, signal.SIGKILL)
    producer.communicate()
    with pipeline("fiji_stream", viewer="survives") as files:
        save(files, "after.npy", wait="shown")
    with polystore_fiji.connect("survives") as viewer:
        assert np.array_equal(viewer.pixels("after.npy"), PLANE)


def test_policies_discard() -> None:
    """A fast pipeline can have old values discarded, and counts them."""
    polystore_fiji.launch("slow")
    # So small that more than two of them arrive between two pictures.
    image = np.zeros((2000, 3000), "u2")
    for policy, discards in (("block", False), ("coalesce", True)):
        with pipeline("fiji_stream", viewer="slow", policy=policy) as files:
            backend: Any = files.registry["screen"]
            count = 0
            while count < 40 or (discards and not backend.counters.coalesced):
                count += 1
                image[:] = count
                files.save(image, f"{policy}.npy", backend="screen", wait=None)
            backend.flush()
            with polystore_fiji.connect("slow") as viewer:
                assert viewer.pixels(f"{policy}.npy")[0, 0] == count
            counters = backend.counters
            assert (counters.sent, counters.received) == (count, count)
            assert (counters.dropped, counters.rejected) == (0, 0)
            assert counters.nbytes == count * image.nbytes
            assert counters.coalesced < count


@pytest.mark.parametrize("headless", [False, True])
def test_full_memory_is_reported(headless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImageJ without memory refuses further images, lives on, and can be cleared."""
    options = f"{os.environ['JAVA_TOOL_OPTIONS']} -Xmx160m"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", options)
    image = np.zeros((1000, 2000), "u2")
    polystore_fiji.launch("small", headless=headless)
    with (
        pipeline("fiji_stream", viewer="small") as files,
        polystore_fiji.connect("small") as viewer,
    ):
        for _ in range(2):
            values, paths = [image] * 60, [f"z_{z}.npy" for z in range(60)]
            with pytest.raises(BatchError, match="close images, or give ImageJ more"):
                files.save_batch(values, paths, backend="screen", names="z_{z}.npy")
            assert viewer.layers()[0]["shape"][1] > 10
            viewer.clear()
        save(files, wait="shown")
        assert np.array_equal(viewer.pixels("a.npy"), PLANE)


# ── foreign producers ────────────────────────────────────────────────────────────────────


@pytest.fixture
def open_imagej(desktop: Path) -> RemoteFiji:
    """A running ImageJ with one image, which foreign producers connect to."""
    polystore_fiji.launch("listens", headless=True)
    with pipeline("fiji_stream", viewer="listens") as files:
        save(files)
    return polystore_fiji.connect("listens")


def test_wrong_token_is_refused(open_imagej: RemoteFiji, tmp_path: Path) -> None:
    """A save with a wrong token is refused."""
    document = dataclasses.asdict(open_imagej.endpoint) | {"token": "0" * 22}
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(document))
    with (
        pipeline("fiji_stream", connection=forged) as files,
        pytest.raises(ReceiverError, match="token is wrong"),
    ):
        save(files, "forged.npy")
    with open_imagej:
        assert [layer["name"] for layer in open_imagej.layers()] == ["a"]


def test_other_protocol_is_refused(
    open_imagej: RemoteFiji, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline with another major version of the protocol gets an error that says so."""
    monkeypatch.setattr(connection, "PROTOCOL", (2, 0))
    with (
        pipeline("fiji_stream", viewer="listens") as files,
        pytest.raises(IncompatibleReceiverError, match=r"protocol 2\.0"),
    ):
        save(files, "new.npy")
    with open_imagej:
        assert [layer["name"] for layer in open_imagej.layers()] == ["a"]


def test_noise_does_no_harm(open_imagej: RemoteFiji) -> None:
    """A producer that sends noise is answered or dropped, and the others go on."""
    random = np.random.default_rng(3)
    with zmq.Context() as context:
        for _ in range(20):
            with context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 100)
                socket.connect(open_imagej.endpoint.address)
                socket.send_multipart([random.bytes(40), b"", random.bytes(5)])
                socket.send(b'{"type": "image", "path": "x", "nbytes": 1e99}')
                socket.poll(20)
    with open_imagej, pipeline("fiji_stream", viewer="listens") as files:
        save(files, "b.npy", wait="shown")
        assert [layer["name"] for layer in open_imagej.layers()] == ["a", "b"]


def test_too_many_slices_are_refused(open_imagej: RemoteFiji) -> None:
    """Coordinates whose combinations make too many slices for ImageJ are refused."""
    with pipeline("fiji_stream", viewer="listens") as files, open_imagej:
        with pytest.raises(UnsupportedDataError, match=r"251001 planes.*at most 250000"):
            files.save(np.zeros((501, 501, 1, 1), "u1"), "x", backend="screen", axes="tzyx")
        volume = np.zeros((125_001, 1, 1), "u1")
        files.save(volume, "y", backend="screen", axes="tyx", at={"z": 0})
        with pytest.raises(RejectedError, match=r"1 channels x 2 z x 125001 t.*layout=Layout"):
            files.save(volume, "y", backend="screen", axes="tyx", at={"z": 1})
        files.save(volume + 1, "y", backend="screen", axes="tyx", at={"z": 0})
        assert open_imagej.layers()[-1]["shape"] == [125_001, 1, 1, 1, 1]
