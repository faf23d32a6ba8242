import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polystore_core import file_lock, try_lock
from polystore_core.errors import AccessDeniedError, LockTimeoutError, StorageError
from polystore_core.files.locking import lock_path

Python = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")

HOLDER = """
import sys
from polystore_core import file_lock, try_lock
print("starts", flush=True)
with file_lock(sys.argv[1]):
    print("holds", flush=True)
    sys.stdin.readline()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.json"


@pytest.fixture
def holder(start: Start, path: Path) -> Any:
    """Start another process, which holds the lock until it reads a line."""
    process = start(HOLDER, path)
    assert [process.read_line(), process.read_line()] == ["starts", "holds"]
    return process


def is_free(path: Path) -> bool:
    """Return whether another thread can acquire the lock."""
    free: list[bool] = []

    def attempt() -> None:
        try:
            with file_lock(path, timeout=0.1):
                free.append(True)
        except LockTimeoutError:
            free.append(False)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return free[0]


# ── exclusion ────────────────────────────────────────────────────────────────────────────


def test_threads_exclude_each_other(path: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(10):
            with file_lock(path):
                inside.append(1)
                time.sleep(0.001)
                seen.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 40


COUNTER = """
import sys, time
from pathlib import Path
from polystore_core import file_lock, try_lock
counter = Path(sys.argv[1])
sys.stdin.readline()
for _ in range(25):
    with file_lock(counter):
        count = int(counter.read_text())
        time.sleep(0.001)
        counter.write_text(str(count + 1))
print("done", flush=True)
"""


def test_processes_exclude_each_other(start: Start, path: Path) -> None:
    path.write_text("0")
    processes = [start(COUNTER, path) for _ in range(4)]
    for process in processes:
        process.go_on()
    assert [process.read_line() for process in processes] == ["done"] * 4
    assert path.read_text() == "100"


def test_nesting_keeps_lock(path: Path) -> None:
    with file_lock(path):
        with file_lock(path, timeout=0):
            assert not is_free(path)
        assert not is_free(path)
    assert is_free(path)


def test_same_name_elsewhere_differs(path: Path) -> None:
    with file_lock(path):
        assert is_free(path.parent / "folder" / path.name)


@posix
@pytest.mark.parametrize("name", ["link.json", "folder/../a.json", "linked/a.json"])
def test_names_share_lock(holder: Any, path: Path, name: str) -> None:
    (path.parent / "folder").mkdir()
    (path.parent / "linked").symlink_to(path.parent)
    (path.parent / "link.json").symlink_to(path)
    assert not is_free(path.parent / name)


def test_relative_path_shares_lock(
    holder: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert not is_free(Path(path.name))


def test_longest_name_locks(tmp_path: Path) -> None:
    longest = tmp_path / ("µ" * 127)
    with file_lock(longest):
        assert not is_free(longest)
        assert is_free(tmp_path / ("µ" * 126 + "n"))


def test_missing_directory_is_made(path: Path) -> None:
    with file_lock(path.parent / "deep" / "folder" / "a.json"):
        assert (path.parent / "deep" / "folder").is_dir()


# ── waiting ──────────────────────────────────────────────────────────────────────────────


def test_time_out_names_holder(holder: Any, path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(LockTimeoutError, match=rf"process {holder.pid} on \S+\. Wait") as caught,
        file_lock(path, timeout=0.2),
    ):
        pass
    assert time.monotonic() - began >= 0.2
    assert (caught.value.path, caught.value.seconds) == (str(path), 0.2)
    assert caught.value.errno == errno.ETIMEDOUT


def test_time_out_in_thread(path: Path) -> None:
    with file_lock(path), pytest.raises(LockTimeoutError, match=f"process {os.getpid()} on"):
        _from_thread(lambda: file_lock(path, timeout=0.05).__enter__())


def _from_thread(call: Callable[[], object]) -> None:
    """Call in another thread, and raise its error in this one."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_time_out_keeps_exclusion(holder: Any, start: Start, path: Path) -> None:
    assert not is_free(path)
    other = start(HOLDER, path)
    assert other.read_line() == "starts"
    holder.go_on()
    assert other.read_line() == "holds"
    assert not is_free(path)
    other.go_on()
    assert other.read_line() == "released"
    assert is_free(path)


def test_waiter_gets_lock(holder: Any, path: Path) -> None:
    began = time.monotonic()
    threading.Timer(0.1, holder.go_on).start()
    with file_lock(path, timeout=None):
        assert time.monotonic() - began >= 0.1
        assert holder.read_line() == "released"


