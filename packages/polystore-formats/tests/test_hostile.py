"""Files that run code, fill the memory or take for ever are refused quickly."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager

from .hostile_files import CORPUS, NEEDS, SPARSE, TERABYTE, npy

if TYPE_CHECKING:
    from collections.abc import Iterable

GROWTH_LIMIT = 256  # MiB. The files have less than 8.

CHILD = """
import resource, sys
from polystore_core import formats
from polystore_core.errors import (
    DamagedDataError, UnsupportedDataError, UnsupportedFileError
)

def peak():
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status") as status:  # getrusage tells also of the parent's
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

path = sys.argv[1]
format = formats().of(path)
before = peak()
with open(path, "rb") as file:
    for read in (format.load, format.info):
        try:
            read(file)
            refused = False
        except (DamagedDataError, UnsupportedDataError, UnsupportedFileError):
            refused = True
        file.seek(0)
        if read == format.load:
            assert refused, "it was loaded"
print((peak() - before) // 1024)
"""


def mark_frameworks(names: Iterable[str]) -> list[Any]:
    """Return names of files as parameters. Some need a framework."""
    marks = {True: [pytest.mark.frameworks], False: []}
    return [pytest.param(name, marks=marks[name.endswith(".pt")]) for name in names]


def check_needs(name: str) -> None:
    needed = NEEDS.get(name.rpartition(".")[2], "numpy")
    required = os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    if importlib.util.find_spec(needed) is None and not required:
        pytest.skip(f"{needed} is not installed")


def check_refusal(path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) < GROWTH_LIMIT


@pytest.mark.skipif(sys.platform == "win32", reason="system: has no module resource")
@pytest.mark.parametrize("name", mark_frameworks(CORPUS))
def test_hostile_file_is_refused(name: str, tmp_path: Path) -> None:
    check_needs(name)
    path = tmp_path / name
    path.write_bytes(CORPUS[name](tmp_path))
    assert path.stat().st_size < 8 << 20
    check_refusal(path)
    assert not (tmp_path / "executed").exists()
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="system: files have no holes")
@pytest.mark.parametrize("name", mark_frameworks(SPARSE))
def test_sparse_terabyte_is_refused(name: str, tmp_path: Path) -> None:
    """A file that is larger than the memory is refused before it is read."""
    check_needs(name)
    path = tmp_path / name
    start = SPARSE[name](TERABYTE)
    path.write_bytes(start)
    os.truncate(path, TERABYTE + len(start))
    check_refusal(path)


CHILD_WITH_LIMIT = """
import resource, sys
from polystore_core import FileManager
from polystore_core.errors import UnsupportedDataError

fm = FileManager()
try:
    fm.load(sys.argv[1] + ".small" + sys.argv[2], backend="disk")  # import all there is
except Exception:
    pass
with open("/proc/self/statm") as sizes:
    used = int(sizes.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), -1))
try:
    fm.load(sys.argv[1], backend="disk")
except UnsupportedDataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="system: cannot limit the memory")
@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.txt", "a.csv"])
def test_failed_allocation_is_explained(name: str, tmp_path: Path) -> None:
    """If the system gives no memory, the error has the size and a remedy."""
    check_needs(name)
    path = tmp_path / name
    size = 1 << 30
    start = SPARSE[name](size)
    path.write_bytes(start)
    os.truncate(path, size + len(start))
    suffix = path.suffix
    path.with_name(f"{name}.small{suffix}").write_bytes(SPARSE[name](1 << 20)[:64])
    child = subprocess.run(
        [sys.executable, "-c", CHILD_WITH_LIMIT, str(path), suffix],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    assert "it needs 107374" in child.stdout
    assert "more memory than there is: " in child.stdout


def test_sparse_array_opens(tmp_path: Path) -> None:
    """A handle reads parts of an array that fits in no memory."""
    path = tmp_path / "a.npy"
    start = npy(f"({TERABYTE},)")
    path.write_bytes(start)
    os.truncate(path, TERABYTE + len(start))
    fm = FileManager()
    with fm.open(path, backend="disk") as array:
        assert array.shape == (TERABYTE,)
        assert np.asarray(array[-5:]).tolist() == [0] * 5
    part = fm.load(path, backend="disk", region=np.s_[10:20])
    assert part.tolist() == [0] * 10
