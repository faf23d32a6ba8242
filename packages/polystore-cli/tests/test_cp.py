import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from click.testing import Result

from polystore_core import DataSink, FileManager, StorageBackend
from polystore_core.errors import UnknownOptionError

Run = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]

IMAGE = np.arange(6, dtype="<u2").reshape(2, 3)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with ``a.npy``, ``b.npy``, ``plate/{z1.npy, A/z2.npy}`` and ``out/``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate" / "A").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for number, name in enumerate(("a.npy", "b.npy", "plate/z1.npy", "plate/A/z2.npy")):
        np.save(tmp_path / name, IMAGE + number)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ("disk:a.npy disk:new.npy", "new.npy"),
        ("disk:a.npy disk:new/deep.npy", "new/deep.npy"),
        ("disk:a.npy disk:out", "out/a.npy"),
        ("disk:a.npy disk:new/", "new/a.npy"),
        ("disk:a.npy disk:b.npy disk:out", "out/a.npy out/b.npy"),
        ("disk:a.npy disk:b.npy disk:new/", "new/a.npy new/b.npy"),
        ("-r disk:plate disk:new", "new/A/z2.npy new/z1.npy"),
        ("-r disk:plate disk:out", "out/A/z2.npy out/z1.npy"),
        ("-r disk:plate disk:out/", "out/plate/A/z2.npy out/plate/z1.npy"),
        ("-r disk:plate/ disk:new", "new/A/z2.npy new/z1.npy"),
        ("-r disk:plate disk:a.npy disk:out", "out/a.npy out/plate/A/z2.npy out/plate/z1.npy"),
        ("disk:plate/z1.npy disk:", "z1.npy"),
        ("polystore-disk:disk:a.npy disk:new.npy", "new.npy"),
    ],
)
def test_targets_of_files(run: Run, here: Path, arguments: str, made: str) -> None:
    before = files(here)
    result = run("cp", *arguments.split())
    assert (result.exit_code, result.output) == (0, "")
    assert sorted(set(files(here)) - set(before)) == made.split()


def test_whole_folder_is_copied(run: Run, here: Path) -> None:
    assert run("cp", "-r", "disk:", f"disk:{here}.copy").exit_code == 0
    assert files(Path(f"{here}.copy")) == ["a.npy", "b.npy", "plate/A/z2.npy", "plate/z1.npy"]


def test_values_arrive_equal(run: Run, here: Path) -> None:
    run("cp", "-r", "disk:plate", "disk:new")
    np.testing.assert_array_equal(np.load(here / "new/A/z2.npy"), IMAGE + 3)


@pytest.mark.parametrize(
    ("arguments", "trouble"),
    [
        ("disk:plate disk:new", "disk:plate is a folder: copy it with -r"),
        (
            "disk:a.npy disk:b.npy disk:new",
            "several sources need a folder as target: disk:new/",
        ),
        ("disk:a.npy disk:b.npy disk:plate/z1.npy", "need a folder as target"),
        (
            "disk:plate/A/z2.npy disk:plate/../plate/A/z2.npy disk:out",
            "disk:plate/../plate/A/z2.npy have the same target disk:out/z2.npy",
        ),
    ],
)
def test_wrong_use_copies_nothing(run: Run, here: Path, arguments: str, trouble: str) -> None:
    before = files(here)
    result = run("cp", *arguments.split())
    assert result.exit_code == 2
    assert trouble in result.stderr
    assert files(here) == before


@pytest.mark.parametrize("command", ["cp", "mv"])
def test_one_address_is_not_enough(run: Run, here: Path, command: str) -> None:
    before = files(here)
    result = run(command, "disk:a.npy")
    assert result.exit_code == 2
    assert "name a source and a target, and not only 'disk:a.npy'" in result.stderr
    assert files(here) == before


