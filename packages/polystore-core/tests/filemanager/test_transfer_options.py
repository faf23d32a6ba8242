"""Options of a transfer: verify, resume, patterns and dry runs."""

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from polystore_core import FileManager, Image, StorageBackend
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    UnknownOptionError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)

from .samples import Require

PIXELS = np.arange(6, dtype="u2").reshape(2, 3)
ROUTES: Any = {"source_backend": "one", "target_backend": "two"}
FROM_DISK: Any = {"source_backend": "disk", "target_backend": "one"}
ON_DISK: Any = {"source_backend": "disk", "target_backend": "disk"}


class Forgetful(StorageBackend):
    """Changes one element of each saved value, and records each load."""

    _backend_type = "test-forgetful"
    loads: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def save(self, data: Any, path: Any, /) -> None:
        changed = np.array(data)
        changed.flat[-1] += 1
        self.kept[os.fspath(path)] = changed

    def load(self, path: Any, /) -> Any:
        self.loads.append(path)
        return self.kept[os.fspath(path)]


# ── verify ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [PIXELS, "text", {"a": [1, float("nan")]}])
def test_equal_values_pass(memory: FileManager, value: Any) -> None:
    memory.save(value, "a", "one")
    assert memory.transfer("a", "b", **ROUTES, verify="values") == ["b"]


def test_image_is_verified(memory: FileManager) -> None:
    memory.save(Image.of(PIXELS, scale=(1, 2)), "a", "one")
    assert memory.transfer("a", "b", **ROUTES, verify="values") == ["b"]


def test_difference_is_an_error(memory: FileManager) -> None:
    memory.save(PIXELS, "f/a", "one")
    routes: Any = {"source_backend": "one", "target_backend": "test-forgetful"}
    with pytest.raises(DamagedDataError) as single:
        memory.transfer("f/a", "b", **routes, verify="values")
    assert str(single.value) == (
        "backend 'test-forgetful': 'b' is damaged: it is not equal to its source, 'f/a' of "
        "backend 'one': the values differ, first at index (1, 2)"
    )
    with pytest.raises(BatchError, match="first at index") as caught:
        memory.transfer("f", "g", **routes, verify="values")
    assert [type(cause) for _, cause in caught.value.failed.values()] == [DamagedDataError]


def test_verifying_reads_each_side_once(memory: FileManager) -> None:
    forgetful = memory.registry["test-forgetful"]
    Forgetful.loads.clear()
    forgetful.save(PIXELS, "a")  # type: ignore[union-attr]
    memory.transfer(
        "a", "b", source_backend="test-forgetful", target_backend="one", verify="values"
    )
    assert Forgetful.loads == ["a"]


