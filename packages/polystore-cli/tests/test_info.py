import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager, Info, StorageBackend

Run = Callable[..., Result]


def test_fields_are_lines(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), ">f4"))
    result = run("info", f"disk:{path}")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines["path"] == str(path)
    assert (lines["kind"], lines["format"]) == ("file", "npy")
    assert (lines["shape"], lines["dtype"]) == ("(2, 3)", "float32 big-endian")
    assert lines["size"] == str(path.stat().st_size)


def test_json_is_one_object(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    document = json.loads(run("info", "--json", f"disk:{tmp_path}/a.npy").stdout)
    assert (document["shape"], document["target"]) == ([2, 3], None)
    assert document["modified"].endswith("+00:00")


def test_pattern_describes_each(run: Run, tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy"):
        np.save(tmp_path / name, np.zeros(3))
    blocks = run("info", f"disk:{tmp_path}/*.npy").stdout.split("\n\n")
    assert [block.split()[1] for block in blocks] == [f"{tmp_path}/a.npy", f"{tmp_path}/b.npy"]
    documents = json.loads(run("info", "--json", f"disk:{tmp_path}/[b]*").stdout)
    assert [one["path"] for one in documents] == [f"{tmp_path}/b.npy"]
    assert run("info", f"disk:{tmp_path}/*.tif").exit_code == 1


def test_folder_is_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x.txt", "a/y.txt", "a/b/z.txt"):
        (tmp_path / name).write_bytes(bytes(10))
    lines = run("info", f"disk:{tmp_path}").stdout.splitlines()
    assert {"kind      directory", "size      30", "folders   2", "files     3"} <= {*lines}
    document = json.loads(run("info", "--json", f"disk:{tmp_path}").stdout)
    assert document["content"] == {"folders": 2, "files": 3, "size": 30}


def test_plate_names_wells_fields_and_channels(run: Run, files: FileManager) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    for path in ("A/1/0", "A/1/1", "B/2/0"):
        files.save(
            np.zeros((2, 8, 8), "u2"),
            f"plate.ome.zarr/{path}",
            backend="zarr",
            axes="cyx",
            scale={"y": 0.5, "x": 0.5},
            units="micrometer",
            channels=["DAPI", "GFP"],
        )
    result = run("info", "zarr:plate.ome.zarr")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["kind"] == "plate"
    assert lines["wells"] == "2: A/1, B/2"
    assert lines["fields"] == "2: 0, 1"
    assert lines["empty"] == "1: B/2/1"
    assert lines["channels"] == "2: DAPI, GFP"
    assert lines["scale"] == "y 0.5 micrometer, x 0.5 micrometer"
    assert lines["files"] == "3"
    assert int(lines["size"]) > 0
    document = json.loads(run("info", "--json", "zarr:plate.ome.zarr").stdout)
    assert document["metadata"]["plate"]["wells"] == ["A/1", "B/2"]


class Talkative(StorageBackend):
    _backend_type = "talkative"

    def load(self, path: object, /, **options: object) -> None: ...

    def save(self, data: object, path: object, /, **options: object) -> None: ...

    def info(self, path: object, /) -> Info:
        metadata = {"axes": "YX", "scale": {"x": 0.5}, "ome": "<OME>\n" * 1000}
        return Info(path=str(path), kind="file", metadata=metadata)


def test_metadata_is_flattened(run: Run) -> None:
    lines = run("info", "talkative:a").stdout.splitlines()
    assert "metadata.scale.x  0.5" in lines
    assert "metadata.axes     YX" in lines


def test_long_metadata_is_shortened(run: Run) -> None:
    (line,) = (x for x in run("info", "talkative:a").stdout.splitlines() if ".ome" in x)
    assert line.endswith("… (6000 characters: see --json)")
    assert len(line) < 300
    document = json.loads(run("info", "--json", "talkative:a").stdout)
    assert document["metadata"]["ome"] == "<OME>\n" * 1000
