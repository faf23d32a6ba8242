import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager, Image, image_metadata

Run = Callable[..., Result]

IMAGE = np.arange(12, dtype="u2").reshape(3, 4)


@pytest.fixture
def tree(files: FileManager, tmp_path: Path) -> Path:
    for path in ("a.npy", "p/b.npy", "p/q/c.npy"):
        files.save(IMAGE, path, backend="disk")
    return tmp_path


def list_remaining(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("disk:a.npy", "disk:b.npy"), ["b.npy", "p/b.npy", "p/q/c.npy"]),
        (("disk:a.npy", "disk:p"), ["p/a.npy", "p/b.npy", "p/q/c.npy"]),
        (("disk:a.npy", "disk:new/"), ["new/a.npy", "p/b.npy", "p/q/c.npy"]),
        (("disk:p", "disk:r"), ["a.npy", "r/b.npy", "r/q/c.npy"]),
        (("disk:p", "disk:r/"), ["a.npy", "r/p/b.npy", "r/p/q/c.npy"]),
        (("disk:p/q", "disk:a.npy", "disk:r/"), ["p/b.npy", "r/a.npy", "r/q/c.npy"]),
        (("disk:p/*.npy", "disk:."), ["a.npy", "b.npy", "p/q/c.npy"]),
    ],
)
def test_files_and_folders_move(
    run: Run, tree: Path, arguments: tuple[str, ...], result: list[str]
) -> None:
    done = run("mv", *arguments)
    assert (done.exit_code, done.output) == (0, "")
    assert list_remaining(tree) == result


def test_another_suffix_converts(run: Run, tree: Path, files: FileManager) -> None:
    assert run("mv", "disk:a.npy", "disk:a.tif").exit_code == 0
    assert np.array_equal(files.load("a.tif", backend="disk"), IMAGE)
    assert "a.npy" not in list_remaining(tree)


def test_to_another_backend(run: Run, tree: Path, files: FileManager) -> None:
    """The folder is deleted after all of its files have moved."""
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    assert run("mv", "disk:p", "zarr:s.zarr/").exit_code == 0
    assert np.array_equal(files.load("s.zarr/p/q/c.npy", backend="zarr"), IMAGE)
    assert not (tree / "p").exists()


def test_source_is_kept_if_one_fails(run: Run, tree: Path) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    (tree / "p" / "notes.docx").write_bytes(b"text")
    result = run("mv", "--json", "disk:p", "zarr:s.zarr/")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [one["source"] for one in document["failed"]] == ["disk:p/notes.docx"]
    assert len(document["moved"]) == 2
    assert [name for name in list_remaining(tree) if not name.startswith("s.zarr")] == [
        *("a.npy", "p/notes.docx")
    ]


def test_source_is_kept_if_metadata_is_lost(
    run: Run, files: FileManager, tmp_path: Path
) -> None:
    metadata = image_metadata((3, 4), "u2", axes="yx", scale={"y": 0.5, "x": 0.5})
    files.save(Image(IMAGE, metadata), "a.tif", backend="disk", imagej=True)
    result = run("mv", "disk:a.tif", "disk:a.npy")
    assert result.exit_code == 1
    assert "so disk:a.tif is kept. To delete that: polystore rm disk:a.tif" in result.stderr
    assert list_remaining(tmp_path) == ["a.npy", "a.tif"]


def test_source_is_kept_if_values_differ(run: Run, files: FileManager, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs not installed")
    noise = np.random.default_rng(1).integers(0, 255, (32, 32), "u1")
    files.save(noise, "a.npy", backend="disk")
    result = run("mv", "disk:a.npy", "disk:a.jpg")
    assert result.exit_code == 1
    assert "not equal to its source" in result.stderr
    assert "a.npy" in list_remaining(tmp_path)


def test_if_exists(run: Run, tree: Path) -> None:
    skipped = run("mv", "disk:a.npy", "disk:p/b.npy", "--if-exists", "skip")
    assert (skipped.exit_code, len(list_remaining(tree))) == (0, 3)
    assert "not moved, because the target exists" in skipped.stderr
    refused = run("mv", "disk:a.npy", "disk:p/b.npy", "--if-exists", "error")
    assert (refused.exit_code, len(list_remaining(tree))) == (1, 3)
    assert run("mv", "disk:a.npy", "disk:p/b.npy").exit_code == 0
    assert list_remaining(tree) == ["p/b.npy", "p/q/c.npy"]


def test_skipped_source_is_kept(run: Run, tree: Path, files: FileManager) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    files.save(np.zeros(3), "s.zarr/a", backend="zarr")
    result = run("mv", "disk:a.npy", "zarr:s.zarr/a", "--if-exists", "skip")
    assert (result.exit_code, (tree / "a.npy").exists()) == (0, True)
    assert "not moved, because the target exists" in result.stderr


def test_dry_run_moves_nothing(run: Run, tree: Path) -> None:
    before = list_remaining(tree)
    result = run("mv", "--dry-run", "disk:p", "disk:a.npy", "disk:new/")
    assert result.stdout == "disk:p -> disk:new/p\ndisk:a.npy -> disk:new/a.npy\n"
    assert list_remaining(tree) == before
    assert run("mv", "--dry-run", "disk:nothing", "disk:b").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "trouble"),
    [
        (("disk:a.npy", "memory:a"), "use cp, not mv"),
        (("disk:a.npy", "disk:p/b.npy", "disk:c.npy"), "several sources need a folder"),
        (("disk:p/b.npy", "disk:b.npy", "disk:r/"), "have the same target"),
    ],
)
def test_wrong_use_exits_2(
    run: Run, tree: Path, arguments: tuple[str, ...], trouble: str
) -> None:
    before = list_remaining(tree)
    result = run("mv", *arguments)
    assert (result.exit_code, list_remaining(tree)) == (2, before)
    assert trouble in result.stderr
