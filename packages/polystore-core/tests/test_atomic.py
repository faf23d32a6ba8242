import errno
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import (
    atomic_update_json,
    atomic_write,
    atomic_write_json,
    file_lock,
)
from polystore_core.errors import (
    DamagedDataError,
    DurabilityUnknownError,
    InvalidOptionError,
    LockTimeoutError,
    NotAFileError,
    StorageError,
    UnsupportedDataError,
)
from polystore_core.files import json as json_files
from polystore_core.files.atomic import find_leftovers
from polystore_core.files.pending import PendingFile

Python = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")


@pytest.fixture(params=["unnamed", "named"])
def path(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A path on a file system with unnamed temporary files, and on one without (NFS, SMB)."""
    if request.param == "named":
        system_open, unnamed = os.open, getattr(os, "O_TMPFILE", -1)

        def open_named(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if flags & unnamed == unnamed:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
            return system_open(path, flags, *args, **options)

        monkeypatch.setattr(os, "open", open_named)
    return tmp_path / "a.txt"


def listed(directory: Path) -> list[str]:
    """What stands in a directory, but for lock files."""
    return sorted(name for name in os.listdir(directory) if not name.endswith(".lock"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ── one file ─────────────────────────────────────────────────────────────────────────────


def test_new_file_appears(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("new")
        assert listed(path.parent) != ["a.txt"]
    assert path.read_text() == "new"
    assert listed(path.parent) == ["a.txt"]


def test_old_file_is_replaced(path: Path) -> None:
    path.write_text("old, and longer than the new one")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old, and longer than the new one"
    assert path.read_text() == "new"
    assert listed(path.parent) == ["a.txt"]


def test_nothing_written_empties(path: Path) -> None:
    path.write_text("old")
    with atomic_write(path):
        pass
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("encoding", "newline", "stored"),
    [
        ("utf-8", None, b"\xc3\xa4\n"),
        ("latin-1", None, b"\xe4\n"),
        ("utf-8", "\r\n", b"\xc3\xa4\r\n"),
    ],
)
def test_text_is_encoded(
    tmp_path: Path, encoding: str, newline: str | None, stored: bytes
) -> None:
    with atomic_write(tmp_path / "a.txt", encoding=encoding, newline=newline) as file:
        file.write("ä\n")
    assert (tmp_path / "a.txt").read_bytes() == stored


def test_bytes_stay_bytes(path: Path) -> None:
    with atomic_write(path, "wb") as file:
        file.write(b"\r\n\x00\xff")
    assert path.read_bytes() == b"\r\n\x00\xff"


def test_bytes_can_be_revised(path: Path) -> None:
    with atomic_write(path, "wb") as file:
        file.write(bytes(200_000))
        file.seek(100_000)
        file.write(b"middle")
        file.seek(99_999)
        assert file.read(8) == b"\0middle\0"
        file.truncate(100_006)
    assert path.read_bytes() == bytes(100_000) + b"middle"


def test_other_modes_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="mode='a'"), atomic_write(tmp_path / "a", "a"):  # type: ignore[call-overload]
        pass
    assert os.listdir(tmp_path) == []


def test_longest_name_works(path: Path) -> None:
    longest = path.parent / ("n" * 255)
    for text in ("one", "two"):
        with atomic_write(longest) as file:
            file.write(text)
    assert longest.read_text() == "two"


def test_too_long_name_says_so(path: Path) -> None:
    with pytest.raises(StorageError) as caught, atomic_write(path.parent / ("n" * 256)) as file:
        file.write("new")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert listed(path.parent) == []


def test_missing_directories_are_made(path: Path) -> None:
    deep = path.parent / "one" / "two" / "a.txt"
    with atomic_write(deep) as file:
        file.write("new")
    assert deep.read_text() == "new"


def test_bare_name_works(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for text in ("one", "two"):
        with atomic_write("a.txt") as file:
            file.write(text)
    assert path.read_text() == "two"


def test_directory_is_no_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(NotAFileError), atomic_write(path) as file:
        file.write("new")
    assert path.is_dir()


# ── what is kept ─────────────────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize("kept", [0o640, 0o600, 0o755])
def test_mode_is_kept(path: Path, kept: int) -> None:
    path.touch()
    path.chmod(kept)
    with atomic_write(path) as file:
        file.write("new")
    assert mode(path) == kept


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


@posix
@pytest.mark.usefixtures("umask")
def test_umask_is_obeyed(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("new")
    assert mode(path) == 0o640


@posix
@pytest.mark.parametrize("text", ["a.txt", "../folder/a.txt", "missing.txt"])
def test_links_target_is_replaced(path: Path, text: str) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("old")
    link = folder / "link"
    link.symlink_to(text)
    with atomic_write(link) as file:
        file.write("new")
    assert os.readlink(link) == text
    assert (folder / text).read_text() == "new"
    assert not (folder / text).is_symlink()


def test_owner_is_kept(path: Path, shared: Path) -> None:
    path.touch()
    os.chown(path, 1234, 4321)
    with atomic_write(path) as file:
        file.write("new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


STRANGER = """
import os, sys
from polystore_core import atomic_update_json
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
atomic_update_json(sys.argv[1], lambda old: old | {"stranger": True})
"""


def test_two_users_take_turns(shared: Path, python: Python) -> None:
    path = shared / "a.json"
    atomic_write_json({"root": True}, path)
    path.chmod(0o664)
    assert python(STRANGER, path).stderr == ""
    atomic_update_json(path, lambda old: old | {"again": True})
    assert json.loads(path.read_text()) == {"root": True, "stranger": True, "again": True}
    assert mode(path) == 0o664


# ── failure ──────────────────────────────────────────────────────────────────────────────


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def write_and_raise(
    path: Path, text: str, error: BaseException | type[BaseException], *, lock: bool = True
) -> None:
    with atomic_write(path, lock=lock) as file:
        file.write(text)
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError, PermissionError, KeyboardInterrupt])
def test_body_error_passes(path: Path, error: type[BaseException]) -> None:
    raised = error("mine")
    with pytest.raises(error) as caught:
        write_and_raise(path, "new", raised)
    assert caught.value is raised


@linux
@pytest.mark.parametrize("error", [ZeroDivisionError, PermissionError, KeyboardInterrupt])
@pytest.mark.parametrize("text", ["short", "long" * 100_000])
def test_failed_body_changes_nothing(path: Path, error: type[BaseException], text: str) -> None:
    path.write_text("old")
    before = descriptors()
    with suppress(error):
        write_and_raise(path, text, error)
    assert path.read_text() == "old"
    assert listed(path.parent) == ["a.txt"]
    assert descriptors() == before


def test_failed_body_makes_nothing(path: Path) -> None:
    with suppress(ZeroDivisionError):
        write_and_raise(path.parent / "folder" / "a.txt", "new", ZeroDivisionError, lock=False)
    assert os.listdir(path.parent) == []


FULL = """
import json, os, resource, signal, sys
from polystore_core import PolystoreError, atomic_update_json, atomic_write, atomic_write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
path, text = sys.argv[1], "n" * int(sys.argv[2])

def write():
    with atomic_write(path) as file:
        file.write(text)

for save in (
    write,
    lambda: atomic_write_json(text, path),
    lambda: atomic_update_json(path, lambda old: text),
):
    try:
        save()
    except PolystoreError as error:
        print(type(error).__name__, error.errno, error.filename == path)
"""


@posix
@pytest.mark.parametrize("size", [60_000, 1_000_000])
def test_full_disk_keeps_old(python: Python, tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.json"
    path.write_text('"old"')
    done = python(FULL, path, size)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"StorageError {errno.EFBIG} True"] * 3
    assert path.read_text() == '"old"'
    assert listed(tmp_path) == ["a.json"]


def failing(code: int) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@posix
@pytest.mark.parametrize("call", ["replace", "fchmod", "fsync"])
def test_failed_call_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path.write_text("old")
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(StorageError) as caught, atomic_write(path) as file:
        file.write("new")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))
    assert path.read_text() == "old"
    assert listed(path.parent) == ["a.txt"]


@linux
@pytest.mark.parametrize("present", [True, False])
def test_failed_link_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool
) -> None:
    if present:
        (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "link", failing(errno.ENOSPC))
    with pytest.raises(StorageError) as caught, atomic_write(tmp_path / "a.txt") as file:
        file.write("new")
    assert caught.value.errno == errno.ENOSPC
    assert listed(tmp_path) == (["a.txt"] if present else [])


# ── durability ───────────────────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize(("durable", "flushed"), [(True, ["a.txt", "folder"]), (False, [])])
def test_durable_flushes_both(
    path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, flushed: list[str]
) -> None:
    seen: list[str] = []
    system_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        is_dir = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append("folder" if is_dir else "a.txt")
        system_fsync(descriptor)

    path.touch()
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(path, durable=durable) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert seen == flushed


@posix
def test_unflushed_directory_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        system_fsync(descriptor)

    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DurabilityUnknownError) as caught, atomic_write(path) as file:
        file.write("new")
    assert caught.value.errno == errno.EIO
    assert path.read_text() == "new"
    assert listed(path.parent) == ["a.txt"]


# ── others look on ───────────────────────────────────────────────────────────────────────


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
    assert reader.says() == "{100000}"


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
warnings.simplefilter("ignore", ResourceWarning)  # interrupted between open() and with
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

# A function: CPython 3.13 leaves the jump back of a loop out of the try around it.
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
    assert interrupts >= 98  # CPython drops one that strikes in a finalizer
    assert free == 100
    assert set(json.loads((tmp_path / "a.json").read_text())) == {1}
    # Where temporary files have names, the call that removes one can be interrupted itself.
    assert len(listed(tmp_path)) <= 1 + litter


# ── pending files ────────────────────────────────────────────────────────────────────────


def test_exclusive_has_one_winner(path: Path) -> None:
    start = threading.Barrier(4)

    def save(content: bytes) -> bytes | None:
        pending = PendingFile(path, exclusive=True)
        try:
            pending.file.write(content)
            pending.seal()
            start.wait()
            pending.commit()
        except FileExistsError:
            return None
        finally:
            pending.discard()
        return content

    with ThreadPoolExecutor(4) as pool:
        saved = [content for content in pool.map(save, [b"1", b"2", b"3", b"4"]) if content]
    assert saved == [path.read_bytes()]
    assert listed(path.parent) == ["a.txt"]


def test_newcomer_is_replaced(path: Path) -> None:
    pending = PendingFile(path)
    pending.file.write(b"mine")
    pending.seal()
    path.write_bytes(b"theirs")
    pending.commit()
    pending.discard()
    assert path.read_bytes() == b"mine"
    assert listed(path.parent) == ["a.txt"]


def test_pending_touches_nothing_early(path: Path) -> None:
    pending = PendingFile(path.parent / "folder" / "a.txt")
    assert pending.file.tell() == 0
    assert os.listdir(path.parent) == []
    pending.discard()
    assert os.listdir(path.parent) == []


def test_numpy_cannot_bypass(path: Path) -> None:
    pending = PendingFile(path)
    with pytest.raises(io.UnsupportedOperation):
        pending.file.fileno()
    np.save(pending.file, np.arange(50_000))
    pending.seal()
    pending.commit()
    pending.discard()
    assert np.array_equal(np.load(path), np.arange(50_000))


# ── JSON ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data", [None, True, 1.5, 2**80, "ä😀\n", [], {}, {"a": [1, {"b": None}]}, [[[]]], 1e-300]
)
def test_json_comes_back_equal(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(data, path, durable=False)
    assert json.loads(path.read_text("utf-8")) == data
    assert atomic_update_json(path, lambda document: document, durable=False) == data


class Text(str):
    __slots__ = ()


circular: list[Any] = []
circular.append(circular)
deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]

UNSUPPORTED = [
    float("nan"), float("inf"), {1: "a"}, {None: "a"}, {"a": {True: 1}}, (1, 2), [{"a": (1,)}],
    np.float64(1), np.int64(1), np.bool_(True), np.arange(3), b"bytes", {1, 2}, Path("a"),
    Text("a"), {Text("a"): 1}, "\ud800", object(), circular, deep, 10**5000,
]  # fmt: skip


@pytest.mark.parametrize("data", UNSUPPORTED, ids=lambda data: type(data).__name__)
def test_json_refuses_before_touching(tmp_path: Path, data: Any) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        atomic_write_json(data, tmp_path / "folder" / "a.json")
    assert caught.value.path == str(tmp_path / "folder" / "a.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("data", UNSUPPORTED[:6], ids=repr)
def test_refused_update_changes_nothing(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"old": 1}')
    with pytest.raises(UnsupportedDataError):
        atomic_update_json(path, lambda _: data)
    assert path.read_bytes() == b'{"old": 1}'
    assert listed(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"", b"{", b'{"a": 1', b'{"a": Na}', b"[-Infinity", b"\xff", b'"\xc3', b"{'a': 1}",
        b"\xef\xbb\xbf{}", b"{} {}", b'{"a": 1, "a": 2}', b"[" * 100_000, b"1" * 5000,
        b" " * 2000 + b"{}",
    ],
    ids=lambda damaged: repr(damaged[:12]),
)  # fmt: skip
def test_damaged_json_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    if damaged.startswith(b" "):
        monkeypatch.setattr(json_files, "_JSON_BYTES_LIMIT", 2000)
    path = tmp_path / "a.json"
    path.write_bytes(damaged)
    with pytest.raises(DamagedDataError) as caught:
        atomic_update_json(path, lambda _: pytest.fail("damaged data reached the updater"))
    assert (caught.value.path, caught.value.format) == (str(path), "json")
    assert path.read_bytes() == damaged


def test_directory_is_not_missing(tmp_path: Path) -> None:
    with pytest.raises(NotAFileError):
        atomic_update_json(tmp_path, lambda _: pytest.fail("taken for missing"))


def test_unreadable_is_not_missing(shared: Path, python: Python) -> None:
    path = shared / "a.json"
    atomic_write_json({"root": True}, path)
    path.chmod(0o600)
    assert f"AccessDeniedError: '{path}': cannot read" in python(STRANGER, path).stderr
    assert json.loads(path.read_text()) == {"root": True}


@pytest.mark.parametrize(("options", "start"), [({}, {}), ({"default": []}, [])])
def test_missing_gives_default(tmp_path: Path, options: dict[str, Any], start: Any) -> None:
    path = tmp_path / "folder" / "a.json"
    assert atomic_update_json(path, lambda old: [old], **options) == [start]
    assert json.loads(path.read_text()) == [start]


def test_updaters_error_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"old": 1}')
    with pytest.raises(KeyError, match="new"):
        atomic_update_json(path, lambda old: old["new"])
    assert path.read_bytes() == b'{"old": 1}'
    with file_lock(path, timeout=0):
        pass


COUNTER = """
import sys
from polystore_core import atomic_update_json
sys.stdin.readline()
for _ in range(50):
    atomic_update_json(sys.argv[1], lambda old: old | {"n": old["n"] + 1}, durable=False)
print("done", flush=True)
"""


def test_no_update_is_lost(start: Start, tmp_path: Path) -> None:
    atomic_write_json({"n": 0}, tmp_path / "a.json")
    processes = [start(COUNTER, tmp_path / "a.json") for _ in range(4)]
    for process in processes:
        process.go_on()
    assert [process.says() for process in processes] == ["done"] * 4
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 200}


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
    assert writer.says() == "writes"
    writer.kill()
    writer.wait()
    assert listed(tmp_path) == []
    assert [*find_leftovers(tmp_path, older_than=-1)] == []


# ── a directory that goes ────────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("durable", [None, True])
def test_directory_is_made_again(path: Path, replaces: bool, durable: bool | None) -> None:
    """Somebody deletes it, with the temporary file, while we write: the content is saved."""
    place = path.parent / "f/g/a.bin"
    place.parent.mkdir(parents=True)
    if replaces:
        place.write_bytes(b"old")
    content = os.urandom(3_000_000)
    pending = PendingFile(place, durable=durable)
    try:
        pending.file.write(content)
        pending.seal()
        shutil.rmtree(place.parent.parent)
        pending.commit()
    finally:
        pending.discard()
    assert place.read_bytes() == content
    assert listed(place.parent) == ["a.bin"]
