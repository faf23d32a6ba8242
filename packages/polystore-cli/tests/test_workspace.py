"""``polystore workspace build`` makes documents."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager

Run = Callable[..., Result]
NAMES = "{well}_s{site}.tif"


@pytest.fixture
def plate(files: FileManager) -> str:
    """Save four stacks of three planes in two folders of a plate."""
    for folder in ("day1", "day2"):
        for well in ("B03", "C11"):
            stack = np.full((3, 4, 5), int(well[1:]), "uint16")
            site = folder[-1]
            files.save(stack, f"plate/{folder}/{well}_s{site}.tif", "disk", axes="zyx")
    return "plate"


def test_document_is_used_at_once(run: Run, plate: str, files: FileManager) -> None:
    result = run("workspace", "build", plate, "--names", NAMES, "--output", "ws.json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"4 paths in ws.json, named by '{NAMES}'\n"
    files.registry.add("ws", "virtual_workspace", file="ws.json")
    assert files.list_dir("C11", "ws") == ["C11_s1.tif", "C11_s2.tif"]
    assert files.load("C11/C11_s2.tif", "ws")[0, 0, 0] == 11


@pytest.mark.parametrize("names", [NAMES, "auto"])
def test_notes_next_to_images_are_ignored(run: Run, plate: str, names: str) -> None:
    Path(plate, "notes.txt").write_text("a")
    result = run("workspace", "build", plate, "--names", names, "--output", "ws.json")
    assert result.exit_code == 0
    assert result.stderr.startswith("4 paths in ws.json")


def test_planes_get_their_own_names(run: Run, plate: str, files: FileManager) -> None:
    options = ["--paths", "{well}/s{site}/z{z:02d}.tif", "--split", "z", "--pattern", "B*"]
    result = run("workspace", "build", plate, "--names", NAMES, "-o", "ws.json", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    files.registry.add("ws", "virtual_workspace", file="ws.json")
    assert files.list_files("B03/s2", "ws") == [f"B03/s2/z0{z}.tif" for z in range(3)]
    assert files.load("B03/s2/z01.tif", "ws").shape == (4, 5)


def test_other_commands_use_the_document(run: Run, plate: str, files: FileManager) -> None:
    """A configuration file names the backend, as it does for each backend with options."""
    run("workspace", "build", plate, "--names", NAMES, "-o", "ws.json", "--split", "z")
    Path("a.toml").write_text('[backends.ws]\nbackend="virtual_workspace"\nfile="ws.json"\n')
    listed = run("--config", "a.toml", "ls", "-r", "ws:").stdout.splitlines()
    assert listed[-2:] == ["C11/C11_s2_z1.tif", "C11/C11_s2_z2.tif"]
    info = json.loads(
        run("--config", "a.toml", "info", "ws:C11/C11_s1_z2.tif", "--json").stdout
    )
    assert info["shape"] == [4, 5]
    copied = run("--config", "a.toml", "cp", "-r", "ws:C11", "disk:out", "--verify", "values")
    assert copied.exit_code == 0, copied.stderr
    assert files.load("out/C11_s2_z1.tif", "disk").tolist() == [[11] * 5] * 4
    shown = run("--config", "a.toml", "view", "ws:B03", "--dry-run").stdout
    assert "B03_s1_z0.tif" in shown
    refused = run("--config", "a.toml", "cp", "-r", "disk:plate", "ws:new")
    assert (refused.exit_code, "only reads" in refused.stderr) == (1, True)


def test_folder_is_an_address(run: Run, plate: str) -> None:
    """An address works as for view. The document may be in the folder, a pattern skips files."""
    arguments = ("workspace", "build", f"disk:{plate}", "--names", NAMES, "-o", "plate/ws.json")
    assert run(*arguments).exit_code == 0
    assert run(*arguments).exit_code == 0
    Path(plate, "other.tif").write_bytes(b"")
    again = run(*arguments)
    assert (again.exit_code, "'other.tif'" in again.stderr) == (1, True)
    assert "pattern=" in again.stderr
    assert run(*arguments, "--pattern", "*_s?.tif").exit_code == 0
    elsewhere = run("workspace", "build", "memory:plate", "--names", NAMES, "-o", "m.json")
    assert "backend 'memory': 'plate' does not exist" in elsewhere.stderr


def test_dry_run_writes_nothing(run: Run, plate: str, tmp_path: Path) -> None:
    arguments = ("workspace", "build", plate, "--names", "auto", "-o", "ws.json", "--dry-run")
    lines = run(*arguments, "--split", "z").stdout.splitlines()
    assert len(lines) == 12
    assert lines[1] == "B03/B03_s1_z1.tif  <-  disk:day1/B03_s1.tif[1]"
    document = json.loads(run(*arguments, "--json").stdout)
    assert (document["file"], document["names"]) == (None, NAMES)
    assert document["root"] == str(tmp_path / "plate")
    assert document["entries"]["C11/C11_s2.tif"] == {
        "backend": "disk",
        "address": "day2/C11_s2.tif",
        "indices": [],
    }
    assert not (tmp_path / "ws.json").exists()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--names", "{well}_w{channel}.tif"], 1, "'day1/B03_s1.tif'"),
        (["--names", NAMES, "--paths", "{well}.tif"], 1, "would all be 'B03.tif'"),
        (["--names", NAMES, "--split", "c"], 1, "without 'c'"),
        (["--names", "auto", "--pattern", "nothing*"], 2, "no template"),
        (["--names", NAMES, "--pattern", "nothing*"], 1, "no files in 'plate'"),
        (["--names", NAMES, "--backend", "napari_stream"], 1, "list_dir"),
        (["--names", NAMES, "--backend", "dsik"], 1, "'disk'"),
    ],
)
def test_wrong_options_are_refused(
    run: Run, plate: str, options: list[str], code: int, text: str
) -> None:
    result = run("workspace", "build", plate, "-o", "ws.json", *options)
    assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
    assert not Path("ws.json").exists()