@pytest.mark.parametrize(
    ("if_exists", "exit_code", "kept"), [("replace", 0, 0), ("error", 1, 1), ("skip", 0, 1)]
)
def test_existing_target_follows_the_option(
    run: Run, here: Path, if_exists: str, exit_code: int, kept: int
) -> None:
    result = run("cp", "--if-exists", if_exists, "disk:a.npy", "disk:b.npy")
    assert result.exit_code == exit_code
    np.testing.assert_array_equal(np.load(here / "b.npy"), IMAGE + kept)


def test_another_suffix_converts(run: Run, here: Path) -> None:
    (here / "a.json").write_text('{"b": [1, 2]}')
    result = run("cp", "disk:a.json", "disk:b.txt")
    # A dictionary is not text, so it is refused and not copied as bytes.
    assert result.exit_code == 1
    assert "cannot hold this value" in result.stderr
    assert not (here / "b.txt").exists()


def test_same_suffix_keeps_bytes(run: Run, here: Path) -> None:
    (here / "a.json").write_text('{ "spaced" :   1 }')
    run("cp", "disk:a.json", "disk:b.json")
    assert (here / "b.json").read_text() == '{ "spaced" :   1 }'


def test_option_of_save_is_passed_on(run: Run, here: Path) -> None:
    # copy() does not have this option.
    result = run("cp", "-o", "durable=true", "disk:a.npy", "disk:new.npy")
    assert (result.exit_code, result.output) == (0, "")
    assert (here / "new.npy").exists()


def test_every_failure_is_named(run: Run, here: Path) -> None:
    (here / "plate/A/bad.json").write_text("{")
    (here / "plate/worse.xyz").write_text("?")
    result = run("cp", "-r", "disk:plate", "memory:plate")
    assert result.exit_code == 1
    assert "failed for 2 of 4 (2 done, 0 not attempted)" in result.stderr
    assert "'disk:plate/A/bad.json': DamagedDataError" in result.stderr
    assert "'disk:plate/worse.xyz': UnsupportedFormatError" in result.stderr


def test_all_of_many_failures_are_named(run: Run, here: Path) -> None:
    for number in range(30):
        (here / f"plate/bad{number}.json").write_text("{")
    result = run("cp", "-r", "disk:plate", "memory:plate")
    assert all(f"'disk:plate/bad{number}.json'" in result.stderr for number in range(30))
    assert "more" not in result.stderr


def test_copy_to_memory_gets_a_warning(run: Run, here: Path) -> None:
    result = run("cp", "disk:a.npy", "memory:a")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("note: values copied to memory are lost")


class Recorder(DataSink):
    _backend_type = "recorder"
    closed = 0
    saved: ClassVar[list[tuple[str, dict[str, object]]]] = []

    def save(self, data: object, path: str | os.PathLike[str], /, **options: object) -> None:
        self.saved.append((os.fspath(path), options))

    def close(self) -> None:
        Recorder.closed += 1


@pytest.fixture
def saves() -> list[tuple[str, dict[str, object]]]:
    Recorder.saved.clear()
    return Recorder.saved


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("level=zlib", "zlib"),
        ("level=3", 3),
        ("level=true", True),
        ("level=null", None),
        ('level="3"', "3"),
        ("level=[1, 2]", [1, 2]),
        ("level=a=b", "a=b"),
        ("level=", ""),
    ],
)
def test_options_reach_save(
    run: Run, here: Path, saves: list[tuple[str, dict[str, object]]], text: str, value: object
) -> None:
    run("cp", "-o", text, "-o", "more=x", "disk:a.npy", "recorder:layer")
    assert saves == [("layer", {"level": value, "more": "x"})]


def test_sink_takes_folders(
    run: Run, here: Path, saves: list[tuple[str, dict[str, object]]]
) -> None:
    assert run("cp", "-r", "disk:plate", "recorder:layers/").exit_code == 0
    assert [path for path, _ in saves] == ["layers/plate/A/z2.npy", "layers/plate/z1.npy"]


