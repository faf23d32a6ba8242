"""Transfers from one backend to another."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    DamagedDataError,
    UnknownOptionError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .samples import Require


@pytest.mark.parametrize("options", [{}, {"progress": lambda done, total: None}])
def test_file_is_transferred(memory: FileManager, options: Any) -> None:
    memory.save("text", "a", backend="one")
    written = memory.transfer(
        "a", "folder/b", source_backend="one", target_backend="two", **options
    )
    assert written == ["folder/b"]
    assert memory.load("folder/b", backend="two") == "text"


@pytest.mark.parametrize(
    ("source", "target", "written"),
    [
        ("plate", "copy", ["copy/deep/c", "copy/z2", "copy/z10"]),
        ("plate/", "copy", ["copy/deep/c", "copy/z2", "copy/z10"]),
        ("plate/deep", "", ["c"]),
        (".", "copy", ["copy/plate/deep/c", "copy/plate/z2", "copy/plate/z10"]),
        (Path("plate/deep"), Path("copy"), ["copy/c"]),
    ],
)
def test_folder_is_transferred(
    memory: FileManager, source: Any, target: Any, written: list[str]
) -> None:
    for path in ("plate/z10", "plate/z2", "plate/deep/c"):
        memory.save(path, path, backend="one")
    seen: list[tuple[int, int]] = []
    found = memory.transfer(
        source,
        target,
        source_backend="one",
        target_backend="two",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found == written
    assert seen == [(n + 1, len(written)) for n in range(len(written))]
    for path in written:
        assert str(memory.load(path, backend="two")).endswith(path.removeprefix("copy/"))


def test_partial_transfer_is_reported(memory: FileManager) -> None:
    memory.save_batch([1, None, 3], ["f/a", "f/b", "f/c"], backend="one")
    with pytest.raises(BatchError) as caught:
        memory.transfer("f", "g", source_backend="one", target_backend="test-screen")
    error = caught.value
    assert error.operation == "transfer"
    assert list(error.failed) == [1]
    assert (error.failed[1][0], type(error.failed[1][1])) == ("f/b", UnsupportedDataError)
    assert error.done == ("f/a", "f/c")


def test_transfer_options_reach_save(memory: FileManager) -> None:
    memory.save("new", "a", backend="one")
    memory.save("old", "a", backend="two")
    routes: Any = {"source_backend": "one", "target_backend": "two"}
    with pytest.raises(AlreadyExistsError):
        memory.transfer("a", "a", **routes, if_exists="error")
    memory.transfer("a", "a", **routes)
    assert memory.load("a", backend="two") == "new"


def test_misspelt_transfer_reads_nothing(fm: FileManager) -> None:
    routes: Any = {"source_backend": "test-camera", "target_backend": "test-screen"}
    with pytest.raises(UnknownOptionError, match="did you mean 'colour'"):
        fm.transfer("dark", "a", **routes, color="red")


def test_transfer_needs_both_roles(fm: FileManager) -> None:
    assert fm.transfer(
        "a", "b", source_backend="test-camera", target_backend="test-screen"
    ) == ["b"]
    for source, target in (("test-screen", "test-screen"), ("test-camera", "test-camera")):
        with pytest.raises(UnsupportedOperationError):
            fm.transfer("a", "b", source_backend=source, target_backend=target)


def test_transfer_converts_format(fm: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    (tmp_path / "a.json").write_text('"text"')
    routes: Any = {"source_backend": "disk", "target_backend": "disk"}
    fm.transfer(tmp_path / "a.json", tmp_path / "b.txt", **routes)
    assert (tmp_path / "b.txt").read_text() == "text"


def test_transfer_refuses_other_kinds(
    fm: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(UnsupportedDataError, match="JSON does not store arrays"):
        fm.transfer(
            tmp_path / "a.npy",
            tmp_path / "b.json",
            source_backend="disk",
            target_backend="disk",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_damaged_file_stops_no_other(
    memory: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    for name in ("a", "c"):
        np.save(tmp_path / f"{name}.npy", np.arange(3))
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(BatchError) as caught:
        memory.transfer(tmp_path, "plate", source_backend="disk", target_backend="one")
    ((path, cause),) = caught.value.failed.values()
    assert (path, type(cause)) == (str(tmp_path / "b.npy"), DamagedDataError)
    assert memory.list_dir("plate", backend="one") == ["a.npy", "c.npy"]
