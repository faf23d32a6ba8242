"""Readers, writers and interrupts during a write."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polystore_core import atomic_write, file_lock
from polystore_core.errors import LockTimeoutError
from polystore_core.files.atomic import find_leftovers

from .folders import Python, Start, linux, list_names

# ── other readers and writers ────────────────────────────────────────────────────────────


READER = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
seen = set()
while len(seen) < 20:
    content = path.read_bytes()
    seen |= {(version, len(content)) for version in set(content)}
    assert len(set(content)) == 1, set(content)
print({size for _, size in seen}, flush=True)
"""


def test_reader_sees_whole_versions(path: Path, start: Start) -> None:
    path.write_bytes(b"\0" * 100_000)
    reader, version = start(READER, path), 0
    while reader.is_silent(0):
        version = (version + 1) % 200
        with atomic_write(path, "wb", durable=False) as file:
            file.write(bytes([version]) * 50_000)
            file.write(bytes([version]) * 50_000)
    assert reader.read_line() == "{100000}"


def test_write_waits_for_lock(path: Path) -> None:
    with file_lock(path), ThreadPoolExecutor(1) as pool:

        def write(lock: bool) -> None:
            with atomic_write(path, timeout=0.05, lock=lock) as file:
                file.write("new")

        with pytest.raises(LockTimeoutError):
            pool.submit(write, True).result()
        assert not path.exists()
        pool.submit(write, False).result()
        assert path.read_text() == "new"


STORM = """
import errno, os, random, signal, sys, threading, time, warnings
from polystore_core import atomic_update_json, atomic_write, atomic_write_json, file_lock
warnings.simplefilter("ignore", ResourceWarning)  # for interrupts between open() and with
path, road = sys.argv[1:]
if road == "named":
    system_open = os.open
    def open_named(path, flags, *args, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "")
        return system_open(path, flags, *args, **options)
    os.open = open_named

def save():
    with atomic_write(path, durable=False) as file:
        file.write("[" + "1, " * 30_000 + "1]")
    atomic_write_json([1] * 1000, path, durable=False)
    atomic_update_json(path, lambda old: old + [1], durable=False)

def take_turn():
    global free
    with file_lock(path, timeout=1):
        free += 1

# This is a function, because in CPython 3.13 a try does not cover the jump back of its loop.
def save_until_struck():
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.005))
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        save()

save()
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupts = free = 0
for _ in range(100):
    try:
        save_until_struck()
    except KeyboardInterrupt:
        interrupts += 1
    thread = threading.Thread(target=take_turn)
    thread.start()
    thread.join()
print(interrupts, free)
"""


@linux
@pytest.mark.parametrize(("road", "litter"), [("unnamed", 0), ("named", 2)])
def test_interrupts_leave_no_litter(
    python: Python, tmp_path: Path, road: str, litter: int
) -> None:
    done = python(STORM, tmp_path / "a.json", road)
    interrupts, free = map(int, done.stdout.split())
    assert interrupts >= 98  # CPython drops an interrupt that strikes in a finalizer.
    assert free == 100
    assert set(json.loads((tmp_path / "a.json").read_text())) == {1}
    # If temporary files have names, the call that removes one can itself be interrupted.
    assert len(list_names(tmp_path)) <= 1 + litter


# ── leftovers ────────────────────────────────────────────────────────────────────────────


def test_only_old_leftovers_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in (".~ps-old", "deep/.~ps-old", ".~ps-new", ".~ps-a.txt.lock", "a.txt"):
        (tmp_path / name).touch()
        hour_ago = time.time() - (3500 if name == ".~ps-new" else 3700)
        os.utime(tmp_path / name, (hour_ago, hour_ago))
    expected = {str(tmp_path / ".~ps-old"), str(tmp_path / "deep" / ".~ps-old")}
    assert set(find_leftovers(tmp_path)) == expected
    assert len([*find_leftovers(tmp_path, older_than=3000)]) == 3


KILLED = """
import sys
from polystore_core import atomic_write
with atomic_write(sys.argv[1], "wb") as file:
    file.write(bytes(200_000))
    print("writes", flush=True)
    sys.stdin.readline()
"""


@linux
def test_killed_writer_leaves_nothing(start: Start, tmp_path: Path) -> None:
    writer = start(KILLED, tmp_path / "a.txt")
    assert writer.read_line() == "writes"
    writer.kill()
    writer.wait()
    assert list_names(tmp_path) == []
    assert [*find_leftovers(tmp_path, older_than=-1)] == []
