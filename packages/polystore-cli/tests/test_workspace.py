"""``polystore workspace build``."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from polystore_core import FileManager

Run = Callable[..., Result]
NAMES = "{well}_s{site}.tif"


@pytest.fixture
def plate(files: FileManager) -> str:
    """Four stacks in two folders of a plate, each of three planes."""
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


def test_planes_by_names_of_their_own(run: Run, plate: str, files: FileManager) -> None:
    options = ["--paths", "{well}/s{site}/z{z:02d}.tif", "--split", "z", "--pattern", "B*"]
    result = run("workspace", "build", plate, "--names", NAMES, "-o", "ws.json", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    files.registry.add("ws", "virtual_workspace", file="ws.json")
    assert files.list_files("B03/s2", "ws") == [f"B03/s2/z0{z}.tif" for z in range(3)]
    assert files.load("B03/s2/z01.tif", "ws").shape == (4, 5)


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
def test_refused(run: Run, plate: str, options: list[str], code: int, text: str) -> None:
    result = run("workspace", "build", plate, "-o", "ws.json", *options)
    assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
    assert not Path("ws.json").exists()
