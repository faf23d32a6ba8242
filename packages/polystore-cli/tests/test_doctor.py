import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from polystore_core.files.claims import claim
from polystore_core.files.locking import HIDDEN_PREFIX

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with data, two old leftovers, a young one and a lock file."""
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


def test_age_can_be_chosen(run: Run, folder: Path) -> None:
    run("doctor", "--remove", "--older-than", "1", folder)
    assert names(folder) == {"inner", "a.npy", "a.npy.lock"}


def test_remove_keeps_running_saves(run: Run, folder: Path) -> None:
    """The tree of a save that has run for hours is not a leftover."""
    with claim(folder / f"{HIDDEN_PREFIX}old") as mine:
        assert mine
        run("doctor", "--remove", folder)
    assert names(folder) == {"inner", "a.npy", "old", "young", "a.npy.lock"}


def test_remove_keeps_the_last_copy(run: Run, tmp_path: Path) -> None:
    """The zarr backend puts back an array that a killed writer left aside."""
    kept = tmp_path / f"{HIDDEN_PREFIX}x.zarr.aside" / "1" / "x.zarr"
    kept.mkdir(parents=True)
    result = run("doctor", "--remove", "--older-than", "0", tmp_path)
    assert result.stderr == "0 leftovers\n"
    assert kept.exists()


def test_clean_folder_is_silent(run: Run, tmp_path: Path) -> None:
    result = run("doctor", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "0 leftovers\n")


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "--older-than", "-1"]])
def test_wrong_use_exits_2(run: Run, arguments: list[str]) -> None:
    assert run("doctor", *arguments).exit_code == 2


@pytest.mark.parametrize("leftover", ["old", "tree/inner/a.npy"])
def test_refused_removal_is_one_line(
    run: Run, tmp_path: Path, leftover: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the leftover by its full path, also if a file inside is the reason."""
    path = tmp_path / f"{HIDDEN_PREFIX}{leftover}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1234")

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", refuse)  # root may do everything
    result = run("doctor", "--remove", "--older-than", "0", tmp_path)
    top = tmp_path / f"{HIDDEN_PREFIX}{leftover.partition('/')[0]}"
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: '{top}'")
    assert "cannot clean up: Permission denied" in result.stderr
    assert result.stderr.count("\n") == 1


def test_removes_unfinished_folders(process, tmp_path):
    unfinished = tmp_path / "data" / ".~ps-0123456789abcdef"
    unfinished.mkdir(parents=True)
    (unfinished / "a.npy").write_bytes(b"half")
    (tmp_path / "kept").mkdir()
    (unfinished / "link").symlink_to(tmp_path / "kept")
    done = process("doctor", tmp_path / "data", "--remove", "--older-than", "0")
    assert done.returncode == 0, done.stderr
    assert not unfinished.exists()
    assert (tmp_path / "kept").is_dir()


# ── without a folder: requirements of backends ────────────────────────────────────────────

# The search for napari, Fiji and Java takes seconds.
WITHOUT_VIEWERS = {"POLYSTORE_DISABLE": "napari_stream,fiji_stream,streaming"}
MANIFEST = """
from polystore_core import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.backend:Backend"
    return BackendSpec(name=name, target=target, api={api}, check="{package}.backend:findings")
"""
NEEDY = """
from polystore_core import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    return BackendSpec(name=name, target="a:B", api={api}, requires=("nowhere",), install="acme")
"""
CHECK = """
from polystore_core import StorageBackend
from polystore_core.plugins.checks import Finding

class Backend(StorageBackend):
    def load(self, path, /): ...
    def save(self, data, path, /): ...

def findings():
    yield Finding(what="driver", state="ok", found="3.1")
    yield Finding(what="camera", state="{state}", found="none", remedy="plug one in")
"""


