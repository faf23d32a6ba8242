import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager

Run = Callable[..., Result]


def test_bytes_are_those_of_the_file(run: Run, files: FileManager, tmp_path: Path) -> None:
    files.save(np.arange(9), "a.npy", backend="disk")
    (tmp_path / "b.bin").write_bytes(b"\0\xff\r\n")
    result = run("cat", "disk:a.npy", "disk:b.bin")
    assert result.stdout_bytes == (tmp_path / "a.npy").read_bytes() + b"\0\xff\r\n"


def test_json_is_the_value(run: Run, files: FileManager) -> None:
    files.save({"a": [1, None]}, "a.json", backend="disk")
    files.save(np.eye(2), "b.npy", backend="disk")
    assert json.loads(run("cat", "--json", "disk:a.json", "disk:b.npy").stdout) == [
        {"address": "disk:a.json", "value": {"a": [1, None]}},
        {"address": "disk:b.npy", "value": [[1, 0], [0, 1]]},
    ]


def test_array_without_a_file_is_refused(run: Run, files: FileManager) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    files.save(np.eye(2), "a.zarr/b", backend="zarr")
    result = run("cat", "zarr:a.zarr/b")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "polystore stats" in result.stderr


@pytest.mark.parametrize("address", ["disk:nothing", "disk:folder/*"])
def test_failure_is_one_line(
    run: Run, files: FileManager, tmp_path: Path, address: str
) -> None:
    (tmp_path / "folder").mkdir()
    result = run("cat", address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: backend 'disk'")
    assert result.stderr.count("\n") == 1


def test_closed_reader_prints_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(1 << 22))
    with subprocess.Popen(
        [sys.executable, "-m", "polystore_cli", "cat", f"disk:{tmp_path}/a.bin"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(1) == b"\0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
