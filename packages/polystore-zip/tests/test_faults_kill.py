"""Writers that are killed at every call and at any byte, and readers during a write."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore_zip.backend import ZipBackend

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals"),
]

KILLS = 30
SIZES = [1, 60, 3_000, 200_000]
"""Numbers of 8-byte elements. A new value is smaller or larger than the directory."""
SMALL, LARGE = 0, 3
CALLS = {"write", "truncate", "fsync", "open", "flock"}


def value(number):
    return np.full(SIZES[number % len(SIZES)], number)


# ── the writing process ──────────────────────────────────────────────────────────────────


def say(text):
    os.write(1, f"{text}\n".encode())


def add_for_ever(file, first, durable):
    """Add values one by one and in batches, and report the number of each saved value."""
    backend = ZipBackend(file=file, durable={"None": None, "False": False}[durable])
    number = int(first)
    while True:
        backend.save(value(number), f"plate/{number}.npy")
        say(number)
        batch = range(number + 1, number + 2 + number % 40)
        backend.save_batch([value(n) for n in batch], [f"plate/{n}.npy" for n in batch])
        say("\n".join(map(str, batch)))
        number = batch.stop


def add_until_byte(file, number, most):
    """Save a value.

    The system kills the process when the file would grow beyond ``most`` bytes.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), resource.RLIM_INFINITY))
    ZipBackend(file=file).save(value(int(number)), "new.npy")


def add_until_call(file, number, most):
    """Save a value, and kill this process before the call with the number ``most``."""
    left = int(most)

    def count(frame, event, called):
        nonlocal left
        if event == "c_call" and called.__name__ in CALLS and "zip" in frame.f_code.co_filename:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    backend = ZipBackend(file=file)
    sys.setprofile(count)
    backend.save(value(int(number)), "new.npy")
    sys.setprofile(None)


