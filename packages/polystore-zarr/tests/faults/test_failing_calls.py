"""Each system call fails once. The operation is then done or not done, and no read is wrong."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core.errors import StorageError
from polystore_zarr.backend import ZarrBackend

from .writers import (
    KINDS,
    check_leftovers,
    fields_of,
    find_hidden,
    listed_fields,
    number_of,
    save,
    saved_number,
    version,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

# Calls that change a file, and calls that look it up. `unlink` and `rmdir` of our own temporary
# trees are left out. If such trees cannot be removed, they stay, and `find_leftovers` lists them.
CALLS = [
    "open",
    "write",
    "fsync",
    "link",
    "replace",
    "rename",
    "mkdir",
    "fchmod",
    "stat",
    "fstat",
    "read",
    "scandir",
    "listdir",
]
CODES = [errno.ENOSPC, errno.EIO, errno.EMFILE]

Operation = Callable[[ZarrBackend], Any]
FIELD, IMAGE = "plate.ome.zarr/B/03/0", "p.ome.zarr"

OPERATIONS: dict[str, Operation] = {
    "save over": lambda b: b.save(version(2), "g.zarr/a", chunks=48),
    "save new": lambda b: b.save(version(2), "new.zarr/x/y", chunks=48),
    "save file": lambda b: b.save(version(2), "f/new.tif", chunks=48),
    "save durably": lambda b: b.save(version(2), "g.zarr/a", chunks=48, durable=True),
    "save exclusively": lambda b: b.save(version(2), "g.zarr/n", chunks=48, if_exists="error"),
    "save image": lambda b: b.save(version(2), IMAGE, levels=2),
    "save field": lambda b: b.save(version(2), FIELD, levels=2),
    "save new field": lambda b: b.save(version(2), "plate.ome.zarr/C/01/0", levels=2),
    "save label": lambda b: b.save(version(2), f"{IMAGE}/labels/cells"),
    "create": lambda b: b.create("new.zarr/a", shape=(4, 4), dtype="u1"),
    "copy": lambda b: b.copy("g.zarr/a", "h.zarr/a"),
    "copy folder": lambda b: b.copy("g.zarr", "h.zarr/g"),
    "move": lambda b: b.move("g.zarr/a", "g.zarr/b"),
    "move field": lambda b: b.move(FIELD, "plate.ome.zarr/C/01/0"),
    "move folder": lambda b: b.move("g.zarr", "h.zarr/g"),
    "delete": lambda b: b.delete("g.zarr/a"),
    "delete field": lambda b: b.delete(FIELD),
    "delete folder": lambda b: b.delete("g.zarr", recursive=True),
    "make folder": lambda b: b.ensure_directory("n.zarr/x/y"),
}
READS: dict[str, Operation] = {
    "load": lambda b: b.load("g.zarr/a").tolist(),
    "load file": lambda b: b.load("f/a.tif").tolist(),
    "load field": lambda b: b.load(FIELD, level=1).tolist(),
    "info": lambda b: str(b.info(FIELD)),
    "exists": lambda b: [
        b.exists(path) for path in ("g.zarr/a", "f/a.tif", "f/missing", FIELD)
    ],
    "is_dir": lambda b: [
        b.is_dir(path) for path in ("g.zarr", "f", "missing", "plate.ome.zarr/B")
    ],
    "list": lambda b: b.list_files(".", recursive=True),
    "open": lambda b: b.open("g.zarr/a")[3:5].tolist(),
}


class Fault:
    """Makes the n-th of the watched calls fail, in any thread.

    ``lock`` guards ``left``, the number of calls until then.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.code = 0
        self.lock = threading.Lock()
        for name in CALLS:
            patch.setattr(os, name, self.watch(getattr(os, name)))

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*args: Any, **options: Any) -> Any:
            with self.lock:
                if self.left >= 0 and not _is_from_makedirs():
                    self.left -= 1
                    if self.left < 0:
                        raise OSError(self.code, os.strerror(self.code))
            return call(*args, **options)

        return watched_call


