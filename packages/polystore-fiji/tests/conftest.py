"""Fixtures: a private screen, a real ImageJ on it with a user, and an ImageJ without windows."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import polystore_fiji
from polystore_core.errors import ReceiverUnavailableError
from polystore_fiji.imagej import find_imagej
from polystore_fiji.jars import find_own_jar
from polystore_fiji.java import find_java
from polystore_stream import discovery
from polystore_testing.display import Display, private_display
from polystore_testing.processes import becomes, pipeline, runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji

SHARED = "shared"
USER = Path(__file__).parent / "java/User.java"


@pytest.fixture(scope="session")
def display() -> Iterator[Display]:
    try:
        with private_display() as display:
            yield display
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")


@pytest.fixture(scope="module")
def programs() -> None:
    """Skip the test, with the reason, where ImageJ cannot be started."""
    try:
        find_imagej()
        find_java()
        find_own_jar()
    except ReceiverUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def runtime(programs: None) -> Iterator[Path]:
    """Yield a private folder in which viewers announce themselves.

    Their settings are private, too.
    """
    # Short, because the kernel limits the length of the name of a socket.
    folder = Path(tempfile.mkdtemp(prefix="ps"))
    runtime = folder / "polystore"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("POLYSTORE_RUNTIME_DIR", str(runtime))
        # Without -UsePerfData a Java that is killed leaves a file in /tmp.
        options = f"-Duser.home={folder} -Djava.io.tmpdir={folder} -XX:-UsePerfData"
        patch.setenv("JAVA_TOOL_OPTIONS", options)
        patch.delenv("DISPLAY", raising=False)
        patch.delenv("POLYSTORE_FIJI", raising=False)
        yield runtime
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def desktop(runtime: Path, display: Display) -> Iterator[Path]:
    """Open viewers on the private screen. Yield the folder in which they announce themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", display.name)
        patch.delenv("XAUTHORITY", raising=False)
        yield runtime


class User:
    """The user of the ImageJ with this name, who acts by macros."""

    def __init__(self, name: str) -> None:
        jars = os.pathsep.join(map(str, (find_imagej().jar, find_own_jar().path)))
        command = [str(find_java().command), "-Xmx1g", "-cp", jars, str(USER), "--name", name]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert becomes(lambda: discovery.find("fiji", name))

    def do(self, macro: str) -> str:
        """Run a macro in ImageJ and return its value."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(macro.strip().replace("\n", " ") + "\n")
        self.process.stdin.flush()
        # On an error ImageJ opens a dialog and waits.
        assert select.select([self.process.stdout], [], [], 60)[0], (
            f"the macro does not end: {macro}"
        )
        for line in self.process.stdout:
            if line.startswith("> "):
                assert not line.startswith("> error"), f"{macro}: {line}"
                return line[2:-1]
        raise AssertionError(f"ImageJ ended during: {macro}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def user(desktop: Path) -> Iterator[User]:
    """The user of an ImageJ that all tests of a module share."""
    user = User(SHARED)
    try:
        yield user
    finally:
        user.close()


@pytest.fixture(scope="module")
def viewer(user: User) -> Iterator[RemoteFiji]:
    """A connection to that ImageJ, which answers questions."""
    with polystore_fiji.connect(SHARED) as viewer:
        yield viewer
        viewer.quit()
    assert becomes(lambda: not runs(viewer.endpoint.pid) or user.process.poll() is not None)


@pytest.fixture
def files(viewer: RemoteFiji) -> Iterator[FileManager]:
    """A pipeline whose backend "screen" is the shared ImageJ, without images."""
    viewer.clear()
    with pipeline("fiji_stream", viewer=SHARED, launch=False) as files:
        yield files


@pytest.fixture(scope="module")
def headless(runtime: Path) -> Iterator[RemoteFiji]:
    """An ImageJ without windows that all tests of a module share."""
    polystore_fiji.launch("hidden", headless=True)
    with polystore_fiji.connect("hidden") as viewer:
        yield viewer
        viewer.quit()
    assert becomes(lambda: not runs(viewer.endpoint.pid))


@pytest.fixture
def headless_files(headless: RemoteFiji) -> Iterator[FileManager]:
    """A pipeline whose backend "screen" is the ImageJ without windows and images."""
    headless.clear()
    with pipeline("fiji_stream", viewer="hidden", launch=False) as files:
        yield files


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder that keeps pictures for people to look at."""
    folder = Path(os.environ.get("POLYSTORE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