def main():
    """Run each line of input in a child process, and report its exit status."""
    ZipBackend(file="/nowhere.zip").exists("a.npy")  # Import all modules before the first fork.
    np.lib.format.magic(1, 0)
    say("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            work, *arguments = line.split()
            globals()[work](*arguments)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(f"ended {status}")


class Worker:
    """The writing process."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONWARNINGS": "ignore", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self.read_line() == "ready"

    def read_line(self):
        return self.process.stdout.readline().strip()

    def start(self, *line):
        print(*line, file=self.process.stdin, flush=True)
        return int(self.read_line().removeprefix("pid "))

    def lines(self):
        """Yield each line of output until the child ends."""
        for line in iter(self.read_line, "ended 0"):
            assert line, "the writing process has ended"
            if line.startswith("ended "):
                return
            yield line

    def run(self, *line):
        """Run the command, and return whether the child was killed."""
        self.start(*line)
        while not (report := self.read_line()).startswith("ended "):
            assert report, "the writing process has ended"
        assert report in ("ended 0", "ended 9", f"ended {int(signal.SIGXFSZ)}")
        return report != "ended 0"


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.process.communicate()


# ── the remaining archive ────────────────────────────────────────────────────────────────


def check_all(file, numbers):
    backend = ZipBackend(file=file)
    names = backend.list_dir("plate")
    for name in names:
        number = int(name.partition(".")[0])
        np.testing.assert_array_equal(backend.load(f"plate/{name}"), value(number))
    assert {f"{n}.npy" for n in numbers} <= set(names)


def is_readable_by_others(file, numbers):
    try:
        with zipfile.ZipFile(file) as archive:
            return {f"plate/{n}.npy" for n in numbers} <= set(archive.namelist())
    except zipfile.BadZipFile:
        return False


def check_others(file, numbers):
    assert is_readable_by_others(file, numbers)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-tq", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def ends_with_directory(file):
    return Path(file).read_bytes()[-22:-18] == b"PK\5\6"


@pytest.fixture(params=[(12, SMALL), (700, SMALL), (12, LARGE), (700, LARGE)], ids=str)
def archive(request, tmp_path):
    """Return an archive's path, bytes and numbers, and the number of a value to add."""
    count, kind = request.param
    file = str(tmp_path / "scan.zip")
    numbers = [4 * n for n in range(count)]
    backend = ZipBackend(file=file, durable=False)
    backend.save_batch([value(n) for n in numbers], [f"plate/{n}.npy" for n in numbers])
    return file, Path(file).read_bytes(), numbers, 100_000 + kind


def check_rest(file, numbers, number):
    check_all(file, numbers)
    backend = ZipBackend(file=file)
    if backend.exists("new.npy"):
        np.testing.assert_array_equal(backend.load("new.npy"), value(number))
    backend.save(value(4_000_000), "plate/4000000.npy")
    check_all(file, numbers)
    check_others(file, numbers)
    return backend.exists("new.npy")


@pytest.mark.timeout(600)
def test_killed_before_each_call(archive, worker):
    file, content, numbers, number = archive
    calls = 0
    seen = set()
    killed = True
    while killed:
        Path(file).write_bytes(content)
        killed = worker.run("add_until_call", file, number, calls)
        assert is_readable_by_others(file, numbers)
        seen.add(check_rest(file, numbers, number))
        calls += 1
    assert seen == {True, False}
    assert calls > 5


@pytest.mark.timeout(600)
def test_killed_at_each_byte(archive, worker):
    """The system kills the writer during a call, after any number of bytes."""
    file, content, numbers, number = archive
    chance = random.Random(4)
    size, hidden = len(content), 0
    worker.run("add_until_call", file, number, 1_000_000)
    reach = Path(file).stat().st_size + 2 * len(content)
    limits = [size, size + 1, size + 21, size + 22]
    limits += [chance.randrange(size, reach) for _ in range(KILLS)]
    for limit in limits:
        Path(file).write_bytes(content)
        worker.run("add_until_byte", file, number, limit)
        if not is_readable_by_others(file, numbers):
            assert not ends_with_directory(file)
            hidden += 1
        check_rest(file, numbers, number)
    print(f"{len(limits)} kills, {hidden} hidden from zipfile")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("durable", ["None", "False"])
def test_killed_at_random(tmp_path, worker, durable):
    file = str(tmp_path / "scan.zip")
    chance = random.Random(3)
    saved: list[int] = []
    hidden = 0
    for _ in range(KILLS):
        first = max(saved, default=0) + 1000
        pid = worker.start("add_for_ever", file, first, durable)
        saved.append(int(worker.read_line()))
        time.sleep(chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        saved += [int(line) for line in worker.lines() if line]
        check_all(file, saved)
        hidden += not is_readable_by_others(file, saved)
        if chance.random() < 0.5:  # Either this writer or the next one finds the remains.
            ZipBackend(file=file).save(value(first - 1), f"plate/{first - 1}.npy")
            saved.append(first - 1)
            check_others(file, saved)
    left = [name for name in os.listdir(tmp_path) if not name.endswith((".zip", ".lock"))]
    assert not left
    print(f"{KILLS} kills, {len(saved)} values, {hidden} hidden from zipfile")


@pytest.mark.timeout(120)
def test_reader_finds_whole_values(tmp_path, worker):
    """Readers in this process find whole values while another process writes."""
    file = str(tmp_path / "scan.zip")
    pid = worker.start("add_for_ever", file, 0, "None")
    backend = ZipBackend(file=file)
    saved, seen = [int(worker.read_line())], 0
    end = time.monotonic() + 3
    chance = random.Random(5)
    while time.monotonic() < end:
        number = chance.choice(saved)
        np.testing.assert_array_equal(backend.load(f"plate/{number}.npy"), value(number))
        names = backend.list_dir("plate")
        assert len(names) >= seen
        seen = len(names)
        saved = [int(name.partition(".")[0]) for name in names]
    os.kill(pid, signal.SIGKILL)
    list(worker.lines())
    assert seen > 40


if __name__ == "__main__":
    main()