@pytest.mark.parametrize("source", ["disk:a.npy", "disk:nothing.npy"])
def test_backends_are_closed(run: Run, here: Path, source: str) -> None:
    before = Recorder.closed
    run("cp", source, "recorder:layer")
    assert Recorder.closed == before + 1


def test_sink_is_not_a_source(run: Run, here: Path) -> None:
    result = run("cp", "recorder:layer", "disk:new.npy")
    assert result.exit_code == 1
    assert result.stderr == "error: backend 'recorder' does not support load: it only writes\n"


class Picky(StorageBackend):
    _backend_type = "picky"
    loads: ClassVar[list[str]] = []

    def load(self, path: str | os.PathLike[str], /) -> int:  # type: ignore[override]
        self.loads.append(os.fspath(path))
        return 1

    def list_files(self, directory: object, /, **options: object) -> list[str]:
        return [f"folder/{number}" for number in range(5)]

    def is_dir(self, path: object, /) -> bool:
        return path == "folder"

    def save(self, data: object, path: object, /, **options: object) -> None:
        raise UnknownOptionError("level", "picky")


def test_wrong_option_stops_at_once(run: Run) -> None:
    Picky.loads.clear()
    result = run("cp", "-r", "-o", "level=3", "picky:folder", "picky:new")
    assert (result.exit_code, Picky.loads) == (1, ["folder/0"])
    assert result.stderr.startswith("error: picky has no option 'level'")


def test_folder_shows_no_bar_in_pipe(process: Process, here: Path) -> None:
    done = process("cp", "-r", "disk:plate", "disk:new")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def write_set(folder: Path) -> None:
    """Write an OME-TIFF set: two planes, ``s0.ome.tif`` and ``s1.ome.tif``."""
    tifffile = pytest.importorskip("tifffile", reason="tifffile not installed")
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0"><UUID FileName="s{z}.ome.tif">urn:{z}</UUID></TiffData>'
        for z in range(2)
    )
    sizes = 'SizeX="3" SizeY="2" SizeZ="2" SizeC="1" SizeT="1" Type="uint16"'
    xml = (
        f'<OME><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" {sizes}>{blocks}'
        "</Pixels></Image></OME>"
    )
    for z in range(2):
        tifffile.imwrite(folder / f"s{z}.ome.tif", IMAGE + z, description=xml, metadata=None)


def test_one_file_of_a_set_is_the_set(run: Run, here: Path) -> None:
    write_set(here)
    assert run("cp", "disk:s1.ome.tif", "disk:whole.npy").exit_code == 0
    np.testing.assert_array_equal(np.load(here / "whole.npy"), np.stack([IMAGE, IMAGE + 1]))


@pytest.mark.parametrize("arguments", ["disk:s0.ome.tif disk:s1.ome.tif", "-r disk:set"])
def test_files_of_a_set_are_copied_alone(run: Run, here: Path, arguments: str) -> None:
    """With the whole set for each, a set of n files would take n times the room."""
    (here / "set").mkdir()
    write_set(here)
    write_set(here / "set")
    result = run("cp", "--verify", "values", *arguments.split(), "disk:out")
    assert (result.exit_code, result.output) == (0, "")
    fm = FileManager()
    for z in range(2):
        found = fm.load(here / "out" / f"s{z}.ome.tif", "disk")
        np.testing.assert_array_equal(found, IMAGE + z)


def test_moved_file_leaves_the_rest_of_its_set(run: Run, here: Path) -> None:
    pytest.importorskip("zarr", reason="zarr not installed")
    write_set(here)
    result = run("mv", "disk:s1.ome.tif", "zarr:one.zarr")
    assert (result.exit_code, result.output) == (0, "")
    np.testing.assert_array_equal(FileManager().load(here / "one.zarr", "zarr"), IMAGE + 1)
    assert (here / "s0.ome.tif").exists()
    assert not (here / "s1.ome.tif").exists()