@pytest.mark.parametrize("step", [1e6, -1e6])
def test_clock_jumps_are_harmless(
    holder: Any, path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    monkeypatch.setattr(time, "time", itertools.count(time.time(), step).__next__)
    began = time.monotonic()
    with pytest.raises(LockTimeoutError), file_lock(path, timeout=0.2):
        pass
    assert time.monotonic() - began >= 0.2


# ── the end of a holder ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [ZeroDivisionError, PermissionError, KeyboardInterrupt])
def test_error_of_block_is_raised(path: Path, error: type[BaseException]) -> None:
    raised = error("mine")
    with pytest.raises(error) as caught, file_lock(path):
        raise raised
    assert caught.value is raised
    assert is_free(path)


def test_lock_file_survives_release(path: Path) -> None:
    with file_lock(path):
        first = os.stat(lock_path(path))
    with file_lock(path):
        pass
    assert os.path.samestat(first, os.stat(lock_path(path)))


@posix
def test_killed_holder_frees_lock(holder: Any, path: Path) -> None:
    holder.kill()
    with file_lock(path):
        pass


FORKER = """
import ctypes, os, sys
from polystore_core import file_lock, try_lock

def fork(then, system_fork=os.fork):
    if system_fork() == 0:
        then()
        os._exit(0)

lock = file_lock(sys.argv[1])
lock.__enter__()
if sys.argv[2] == "ends":
    fork(lambda: None)
    os.wait()
elif sys.argv[2] == "leaves":
    fork(lambda: lock.__exit__(None, None, None))
    os.wait()
elif sys.argv[2] == "outlives":
    fork(sys.stdin.readline)
else:  # a library forks without Python
    fork(sys.stdin.readline, ctypes.CDLL(None).fork)
print("holds", flush=True)
if sys.argv[3:] == ["released"]:
    lock.__exit__(None, None, None)
    print("released", flush=True)
os.read(0, 1)
"""


@posix
@pytest.mark.parametrize("child", ["ends", "leaves"])
def test_end_of_child_keeps_lock(start: Start, path: Path, child: str) -> None:
    assert start(FORKER, path, child).read_line() == "holds"
    assert not is_free(path)


@posix
@pytest.mark.parametrize("child", ["outlives", "unheard"])
def test_living_child_keeps_no_lock(start: Start, path: Path, child: str) -> None:
    parent = start(FORKER, path, child, "released")
    assert [parent.read_line(), parent.read_line()] == ["holds", "released"]
    assert is_free(path)


@posix
def test_child_of_killed_parent_keeps_no_lock(start: Start, path: Path) -> None:
    parent = start(FORKER, path, "outlives")
    assert parent.read_line() == "holds"
    assert not is_free(path)
    parent.kill()
    with file_lock(path, timeout=1):
        pass


FORKED_WAITER = """
import os, sys
from polystore_core import file_lock, try_lock
with file_lock(sys.argv[1]):
    if os.fork() == 0:
        with file_lock(sys.argv[1]):
            print("child", flush=True)
        os._exit(0)
    os.read(0, 1)
    print("parent", flush=True)
os.wait()
"""


@posix
def test_child_waits_for_parent(start: Start, path: Path) -> None:
    parent = start(FORKED_WAITER, path)
    time.sleep(0.2)
    parent.go_on()
    assert [parent.read_line(), parent.read_line()] == ["parent", "child"]


# ── descriptors ──────────────────────────────────────────────────────────────────────────


@linux
def test_time_outs_leak_nothing(
    holder: Any, path: Path, descriptors: Callable[[], int]
) -> None:
    before = descriptors()
    for _ in range(20):
        with pytest.raises(LockTimeoutError), file_lock(path, timeout=0.001):
            pass
    holder.go_on()
    assert holder.read_line() == "released"
    with file_lock(path, timeout=5):  # All waiters were in the queue before this one.
        pass
    deadline = time.monotonic() + 5
    while descriptors() != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() == before


@linux
def test_polling_leaves_nothing(
    holder: Any, path: Path, descriptors: Callable[[], int]
) -> None:
    before = descriptors(), threading.active_count()
    for _ in range(20):
        with pytest.raises(LockTimeoutError), file_lock(path, timeout=0):
            pass
    assert (descriptors(), threading.active_count()) == before


INTERRUPTED = """
import os, sys, time
from polystore_core import file_lock, try_lock
before = len(os.listdir("/proc/self/fd"))
print("waits", flush=True)
try:
    with file_lock(sys.argv[1], timeout=eval(sys.argv[2])):
        print("holds", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
with file_lock(sys.argv[1]):
    print("holds", flush=True)
deadline = time.monotonic() + 5  # the waiting thread unlocks first, and then closes
while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
    time.sleep(0.01)
print(len(os.listdir("/proc/self/fd")) - before, flush=True)
"""


@linux
@pytest.mark.parametrize("timeout", ["30", "None"])
def test_interrupt_ends_waiting(holder: Any, start: Start, path: Path, timeout: str) -> None:
    waiter = start(INTERRUPTED, path, timeout)
    assert waiter.read_line() == "waits"
    time.sleep(0.2)
    waiter.send_signal(signal.SIGINT)
    assert waiter.read_line() == "interrupted"
    holder.go_on()
    assert holder.read_line() == "released"
    assert is_free(path)
    waiter.go_on()
    assert [waiter.read_line(), waiter.read_line()] == ["holds", "0"]


# ── the lock file ────────────────────────────────────────────────────────────────────────


@posix
def test_removed_lock_file_still_excludes(holder: Any, start: Start, path: Path) -> None:
    waiter = start(HOLDER, path)
    assert waiter.read_line() == "starts"
    time.sleep(0.2)
    os.unlink(lock_path(path))
    with file_lock(path, timeout=0):
        holder.go_on()  # The waiter gets the lock of a deleted file.
        assert holder.read_line() == "released"
        assert waiter.is_silent(0.2)
    assert waiter.read_line() == "holds"
    assert not is_free(path)


@posix
def test_symlinked_lock_file_refused(path: Path) -> None:
    victim = path.parent / "victim"
    victim.write_text("precious")
    os.symlink(victim, lock_path(path))
    with pytest.raises(StorageError) as caught, file_lock(path):
        pass
    assert caught.value.errno == errno.ELOOP
    assert victim.read_text() == "precious"


@posix
def test_lock_file_keeps_size(path: Path) -> None:
    with file_lock(path):
        size = os.path.getsize(lock_path(path))
    with file_lock(path):
        assert os.path.getsize(lock_path(path)) == size


# ── two users ────────────────────────────────────────────────────────────────────────────


ATTEMPT = """
import os, sys
from polystore_core import file_lock, PolystoreError
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with file_lock(sys.argv[1], timeout=float(sys.argv[2])):
        print("holds")
except PolystoreError as error:
    print(type(error).__name__, error.errno, error.path)
"""


def test_denied_lock_fails_soon(shared: Path, python: Python) -> None:
    shared.chmod(0o755)
    done = python(ATTEMPT, shared / "a.json", 30)
    assert done.stdout == f"{AccessDeniedError.__name__} 13 {lock_path(shared / 'a.json')}\n"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_second_user_locks(shared: Path, python: Python, mode: int) -> None:
    shared.chmod(mode)
    with file_lock(shared / "a.json"):
        pass
    assert python(ATTEMPT, shared / "a.json", 5).stdout == "holds\n"
    assert is_free(shared / "a.json")


def test_first_user_locks_again(shared: Path, python: Python) -> None:
    assert python(ATTEMPT, shared / "a.json", 5).stdout == "holds\n"
    with file_lock(shared / "a.json", timeout=0):
        pass


def test_users_exclude_each_other(shared: Path, python: Python) -> None:
    with file_lock(shared / "a.json"):
        done = python(ATTEMPT, shared / "a.json", 0.1)
    assert done.stdout.startswith("LockTimeoutError")


def test_held_lock_is_refused_at_once(tmp_path: Path) -> None:
    """This holds in the same thread too, until any thread releases the lock."""
    held = try_lock(tmp_path / "a")
    for _ in range(2):
        with pytest.raises(LockTimeoutError, match=f"process {os.getpid()} "):
            try_lock(tmp_path / "a")
    with pytest.raises(LockTimeoutError), file_lock(tmp_path / "a", timeout=0):
        pass
    releasing = threading.Thread(target=held.release)
    releasing.start()
    releasing.join()
    assert not held.is_held
    held.release()  # A second release does nothing.
    with file_lock(tmp_path / "a", timeout=0):
        pass
    try_lock(tmp_path / "a").release()
