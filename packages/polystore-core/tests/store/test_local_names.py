"""The names in the store of a file system: trees, folders, links and locks."""

import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polystore_core import Entry, LocalStore, find_leftovers
from polystore_core.errors import (
    DurabilityUnknownError,
    InvalidOptionError,
    LockTimeoutError,
    NotAFileError,
)
from polystore_core.files import system

from ..interrupts import INTERRUPTED, interrupt
from .stores import keys, linux, posix

# ── trees ────────────────────────────────────────────────────────────────────────────────


def test_tree_appears_whole(store, folder):
    with store.tree("f/t") as hidden:
        store.put(f"{hidden}/a", b"1")
        store.put(f"{hidden}/g/b", b"2")
        assert list(store.entries("f")) == []
        assert keys(store.scan()) == []
    assert keys(store.scan()) == ["f/t/a", "f/t/g/b"]


def test_tree_of_raising_block_leaves_nothing(store, folder):
    def fill():
        with store.tree("t") as hidden:
            store.put(f"{hidden}/a", b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("present", ["file", "folder", "empty folder"])
@pytest.mark.parametrize("late", [False, True])
def test_tree_never_replaces_by_default(store, folder, present, late):
    def appear():
        if present == "file":
            store.put("t", b"old")
        else:
            store.make_folder("t")
        if present == "folder":
            store.put("t/old", b"old")

    if not late:
        appear()

    def fill():
        with store.tree("t") as hidden:
            assert late, "the name was taken before the work"
            store.put(f"{hidden}/a", b"1")
            appear()

    with pytest.raises(FileExistsError):
        fill()
    assert [path.name for path in folder.iterdir()] == ["t"]
    assert keys(store.scan()) == {"file": ["t"], "folder": ["t/old"]}.get(present, [])


@linux
@pytest.mark.parametrize("leads", ["folder", "nowhere"])
def test_tree_replaces_link_and_not_its_target(store, folder, leads):
    (folder / "l").symlink_to(leads)
    store.put("folder/a", b"old")
    with store.tree("l", if_exists="replace") as hidden:
        store.put(f"{hidden}/a", b"new")
    assert (store.read("l/a"), store.read("folder/a")) == (b"new", b"old")
    assert sorted(os.listdir(folder)) == ["folder", "l"]


@linux
def test_tree_never_replaces_a_pipe(store, folder):
    def fill():
        with store.tree("pipe", if_exists="replace") as hidden:
            store.put(f"{hidden}/a", b"new")

    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="it is a named pipe"):
        fill()
    assert os.listdir(folder) == ["pipe"]


def test_tree_is_refused_without_exchange(store, folder, monkeypatch):
    """macOS and NFS cannot exchange two names."""

    def fill(key):
        with store.tree(key, if_exists="replace") as hidden:
            store.put(f"{hidden}/a", b"new")

    monkeypatch.setattr(system, "_renameat2", None)
    fill("new")
    store.put("old/a", b"old")
    with pytest.raises(OSError, match="cannot exchange two names") as raised:
        fill("old")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOTSUP, "old")
    assert (store.read("new/a"), store.read("old/a")) == (b"new", b"old")
    assert sorted(os.listdir(folder)) == ["new", "old"]


@linux
def test_replaced_tree_with_a_lock_in_use_is_a_leftover(store, folder):
    def fill():
        with store.tree("t", if_exists="replace") as hidden:
            store.put(f"{hidden}/a", b"new")

    store.put("t/a", b"old")
    with store.lock("t/a"), ThreadPoolExecutor(1) as pool:
        pool.submit(fill).result()
    assert store.read("t/a") == b"new"
    assert list(store.entries("")) == [Entry("t", True, False)]
    (left,) = find_leftovers(folder, older_than=-60)
    assert os.listdir(folder / left) != []


@linux
@pytest.mark.parametrize(
    ("durable", "replaces", "flushed"),
    [
        (None, False, set()),
        (None, True, {"", "a", "g", "g/b"}),
        (True, True, {"", "a", "g", "g/b"}),
        (False, True, set()),
    ],
)
def test_replacing_tree_is_flushed_first(
    store, folder, monkeypatch, durable, replaces, flushed
):
    if replaces:
        store.put("t/a", b"old")
    seen = set()
    fsync = os.fsync

    def record(descriptor):
        seen.add((os.fstat(descriptor).st_ino, store.read("t/a") if replaces else None))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with store.tree("t", if_exists="replace", durable=durable) as hidden:
        for name in ("a", "g/b"):
            store.put(f"{hidden}/{name}", b"new")
    found = {
        name for name in ("", "a", "g", "g/b") if (inode(folder / "t" / name), b"old") in seen
    }
    assert found == flushed


def inode(path):
    return os.stat(path).st_ino


@linux
def test_interrupted_tree_is_old_or_new(store, folder):
    """Ctrl-C strikes after each call of C in turn."""

    def fill(number):
        with store.tree("t", if_exists="replace", durable=False) as hidden:
            os.mkdir(folder / hidden / str(number))

    (folder / "t/0").mkdir(parents=True)
    outcomes = []
    for number in range(1, 1000):
        before = os.listdir(folder / "t")
        outcomes.append(interrupt(number, lambda number=number: fill(number)))
        assert os.listdir(folder / "t") in (before, [str(number)])
        if outcomes[-1] is not INTERRUPTED:  # The call finished before the interrupt.
            break
    assert INTERRUPTED in outcomes
    assert outcomes[-1] is not INTERRUPTED
    assert [name for name in os.listdir(folder) if name != "t"] == []


KILLED = """
import os, signal, sys
from polystore_core import LocalStore

store = LocalStore(sys.argv[1])
with store.tree("t") as hidden:
    store.put(f"{hidden}/a", b"1")
    print("ready", flush=True)
    sys.stdin.read()
"""


