"""Start viewers, from one process or many, and report those that do not start."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_stream import discovery
from polystore_stream.sending.launch import start_viewer
from polystore_testing.processes import becomes, runs

from .processes import TOY, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

PYTHON = [sys.executable, "-P", "-c"]


def start(command: list[str] = TOY, name: str = "default", **options: Any) -> Any:
    return start_viewer(command, "toy", name, backend="out", **options)


@pytest.fixture(autouse=True)
def end_viewers(leak_check: None) -> Iterator[None]:
    """Kill the viewers of a test, because they outlive the process that starts them."""
    yield
    for endpoint in discovery.find("toy"):
        with suppress(ProcessLookupError):
            os.kill(endpoint.pid, signal.SIGKILL)
        assert becomes(lambda pid=endpoint.pid: not runs(pid))  # type: ignore[misc]


def test_viewer_starts_once() -> None:
    """The first call starts a viewer, the second one finds it. Another name is another viewer."""
    first = start()
    assert runs(first.pid)
    assert start() == first
    other = start([*TOY, "other"], "other")
    assert (other.name, other.pid == first.pid) == ("other", False)


def test_ended_viewer_is_reaped() -> None:
    """A viewer that ends leaves no zombie in the process that started it."""
    endpoint = start()
    os.kill(endpoint.pid, signal.SIGTERM)
    assert becomes(lambda: not runs(endpoint.pid))
    again = start()
    assert again.pid != endpoint.pid


def test_viewer_has_own_session() -> None:
    """Ctrl-C in the terminal of the pipeline does not reach the viewer."""
    endpoint = start(environment={"TOY_SAYS": "hello"})
    assert os.getsid(endpoint.pid) == endpoint.pid
    assert b"TOY_SAYS=hello" in Path(f"/proc/{endpoint.pid}/environ").read_bytes()


def test_wrapped_viewer_is_found() -> None:
    """The viewer may be a child of the command, as under xvfb-run."""
    endpoint = start(["/bin/sh", "-c", '"$@"; exit', "sh", *TOY])
    parent = int(Path(f"/proc/{endpoint.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    assert os.getsid(endpoint.pid) == parent


def test_failed_start_is_explained() -> None:
    """If a command ends at once, the error has the end of its output."""
    code = "print('\\n'.join(f'line {n}' for n in range(20))); raise SystemExit('no plugin')"
    with pytest.raises(ReceiverUnavailableError) as caught:
        start([*PYTHON, code])
    text = str(caught.value)
    assert "toy 'default' ended with status 1 while it was starting" in text
    assert "line 19\n  no plugin" in text or "no plugin\n" in text
    assert "line 12" not in text


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("qt.qpa.plugin: Could not load the Qt platform plugin xcb", "log in with ssh -X"),
        ("cannot connect to X server, no DISPLAY", "xvfb-run -a python"),
        ("", "it printed:\n  nothing"),
    ],
)
def test_missing_screen_is_explained(said: str, advice: str) -> None:
    """Without a screen, the error says how to get one."""
    with pytest.raises(ReceiverUnavailableError) as caught:
        start([*PYTHON, f"raise SystemExit({said!r})"])
    assert advice in str(caught.value)


def test_missing_command_is_explained(runtime_directory: Path) -> None:
    """The error names a command that is missing or cannot be run."""
    with pytest.raises(ReceiverUnavailableError, match=r"cannot be started: .*'/no/napari'"):
        start(["/no/napari"])
    file = runtime_directory / "script-viewer"
    file.touch(mode=0o600)
    with pytest.raises(ReceiverUnavailableError, match=r"cannot be started: .*script-viewer"):
        start([str(file)])
    file.unlink()


@pytest.mark.faults
def test_unready_viewer_is_killed(runtime_directory: Path) -> None:
    """A command that is not ready in time is killed with its children, and the error says so."""
    pids = runtime_directory / ".~ps-pids"
    code = f"echo $$ > {pids}; sleep 97 & echo $! >> {pids}; echo loading; wait"
    with (
        pytest.raises(ReceiverUnavailableError, match=r"was not ready 0\.7 s after") as e,
    ):
        start(["/bin/sh", "-c", code], timeout=0.7)
    assert "it printed:\n  loading" in str(e.value)
    for pid in pids.read_text().split():
        assert becomes(lambda pid=pid: not runs(int(pid)) or is_zombie(int(pid)))  # type: ignore[misc]


def is_zombie(pid: int) -> bool:
    """Whether it has ended and its parent has not read its status yet."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


STARTER = """
from polystore_stream.sending.launch import start_viewer
hear()
try:
    endpoint = start_viewer(json.loads(sys.argv[1]), "toy", "default", backend="out", timeout=20)
    say(pid=endpoint.pid)
except KeyboardInterrupt:
    say(interrupted=True)
hear()
"""


@pytest.mark.faults
def test_many_starters_start_one() -> None:
    """If two processes start a viewer at once, one does, and both find it."""
    with running(STARTER, json.dumps(TOY)) as one, running(STARTER, json.dumps(TOY)) as two:
        starters = [one, two]
        time.sleep(0.5)
        for starter in starters:
            starter.tell("go")
        found = [starter.says()["pid"] for starter in starters]
        assert found[0] == found[1]
        assert runs(found[0])
        # The viewer outlives the processes that started it.
        for starter in starters:
            starter.tell("end")
            assert starter.wait() == 0
        assert [endpoint.pid for endpoint in discovery.find("toy")] == found[:1]


@pytest.mark.faults
def test_interrupted_start_kills(runtime_directory: Path) -> None:
    """Ctrl-C while a viewer starts ends the wait and the viewer at once."""
    note = runtime_directory / ".~ps-pid"
    command = ["/bin/sh", "-c", f"echo $$ > {note}; exec sleep 97"]
    with running(STARTER, json.dumps(command)) as starter:
        starter.tell("go")
        assert becomes(lambda: note.exists() and note.read_text().strip())
        starter.send_signal(signal.SIGINT)
        assert starter.says() == {"interrupted": True}
        pid = int(note.read_text())
        assert becomes(lambda: not runs(pid))
        starter.tell("end")
        assert starter.wait() == 0
    assert not list(runtime_directory.glob("*.log"))


@pytest.mark.faults
def test_late_starter_names_the_other_process(runtime_directory: Path) -> None:
    """A process that waits for another one's start says so at its time-out."""
    command = ["/bin/sh", "-c", "exec sleep 97"]
    with running(STARTER, json.dumps(command)) as starter:
        starter.tell("go")
        assert becomes(lambda: list(runtime_directory.glob("*.log")))
        with pytest.raises(ReceiverUnavailableError, match=r"being started by another process"):
            start(timeout=0.3)
        starter.send_signal(signal.SIGINT)
        assert starter.says() == {"interrupted": True}