def test_bytes_are_copied(memory: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    spaced = '{ "spaced" :   1 }'
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a.json").write_text(spaced)
    memory.registry.add("other", "disk", root=tmp_path / "root")
    routes: Any = {"source_backend": "disk", "target_backend": "other"}
    done = memory.transfer(tmp_path / "f", "g", **routes, verify="bytes", durable=False)
    assert done == ["g/a.json"]
    assert (tmp_path / "root/g/a.json").read_text() == spaced
    memory.transfer(tmp_path / "f", "h", **routes)
    assert (tmp_path / "root/h/a.json").read_text() != spaced


def test_byte_copy_keeps_existing_files(
    fm: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", name)
    source, target = tmp_path / "a.npy", tmp_path / "b.npy"
    done = fm.transfer(source, target, **ON_DISK, verify="bytes", if_exists="skip")
    assert (list(done), list(done.skipped)) == ([], [str(source)])
    with pytest.raises(AlreadyExistsError):
        fm.transfer(source, target, **ON_DISK, verify="bytes", if_exists="error")
    assert np.load(target) == "b"
    fm.transfer(source, target, **ON_DISK, verify="bytes")
    assert np.load(target) == "a"


def test_bytes_of_other_formats(fm: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    (tmp_path / "a.json").write_text("1")
    for dry_run in (False, True):
        with pytest.raises(InvalidOptionError, match=r"another format than '.*a\.json'"):
            fm.transfer(
                tmp_path / "a.json",
                tmp_path / "a.txt",
                **ON_DISK,
                verify="bytes",
                dry_run=dry_run,
            )


@pytest.mark.parametrize(
    ("routes", "options", "error"),
    [
        (FROM_DISK, {"verify": "bytes"}, UnsupportedOperationError),
        (ON_DISK, {"verify": "bytes", "compression": "zlib"}, InvalidOptionError),
        (ROUTES, {"verify": "pixels"}, InvalidOptionError),
        (ROUTES, {"verify": True}, InvalidOptionError),
        (ROUTES, {"on_unknown": "ignore"}, InvalidOptionError),
        (ROUTES, {"if_exists": "keep"}, InvalidOptionError),
        (ROUTES, {"pattern": "**/*.tif"}, InvalidOptionError),
        (ROUTES, {"chunks": 3}, UnknownOptionError),
        (
            {"source_backend": "one", "target_backend": "test-screen"},
            {"verify": "values"},
            UnsupportedOperationError,
        ),
        (
            {"source_backend": "one", "target_backend": "test-screen"},
            {"if_exists": "skip"},
            UnknownOptionError,
        ),
    ],
)
def test_bad_options_are_refused_before_reading(
    memory: FileManager, require: Require, routes: Any, options: Any, error: type[Exception]
) -> None:
    require("polystore_disk")
    with pytest.raises(error):
        memory.transfer("nothing.tif", "b.tif", **routes, **options)


# ── existing files ───────────────────────────────────────────────────────────────────────


def test_resume_loads_only_the_rest(memory: FileManager) -> None:
    forgetful = memory.registry["test-forgetful"]
    assert isinstance(forgetful, Forgetful)
    forgetful.kept = {"a": PIXELS}
    Forgetful.loads.clear()
    memory.save("old", "a", "one")
    routes: Any = {"source_backend": "test-forgetful", "target_backend": "one"}
    done = memory.transfer("a", "a", **routes, if_exists="skip")
    assert (list(done), done.skipped) == ([], {"a": "the target exists"})
    with pytest.raises(AlreadyExistsError):
        memory.transfer("a", "a", **routes, if_exists="error")
    assert (Forgetful.loads, memory.load("a", "one")) == ([], "old")
    assert memory.transfer("a", "b", **routes, if_exists="skip") == ["b"]


def test_existing_files_of_a_folder(memory: FileManager) -> None:
    memory.save_batch([1, 2, 3], ["f/a", "f/b", "f/c"], "one")
    memory.save("old", "g/b", "two")
    done = memory.transfer("f", "g", **ROUTES, if_exists="skip")
    assert (done, done.skipped) == (["g/a", "g/c"], {"f/b": "the target exists"})
    assert repr(done) == "Transferred(['g/a', 'g/c'], skipped={'f/b': 'the target exists'})"
    with pytest.raises(BatchError) as caught:
        memory.transfer("f", "g", **ROUTES, if_exists="error")
    causes = [type(cause) for _, cause in caught.value.failed.values()]
    assert causes == [AlreadyExistsError] * 3
    assert memory.load("g/b", "two") == "old"


def test_folder_at_target_is_refused(memory: FileManager) -> None:
    memory.save(1, "a", "one")
    memory.ensure_directory("b", "two")
    with pytest.raises(NotAFileError):
        memory.transfer("a", "b", **ROUTES, if_exists="skip")


# ── selected files ───────────────────────────────────────────────────────────────────────


def test_pattern(memory: FileManager) -> None:
    memory.save_batch([1, 2, 3], ["f/a.tif", "f/b.txt", "f/deep/c.tif"], "one")
    assert memory.transfer("f", "g", **ROUTES, pattern="*.tif") == ["g/a.tif", "g/deep/c.tif"]
    with pytest.raises(InvalidOptionError, match=r"'f/a\.tif' is not one"):
        memory.transfer("f/a.tif", "g", **ROUTES, pattern="*.tif")


@pytest.mark.parametrize("dry_run", [False, True])
def test_unknown_files(
    memory: FileManager, require: Require, tmp_path: Path, dry_run: bool
) -> None:
    require("polystore_disk")
    np.save(tmp_path / "a.npy", PIXELS)
    for name in ("notes.docx", "README", ".DS_Store"):
        (tmp_path / name).write_text("?")
    done = memory.transfer(tmp_path, "f", **FROM_DISK, on_unknown="skip", dry_run=dry_run)
    assert done == ["f/a.npy"]
    assert done.skipped == {
        str(tmp_path / name): "no installed format has its suffix"
        for name in ("README", "notes.docx")
    }
    assert memory.exists("f", "one") is not dry_run
    with pytest.raises(BatchError) as caught:
        memory.transfer(tmp_path, "g", **FROM_DISK, dry_run=dry_run)
    causes = [type(cause) for _, cause in caught.value.failed.values()]
    assert causes == [UnsupportedFormatError] * 2


@pytest.mark.parametrize("verify", [None, "values", "bytes"])
def test_unknown_files_are_copied(
    memory: FileManager, require: Require, tmp_path: Path, verify: Any
) -> None:
    """A folder with notes and a Zarr array moves into an archive, and back."""
    for name in ("polystore_disk", "polystore_zip", "polystore_zarr"):
        require(name)
    memory.registry.add("box", "zip", file=tmp_path / "a.zip")
    memory.save(PIXELS, tmp_path / "d/a.npy", "disk")
    memory.save(PIXELS, tmp_path / "d/i.zarr", "zarr")
    (tmp_path / "d/notes.docx").write_bytes(b"\xff?")
    there: Any = {"source_backend": "disk", "target_backend": "box"}
    back: Any = {"source_backend": "box", "target_backend": "disk"}
    options: Any = {"on_unknown": "copy", "verify": verify}
    assert len(memory.transfer(tmp_path / "d", "d", **there, **options, dry_run=True)) > 3
    assert not memory.exists("d", "box")
    memory.transfer(tmp_path / "d", "d", **there, **options)
    memory.transfer("d", tmp_path / "e", **back, **options)
    assert (tmp_path / "e/notes.docx").read_bytes() == b"\xff?"
    for name, backend in (("a.npy", "disk"), ("i.zarr", "zarr")):
        np.testing.assert_array_equal(memory.load(tmp_path / "e" / name, backend), PIXELS)


def test_unknown_files_cannot_change_or_become_values(
    memory: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    (tmp_path / "notes.docx").write_text("?")
    with pytest.raises(UnsupportedFormatError, match=r"on_unknown='copy' needs two backends"):
        memory.transfer(tmp_path / "notes.docx", "notes", **FROM_DISK, on_unknown="copy")
    target = tmp_path / "notes.tif"
    with pytest.raises(UnsupportedFormatError, match=r"on_unknown='copy' needs two backends"):
        memory.transfer(tmp_path / "notes.docx", target, **ON_DISK, on_unknown="copy")
    assert not target.exists()
    copy = tmp_path / "copy.docx"
    with pytest.raises(UnsupportedFormatError, match=r"Or pass on_unknown='skip', or 'copy'"):
        memory.transfer(tmp_path / "notes.docx", copy, **ON_DISK)


def test_unknown_target(memory: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    memory.save_batch(["text", "?"], ["f/a.txt", "f/b"], "one")
    done = memory.transfer(
        "f", tmp_path, source_backend="one", target_backend="disk", on_unknown="skip"
    )
    assert (done, list(done.skipped)) == ([str(tmp_path / "a.txt")], ["f/b"])


def test_dry_run_loads_nothing(memory: FileManager) -> None:
    forgetful = memory.registry["test-forgetful"]
    assert isinstance(forgetful, Forgetful)
    forgetful.kept = {"a": PIXELS}
    Forgetful.loads.clear()
    routes: Any = {"source_backend": "test-forgetful", "target_backend": "one"}
    assert memory.transfer("a", "f/a", **routes, dry_run=True) == ["f/a"]
    assert (Forgetful.loads, memory.exists("f", "one")) == ([], False)
    with pytest.raises(NotFoundError):
        memory.transfer("nothing", "b", **ROUTES, dry_run=True)
