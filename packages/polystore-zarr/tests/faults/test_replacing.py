"""Writers that are killed while they replace trees, and readers and writers next to them.

Each test runs with and without ``renameat2``, because network, FUSE and exFAT file systems cannot
exchange two names.
"""

from __future__ import annotations

import linecache
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import remove_tree
from polystore_core.errors import AlreadyExistsError, DirectoryNotEmptyError
from polystore_core.files import system
from polystore_core.files.atomic import find_leftovers
from polystore_zarr import lookup, placing, tree
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.store import asides, calls, local, reading, slots, trees
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs fork and renameat2"),
]

SECONDS = 1.5
CALLS = ("rename", "replace", "mkdir", "rmdir", "unlink")
IMAGE = "p.ome.zarr"
LABEL = f"{IMAGE}/labels/cells"

Operation = Callable[[ZarrBackend], Any]


def version(number: int) -> Any:
    return np.full((40, 40), number, np.uint16)


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ZarrBackend:
    if not request.param:
        monkeypatch.setattr(system, "_renameat2", None)
    return ZarrBackend(root=tmp_path)


def start_process(work: Callable[[], object]) -> int:
    """Start ``work`` in a forked process, and return its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


@contextmanager
def run_child(work: Callable[[], object]) -> Iterator[int]:
    """Run ``work`` in a forked process, which is killed at the end."""
    pid = start_process(work)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def kill_at(number: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a process that is killed right before its n-th change of a name.

    Returns ``False`` if the process reached its end.
    """

    def count_and_work() -> None:
        left = number

        def count_calls(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted_call(*args: Any, **options: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)

            return counted_call

        for name in CALLS:
            setattr(os, name, count_calls(getattr(os, name)))
        if system._renameat2 is not None:
            system._renameat2 = count_calls(system._renameat2)
        work()

    return os.WIFSIGNALED(os.waitpid(start_process(count_and_work), 0)[1])


def find_hidden(root: Path) -> set[str]:
    """Return the files that writers have left behind, except lock files."""
    return {
        str(path)
        for path in root.rglob(".~ps-*")
        if ".~ps-" not in str(path.parent) and not path.name.endswith(".lock")
    }


def read_versions(backend: ZarrBackend) -> dict[str, int]:
    found = {}
    for path in (*backend.list_files(".", recursive=True), LABEL):
        if path == LABEL and not backend.exists(LABEL):
            continue
        value = backend.load(path)
        assert (value == value.flat[0]).all(), "a mixture of versions"
        found[path] = int(value.flat[0])
    return found


def prepare(backend: ZarrBackend) -> None:
    for path in backend.list_dir("."):
        backend.delete(path, recursive=True)
    backend.save(version(1), "g.zarr/a", chunks=20)
    backend.save(version(2), "g.zarr/b", chunks=20)
    backend.save(version(1), "s.zarr", chunks=20)
    backend.save(version(1), IMAGE, levels=2)
    backend.save(version(3), LABEL)
    backend.ensure_directory("g.zarr/empty")


OPERATIONS: dict[str, Operation] = {
    "save over": lambda b: b.save(version(5), "g.zarr/a", chunks=20),
    "save over store": lambda b: b.save(version(5), "s.zarr", chunks=20),
    "save over image": lambda b: b.save(version(5), IMAGE, levels=2),
    "move onto": lambda b: b.move("g.zarr/b", "g.zarr/a"),
    "move onto store": lambda b: b.move("g.zarr/b", "s.zarr"),
    "move onto label": lambda b: b.move("g.zarr/b", LABEL),
    "copy onto": lambda b: b.copy("g.zarr/b", "g.zarr/a"),
    "move": lambda b: b.move("g.zarr/b", "g.zarr/c"),
    "delete": lambda b: b.delete("g.zarr/a"),
    "delete group": lambda b: b.delete("g.zarr/empty"),
    "delete store": lambda b: b.delete("g.zarr", recursive=True),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_writer_killed_anywhere(backend: ZarrBackend, tmp_path: Path, name: str) -> None:
    """A kill at any point leaves the old or the new state.

    After that, doctor cleans up, and the operation works. In the old state of a move, the source
    has its own value, never that of the target.
    """
    operation = OPERATIONS[name]
    prepare(backend)
    old = read_versions(backend)
    operation(backend)
    new = read_versions(backend)
    point, killed = 0, True
    while killed:
        point += 1
        prepare(backend)
        killed = kill_at(point, lambda: operation(backend))
        for path in find_leftovers(tmp_path, older_than=-1):
            remove_tree(path)
        found = read_versions(backend)
        assert found in (old, new), f"killed before change {point}"
        assert killed or found == new
        if found == old:
            if name != "delete group" or backend.is_dir("g.zarr/empty"):
                operation(backend)
            assert read_versions(backend) == new, f"killed before change {point}, and repeated"
    assert point > 3
    backend.save(version(9), "g.zarr/a")
    backend.save(version(9), "s.zarr")
    backend.save(version(9), IMAGE)
    assert not find_hidden(tmp_path)


def test_group_keeps_document(backend: ZarrBackend, tmp_path: Path) -> None:
    """A group keeps its attributes if its deletion failed or was killed."""
    point, killed = 0, True
    while killed:
        point += 1
        backend.ensure_directory("g.zarr/group")
        document = tmp_path / "g.zarr/group/zarr.json"
        text = document.read_text().replace('"attributes": {}', '"attributes": {"a": 1}')
        document.write_text(text)
        killed = kill_at(point, lambda: backend.delete("g.zarr/group"))
        backend.save(version(1), "g.zarr/a")
        if document.parent.exists():
            found = read_document(local_path(document.parent))
            assert found is not None
            assert found.attributes == {"a": 1}
    assert not document.parent.exists()
    backend.save(version(1), "g.zarr/group/a")
    with pytest.raises(DirectoryNotEmptyError):
        backend.delete("g.zarr/group")


# ── next to a writer ─────────────────────────────────────────────────────────────────────


def seconds() -> Iterator[int]:
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        yield (number := number + 1)


def repeat(step: Callable[[int], object]) -> Callable[[], None]:
    def work() -> None:
        number = 1
        while True:
            number += 1
            step(number)

    return work


WRITERS: dict[str, Callable[[ZarrBackend, int], object]] = {
    "save": lambda b, n: b.save(version(n % 60000), "g.zarr/a"),
    "save store": lambda b, n: b.save(version(n % 60000), "s.zarr"),
    "save image": lambda b, n: b.save(version(n % 60000), IMAGE, levels=1),
    "move": lambda b, n: (
        b.save(version(n % 60000), "g.zarr/n"),
        b.move("g.zarr/n", "g.zarr/a"),
    ),
}
TARGETS = {"save": "g.zarr/a", "move": "g.zarr/a", "save store": "s.zarr", "save image": IMAGE}


@pytest.mark.parametrize("name", WRITERS)
def test_readers_find_whole_arrays(backend: ZarrBackend, name: str) -> None:
    """While a writer replaces an array, a reader always finds the array, and never a mixture."""
    prepare(backend)
    path = TARGETS[name]
    folder, _, last = path.rpartition("/")
    with run_child(repeat(lambda number: WRITERS[name](backend, number))):
        for number in seconds():
            value = backend.load(path)
            assert (value == value.flat[0]).all()
            assert backend.exists(path)
            assert backend.is_file(path)
            assert backend.info(path).shape == (40, 40)
            if number % 8 == 0 and not folder:
                assert last in backend.list_dir(".")


def test_error_never_replaces(backend: ZarrBackend) -> None:
    """``if_exists="error"`` finds the array even while it is being replaced."""
    prepare(backend)
    with run_child(repeat(lambda number: WRITERS["move"](backend, number))):
        for _ in seconds():
            with pytest.raises(AlreadyExistsError):
                backend.save(version(1), "g.zarr/a", if_exists="error")


def test_writers_replace_each_other(backend: ZarrBackend, tmp_path: Path) -> None:
    """Threads save and move to one path at once. Each succeeds, and no file is left over."""
    prepare(backend)
    failed: list[BaseException] = []

    def work(own: int) -> None:
        try:
            for number in seconds():
                if own % 2:
                    backend.save(version(number), "g.zarr/a")
                else:
                    backend.save(version(number), f"g.zarr/from{own}")
                    backend.move(f"g.zarr/from{own}", "g.zarr/a")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    read_versions(backend)
    assert not find_hidden(tmp_path)


# ── leftovers ────────────────────────────────────────────────────────────────────────────


def test_next_save_removes_leftovers(backend: ZarrBackend, tmp_path: Path) -> None:
    """The next save removes the trees of killed writers, even of several at once."""
    prepare(backend)
    large = np.zeros((600, 600), np.uint8)

    def work() -> None:
        backend.save(large, "g.zarr/a", chunks=10, shards=False)

    for writers in (1, 1, 3):
        before = find_hidden(tmp_path)
        assert not before
        pids = [start_process(work) for _ in range(writers)]
        while len(find_hidden(tmp_path)) < writers:
            time.sleep(0.001)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        backend.save(version(1), "g.zarr/b")
        assert not find_hidden(tmp_path)


def test_running_writer_keeps_its_files(backend: ZarrBackend, tmp_path: Path) -> None:
    """A writer that is stopped in the middle continues where it was."""
    prepare(backend)
    large = np.full((600, 600), 7, np.uint8)

    def has_begun(chunk: str) -> bool:
        return any(any(Path(found).glob(f"*/c/{chunk}")) for found in find_hidden(tmp_path))

    state = pid = 0
    # The writer may be faster than this process, and may have written its last chunk.
    while not os.WIFSTOPPED(state) or not has_begun("2/2") or has_begun("59/59"):
        if os.WIFSTOPPED(state):
            os.kill(pid, signal.SIGCONT)
            os.waitpid(pid, 0)
        pid = start_process(lambda: backend.save(large, "g.zarr/a", chunks=10, shards=False))
        while not has_begun("2/2"):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
        os.kill(pid, signal.SIGSTOP)
        state = os.waitpid(pid, os.WUNTRACED)[1]
    for number in range(3):
        backend.save(version(number), "g.zarr/b")
        assert list(find_leftovers(tmp_path, older_than=-1)) == []
        assert len(find_hidden(tmp_path)) == 1
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    np.testing.assert_array_equal(backend.load("g.zarr/a"), large)
    assert not find_hidden(tmp_path)


# ── interrupts ───────────────────────────────────────────────────────────────────────────

TRACED = frozenset(
    module.__file__
    for module in (asides, calls, local, lookup, placing, reading, slots, tree, trees, system)
)


@pytest.mark.parametrize("name", ["save over", "move onto", "delete group", "delete store"])
def test_interrupt_at_each_line(backend: ZarrBackend, tmp_path: Path, name: str) -> None:
    """Ctrl-C at any line raises KeyboardInterrupt. It leaves the old or new state, and no files."""
    operation = OPERATIONS[name]
    prepare(backend)
    old = read_versions(backend)
    operation(backend)
    new = read_versions(backend)
    left = -1

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in TRACED:
            return None
        # `try:` has no code, so CPython handles no signal there. In 3.11 no handler covers it,
        # not even an outer one.
        place = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and linecache.getline(*place).strip() != "try:":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    line, interrupted = 1, True
    while interrupted:
        prepare(backend)
        left, interrupted = line, False
        sys.settrace(trace)
        try:
            operation(backend)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(None)
        assert interrupted == (left <= 0), f"the interrupt at line {line} was lost"
        found = read_versions(backend)
        assert found in (old, new), f"interrupted at line {line}"
        assert not find_hidden(tmp_path), f"interrupted at line {line}"
        line += 11
    assert line > 50
