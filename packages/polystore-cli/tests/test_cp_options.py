"""Copies that verify, resume, select or only list, and the metadata of copied images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from click.testing import Result

from polystore_core import DataSource, Image, Info, StorageBackend
from polystore_core.errors import NotFoundError

Run = Callable[..., Result]

PIXELS = np.arange(6, dtype="<u2").reshape(2, 3)
IMAGE = Image.of(PIXELS, scale=(0.5, 0.5), units="micrometer")


class Microscope(DataSource):
    """A source with two images."""

    _backend_type = "microscope"

    def load(self, path: object, /) -> object:
        self.info(path)
        return PIXELS

    def info(self, path: object, /) -> Info:  # type: ignore[override]
        if path == "stage":
            return Info(path="stage", kind="directory")
        if path not in ("a.npy", "b.npy"):
            raise NotFoundError(self.name, str(path), "load")
        return Info(
            path=str(path), kind="file", shape=(2, 3), dtype="<u2", image=IMAGE.metadata
        )

    def list_files(self, directory: object, /, **options: object) -> list[str]:
        return ["a.npy", "b.npy"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a current folder with ``a.npy`` and ``plate/{b.npy, c.json, notes.docx}``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate").mkdir()
    np.save(tmp_path / "a.npy", PIXELS)
    np.save(tmp_path / "plate/b.npy", PIXELS + 1)
    (tmp_path / "plate/c.json").write_text("[1,   2]")
    (tmp_path / "plate/notes.docx").write_text("?")
    return tmp_path


def test_lost_metadata_is_noted(run: Run, here: Path) -> None:
    result = run("cp", "microscope:a.npy", "microscope:b.npy", "disk:out/")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        "note: disk:out/a.npy and 1 more: written without axes, scale, unit, for which it has "
        "no place\n"
    )
    assert np.array_equal(np.load(here / "out/a.npy"), PIXELS)


def test_metadata_is_copied(run: Run, here: Path) -> None:
    result = run("cp", "--json", "microscope:a.npy", "memory:a")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["copied"] == [
        {"source": "microscope:a.npy", "target": "memory:a", "lost": []}
    ]


def test_skipped_files_are_noted(run: Run, here: Path) -> None:
    result = run("cp", "-r", "--on-unknown", "skip", "disk:plate", "memory:plate")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        "note: disk:plate/notes.docx: not copied, because no installed format has its suffix"
    ]
    result = run("cp", "-r", "disk:plate", "memory:plate")
    assert result.exit_code == 1
    assert "'disk:plate/notes.docx': UnsupportedFormatError" in result.stderr


@pytest.mark.parametrize("backend", ["disk", "mine"])
def test_resumed_copy_notes_existing_targets(run: Run, here: Path, backend: str) -> None:
    config = here / "polystore.toml"
    config.write_text('[backends.mine]\nbackend = "disk"\nroot = "."\n')
    (here / "out").mkdir()
    np.save(here / "out/b.npy", PIXELS)
    result = run(
        "--config", config, "cp", "--if-exists", "skip", "--json", "-r", "--pattern", "*.*n*",
        "disk:plate", f"{backend}:out",
    )  # fmt: skip
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [one["target"] for one in found["copied"]] == [f"{backend}:out/c.json"]
    assert found["skipped"] == [{"source": "disk:plate/b.npy", "reason": "the target exists"}]
    assert result.stderr == "note: disk:plate/b.npy: not copied, because the target exists\n"
    assert np.array_equal(np.load(here / "out/b.npy"), PIXELS)


def test_pattern_selects_files(run: Run, here: Path) -> None:
    assert run("cp", "-r", "--pattern", "*.npy", "disk:plate", "disk:out").exit_code == 0
    assert [path.name for path in (here / "out").iterdir()] == ["b.npy"]
    result = run("cp", "--pattern", "*.npy", "disk:a.npy", "disk:out")
    assert result.exit_code == 2
    assert result.stderr == "error: --pattern needs folders, and disk:a.npy is not one\n"


@pytest.mark.parametrize("target", ["disk:out", "memory:out"])
def test_dry_run_writes_nothing(run: Run, here: Path, target: str) -> None:
    result = run("cp", "-r", "--dry-run", "--on-unknown", "skip", "disk:plate", target)
    assert result.exit_code == 0
    lines = [f"disk:plate/{name} -> {target}/{name}" for name in ("b.npy", "c.json")]
    assert result.stdout.splitlines()[:2] == lines
    assert not (here / "out").exists()


@pytest.mark.parametrize("target", ["disk:b.npy", "memory:b.npy"])
def test_dry_run_finds_failures(run: Run, here: Path, target: str) -> None:
    result = run("cp", "--dry-run", "disk:nothing.npy", target)
    assert result.exit_code == 1
    assert "'nothing.npy' does not exist" in result.stderr
    np.save(here / "b.npy", PIXELS)
    result = run("cp", "--dry-run", "--if-exists", "error", "disk:a.npy", target)
    assert result.exit_code == (1 if target.startswith("disk") else 0)


class Careless(StorageBackend):
    """A backend that loses everything except zeros."""

    _backend_type = "careless"
    kept: ClassVar[object] = np.zeros_like(PIXELS)

    def save(self, data: object, path: object, /) -> None:
        pass

    def load(self, path: object, /) -> object:
        return self.kept


def test_verify_values(run: Run, here: Path) -> None:
    assert run("cp", "--verify", "values", "disk:a.npy", "disk:b.npy").exit_code == 0
    result = run("cp", "--verify", "values", "disk:a.npy", "careless:b")
    assert result.exit_code == 1
    assert "first at index (0, 1)" in result.stderr


def test_verify_bytes(run: Run, here: Path) -> None:
    result = run("cp", "--verify", "bytes", "disk:plate/c.json", "disk:d.json")
    assert result.exit_code == 0
    assert (here / "d.json").read_text() == "[1,   2]"
    result = run("cp", "--verify", "bytes", "disk:a.npy", "memory:a.npy")
    assert result.exit_code == 1
    assert "does not support verify='bytes'" in result.stderr


def test_failures_are_in_json(run: Run, here: Path) -> None:
    (here / "plate/bad.json").write_text("{")
    result = run("cp", "--json", "-r", "--pattern", "*.json", "disk:plate", "memory:plate")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [one["source"] for one in found["copied"]] == ["disk:plate/c.json"]
    assert [one["source"] for one in found["failed"]] == ["disk:plate/bad.json"]
    assert "'plate/bad.json' (json) is damaged" in found["failed"][0]["error"]
