"""``format=`` names the format of a path that has another suffix or none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import BatchError, InvalidOptionError, UnsupportedFormatError
from polystore_testing.values import assert_same, image


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    monkeypatch.chdir(tmp_path)
    return FileManager(BackendRegistry())


@pytest.mark.parametrize("path", ["a", "a.dat", "a.csv", "folder.npy/a"])
@pytest.mark.parametrize("name", ["npy", ".npy", "NPY"])
def test_format_is_named(files: FileManager, path: str, name: str) -> None:
    files.save(image(1), path, backend="disk", format=name)
    assert_same(files.load(path, backend="disk", format=name), image(1))
    part = files.load(path, backend="disk", format=name, region=np.s_[:2])
    assert_same(part, image(1)[:2])
    assert_same(np.asarray(files.open(path, backend="disk", format=name)[1]), image(1)[1])


def test_batch_takes_format_option(files: FileManager) -> None:
    paths = [f"{number}.raw" for number in range(5)]
    values = [image(number) for number in range(5)]
    files.save_batch(values, paths, backend="disk", format="npy", threads=2)
    found = files.load_batch(paths, backend="disk", format="npy", threads=2)
    for value, expected in zip(found, values, strict=True):
        assert_same(value, expected)


def test_other_options_still_go_to_the_format(files: FileManager) -> None:
    files.save({"a": 1}, "a.meta", backend="disk", format="json", indent=None)
    assert Path("a.meta").read_text() == '{"a": 1}\n'
    with pytest.raises(TypeError, match=r"no option 'indnt'.*'format'"):
        files.save({"a": 1}, "a.meta", backend="disk", format="json", indnt=2)


@pytest.mark.parametrize("given", ["nothing", "", 3, "a/npy"])
def test_unknown_format_raises(files: FileManager, given: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"format=.*the suffix of a format"):
        files.save(image(1), "a", backend="disk", format=given)
    assert not Path("a").exists()
    with pytest.raises(BatchError, match="the suffix of a format"):
        files.load_batch(["a"], backend="disk", format=given)


def test_transfer_uses_suffixes(files: FileManager) -> None:
    files.save(image(1), "a.npy", backend="disk")
    with pytest.raises(InvalidOptionError, match=r"transfer\(\) chooses formats by suffixes"):
        files.transfer("a.npy", "b", source_backend="disk", target_backend="disk", format="npy")
    assert not Path("b").exists()


def test_path_without_suffix_gets_advice(files: FileManager) -> None:
    with pytest.raises(UnsupportedFormatError, match="Or name one with format="):
        files.save(image(1), "a", backend="disk")
