"""Special files, and file systems with fewer features."""

import errno
import io
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polystore_core import BackendRegistry, atomic_update_json, atomic_write
from polystore_core.errors import AccessDeniedError, LockTimeoutError, StorageError
from polystore_core.files import system
from polystore_core.files.locking import file_lock, lock_path, remove_unused
from polystore_core.files.pending import PendingFile

from .interrupts import INTERRUPTED, descriptors, interrupt

Python = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX"),
    pytest.mark.timeout(60),
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux")
KINDS = ["a named pipe", "a socket", "a character device"]


@pytest.fixture(params=KINDS)
def special(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return the path of a special file, from which no value can be read."""
    path = tmp_path / "special"
    if request.param == "a named pipe":
        os.mkfifo(path)
    elif request.param == "a socket":
        monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("special")
    else:
        path.symlink_to("/dev/zero")
    return path


# ── reading ──────────────────────────────────────────────────────────────────────────────


READERS: dict[str, Callable[[Path], object]] = {
    "open_regular": system.open_regular,
    "open": lambda path: io.FileIO(path, opener=system.regular_only),
    "update": lambda path: atomic_update_json(path, lambda document: document),
    "registry": BackendRegistry.from_file,
}


@pytest.mark.parametrize("reader", READERS)
def test_special_file_is_reported(special: Path, reader: str) -> None:
    """A pipe waits for its writer, and /dev/zero never ends, so neither is read."""
    with pytest.raises(
        OSError, match=r"it is a (named pipe|socket|character device)"
    ) as caught:
        READERS[reader](special)
    assert caught.value.errno == errno.EINVAL


def test_lock_is_free_after_special_file(special: Path) -> None:
    with pytest.raises(StorageError):
        atomic_update_json(special, lambda document: document)
    with file_lock(special, timeout=0):
        pass


def test_special_file_stays(special: Path) -> None:
    before = os.stat(special)
    with (
        pytest.raises(StorageError, match="only a regular file can hold a value"),
        atomic_write(special) as file,
    ):
        file.write("new")
    assert os.stat(special).st_mode == before.st_mode


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        system.open_regular(tmp_path)


def test_links_may_be_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    os.close(system.open_regular(tmp_path / "link"))
    with pytest.raises(OSError, match="symbolic link"):
        system.open_regular(tmp_path / "link", follow_symlinks=False)


# ── new names ────────────────────────────────────────────────────────────────────────────


def fail_with(code: int) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture(params=["renameat2", "link", "lock"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make this way to a new name the best one that the file system has."""
    if request.param != "renameat2":
        monkeypatch.setattr(system, "_renameat2", None)
    if request.param == "lock":
        monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    return str(request.param)


@pytest.mark.usefixtures("file_system")
def test_new_name_is_new(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("mine")
    system.rename_new(str(source), str(target))
    assert (source.exists(), target.read_text()) == (False, "mine")
    source.write_text("second")
    for kind in ("file", "dangling link"):
        with pytest.raises(FileExistsError):
            system.rename_new(str(source), str(target))
        assert source.read_text() == "second"
        if kind == "file":
            assert target.read_text() == "mine"
            target.unlink()
            target.symlink_to("nowhere")


@pytest.mark.usefixtures("file_system")
def test_new_name_in_open_folder(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("mine")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        system.rename_new("source", "target", src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)
    assert (tmp_path / "target").read_text() == "mine"


OLD_LIBRARY = """
import ctypes, sys

class Old(ctypes.CDLL):  # glibc before 2.28, and musl
    def __getattr__(self, name):
        if name == "renameat2":
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Old
from polystore_core.files import system
one, other, new = sys.argv[1:]
print(system.exchange(one, other))
system.rename_new(one, new)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="system: renameat2 is a call of Linux")
def test_library_without_renameat2(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("one", "other", "new")]
    for name in names[:2]:
        Path(name).write_text(name)
    done = subprocess.run(
        [sys.executable, "-c", OLD_LIBRARY, *names], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert Path(names[2]).read_text() == names[0]


@pytest.mark.usefixtures("file_system")
def test_new_name_has_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If several saves refuse to replace, exactly one of them succeeds, on any file system."""
    system_open, unnamed = os.open, getattr(os, "O_TMPFILE", -1)

    def open_named(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & unnamed == unnamed:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return system_open(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", open_named)
    start = threading.Barrier(8)

    def save(number: int) -> int:
        pending = PendingFile(tmp_path / "a", exclusive=True)
        try:
            pending.file.write(bytes([number]))
            pending.seal()
            start.wait()
            pending.commit()
        except FileExistsError:
            return 0
        finally:
            pending.discard()
        return number

    with ThreadPoolExecutor(8) as pool:
        (winner,) = filter(None, pool.map(save, range(1, 9)))
    assert (tmp_path / "a").read_bytes() == bytes([winner])
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == ["a"]


# ── places without new files or without /proc ────────────────────────────────────────────


@linux
@pytest.mark.parametrize("path", ["/proc/x.json", "/proc/self/x.json"])
def test_new_file_in_proc_is_refused(path: str) -> None:
    """In /proc a new file "does not exist", even after its directory is made."""
    with pytest.raises(AccessDeniedError, match="new files in this directory"):
        atomic_update_json(path, lambda document: document)
    with pytest.raises(AccessDeniedError), atomic_write(path, lock=False) as file:
        file.write("x")


NO_PROC = """
import os, sys
from polystore_core import atomic_update_json, atomic_write
os.chroot(sys.argv[1])
os.chdir("/")
for text in ("old", "new"):
    with atomic_write("a.txt", durable=None) as file:
        file.write(text)
atomic_update_json("/f/a.json", lambda _: {"x": 1})
"""


@linux
def test_chroot_without_proc(tmp_path: Path, python: Python) -> None:
    if os.geteuid() != 0:
        pytest.skip("system: only root changes its root")
    assert python(NO_PROC, tmp_path).stderr == ""
    assert (tmp_path / "a.txt").read_text() == "new"
    assert json.loads((tmp_path / "f/a.json").read_text()) == {"x": 1}
    assert [name for name in os.listdir(tmp_path) if name.startswith(".~ps")] == [
        ".~ps-a.txt.lock"
    ]


# ── shared folders ───────────────────────────────────────────────────────────────────────


COLLEAGUE = """
import os, sys
from polystore_core import atomic_update_json, atomic_write
path, user, groups = sys.argv[1], int(sys.argv[2]), [int(g) for g in sys.argv[3].split(",") if g]
os.setgroups(groups)
os.setgid(user)
os.setuid(user)
os.umask(0o027)
if path.endswith(".json"):
    atomic_update_json(path, lambda old: old | {str(user): len(old)})
else:
    with atomic_write(path, lock=False) as file:
        file.write(str(user))
"""


@pytest.fixture
def group_folder(shared: Path) -> Path:
    """Return a folder of user 1234 that is shared with group 5000."""
    folder = shared / "common"
    folder.mkdir()
    os.chown(folder, 1234, 5000)
    folder.chmod(0o770)
    return folder


def make_owned(path: Path, mode: int, user: int = 1234, group: int = 5000) -> Path:
    path.write_text('"old"')
    os.chown(path, user, group)
    path.chmod(mode)
    return path


def test_group_keeps_access(group_folder: Path, python: Python) -> None:
    path = make_owned(group_folder / "a.txt", 0o660)
    for user in ("1235", "1234", "1235"):
        assert python(COLLEAGUE, path, user, "5000").stderr == ""
        found = path.stat()
        assert (path.read_text(), found.st_gid) == (user, 5000)
        assert stat.S_IMODE(found.st_mode) == 0o660


def test_group_members_take_turns(group_folder: Path, python: Python) -> None:
    """With a strict umask too, the lock file admits the same people as its folder."""
    path = group_folder / "a.json"
    assert python(COLLEAGUE, path, "1234", "5000").stderr == ""
    os.chown(path, -1, 5000)
    path.chmod(0o660)
    for user in ("1235", "1234", "1236"):
        assert python(COLLEAGUE, path, user, "5000").stderr == ""
    assert json.loads(path.read_text()) == {"1234": 2, "1235": 1, "1236": 2}
    assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (5000, 0o660)


@pytest.mark.parametrize(
    ("mode", "group", "groups"),
    [(0o600, 5000, "5000"), (0o660, 6000, ""), (0o640, 6000, "5000"), (0o600, 6000, "")],
)
def test_save_never_locks_out_owner(
    group_folder: Path, python: Python, mode: int, group: int, groups: str
) -> None:
    """The new version would belong to another user, and the old owner could not read it."""
    group_folder.chmod(0o777)
    path = make_owned(group_folder / "a.txt", mode, group=group)
    done = python(COLLEAGUE, path, "1235", groups)
    assert "AccessDeniedError" in done.stderr
    assert "could no longer read it" in done.stderr
    assert (path.read_text(), path.stat().st_uid) == ('"old"', 1234)
    assert os.listdir(group_folder) == ["a.txt"]


@pytest.mark.parametrize(("mode", "groups"), [(0o664, ""), (0o644, "5000"), (0o666, "")])
def test_file_that_all_can_read_is_replaced(
    group_folder: Path, python: Python, mode: int, groups: str
) -> None:
    group_folder.chmod(0o777)
    path = make_owned(group_folder / "a.txt", mode)
    assert python(COLLEAGUE, path, "1235", groups).stderr == ""
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("1235", mode)


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Encode (tag, permissions, id) as Linux stores a list: man 5 acl, and acl_xattr.h."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@linux
def test_access_list_is_kept(group_folder: Path, python: Python) -> None:
    """The list has rights for single users, as clusters give them to members of several groups."""
    path = make_owned(group_folder / "a.txt", 0o600)
    group_folder.chmod(0o777)
    nobody, name = 0xFFFFFFFF, "system.posix_acl_access"
    rights = acl((1, 6, nobody), (2, 6, 1235), (4, 0, nobody), (16, 6, nobody), (32, 0, nobody))
    try:
        os.setxattr(path, name, rights)
    except OSError:
        pytest.skip("system: this file system has no access control lists")
    mode = path.stat().st_mode
    with atomic_write(path) as file:
        file.write("new")
    assert os.getxattr(path, name) == rights
    assert path.stat().st_mode == mode


# ── locks ────────────────────────────────────────────────────────────────────────────────


def test_lock_in_use_is_kept(tmp_path: Path) -> None:
    place = lock_path(tmp_path / "a")
    with file_lock(tmp_path / "a"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(LockTimeoutError):
            pool.submit(remove_unused, place).result()
        with pytest.raises(LockTimeoutError):
            pool.submit(system.remove_tree, str(tmp_path), timeout=0).result()
        assert os.path.exists(place)
        remove_unused(place)  # The holder of the lock may remove it.
    assert not os.path.exists(place)


def test_tree_waits_for_its_locks(tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock(tmp_path / "f/g/a"):
            inside.set()
            leave.wait()

    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(hold)
        inside.wait()
        removing = pool.submit(system.remove_tree, str(tmp_path / "f"))
        assert not removing.done()
        leave.set()
        holding.result()
        removing.result()
    assert not (tmp_path / "f").exists()


def test_tree_of_links_and_files(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").touch()
    tree = tmp_path / "f"
    (tree / "g").mkdir(parents=True)
    (tree / "g/b").touch()
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "pipe")
    system.remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "a").exists()
    with pytest.raises(FileNotFoundError):
        system.remove_tree(str(tree))


# ── trees that others change ─────────────────────────────────────────────────────────────


def test_directories_are_made_during_delete(tmp_path: Path) -> None:
    """Each call succeeds, even if another thread deletes any part of the path."""
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):
                system.remove_tree(str(tmp_path / "a"))

    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(delete)
        try:
            for _ in range(500):
                system.make_directories(str(tmp_path / "a/b/c/d"))
        finally:
            done.set()
        deleting.result()


def test_file_in_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in ("a", "a/b"):
        with pytest.raises(NotADirectoryError):
            system.make_directories(str(tmp_path / path))


def test_tree_is_removed_during_save(tmp_path: Path) -> None:
    """Files that others add during the removal of a tree are removed too."""
    done = threading.Event()

    def save() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with suppress(FileNotFoundError):
                (tmp_path / "a" / str(number)).touch()
            done.wait(0.0001)  # Without a pause, a fast saver could always be first.

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save)
        try:
            for _ in range(200):
                (tmp_path / "a").mkdir()
                system.remove_tree(str(tmp_path / "a"))
        finally:
            done.set()
        saving.result()


@pytest.mark.parametrize("by_directory", [False, True])
def test_interrupted_opening_keeps_no_descriptor(tmp_path: Path, by_directory: bool) -> None:
    """Ctrl-C strikes after each call of C in turn."""
    (tmp_path / "a").write_bytes(b"1")
    folder = os.open(tmp_path, os.O_RDONLY)
    name, dir_fd = ("a", folder) if by_directory else (str(tmp_path / "a"), None)
    before = descriptors()
    outcomes = [
        interrupt(step, lambda: system.open_regular(name, dir_fd=dir_fd)) for step in range(20)
    ]
    opened = {descriptor for descriptor in outcomes if descriptor is not INTERRUPTED}
    assert INTERRUPTED in outcomes
    assert opened
    assert descriptors() == before | opened
    for descriptor in (folder, *opened):
        os.close(descriptor)
