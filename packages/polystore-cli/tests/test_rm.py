import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager

Run = Callable[..., Result]


@pytest.fixture
def tree(files: FileManager, tmp_path: Path) -> Path:
    for path in ("a.txt", "b.txt", "p/c.txt", "p/q/d.txt"):
        files.save("text", path, backend="disk")
    return tmp_path


def list_remaining(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.txt"))


def test_files_are_deleted_in_silence(run: Run, tree: Path) -> None:
    result = run("rm", "disk:a.txt", "disk:p/*.txt")
    assert (result.exit_code, result.output) == (0, "")
    assert list_remaining(tree) == ["b.txt", "p/q/d.txt"]


@pytest.mark.parametrize("folder", ["disk:p", "disk:p/", "disk:p/q"])
def test_folder_needs_recursive(run: Run, tree: Path, folder: str) -> None:
    """Without it nothing is deleted, not even the files before the folder."""
    before = list_remaining(tree)
    result = run("rm", "disk:a.txt", folder)
    assert (result.exit_code, list_remaining(tree)) == (2, before)
    assert "is a folder: delete it with -r" in result.stderr
    assert run("rm", "-r", folder).exit_code == 0
    assert list_remaining(tree) != before


def test_empty_folder_needs_recursive(run: Run, files: FileManager, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("rm", "disk:empty").exit_code == 2
    assert (tmp_path / "empty").is_dir()


@pytest.mark.parametrize(
    "address", ["disk:", "disk:.", "disk:..", "disk:p/..", "disk:/", "disk:./"]
)
def test_top_is_not_deleted(run: Run, tree: Path, address: str) -> None:
    before = list_remaining(tree)
    result = run("rm", "-r", address)
    assert (result.exit_code, list_remaining(tree)) == (2, before)
    assert "is not deleted" in result.stderr


def test_link_to_a_folder_is_a_link(run: Run, tree: Path) -> None:
    os.symlink("p", tree / "link")
    assert run("rm", "disk:link").exit_code == 0
    assert not os.path.lexists(tree / "link")
    assert "p/c.txt" in list_remaining(tree)


def test_dry_run_prints_each_file(run: Run, tree: Path) -> None:
    before = list_remaining(tree)
    result = run("rm", "-r", "--dry-run", "disk:p", "disk:a.txt")
    assert result.stdout == "disk:p/c.txt\ndisk:p/q/d.txt\ndisk:a.txt\n"
    assert list_remaining(tree) == before


def test_others_are_deleted_if_one_fails(run: Run, tree: Path) -> None:
    result = run("rm", "--json", "disk:nothing", "disk:a.txt")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["deleted"] == ["disk:a.txt"]
    assert [one["address"] for one in document["failed"]] == ["disk:nothing"]
    assert result.stderr.count("\n") == 1
    assert list_remaining(tree) == ["b.txt", "p/c.txt", "p/q/d.txt"]


def test_dry_run_finds_missing_files(run: Run, tree: Path) -> None:
    assert run("rm", "--dry-run", "disk:nothing").exit_code == 1


def test_zarr_array_is_not_a_folder(run: Run, files: FileManager) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    for name in ("x", "y"):
        files.save(np.eye(2), f"s.zarr/{name}", backend="zarr")
    assert run("rm", "zarr:s.zarr").exit_code == 2
    assert run("rm", "zarr:s.zarr/x").exit_code == 0
    assert run("ls", "zarr:s.zarr").stdout == "y\n"
