"""The next save reports how a viewer ended, and logs do not pile up."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Context
from polystore_core.errors import ReceiverUnavailableError
from polystore_stream import discovery
from polystore_stream.checks import viewers
from polystore_stream.logs import explain_end, find_log, list_ended_viewers, tidy_logs
from polystore_stream.sending.backend import ViewerSink
from polystore_stream.sending.launch import start_viewer
from polystore_testing.processes import becomes

from .processes import TOY, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_stream import Endpoint

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

IMAGE = np.ones((4, 5), "u1")


class ToySink(ViewerSink):
    """Start a toy from a shell, which prints something before and after it."""

    viewer_kind = "toy"
    start_advice = "toy"
    script = 'echo "loading plugins"; exec "$@"'

    def start(self) -> Endpoint:
        command = ["/bin/sh", "-c", self.script, "sh", *TOY, self.viewer]
        return start_viewer(command, "toy", self.viewer, backend="out")


@pytest.fixture(autouse=True)
def end_viewers(leak_check: None, runtime_directory: Path) -> Iterator[None]:
    """End the viewers of a test, and remove their logs."""
    yield
    for endpoint in discovery.find("toy"):
        kill(endpoint, signal.SIGKILL)
    for log in runtime_directory.glob("*.log"):
        log.unlink()


@pytest.fixture
def sink() -> Iterator[ToySink]:
    sink = ToySink.with_context(Context(name="out"), viewer="a toy")
    yield sink
    sink.close()


def kill(endpoint: Endpoint, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(endpoint.pid, number)
    assert becomes(lambda: not discovery.process_runs(endpoint.pid, endpoint.started))


def start_and_find(sink: ToySink) -> Endpoint:
    sink.save(IMAGE, "a.npy")
    (endpoint,) = discovery.find("toy")
    return endpoint


def catch_refusal(sink: ToySink, **options: Any) -> str:
    with pytest.raises(ReceiverUnavailableError) as caught:
        sink.save(IMAGE, "a.npy", **options)
    return str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_signal_is_reported(sink: ToySink, number: signal.Signals) -> None:
    """The error of each later save names the signal that ended the viewer."""
    endpoint = start_and_find(sink)
    log = find_log(endpoint)
    assert log.read_text() == "loading plugins\n"
    kill(endpoint, number)
    expected = (
        f"backend 'out': toy 'a toy' no longer runs: it ended with signal {number:d} "
        f"({number.name}); "
        f"start it: toy --name 'a toy'\nThe end of its log ({log}):\n  loading plugins"
    )
    assert catch_refusal(sink) == expected
    assert catch_refusal(sink) == expected
    assert log.exists()


def test_status_is_reported(sink: ToySink) -> None:
    """The error has the status of a viewer that ends by itself, and its last lines."""
    sink.script = '"$@" 2> /dev/null; seq 100; echo "$(seq -s " " 500)"; exit 3'
    kill(start_and_find(sink), signal.SIGTERM)
    text = catch_refusal(sink)
    assert "no longer runs: it ended with status 3; start it" in text
    assert "\n  99\n  100\n  1 2 3 4" in text
    assert "\n  90\n" not in text
    assert len(text) < 1000


def test_silent_viewer_has_an_empty_log(sink: ToySink) -> None:
    sink.script = 'exec "$@"'
    kill(start_and_find(sink), signal.SIGKILL)
    assert catch_refusal(sink).endswith(".log): it is empty")


def test_closed_viewer_is_reported(sink: ToySink) -> None:
    """A viewer that its user closed is reported as closed. Its log stays for the doctor."""
    sink.script = '"$@" 2> /dev/null; echo thanks; exit 0'
    endpoint = start_and_find(sink)
    kill(endpoint, signal.SIGTERM)
    assert "no longer runs: it was closed; start it" in catch_refusal(sink)
    assert find_log(endpoint).read_text() == "thanks\n\npolystore: it was closed\n"


def test_death_during_save_is_reported(sink: ToySink) -> None:
    """The save during which the viewer dies reports it too."""
    endpoint = start_and_find(sink)

    def save_and_kill() -> None:
        while True:
            sink.save(IMAGE, "a.npy", wait="shown")
            with suppress(ProcessLookupError):
                os.kill(endpoint.pid, signal.SIGKILL)

    with pytest.raises(ReceiverUnavailableError) as caught:
        save_and_kill()
    assert "it ended with signal 9 (SIGKILL)" in str(caught.value)
    assert "loading plugins" in str(caught.value)


STARTER = """
from polystore_stream.sending.launch import start_viewer
start_viewer(json.loads(sys.argv[1]), "toy", "default", backend="out")
say(ready=True)
hear()
"""


def test_other_processes_read_the_log(runtime_directory: Path) -> None:
    """A process that did not start the viewer reads its end in the log."""
    command = json.dumps(["/bin/sh", "-c", 'echo hello; exec "$@"', "sh", *TOY])
    with running(STARTER, command) as starter:
        assert starter.says() == {"ready": True}
        (endpoint,) = discovery.find("toy")
        kill(endpoint, signal.SIGABRT)
        assert becomes(lambda: explain_end(endpoint)[0] == "it ended with signal 6 (SIGABRT)")
        assert explain_end(endpoint)[1].endswith(":\n  hello")
        starter.tell("end")
        assert starter.wait() == 0
    with running(STARTER, command) as starter:
        assert starter.says() == {"ready": True}
        starter.tell("end")
        assert starter.wait() == 0
    (endpoint,) = discovery.find("toy")
    kill(endpoint, signal.SIGKILL)  # no process waits for its status
    assert explain_end(endpoint) == ("", f"The end of its log ({find_log(endpoint)}):\n  hello")


def test_unknown_viewers_have_no_log() -> None:
    """Viewers that polystore did not start, or that run elsewhere, have no report."""
    here = {"kind": "toy", "address": "", "token": "", "pid": 2**22 + 1}
    for host in (discovery.host_identity(), "elsewhere"):
        endpoint = discovery.Endpoint(name="x", host=host, **here)  # type: ignore[arg-type]
        assert explain_end(endpoint) == ("", "")


def test_logs_do_not_pile_up(sink: ToySink, runtime_directory: Path) -> None:
    """The newest logs are kept. A long log is emptied while its viewer continues to write."""
    sink.script = 'head -c 5000000 /dev/zero | tr "\\\\0" x; "$@"; echo the end; exit 4'
    endpoint = start_and_find(sink)
    log = find_log(endpoint)
    assert log.stat().st_size >= 5_000_000
    for number in range(50):
        old = runtime_directory / f"toy-old-{number}.log"
        old.write_text("old")
        os.utime(old, (number, number))
    other = runtime_directory / "napari-default-1.log"
    other.write_text("of another kind")
    tidy_logs("toy")
    kept = {path.name for path in runtime_directory.glob("toy-*.log")}
    assert kept == {log.name, *(f"toy-old-{number}.log" for number in range(31, 50))}
    assert other.exists()
    assert log.stat().st_size == 0
    kill(endpoint, signal.SIGKILL)
    assert "it ended with status 4" in catch_refusal(sink)
    assert "the end\n" in log.read_text()
    assert log.stat().st_size < 1000, "the viewer wrote at its old offset instead of appending"


# ── logs that viewers write themselves ────────────────────────────────────────────────────

OWN = """
import logging
from polystore_stream.logs import ViewerLog
viewer = Toy(sys.argv[1])
log = ViewerLog(viewer.receiver.endpoint, "1.2")
logging.getLogger("polystore.toy").error("no such plane")
say(pid=os.getpid())
while True:
    word = hear()
    if word == "close":
        viewer.receiver.close()
        log.end("by its user")
        log.end("twice")
    elif word == "again":
        viewer = Toy(sys.argv[1])
        ViewerLog(viewer.receiver.endpoint, "1.2")
    else:
        break
    say(done=word)
