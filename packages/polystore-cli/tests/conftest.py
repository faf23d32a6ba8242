"""Run the command in this process or another one, and install plugins."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from polystore_cli.main import app
from polystore_core import BackendRegistry, FileManager

Run = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]
Inbox = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def run() -> Run:
    """Call the command in this process, with ``stdin`` as its standard input."""

    def call(*args: str | Path, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [os.fspath(arg) for arg in args], input=stdin)

    return call


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    """Give a file manager in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return FileManager(BackendRegistry())


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Call ``python -m polystore_cli`` with ``tmp_path/site`` on its path."""

    def call(
        *args: str | Path, stdout: int | IO[bytes] = subprocess.PIPE, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        # Unbuffered writes would fail at another place.
        mine = ("POLYSTORE_", "PYTHONUNBUFFERED")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
        path = os.pathsep.join([os.fspath(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
        environment |= {"PYTHONPATH": path.rstrip(os.pathsep), **variables}
        command = [sys.executable, "-m", "polystore_cli", *(os.fspath(arg) for arg in args)]
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    return call


_MANIFEST = """
from polystore_core import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.backend:Backend"
    return BackendSpec(name=name, target=target, api={api}, summary="{summary}")
"""
_BACKEND = """
from polystore_core import StorageBackend

class Backend(StorageBackend):
    def load(self, path, /): ...
    def save(self, data, path, /): ...
"""


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install a distribution with one backend into ``tmp_path/site``, as pip does."""

    def put(
        distribution: str,
        name: str,
        *,
        manifest: str = _MANIFEST,
        backend: str = _BACKEND,
        api: object = 1,
        summary: str = "a test",
    ) -> None:
        module = distribution.replace("-", "_")
        package = tmp_path / "site" / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(
            manifest.format(package=module, api=api, summary=summary)
        )
        (package / "backend.py").write_text(backend)
        record = tmp_path / "site" / f"{module}-2.5.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n"
        )
        (record / "entry_points.txt").write_text(
            f"[polystore.backends]\n{name} = {module}.plugin\n"
        )

    return put


@pytest.fixture(autouse=True, scope="session")
def storage() -> None:
    """Require the backends that the tests of the command use, which are other distributions."""
    needed = tuple(f"polystore_{name}" for name in ("disk", "memory", "formats", "workspace"))
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if missing and os.environ.get("POLYSTORE_REQUIRE_ALL") != "1":
        pytest.skip(f"{' and '.join(missing)} not installed")


# A question travels as an image does, so it arrives after everything sent before it.
LISTENER = """
import pickle, sys
from polystore_stream import receive

names = ("path", "data", "axes", "scale", "units", "labels", "layer", "at")
shown = []
with receive() as incoming:
    print("ready", flush=True)
    for item in incoming:
        if item.path == "?":
            document = [{name: getattr(x, name) for name in names}
                        | {"channels": [c.name for c in x.channels]} for x in shown]
            pickle.dump(document, sys.stdout.buffer)
            sys.stdout.flush()
        else:
            shown.append(item)
"""


@pytest.fixture
def runtime_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # The kernel limits the names of sockets, so this one is short.
    folder = tempfile.mkdtemp(prefix="ps-")
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", folder)
    yield
    shutil.rmtree(folder)


@pytest.fixture
def inbox(runtime_directory: None) -> Iterator[Inbox]:
    """Run a script that listens, and return a function that returns its items."""
    process = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
    output = process.stdout
    assert output is not None
    assert output.readline() == b"ready\n"

    def ask() -> list[dict[str, Any]]:
        with BackendRegistry() as registry:
            FileManager(registry).save(np.zeros((1, 1)), "?", backend="streaming")
        found: list[dict[str, Any]] = pickle.load(output)
        return found

    yield ask
    process.kill()
    process.wait()
    output.close()
