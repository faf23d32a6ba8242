import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from typer.testing import Result

from polystore_core import Info, StorageBackend

Run = Callable[..., Result]


def test_fields_are_lines(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3), ">f4"))
    result = run("info", f"disk:{path}")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines["path"] == str(path)
    assert (lines["kind"], lines["format"]) == ("file", "npy")
    assert (lines["shape"], lines["dtype"]) == ("(2, 3)", ">f4")
    assert lines["size"] == str(path.stat().st_size)


def test_json_is_one_object(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    document = json.loads(run("info", "--json", f"disk:{tmp_path}/a.npy").stdout)
    assert (document["shape"], document["target"]) == ([2, 3], None)
    assert document["modified"].endswith("+00:00")


class Talkative(StorageBackend):
    _backend_type = "talkative"

    def load(self, path: object, /, **options: object) -> None: ...

    def save(self, data: object, path: object, /, **options: object) -> None: ...

    def info(self, path: object, /) -> Info:
        metadata = {"axes": "YX", "scale": {"x": 0.5}, "ome": "<OME>\n" * 1000}
        return Info(path=str(path), kind="file", metadata=metadata)


def test_metadata_is_laid_flat(run: Run) -> None:
    lines = run("info", "talkative:a").stdout.splitlines()
    assert "metadata.scale.x  0.5" in lines
    assert "metadata.axes     YX" in lines


def test_long_metadata_is_shortened(run: Run) -> None:
    (line,) = (x for x in run("info", "talkative:a").stdout.splitlines() if ".ome" in x)
    assert line.endswith("… (6000 characters: see --json)")
    assert len(line) < 300
    document = json.loads(run("info", "--json", "talkative:a").stdout)
    assert document["metadata"]["ome"] == "<OME>\n" * 1000
