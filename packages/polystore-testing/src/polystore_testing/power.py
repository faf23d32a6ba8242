"""Simulate power cuts on an ext4 file system while another process writes to it.

The file system is on a loop device, and its image is a file in memory. To cut the power, we stop
the writing process and copy the image. The copy has only the data that had reached the
device, without the page cache. Mounting the copy replays the journal, as after a power cut.
"""

from __future__ import annotations

import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WEAK", "PowerCut", "require_power_cuts"]

WEAK = "data=writeback,noauto_da_alloc"
"""Mount options under which ext4 has only the guarantees of the POSIX standard."""

_BYTES = 32 << 20
_LONGEST = 0.25
"""Most seconds that the workload runs before its power is cut."""


_START = """
import os, sys, threading, time
folder = sys.argv[1]
"""
_STEPS = """
def keep_committing():
    # A flush of another program makes the journal commit, and with it names without their bytes.
    with open(folder + "/noise", "wb", buffering=0) as file:
        while True:
            file.write(b"0"); os.fsync(file.fileno()); time.sleep(0.004)
os.sync()
if sys.argv[2]: threading.Thread(target=keep_committing, daemon=True).start()
print("ready", flush=True)
version = 1
while True:
    version += 1
    step(version)
    print(version, flush=True)
"""


def require_power_cuts() -> None:
    """Skip the test on a system where it cannot mount a file system."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("system: only root on Linux can mount a file system on a loop device")
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            pytest.skip(f"system: {program} is missing")
    if not Path("/dev/loop-control").exists():
        pytest.skip("system: there are no loop devices")


class PowerCut:
    """Run a workload on its own file system, and return the files after a power cut.

    If you give mount ``options``, another thread keeps the journal of the file system busy.
    """

    def __init__(self, folder: Path, options: str = "", *, seed: int = 0) -> None:
        self.noise = bool(options)
        self.options = ",".join(filter(None, ("loop", options)))
        self.folder = folder
        self.image = folder / "disk.img"
        self.copy = folder / "cut.img"
        self._random = random.Random(seed)

    def run(self, workload: str) -> tuple[Path, int]:
        """Return a folder with the files after the cut, and the last acknowledged version.

        ``workload`` is Python code that runs in another process. It writes version 1 into
        ``folder`` and defines ``step(version)``, which is called with 2, 3, 4, … until the cut.
        """
        # Make new files: a loop device may still use the old ones for a moment.
        for image in (self.image, self.copy):
            image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(_BYTES)
        # Otherwise the kernel fills these tables later, in the middle of a test.
        quick = "lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-F", "-E", quick, self.image)
        with _mount(self.image, self.folder / "before", self.options) as before:
            lines = self._cut(f"{_START}{workload}{_STEPS}", before)
        # The first mount replays the journal. Copy the result, so that tests read a plain folder.
        after = self.folder / "after"
        shutil.rmtree(after, ignore_errors=True)
        with _mount(self.copy, self.folder / "replayed", "loop") as replayed:
            shutil.copytree(replayed, after, symlinks=True)
        return after, int(lines[-1]) if lines else 1

    def _cut(self, code: str, folder: Path) -> list[str]:
        command = [sys.executable, "-c", code, str(folder), "noise" if self.noise else ""]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                first = process.stdout.readline()
                assert first == "ready\n", f"the workload said {first!r}"
                time.sleep(self._random.uniform(0, _LONGEST))
                # Stop the process instead of killing it: a dying process would still close its
                # files, and the copy must not contain that.
                os.kill(process.pid, signal.SIGSTOP)
                # The signal is delivered later, so wait until the process has stopped.
                os.waitpid(process.pid, os.WUNTRACED)
                self._copy_image()
            finally:
                process.kill()
            # The pipe still holds the versions that were acknowledged before the cut.
            return process.stdout.read().splitlines()

    def _copy_image(self) -> None:
        """Copy until the image did not change while copying: the kernel may still flush."""
        while True:
            shutil.copyfile(self.image, self.copy)
            if filecmp.cmp(self.image, self.copy, shallow=False):
                return


@contextmanager
def _mount(image: Path, folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", options, image, folder)
    try:
        yield folder
    finally:
        _run("umount", folder)


def _run(*command: str | Path) -> None:
    """Run a command. Try again for some seconds if another process uses the loop device."""
    for pause in (0.1, 0.2, 0.5, 1, 2, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return
        if "loop device" not in done.stderr:
            break
        time.sleep(pause)
    raise OSError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