@linux
@pytest.mark.faults
@pytest.mark.timeout(60)
def test_killed_tree_is_a_leftover(folder):
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert worker.stdout.readline() == b"ready\n"
        assert list(find_leftovers(folder, older_than=-60)) == []  # The writer is still alive.
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    (left,) = find_leftovers(folder, older_than=-60)
    assert Path(left).name.startswith(".~ps-")
    store = LocalStore(folder)
    assert list(store.entries("")) == []
    with store.tree("t") as hidden:
        store.put(f"{hidden}/a", b"2")
    assert store.read("t/a") == b"2"


# ── names ────────────────────────────────────────────────────────────────────────────────


def test_folders(store, folder):
    store.make_folder("f/g")
    store.make_folder("f/g")
    store.put("f/a", b"")
    with pytest.raises(OSError, match=r"not empty") as raised:
        store.remove_folder("f")
    assert raised.value.errno == errno.ENOTEMPTY
    store.remove_folder("f/g")
    with pytest.raises(FileNotFoundError):
        store.remove_folder("f/g")
    store.remove_folder("f", recursive=True)
    store.put("a", b"")
    with pytest.raises(NotADirectoryError):
        store.make_folder("a/b")
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_rename(store):
    store.put("a", b"1")
    store.rename("a", "f/b")
    store.put("c", b"2")
    with pytest.raises(FileExistsError) as raised:
        store.rename("c", "f/b", if_exists="error")
    assert raised.value.filename == "f/b"
    store.rename("c", "f/b")
    assert store.read("f/b") == b"2"
    store.rename("f/b", "f/b", if_exists="error")
    store.rename("f", "g")
    assert keys(store.scan()) == ["g/b"]
    store.put("c", b"3")
    with pytest.raises(IsADirectoryError) as raised:
        store.rename("c", "g")
    assert raised.value.filename == "g"
    for target in ("c", "e"):
        store.make_folder("e")
        with pytest.raises(FileExistsError) as raised:
            store.rename("g", target)
        assert raised.value.filename == target
    assert keys(store.scan()) == ["c", "g/b"]


@pytest.mark.parametrize(
    ("source", "target", "failed"),
    [
        ("f/x", "x", "f/x"),
        ("x/x", "x", "x/x"),
        ("a/x", "x", "a/x"),
        ("a", "a2/b/c", "a2/b/c"),
        ("f/x", "f/y", "f/x"),
    ],
)
def test_errors_name_the_failed_key(store, source, target, failed):
    """The system only gets the last part of a key, such as "x" of "f/x".

    The target may have the same last part, so the store must tell them apart.
    """
    store.make_folder("f")
    store.put("a", b"")
    store.put("a2", b"")
    with pytest.raises(OSError, match=r".") as raised:
        store.rename(source, target)
    assert raised.value.filename == failed
    if sys.platform != "win32":
        with pytest.raises(OSError, match=r".") as raised:
            store.link(source, target)
        assert raised.value.filename == failed


@linux
def test_unknown_durability_of_a_move_names_the_target(folder, monkeypatch):
    store = LocalStore(folder, durable=True)
    store.put("f/a", b"x")

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DurabilityUnknownError, match=r"'f/b': cannot move: Input/output error"):
        store.rename("f/a", "f/b")
    assert store.stat("f/b").size == 1


@posix
def test_link_does_not_replace_its_own_file(store):
    store.put("a", b"1")
    store.link("a", "l")
    with pytest.raises(InvalidOptionError, match="to which 'l' leads"):
        store.rename("l", "a")
    assert store.read("a") == store.read("l") == b"1"
    store.put("b", b"2")
    store.rename("l", "b")
    assert store.read("a") == store.read("b") == b"1"


def test_dead_link_replaces_a_file(store, folder):
    store.put("a", b"1")
    (folder / "dead").symlink_to("nowhere")
    store.rename("dead", "a")
    assert store.read_link("a") == "nowhere"


def test_links(store, folder):
    store.put("f/a", b"1")
    store.link("f/a", "g/l")
    assert store.read("g/l") == b"1"
    assert store.read_link("f/a") is store.read_link("missing") is store.read_link("f") is None
    assert store.read_link("f/a/b") is None
    text = store.read_link("g/l")
    assert text == ("../f/a" if store.root else os.path.realpath("f/a"))
    with pytest.raises(FileNotFoundError):
        store.link("missing", "m")
    store.put("b", b"2")
    with pytest.raises(FileExistsError):
        store.link("b", "g/l")
    store.link("b", "g/l", replace=True)
    assert store.read("g/l") == b"2"
    with pytest.raises(NotAFileError):
        store.link("b", "f", replace=True)
    (folder / "g/dead").symlink_to("nowhere")
    store.copy_link("g/dead", "g/copy")
    assert os.readlink(folder / "g/copy") == "nowhere"
    store.rename("g/dead", "dead")
    store.delete("dead")
    store.delete("g/l")
    assert store.read("b") == b"2"
    with pytest.raises(OSError, match=r"Invalid argument"):
        store.copy_link("b", "c")


@pytest.mark.timeout(60)
def test_lock_keeps_others_out(store):
    """The error names the key, and not its path in the file system."""
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with store.lock("f/a"):
            inside.set()
            leave.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(30)
        with (
            pytest.raises(LockTimeoutError, match=r"'f/a' was still locked after 0\.1 s"),
            store.lock("f/a", timeout=0.1),
        ):
            pass
        with store.lock("f/b", timeout=0.1):
            pass
    finally:
        leave.set()
        holder.join()
    with store.lock("f/a", timeout=30):
        pass
    assert list(store.entries("f")) == []
