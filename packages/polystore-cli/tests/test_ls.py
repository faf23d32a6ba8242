import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

Run = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    folder = tmp_path / "plate"
    (folder / "A2").mkdir(parents=True)
    for name in ("z10.npy", "z2.npy", "A2/z1.npy"):
        np.save(folder / name, np.zeros((3, 4), "<u2"))
    (folder / "notes.txt").write_text("hello\n")
    return folder


def test_names_in_natural_order(run: Run, plate: Path) -> None:
    result = run("ls", f"disk:{plate}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "A2\nnotes.txt\nz2.npy\nz10.npy\n"


def test_recursive_lists_files(run: Run, plate: Path) -> None:
    result = run("ls", "-r", f"disk:{plate}/")
    assert result.stdout == "A2/z1.npy\nnotes.txt\nz2.npy\nz10.npy\n"


@pytest.mark.parametrize(
    ("options", "names"),
    [((), ["z2.npy", "z10.npy"]), (("-r",), ["A2/z1.npy", "z2.npy", "z10.npy"])],
)
def test_pattern_selects_names(
    run: Run, plate: Path, options: tuple[str, ...], names: list[str]
) -> None:
    result = run("ls", *options, "--pattern", "z*.npy", f"disk:{plate}")
    assert result.stdout.split() == names


def test_empty_folder_prints_nothing(run: Run, tmp_path: Path) -> None:
    result = run("ls", f"disk:{tmp_path}")
    assert (result.exit_code, result.output) == (0, "")


def test_long_list_has_the_shape(run: Run, plate: Path) -> None:
    lines = run("ls", "-l", f"disk:{plate}").stdout.splitlines()
    size = (plate / "z2.npy").stat().st_size
    assert lines[0].split() == ["size", "modified", "shape", "dtype", "name"]
    assert lines[1].split() == ["-", *lines[1].split()[1:3], "-", "-", "A2/"]
    assert lines[3].split()[0] == str(size)
    assert lines[3].split()[3:] == ["3x4", "uint16", "z2.npy"]


@pytest.mark.parametrize(
    ("dtype", "words"), [(">f4", "float32 big-endian"), ("?", "bool"), ("<M8[s]", "<M8[s]")]
)
def test_types_are_words(run: Run, tmp_path: Path, dtype: str, words: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3, dtype))
    (line,) = run("ls", "-l", f"disk:{tmp_path}").stdout.splitlines()[1:]
    assert f" {words} " in line
    (document,) = json.loads(run("ls", "-l", "--json", f"disk:{tmp_path}").stdout)
    assert document["dtype"] == np.dtype(dtype).str


def test_sizes_of_folders_are_added_up(run: Run, plate: Path) -> None:
    (plate / "A2" / "deep").mkdir()
    (plate / "A2" / "deep" / "b.txt").write_bytes(bytes(1000))
    lines = run("ls", "-l", "--sizes", f"disk:{plate}").stdout.splitlines()
    size = (plate / "A2" / "z1.npy").stat().st_size + 1000
    assert lines[1].split()[0] == str(size)
    documents = json.loads(run("ls", "-l", "--sizes", "--json", f"disk:{plate}").stdout)
    assert documents[0]["size"] == size


def test_link_shows_target(run: Run, plate: Path) -> None:
    os.symlink("z2.npy", plate / "link.npy")
    lines = run("ls", "-l", f"disk:{plate}").stdout.splitlines()
    assert any(line.endswith("link.npy -> z2.npy") for line in lines)


def test_damaged_file_hides_no_others(run: Run, plate: Path) -> None:
    (plate / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xffnot a header")
    result = run("ls", "-l", f"disk:{plate}")
    assert result.exit_code == 1
    assert "bad.npy" in result.stderr
    assert [line.split()[-1] for line in result.stdout.splitlines()[1:]] == [
        "A2/",
        "bad.npy",
        "notes.txt",
        "z2.npy",
        "z10.npy",
    ]


def test_json_names_the_damaged(run: Run, plate: Path) -> None:
    (plate / "bad.npy").write_bytes(b"no array")
    result = run("ls", "-l", "--json", "--pattern", "bad*", f"disk:{plate}")
    (document,) = json.loads(result.stdout)
    assert document["name"] == "bad.npy"
    assert "is damaged" in document["error"]


def test_json_is_one_array(run: Run, plate: Path) -> None:
    names = json.loads(run("ls", "--json", f"disk:{plate}").stdout)
    described = json.loads(run("ls", "-l", "--json", f"disk:{plate}").stdout)
    assert names == ["A2", "notes.txt", "z2.npy", "z10.npy"]
    assert [info["name"] for info in described] == names
    assert described[2]["shape"] == [3, 4]


def test_missing_folder_is_one_line(run: Run, tmp_path: Path) -> None:
    result = run("ls", f"disk:{tmp_path}/nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_long_names_stay_whole(process: Process, tmp_path: Path) -> None:
    name = "x" * 200 + ".npy"
    np.save(tmp_path / name, np.zeros(2))
    for options in ((), ("-l",)):
        assert name in process("ls", *options, "disk:.", COLUMNS="40").stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="system: names are UTF-8")
def test_undecodable_name_is_listed(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    with open(folder + b"/\xff.txt", "wb"):
        pass
    command = [sys.executable, "-m", "polystore_cli", "ls", f"disk:{tmp_path}/odd"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"\xff.txt\n", b"")
