import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from polystore.locking import HIDDEN_PREFIX

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with data, two old leftovers, a young one and a lock file."""
    (tmp_path / "inner").mkdir()
    ages = {
        "a.npy": 9000,
        f"{HIDDEN_PREFIX}old": 9000,
        f"inner/{HIDDEN_PREFIX}older": 90000,
        f"{HIDDEN_PREFIX}young": 10,
        f"{HIDDEN_PREFIX}a.npy.lock": 9000,
    }
    for name, age in ages.items():
        (tmp_path / name).write_bytes(b"1234")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name.removeprefix(HIDDEN_PREFIX) for path in folder.rglob("*")}


def test_leftovers_are_listed(run: Run, folder: Path) -> None:
    before = names(folder)
    result = run("doctor", folder)
    listed = [line.split()[-1] for line in result.stdout.splitlines()[1:]]
    assert sorted(listed) == [
        f"{folder}/{HIDDEN_PREFIX}old",
        f"{folder}/inner/{HIDDEN_PREFIX}older",
    ]
    assert result.stderr == "2 leftovers, 8 bytes: remove them with --remove\n"
    assert (result.exit_code, names(folder)) == (0, before)


def test_remove_takes_only_leftovers(run: Run, folder: Path) -> None:
    result = run("doctor", "--remove", folder)
    assert result.stderr == "2 leftovers, 8 bytes: removed\n"
    assert names(folder) == {"inner", "a.npy", "young", "a.npy.lock"}


def test_age_spares_the_young(run: Run, folder: Path) -> None:
    run("doctor", "--remove", "--older-than", "1", folder)
    assert names(folder) == {"inner", "a.npy", "a.npy.lock"}


def test_clean_folder_is_silent(run: Run, tmp_path: Path) -> None:
    result = run("doctor", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 leftovers\n")


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--older-than", "-1"]])
def test_wrong_use_exits_2(run: Run, arguments: list[str]) -> None:
    assert run("doctor", *arguments).exit_code == 2


def test_refused_removal_is_one_line(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str | os.PathLike[str]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "unlink", refuse)  # root is refused nothing
    result = run("doctor", "--remove", folder)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: '{folder}")
    assert "cannot clean up: Permission denied" in result.stderr
    assert result.stderr.count("\n") == 1


def test_removes_unfinished_folders(process, tmp_path):
    unfinished = tmp_path / "data" / ".~ps-0123456789abcdef"
    unfinished.mkdir(parents=True)
    (unfinished / "a.npy").write_bytes(b"half")
    done = process("doctor", tmp_path / "data", "--remove", "--older-than", "0")
    assert done.returncode == 0, done.stderr
    assert not unfinished.exists()