def _is_from_makedirs() -> bool:
    """Return whether ``os.makedirs`` calls. Its ``os.path.isdir`` takes a failure for an answer."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.endswith("genericpath.py>"):
        frame = frame.f_back
    return frame.f_code.co_name in ("makedirs", "isdir", "exists") and "makedirs" in (
        frame.f_code.co_name,
        frame.f_back.f_code.co_name if frame.f_back else "",
    )


@pytest.fixture
def fault() -> Iterator[Fault]:
    with pytest.MonkeyPatch.context() as patch:
        yield Fault(patch)


def prepare(backend: ZarrBackend, root: Path) -> None:
    """Restore the files that every operation needs."""
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in ("g.zarr/a", "g.zarr/b", "f/a.tif"):
        backend.save(version(1), path, chunks=48)
    backend.save(version(1), IMAGE, levels=2)
    backend.save(version(1), FIELD, levels=2)
    backend.save(version(1), "plate.ome.zarr/B/03/1", levels=2)


def read_versions(backend: ZarrBackend) -> dict[str, int]:
    """Return every array and image with its version."""
    found = {}
    for path in backend.list_files(".", recursive=True):
        value = backend.load(path)
        found[path] = number_of(value) if value.any() else 0
    return found


def failure_of(operation: Operation, backend: ZarrBackend) -> Exception | None:
    try:
        operation(backend)
    except StorageError as error:
        return error
    return None


@pytest.mark.parametrize("name", OPERATIONS)
def test_old_or_new_version_is_there(
    backend: ZarrBackend, root: Path, fault: Fault, name: str
) -> None:
    """If any call fails, the operation is done or not done, and the error says why."""
    operation = OPERATIONS[name]
    prepare(backend, root)
    old = read_versions(backend)
    operation(backend)
    new = read_versions(backend)
    dirty, reached = True, True
    point = -1
    while reached:
        point += 1
        code = CODES[point % len(CODES)]
        if dirty:
            prepare(backend, root)
        fault.code, fault.left = code, point
        failure = failure_of(operation, backend)
        reached, fault.left = fault.left < 0, -1
        text = f"{failure!r} at call {point}"
        assert failure is None or getattr(failure, "errno", 0) == code, text
        found = read_versions(backend)
        assert found in (old, new), text
        assert failure or found == new, text
        # One fault causes one failure, of the operation or of the removal of its hidden files.
        assert len(find_hidden(root)) <= (failure is None), text
        plate = root / "plate.ome.zarr"
        assert listed_fields(plate) <= fields_of(plate), text
        if failure is None:
            assert listed_fields(plate) == fields_of(plate), text
        dirty = found != old or "field" in name or "label" in name
    assert point > 2


@pytest.mark.parametrize("name", READS)
def test_reading_is_never_wrong(
    backend: ZarrBackend, root: Path, fault: Fault, name: str
) -> None:
    """A fault is never read as a missing file, a fill value, an empty folder or another value."""
    operation = READS[name]
    prepare(backend, root)
    expected = operation(backend)
    point, reached = -1, True
    while reached:
        point += 1
        fault.code = CODES[point % len(CODES)]
        found: list[Any] = []
        fault.left = point
        failure = failure_of(lambda b: found.append(operation(b)), backend)  # noqa: B023
        reached, fault.left = fault.left < 0, -1
        text = f"{failure!r} at call {point}"
        assert failure is None or getattr(failure, "errno", 0) == fault.code, text
        assert failure or found == [expected], text
    assert point


KERNEL_CALLS = {
    "openat": "EMFILE",
    "write": "ENOSPC",
    "mkdir": "EDQUOT",
    "rename": "EIO",
    "renameat2": "EIO",
    "linkat": "ENOSPC",
    "fsync": "EIO",
    "newfstatat": "EIO",
    "flock": "ENOLCK",
    "fchmod": "EPERM",
    "getdents64": "EIO",
    "ftruncate": "EIO",
}
POINTS = (1, 2, 3, 5, 8, 13)
STRACED = ("field", "sharded", "label")


@pytest.mark.skipif(shutil.which("strace") is None, reason="system: needs strace")
@pytest.mark.parametrize("kind", STRACED)
def test_kernel_call_fails_once(
    backend: ZarrBackend, root: Path, start: Any, kind: str, tmp_path: Path
) -> None:
    """The n-th call fails in each thread. The old or the new version is there, without damage."""
    backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    writer = start("save_once", kind)
    outcomes = set()
    for call, code in KERNEL_CALLS.items():
        for point in POINTS:
            save(backend, kind, 1)
            writer.start()
            writer.expect("waiting")
            strace = subprocess.Popen(
                [
                    "strace",
                    "-f",
                    "-o",
                    str(tmp_path / "log"),
                    "-e",
                    f"trace={call}",
                    "-e",
                    f"inject={call}:error={code}:when={point}",
                    "-p",
                    str(writer.pid),
                ],
                stderr=subprocess.PIPE,
            )
            assert strace.stderr is not None
            text = strace.stderr.readline().decode()
            if "attached" not in text:
                strace.communicate()
                writer.go_on()
                pytest.skip(f"system: strace cannot attach: {text.strip()}")
            writer.go_on()
            # The write that reports the result may fail too.
            outcome, number = [("silent", 0), *iter(writer.line, ("ended", 0))][-1]
            writer.pid = 0
            strace.communicate()
            injected = "INJECTED" in (tmp_path / "log").read_text()
            text = f"{call} {point}: {outcome} {number}"
            outcomes.add((call, outcome)) if injected else None
            if outcome == "failed":
                assert injected, text
                assert number == getattr(errno, code), text
            found = saved_number(backend, KINDS[kind][0])
            assert found == 2 if outcome == "saved" else found in (1, 2), text
            if not injected:
                break
    assert {outcome for _, outcome in outcomes} >= {"failed"}
    assert len(outcomes) > 6
    check_leftovers(root, most=len(KERNEL_CALLS))  # a removal may fail too