@pytest.mark.parametrize(("state", "status"), [("missing", 1), ("note", 0), ("ok", 0)])
def test_findings_are_printed(process, install, state: str, status: int) -> None:
    """Each finding is a line with its remedy. If one is missing, the exit code is 1."""
    install("acme-raw", "raw", manifest=MANIFEST, backend=CHECK.format(state=state))
    install("acme-fine", "fine")
    done = process("doctor", POLYSTORE_PLUGINS="raw,fine", POLYSTORE_DISABLE="polystore-core")
    assert (done.returncode, done.stderr) == (status, "")
    assert [line.split(maxsplit=3) for line in done.stdout.splitlines()] == [
        ["name", "what", "state", "found; remedy"],
        ["fine", "plugin", "ok", "acme-fine 2.5"],
        ["raw", "driver", "ok", "3.1"],
        ["raw", "camera", state, "none; plug one in"],
    ]


@pytest.mark.parametrize("use", ["nothing", "plugins", "distribution", "config", "prefer"])
def test_only_used_backends_are_required(process, install, tmp_path: Path, use: str) -> None:
    """A missing part of an optional viewer is a note, until the configuration names it."""
    install("acme-raw", "raw", manifest=MANIFEST, backend=CHECK.format(state="missing"))
    config = tmp_path / "ps.toml"
    config.write_text(
        {
            "config": "[backends.mine]\nbackend = 'raw'\n",
            "prefer": "[prefer]\nraw = 'acme-raw'",
        }.get(use, "")
    )
    named = {"plugins": "raw", "distribution": "acme-raw"}
    variables = {"POLYSTORE_PLUGINS": named[use]} if use in named else {**WITHOUT_VIEWERS}
    done = process("--config", config, "doctor", "--json", **variables)
    (camera,) = (one for one in json.loads(done.stdout) if one["what"] == "camera")
    assert camera["state"] == ("note" if use == "nothing" else "missing")
    if use == "nothing":
        others = [one for one in json.loads(done.stdout) if one["state"] == "missing"]
        assert others == []
    assert done.returncode == (0 if use == "nothing" else 1)


def test_broken_plugin_is_an_error(process, install) -> None:
    install("acme-raw", "raw", backend="raise SystemExit(9)")
    done = process("doctor", "--json", **WITHOUT_VIEWERS)
    (row,) = (one for one in json.loads(done.stdout) if one["name"] == "raw")
    assert (done.returncode, row["state"]) == (1, "missing")


def test_missing_library_is_a_note(process, install) -> None:
    install("acme-raw", "raw", manifest=NEEDY)
    done = process("doctor", "--json", **WITHOUT_VIEWERS)
    (row,) = (one for one in json.loads(done.stdout) if one["name"] == "raw")
    assert (done.returncode, row["state"], row["found"]) == (0, "note", "without nowhere")


def test_findings_as_json(process, install) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, backend=CHECK.format(state="missing"))
    done = process("doctor", "--json", POLYSTORE_PLUGINS="raw")
    assert done.returncode == 1
    assert json.loads(done.stdout)[1] == {
        "kind": "backend",
        "name": "raw",
        "distribution": "acme-raw",
        "what": "camera",
        "state": "missing",
        "found": "none",
        "remedy": "plug one in",
    }


def test_backends_are_imported(process, install) -> None:
    """The doctor finds faults that the list of plugins cannot see."""
    install("acme-raw", "raw", backend="from acme_raw.more import Backend\nraise SystemExit(9)")
    done = process("doctor", POLYSTORE_PLUGINS="raw")
    assert done.returncode == 1
    assert "acme-raw 2.5" in done.stdout


def test_remove_needs_a_folder(run: Run) -> None:
    result = run("doctor", "--remove")
    assert result.exit_code == 2
    assert "polystore doctor DIR --remove" in result.stderr


def test_leftovers_as_json(run: Run, folder: Path) -> None:
    result = run("doctor", folder, "--json")
    assert result.exit_code == 0
    paths = {leftover["path"] for leftover in json.loads(result.stdout)}
    assert paths == {
        f"{folder}/{HIDDEN_PREFIX}old",
        f"{folder}/inner/{HIDDEN_PREFIX}older",
    }
