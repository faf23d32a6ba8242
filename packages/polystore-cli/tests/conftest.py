"""The command, here and in a process of its own; plugins that are really installed."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner, Result

from polystore_cli.main import app

Run = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]


@pytest.fixture
def run() -> Run:
    """Call the command in this process."""
    return lambda *args: CliRunner().invoke(app, [os.fspath(arg) for arg in args])


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Call ``python -m polystore_cli`` with ``tmp_path/site`` on its path."""

    def call(
        *args: str | Path, stdout: int | IO[bytes] = subprocess.PIPE, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        mine = ("POLYSTORE_", "PYTHONUNBUFFERED")  # unbuffered writes fail at another place
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
    """Install a distribution with one backend into ``tmp_path/site``, as pip would leave it."""

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
    """Require the backends that the command is tried on: distributions of their own."""
    needed = ("polystore_disk", "polystore_memory", "polystore_formats")
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if missing and os.environ.get("POLYSTORE_REQUIRE_ALL") != "1":
        pytest.skip(f"{' and '.join(missing)} not installed")
