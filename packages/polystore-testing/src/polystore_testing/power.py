"""A real ext4 on a loop device, whose power is cut while another process writes to it.

The image of the file system is a file in memory. The writing process is stopped and the image
is copied: the copy holds just what had reached the device, without what waited in the page
cache. Mounting it replays the journal, as after a power cut.
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
"""Mount options under which ext4 does what the standard allows, and no more."""

_BYTES = 32 << 20
_LONGEST = 0.25
"""Seconds that the workload runs at most before its power is cut."""


_START = """
import os, sys, threading, time
folder = sys.argv[1]
"""
_STEPS = """
def keep_committing():
    # What another program flushes makes the journal commit: names without their bytes.
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
    """Skip the test where nobody can mount a file system of their own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("system: only root on Linux mounts a file system on a loop device")
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            pytest.skip(f"system: {program} is missing")
    if not Path("/dev/loop-control").exists():
        pytest.skip("system: there are no loop devices")


class PowerCut:
    """Run a workload on a file system of its own, and read what a power cut leaves of it.

    With ``options`` of the mount, another thread keeps the journal of the file system busy.
    """

    def __init__(self, folder: Path, options: str = "", *, seed: int = 0) -> None:
        self.noise = bool(options)
        self.options = ",".join(filter(None, ("loop", options)))
        self.folder = folder
        self.image = folder / "disk.img"
        self.copy = folder / "cut.img"
        self._random = random.Random(seed)

    def run(self, workload: str) -> tuple[Path, int]:
        """Return a folder with the files after the cut, and the last version acknowledged.

        ``workload`` is Python code for a process of its own. It writes version 1 into
        ``folder`` and defines ``step(version)``, which is called with 2, 3, 4, … until the cut.
        """
        for image in (self.image, self.copy):  # a loop device lets its file go a moment late
            image.unlink(missing_ok=True)
        with self.image.open("wb") as file:
            file.truncate(_BYTES)
        quick = "lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-F", "-E", quick, self.image)
        with _mounted(self.image, self.folder / "before", self.options) as before:
            lines = self._cut(f"{_START}{workload}{_STEPS}", before)
        # The journal is replayed by the first mount; what is read is then an ordinary folder.
        after = self.folder / "after"
        shutil.rmtree(after, ignore_errors=True)
        with _mounted(self.copy, self.folder / "replayed", "loop") as replayed:
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
                os.kill(process.pid, signal.SIGSTOP)
                os.waitpid(process.pid, os.WUNTRACED)
                self._copy_image()
            finally:
                process.kill()
            return process.stdout.read().splitlines()

    def _copy_image(self) -> None:
        """Copy until nothing was written while copying: the kernel may still be flushing."""
        while True:
            shutil.copyfile(self.image, self.copy)
            if filecmp.cmp(self.image, self.copy, shallow=False):
                return


@contextmanager
def _mounted(image: Path, folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run("mount", "-o", options, image, folder)
    try:
        yield folder
    finally:
        _run("umount", folder)


def _run(*command: str | Path) -> None:
    """Run a command, and try again for a while where another process took the loop device."""
    for pause in (0.1, 0.2, 0.5, 1, 2, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return
        if "loop device" not in done.stderr:
            break
        time.sleep(pause)
    raise OSError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
