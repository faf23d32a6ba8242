"""A private screen for the real ImageJ, one on it with a user, and one without windows."""

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
    """Skip, with the reason, where ImageJ cannot be started."""
    try:
        find_imagej()
        find_java()
        find_own_jar()
    except ReceiverUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def runtime(programs: None) -> Iterator[Path]:
    """Have viewers keep their settings, and be found, in private folders; this is the latter."""
    # Short: the kernel allows sockets no long names.
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
    """Have viewers open on the private screen, and be found in a private folder: this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", display.name)
        patch.delenv("XAUTHORITY", raising=False)
        yield runtime


class User:
    """Who sits before an ImageJ of this name, and does what macros say."""

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

    def does(self, macro: str) -> str:
        """Run a macro in ImageJ, and return its value."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(macro.strip().replace("\n", " ") + "\n")
        self.process.stdin.flush()
        # An error opens a dialog of ImageJ's, which waits.
        assert select.select([self.process.stdout], [], [], 60)[0], f"no end: {macro}"
        for line in self.process.stdout:
            if line.startswith("> "):
                assert not line.startswith("> error"), f"{macro}: {line}"
                return line[2:-1]
        raise AssertionError(f"ImageJ has ended: {macro}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def user(desktop: Path) -> Iterator[User]:
    """The user of an ImageJ that the tests of a module share."""
    user = User(SHARED)
    try:
        yield user
    finally:
        user.close()


@pytest.fixture(scope="module")
def viewer(user: User) -> Iterator[RemoteFiji]:
    """What that ImageJ tells."""
    with polystore_fiji.connect(SHARED) as viewer:
        yield viewer
        viewer.quit()
    assert becomes(lambda: not runs(viewer.endpoint.pid) or user.process.poll() is not None)


@pytest.fixture
def files(viewer: RemoteFiji) -> Iterator[FileManager]:
    """What a pipeline has that shows in the shared ImageJ, emptied, as its backend "screen"."""
    viewer.clear()
    with pipeline("fiji_stream", viewer=SHARED, launch=False) as files:
        yield files


@pytest.fixture(scope="module")
def hidden(runtime: Path) -> Iterator[RemoteFiji]:
    """An ImageJ without windows that the tests of a module share."""
    polystore_fiji.launch("hidden", headless=True)
    with polystore_fiji.connect("hidden") as viewer:
        yield viewer
        viewer.quit()
    assert becomes(lambda: not runs(viewer.endpoint.pid))


@pytest.fixture
def there(hidden: RemoteFiji) -> Iterator[FileManager]:
    """What a pipeline has that sends to the hidden ImageJ, emptied, as its backend "screen"."""
    hidden.clear()
    with pipeline("fiji_stream", viewer="hidden", launch=False) as files:
        yield files


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures are kept, for people to look at."""
    folder = Path(os.environ.get("POLYSTORE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
