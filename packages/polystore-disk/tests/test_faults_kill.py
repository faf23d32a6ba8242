"""Writers that are killed or interrupted, and readers that read while another process writes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.files.atomic import find_leftovers
from polystore_disk.backend import DiskBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals"),
]

SUFFIXES = ["npy", "tif", "json", "txt"]
KILLS = 30
ITEMS = [f"{n}.npy" for n in range(12)]


def version(suffix: str, number: int) -> Any:
    """Return a value of about 200 KiB that repeats its number throughout."""
    if suffix == "json":
        return [number] * 40_000
    if suffix == "txt":
        return f"{number}\n" * 40_000
    return np.full((230, 231), number, np.uint32)


def number_of(suffix: str, value: Any) -> int:
    """Return the number of a value, and check that all of it has that number."""
    if suffix == "txt":
        value = value.splitlines()
    number = int(np.ravel(value)[0])
    expected = version(suffix, number)
    whole = value == (expected.splitlines() if suffix == "txt" else expected)
    assert np.all(whole), f"mixed versions in {suffix}"
    return number


# ── the writing process ──────────────────────────────────────────────────────────────────


def overwrite(say: Callable[[str], None], root: str) -> None:
    """Report each version after it is saved."""
    disk = DiskBackend(root=root)
    number = 1 + number_of("npy", disk.load("a.npy"))
    while True:
        for suffix in SUFFIXES:
            disk.save(version(suffix, number), f"a.{suffix}")
            say(f"{suffix} {number}")
        number += 1


def overwrite_batches(
    say: Callable[[str], None], root: str, threads: str, durable: str
) -> None:
    disk = DiskBackend(root=root, durable=durable == "True")
    number = 1 + number_of("npy", disk.load(ITEMS[0]))
    while True:
        disk.save_batch([version("npy", number)] * len(ITEMS), ITEMS, threads=int(threads))
        say(f"batch {number}")
        number += 1


def copy_folders(say: Callable[[str], None], root: str) -> None:
    disk = DiskBackend(root=root)
    number = len(disk.list_dir("copies"))
    while True:
        number += 1
        disk.copy("plate", f"copies/{number}")
        say(f"copy {number}")


def be_interrupted(say: Callable[[str], None], root: str) -> None:
    """Overwrite until SIGINT arrives, report it, and wait for a line of input."""
    disk = DiskBackend(root=root)
    number = 1
    while True:
        try:
            say("ready 1")
            while True:
                number += 1
                for suffix in SUFFIXES:
                    disk.save(version(suffix, number), f"a.{suffix}")
                disk.save_batch([version("npy", number)] * len(ITEMS), ITEMS, threads=2)
        except KeyboardInterrupt:
            say("interrupted 1")
        sys.stdin.readline()


def main(work: str, *arguments: str) -> None:
    """For every line of input, do the work in a child process. Only the child is killed."""
    disk = DiskBackend(root=arguments[0])
    for suffix in SUFFIXES:  # Import all that a save needs before the timing starts.
        disk.save(version(suffix, 0), f"a.{suffix}")
        disk.load(f"a.{suffix}")

    def say(line: str) -> None:
        os.write(1, f"{line}\n".encode())

    say("ready 0")
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            globals()[work](say, *arguments)
        os.waitpid(child, 0)
        say("ended 0")


# ── the watching process ─────────────────────────────────────────────────────────────────


class Writer:
    """The writing process, which is started, killed and started again."""

    def __init__(self, work: str, *arguments: object) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, work, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        self.pid = 0
        self.expect("ready")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    def start(self) -> None:
        self.go_on()
        self.pid = self.expect("pid")

    def line(self) -> tuple[str, int]:
        assert self.process.stdout is not None
        report, number = self.process.stdout.readline().decode().split()
        return report, int(number)

    def expect(self, expected: str) -> int:
        report, number = self.line()
        assert report == expected
        return number

    def kill(self, chance: random.Random, *, most: int) -> dict[str, int]:
        """Kill the child at a random moment after it reported 1 to ``most`` saves.

        Returns the last version of each kind that it reported as saved.
        """
        report = dict(self.line() for _ in range(chance.randint(1, most)))
        time.sleep(chance.uniform(0, 0.01))
        os.kill(self.pid, signal.SIGKILL)
        report |= dict(iter(self.line, ("ended", 0)))
        self.pid = 0
        return report

    def end(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Writer]]:
    started: list[Writer] = []

    def begin(work: str, *arguments: object) -> Writer:
        started.append(Writer(work, folder, *arguments))
        return started[-1]

    yield begin
    for writer in started:
        writer.end()


def check_leftovers(folder: Path, *, most: int) -> None:
    """Check that few temporary files are left, and that ``find_leftovers`` finds each of them.

    About one in 100 kills leaves a temporary file.
    """
    left = {str(path) for path in folder.rglob(".~ps-*") if ".~ps-" not in str(path.parent)}
    assert len(left) <= most
    time.sleep(0.02)  # The clock of the file system is coarse.
    assert set(find_leftovers(folder, older_than=0)) == left


def test_killed_save_is_whole(rooted: DiskBackend, folder: Path, start: Any) -> None:
    """Each file holds the last version that was reported as saved, or the one after it."""
    chance = random.Random(1)
    writer = start("overwrite")
    last = dict.fromkeys(SUFFIXES, 0)
    for _ in range(KILLS):
        writer.start()
        last |= writer.kill(chance, most=12)
        for suffix in SUFFIXES:
            found = number_of(suffix, rooted.load(f"a.{suffix}"))
            assert last[suffix] <= found <= max(last.values()) + 1
            last[suffix] = found
        assert rooted.list_dir(".") == [f"a.{suffix}" for suffix in sorted(SUFFIXES)]
    check_leftovers(folder, most=2)


@pytest.mark.parametrize(("threads", "durable"), [(1, False), (2, False), (1, True)])
def test_killed_batch_saves_prefix(
    rooted: DiskBackend, folder: Path, start: Any, threads: int, durable: bool
) -> None:
    chance = random.Random(2)
    rooted.save_batch([version("npy", 0)] * len(ITEMS), ITEMS)
    writer = start("overwrite_batches", threads, durable)
    last = 0
    for _ in range(KILLS // 3):
        writer.start()
        last = writer.kill(chance, most=2)["batch"]
        found = [number_of("npy", value) for value in rooted.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        assert found[0] - found[-1] <= 1
        assert found[-1] >= last
        # As in a pipeline, the next round starts from a whole batch.
        rooted.save_batch([version("npy", found[0])] * len(ITEMS), ITEMS)
    check_leftovers(folder, most=3)


def test_killed_copy_is_whole_or_missing(rooted: DiskBackend, folder: Path, start: Any) -> None:
    """The copy of a folder either has all its files or does not exist."""
    paths = [f"plate/{n}/{item}" for n in "AB" for item in ITEMS]
    rooted.save_batch([np.zeros(5000)] * len(paths), paths)
    rooted.ensure_directory("copies")
    writer = start("copy_folders")
    chance = random.Random(3)
    for _ in range(KILLS // 3):
        writer.start()
        last = writer.kill(chance, most=2)["copy"]
        copies = rooted.list_dir("copies")
        assert copies in ([str(n) for n in range(1, more)] for more in (last + 1, last + 2))
        assert len(rooted.list_files("copies", recursive=True)) == len(copies) * len(paths)
    check_leftovers(folder, most=KILLS // 3)


@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_reader_sees_whole_versions(rooted: DiskBackend, start: Any, suffix: str) -> None:
    writer = start("overwrite")
    writer.start()
    end = time.monotonic() + 2
    seen = [0]
    while time.monotonic() < end or len(set(seen)) <= 3:
        value = rooted.load(f"a.{suffix}")
        seen.append(number_of(suffix, value))
        assert seen[-1] >= seen[-2], "an older version replaced a newer one"
        with rooted.open(f"a.{suffix}") as handle:
            assert number_of(suffix, handle[...]) >= seen[-1]
        assert rooted.info(f"a.{suffix}").shape == value.shape
    writer.kill(random.Random(), most=1)


def test_interrupts_reach_caller(rooted: DiskBackend, folder: Path, start: Any) -> None:
    chance = random.Random(4)
    rooted.save_batch([version("npy", 0)] * len(ITEMS), ITEMS)
    writer = start("be_interrupted")
    writer.start()
    for _ in range(20):
        writer.expect("ready")
        time.sleep(chance.uniform(0, 0.05))
        os.kill(writer.pid, signal.SIGINT)
        writer.expect("interrupted")
        for suffix in SUFFIXES:
            number_of(suffix, rooted.load(f"a.{suffix}"))
        found = [number_of("npy", value) for value in rooted.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        writer.go_on()
    check_leftovers(folder, most=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