"""
STARTED = r"polystore: started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: toy 1\.2"


def test_viewer_of_the_user_keeps_a_log(runtime_directory: Path) -> None:
    """A viewer that polystore did not start logs its errors and how it was closed."""
    with running(OWN, "own") as child:
        child.says()
        (endpoint,) = discovery.find("toy")
        log = find_log(endpoint)
        assert re.fullmatch(rf"{STARTED}\nno such plane\n", log.read_text())
        assert log.stat().st_mode & 0o777 == 0o600
        assert not list_ended_viewers("toy")
        child.tell("close")
        child.says()
        assert explain_end(endpoint) == ("it was closed by its user", "")
        (end_viewers,) = list_ended_viewers("toy")
        assert (end_viewers.title, end_viewers.how, end_viewers.log) == (
            endpoint.title,
            "it was closed by its user",
            log,
        )
        child.tell("again")
        child.says()
        assert not list_ended_viewers("toy")
        child.tell("end")
        assert child.wait() == 0
    assert log.read_text().endswith("polystore: it was closed with its process\n")


def test_output_of_a_started_viewer_is_its_log(runtime_directory: Path) -> None:
    """The output and the viewer's own notes are in one file, in order."""
    child = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
    child += "from processes import *\nimport time\nhear = lambda: time.sleep(97)\n" + OWN
    endpoint = start_viewer([sys.executable, "-c", child, "a"], "toy", "a", backend="out")
    assert becomes(lambda: "no such plane" in find_log(endpoint).read_text())
    kill(endpoint, signal.SIGKILL)
    assert becomes(lambda: explain_end(endpoint)[0] == "it ended with signal 9 (SIGKILL)")
    assert [line[:17] for line in find_log(endpoint).read_text().split("\n") if line] == [
        "polystore: starte",
        "no such plane",
        f'{{"pid": {endpoint.pid}}}'[:17],
        "polystore: it end",
    ]


def test_doctor_lists_ended_viewers(runtime_directory: Path) -> None:
    """The doctor lists running viewers and how the last ones ended, but not those of last week."""
    with running(OWN, "own") as child:
        child.says()
        child.kill()
    for number, text in enumerate(("polystore: it ended with status 3\n", "", "old", "older")):
        log = runtime_directory / f"toy-some-name-{number}.log"
        log.write_text(text)
        at = time.time() - (60, 7200, 1e6, 1e6)[number]
        os.utime(log, (at, at))
    running_now, killed, failed, silent = viewers("toy")
    assert running_now.found == "none: a save starts one"
    unknown = "it crashed or was killed (its log has no last note)"
    assert killed.found == f"toy 'own' (process {child.pid}), 0 min ago: {unknown}"
    assert failed.found == "toy 'some-name' (process 0), 1 min ago: it ended with status 3"
    assert silent.found == f"toy 'some-name' (process 1), 2 h ago: {unknown}"
    assert silent.remedy == f"see its log: {runtime_directory}/toy-some-name-1.log"
    assert {found.state for found in (killed, failed, silent)} == {"note"}
