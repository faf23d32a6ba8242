"""Managers in other processes."""

import pickle
import sys
from pathlib import Path

import pytest

from polystore_core import FileManager
from polystore_core.errors import UnsupportedOperationError

from .samples import Python, Require


def test_plain_manager_is_small(fm: FileManager) -> None:
    assert len(pickle.dumps(fm)) < 300


def test_registry_survives_pickle(fm: FileManager) -> None:
    copy = pickle.loads(pickle.dumps(fm))
    assert copy.registry is fm.registry
    assert pickle.loads(pickle.dumps(fm.registry)) is fm.registry


WORKERS = """
import sys
from multiprocessing import get_context
from polystore_core import BackendRegistry, FileManager, PolystoreError

if __name__ == "__main__":
    registry = BackendRegistry()
    registry.add("raw", "disk", root=sys.argv[2])
    registry.add("cache", "memory")
    fm = FileManager(registry)
    fm.save({"a": 1}, "a.json", backend="raw")
    fm.save(0, "else", backend="cache")
    with get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.apply(fm.load, ("a.json",), {"backend": "raw"}))
        pool.apply(fm.save, ({"b": 2}, "b.json"), {"backend": "raw"})
        fm.save({"a": 1}, "a.json", backend="cache")
        try:
            pool.apply(fm.load, ("a.json",), {"backend": "cache"})
        except PolystoreError as error:
            print(type(error).__name__, error.backend, error.path, error.hint.partition(":")[0])
    print(fm.load("b.json", backend="raw"), fm.load("a.json", backend="cache"))
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_manager_works_in_workers(
    python: Python, require: Require, tmp_path: Path, method: str
) -> None:
    if method != "spawn" and sys.platform == "win32":
        pytest.skip("system: needs fork")
    require("polystore_disk")
    require("polystore_memory")
    done = python(WORKERS, method, tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'a': 1}",
        "NotFoundError cache a.json values in memory belong to one process",
        "{'b': 2} {'a': 1}",
    ]


def test_format_without_handles(require: Require, tmp_path: Path) -> None:
    """The error names the called backend, not the format."""
    require("polystore_disk")
    require("polystore_formats")
    manager = FileManager()
    manager.save({"a": 1}, tmp_path / "a.json", backend="disk")
    with pytest.raises(UnsupportedOperationError, match=r"backend 'disk' .* format 'json'"):
        manager.open(tmp_path / "a.json", backend="disk")
