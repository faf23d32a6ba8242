"""Other processes, and distributions that are really installed."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

import pytest

from polystore_core.plugins import discovery, hooks

Python = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "Process"]
Install = Callable[..., None]
Require = Callable[[str], ModuleType]

FOREIGN = {"torch", "jax", "tensorflow"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that import a framework, by a fixture or by a name in their parameters."""
    for item in items:
        used = {*getattr(item, "fixturenames", ())}
        if {"require", "framework"} & used and hasattr(item, "callspec"):
            used |= {value for value in item.callspec.params.values() if isinstance(value, str)}
        if used & FOREIGN:
            item.add_marker(pytest.mark.frameworks)


@pytest.fixture(autouse=True)
def no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables by which the person who runs the tests switches plugins off."""
    for variable in (discovery.ALLOW, discovery.DENY):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def require() -> Require:
    """Return a function that imports a module, or skips the test if it is not installed."""

    def import_module(name: str) -> ModuleType:
        module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
        return module

    return import_module


@pytest.fixture
def python() -> Python:
    """Return a function that runs code in a new Python, in which every warning is an error."""

    def run(
        code: str, *args: str | Path | float, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(code, args),
            env=os.environ | variables,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


class Process:
    """A Python process that prints lines, and waits for a line when its code reads one."""

    def __init__(self, code: str, *args: str | Path | float) -> None:
        self._popen = subprocess.Popen(
            _command(code, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._popen.pid
        self.kill = self._popen.kill
        self.wait = self._popen.wait
        self.send_signal = self._popen.send_signal

    def read_line(self) -> str:
        return _pipe(self._popen.stdout).readline().strip()

    def is_silent(self, seconds: float) -> bool:
        return not select.select([_pipe(self._popen.stdout)], [], [], seconds)[0]

    def go_on(self) -> None:
        stdin = _pipe(self._popen.stdin)
        stdin.write("\n")
        stdin.flush()

    def end(self) -> None:
        self.kill()
        self.wait()
        _pipe(self._popen.stdout).close()
        _pipe(self._popen.stdin).close()


def _command(code: str, args: tuple[str | Path | float, ...]) -> list[str]:
    return [sys.executable, "-P", "-W", "error", "-c", code, *map(str, args)]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a Python process, which ends with the test."""
    started: list[Process] = []

    def begin(code: str, *args: str | Path | float) -> Process:
        started.append(Process(code, *args))
        return started[-1]

    yield begin
    for process in started:
        process.end()


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory that other users can reach, because tmp_path is private."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("system: needs root, to act as two users")
    directory = Path(tempfile.mkdtemp(prefix="polystore-pytest-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


_MANIFEST = """
from polystore_core import BackendSpec, FormatSpec, FrameworkSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.provided:Provided"
    return BackendSpec(name=name, target=target, api={api}, requires={requires}, summary="fine")

@hookimpl
def polystore_format(name):
    return FormatSpec(name=name, target="{package}.provided:Provided", api={api})

@hookimpl
def polystore_framework(name):
    return FrameworkSpec(name=name, target="{package}.provided:Provided", api={api})
"""

_BACKEND = """
from polystore_core import StorageBackend

class Provided(StorageBackend):
    def load(self, path, /):
        return "{package}"

    def save(self, data, path, /):
        pass
"""


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """Return a function that installs a distribution as pip does: a package and its dist-info."""
    sites: set[Path] = set()
    with pytest.MonkeyPatch.context() as patch:

        def put(
            distribution: str,
            name: str,
            *,
            manifest: str = _MANIFEST,
            code: str = _BACKEND,
            api: int = 1,
            requires: tuple[str, ...] = (),
            core: str = "",
            group: str = "polystore.backends",
            site: str = "site",
        ) -> None:
            package = distribution.replace("-", "_")
            here = tmp_path / site
            files = {
                f"{package}/__init__.py": "",
                f"{package}/plugin.py": manifest.format(
                    package=package, api=api, requires=requires
                ),
                f"{package}/provided.py": code.format(package=package),
                f"{package}-2.5.dist-info/METADATA": (
                    f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.5\n"
                    "Requires-Dist: numpy>=1.26\n"
                    + (f"Requires-Dist: polystore-core{core}\n" if core else "")
                ),
                f"{package}-2.5.dist-info/entry_points.txt": (
                    f"[{group}]\n{name} = {package}.plugin\n"
                ),
            }
            for file, text in files.items():
                (here / file).parent.mkdir(parents=True, exist_ok=True)
                (here / file).write_text(text)
            if here not in sites:
                sites.add(here)
                patch.syspath_prepend(here)
            discovery.rescan()

        yield put
    _forget_modules_in(sites)
    discovery.load_spec.cache_clear()
    discovery.rescan()


def _forget_modules_in(sites: set[Path]) -> None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if any(file.startswith(f"{site}{os.sep}") for site in sites):
            del sys.modules[name]
            if hooks.manager().is_registered(module):
                hooks.manager().unregister(module)
