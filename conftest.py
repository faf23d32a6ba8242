"""Rules for every test: two speeds, nothing is left behind, and no test is skipped in silence."""

from __future__ import annotations

import gc
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TOKEN = "POLYSTORE_TEST_SESSION"
RUNTIME = "POLYSTORE_RUNTIME_DIR"
scratch: pytest.StashKey[Path] = pytest.StashKey()
OWN = ("run", "torch")
"""Folders that the session itself makes in its temporary directory."""
# With POLYSTORE_REQUIRE_ALL=1 a test may still be skipped for things that no installer provides.
EXCUSES = ("data:", "system:")

# ── two speeds ───────────────────────────────────────────────────────────────────────────

HEAVY = frozenset({"faults", "slow", "screen", "frameworks"})
"""Marks of the tests that run at the speed "full" only."""
NEEDS = {"display": "screen", "programs": "screen", "imagej": "screen"}
"""Fixtures that give their tests a mark."""
MARKED = re.compile(rf"^pytestmark = \[?\s*pytest\.mark\.({'|'.join(HEAVY)})\b", re.MULTILINE)

for name, examples in (("full", 100), ("quick", 20)):
    # A slow machine is not a failure: no deadline, and no complaint about slow generation.
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--speed",
        choices=("full", "quick", "smoke"),
        default="full",
        help="quick leaves out the tests marked faults, slow, screen or frameworks, and tries "
        "fewer examples. smoke is quick with the tests marked smoke.",
    )


def is_heavy(marks: set[str], speed: str) -> bool:
    return bool(marks & HEAVY) and not (speed == "smoke" and "smoke" in marks)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module whose ``pytestmark`` leaves it out: its needs may be missing."""
    speed = config.getoption("speed")
    if speed == "full" or not collection_path.match("test_*.py"):
        return None
    text = collection_path.read_text("utf-8")
    marks = {*MARKED.findall(text), *re.findall(r"pytest\.mark\.(smoke)\b", text)}
    return True if is_heavy(marks, speed) else None


@pytest.hookimpl(trylast=True)  # other conftest.py files add marks first
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    speed = config.getoption("speed")
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        for fixture in NEEDS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(NEEDS[fixture])
        marks = {mark.name for mark in item.iter_markers()}
        out = speed != "full" and is_heavy(marks, speed)
        (left_out if out else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


# ── nothing is left behind ───────────────────────────────────────────────────────────────


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full" if config.getoption("speed") == "full" else "quick")
    if hasattr(config, "workerinput"):  # one process starts the others
        return
    os.environ[TOKEN] = uuid.uuid4().hex
    # pytest keeps the folders of the last tests in the shared temporary directory, as always.
    # The tests themselves get one of their own, where anything that they leave can be seen.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="ps-"))  # short: sockets take no long names
    folder.chmod(0o755)  # tests act as other users
    config.stash[scratch] = folder
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    # Tests must not find the viewers that the user has open.
    (folder / "run").mkdir(0o700)
    os.environ[RUNTIME] = str(folder / "run")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "torch")


def files_left(folder: Path) -> Iterator[Path]:
    """Find files in the temporary directory, announced receivers, and shared memory."""
    yield from (path for path in folder.iterdir() if path.name not in OWN)
    # Locks stay.
    yield from (path for path in (folder / "run").iterdir() if path.name[:5] != ".~ps-")
    # Other programs use shared memory too. The name says which process has made it.
    for ring in Path("/dev/shm").glob("polystore-ring-*"):
        if not Path("/proc", ring.name.split("-")[2]).exists():
            yield ring


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """A call that counts the open descriptors of this process, where the system lists them.

    Leftovers of earlier tests are closed first: it must not be closed while
    a test counts.
    """
    gc.collect()
    return lambda: len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0


def survivors() -> Iterator[str]:
    """Processes that some test started, and that are still there."""
    token = f"{TOKEN}={os.environ[TOKEN]}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            started_here = token in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):  # gone already, or not ours
            continue
        # multiprocessing keeps one helper for as long as this very process lives.
        if (
            started_here
            and process.name != str(os.getpid())
            and "resource_tracker" not in command
        ):
            yield f"process {process.name}: {command}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    folder = session.config.stash[scratch]
    # Workers of the test runner take a moment to end.
    patience = time.monotonic() + 60
    while left := [*map(str, files_left(folder)), *survivors()]:
        if time.monotonic() > patience:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print("\nLEFT BEHIND by the tests:", *sorted(left), sep="\n  ")
            break
        time.sleep(0.1)
    shutil.rmtree(folder)


# ── nothing is skipped in silence ────────────────────────────────────────────────────────


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_skipped(report)
    return report


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With POLYSTORE_REQUIRE_ALL=1, fail a skip unless no installer provides the missing thing."""
    required = os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    if not required or not report.skipped or hasattr(report, "wasxfail"):
        return
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not text.removeprefix("Skipped: ").startswith(EXCUSES):
        report.outcome = "failed"
        report.longrepr = f"skipped where everything must be there: {text}"
