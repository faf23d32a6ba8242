"""What holds for every test: nothing stays behind, and nothing is skipped in silence."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

TOKEN = "POLYSTORE_TEST_SESSION"
RUNTIME = "POLYSTORE_RUNTIME_DIR"
before: pytest.StashKey[set[Path]] = pytest.StashKey()
# Where everything must be there, a test may still be skipped for what no installer provides.
EXCUSES = ("data:", "system:")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the one process that starts the others
        os.environ[TOKEN] = uuid.uuid4().hex
        # Tests must not find the viewers that the user has open.
        os.environ[RUNTIME] = tempfile.mkdtemp(prefix="ps-run-")
        config.stash[before] = places()


def places() -> set[Path]:
    """Everything in shared memory, and in the temporary directory but for pytest's own."""
    found = {
        path for path in Path(tempfile.gettempdir()).iterdir() if "pytest-" not in path.name
    }
    receivers = {
        path
        for path in Path(os.environ[RUNTIME]).iterdir()
        if not path.name.startswith(".~ps-")  # locks stay
    }
    shared = Path("/dev/shm")
    return found | receivers | (set(shared.iterdir()) if shared.is_dir() else set())


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


def leftovers(known: set[Path]) -> list[str]:
    return [*map(str, sorted(places() - known)), *survivors()]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    # Workers of the test runner take a moment to end, and with them goes what they still hold:
    # multiprocessing removes the semaphores of a process when it has ended.
    deadline = time.monotonic() + 10
    while (left := leftovers(session.config.stash[before])) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nLEFT BEHIND by the tests:", *left, sep="\n  ")
    shutil.rmtree(os.environ[RUNTIME])


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
    """Where everything must be there, only what no installer provides excuses a skip."""
    required = os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    if not required or not report.skipped or hasattr(report, "wasxfail"):
        return
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not text.removeprefix("Skipped: ").startswith(EXCUSES):
        report.outcome = "failed"
        report.longrepr = f"skipped where everything must be there: {text}"
