import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from click.testing import Result

from polystore_cli.summing import Statistics, blocks, measure
from polystore_core import FileManager

Run = Callable[..., Result]


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">u4", "i8", "f2", ">f4", "f8"])
def test_statistics_are_those_of_numpy(
    run: Run, files: FileManager, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polystore_cli.summing._ELEMENTS", 50)  # several blocks
    values = np.random.default_rng(1).normal(3, 40, (5, 6, 7)).clip(0, 100).astype(dtype)
    files.save(values, "a.npy", backend="disk")
    (found,) = json.loads(run("stats", "--json", "disk:a.npy").stdout)
    wide = values.astype("f8")
    assert found["address"] == "disk:a.npy"
    assert (found["shape"], found["dtype"], found["nan"]) == ([5, 6, 7], values.dtype.str, 0)
    assert (found["min"], found["max"]) == (wide.min(), wide.max())
    assert math.isclose(found["mean"], wide.mean(), rel_tol=1e-12)
    assert math.isclose(found["std"], wide.std(), rel_tol=1e-12)


def test_nan_is_counted_and_ignored(run: Run, files: FileManager) -> None:
    files.save(np.array([1, np.nan, 3, np.nan], "f4"), "a.npy", backend="disk")
    assert run("stats", "disk:a.npy").stdout.splitlines()[1].split() == [
        *("4", "float32", "1", "3", "2", "1", "2", "disk:a.npy")
    ]


@pytest.mark.parametrize("values", [np.zeros((0, 3), "f4"), np.full(3, np.nan)])
def test_no_values_have_no_statistics(run: Run, files: FileManager, values: np.ndarray) -> None:
    files.save(values, "a.npy", backend="disk")
    (found,) = json.loads(run("stats", "--json", "disk:a.npy").stdout)
    assert [found[name] for name in ("min", "max", "mean", "std")] == [None] * 4


def test_small_differences_far_from_zero() -> None:
    """A sum of squares would lose them, because 1e8 squared has no digits left for 1."""
    found = Statistics()
    for part in np.split(np.array([1e8, 1e8 + 1, 1e8, 1e8 + 1]), 2):
        found.add(part)
    assert found.std == 0.5


def test_infinity_has_no_mean() -> None:
    found = measure(np.array([1.0, np.inf]))
    assert (found.minimum, found.maximum) == (1, np.inf)
    assert found.std is not None
    assert math.isnan(found.std)


def test_complex_numbers_have_no_order() -> None:
    found = measure(np.array([1 + 1j, 3 + 1j]))
    assert (found.minimum, found.mean, found.std) == (None, 2 + 1j, 1.0)


def test_bfloat16_has_statistics(run: Run, files: FileManager) -> None:
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes not installed")
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    files.save(np.arange(4).astype(types.bfloat16), "a.zarr/b", backend="zarr")
    assert run("stats", "zarr:a.zarr/b").stdout.splitlines()[1].split()[:5] == [
        *("4", "bfloat16", "0", "3", "1.5")
    ]


@pytest.mark.parametrize(
    ("shape", "chunks", "elements"),
    [
        ((5, 6, 7), (1, 4, 4), 50),
        ((5, 6, 7), None, 50),
        ((5, 6, 7), (2, 6, 7), 3),
        ((100,), (8,), 30),
        ((), None, 9),
        ((0, 3), (2, 2), 9),
    ],
)
def test_blocks_cover_the_array_once(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, elements: int
) -> None:
    counts = np.zeros(shape, int)
    for region in blocks(shape, chunks, elements):
        counts[region] += 1
        sizes = counts[region].shape
        assert math.prod(sizes) <= max(elements, math.prod(chunks or (1,)))
        for part, chunk in zip(region, chunks or (), strict=False):
            assert part.start % chunk == 0
    assert (counts == 1).all()


def test_array_larger_than_the_part_is_read_in_parts(
    files: FileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    monkeypatch.setattr("polystore_cli.summing._ELEMENTS", 32)
    files.save(np.arange(256).reshape(16, 16), "a.zarr/b", backend="zarr", chunks=(4, 4))
    with files.open("a.zarr/b", backend="zarr") as handle:
        sizes = [handle[region].size for region in blocks(handle.shape, handle.chunks, 32)]
        assert set(sizes) == {32}
        assert measure(handle).maximum == 255


def test_others_are_measured_if_one_fails(run: Run, files: FileManager) -> None:
    files.save({"a": 1}, "a.json", backend="disk")
    files.save(np.array(["x"]), "b.npy", backend="disk")
    files.save(np.arange(3), "c.npy", backend="disk")
    files.save(np.zeros(2, [("x", "f4")]), "t.npy", backend="disk")
    result = run("stats", "disk:a.json", "disk:b.npy", "disk:t.npy", "disk:c.npy", "disk:d.npy")
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["name", "disk:c.npy"]
    assert result.stderr.splitlines()[:3] == [
        "error: stats needs an array, but disk:a.json holds a dict",
        "error: stats needs numbers, but disk:b.npy holds elements of type <U1",
        "error: stats needs numbers, but disk:t.npy holds a table",
    ]
    found = json.loads(run("stats", "--json", "disk:a.json").stdout)
    assert found[0].keys() == {"address", "error"}


@pytest.mark.parametrize("command", ["stats", "cat"])
def test_folder_is_named_with_a_remedy(run: Run, files: FileManager, command: str) -> None:
    files.save(np.arange(3), "plate/a.npy", backend="disk")
    result = run(command, "disk:plate")
    assert (result.exit_code, result.stdout) == (1, "")
    expected = "error: disk:plate is a folder: name the files in it, such as 'disk:plate/*'\n"
    assert result.stderr == expected
    assert run(command, "disk:plate/*").exit_code == 0


def test_format_without_handles_is_loaded(run: Run, files: FileManager) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs not installed")
    files.save(np.arange(12, dtype="u1").reshape(3, 4), "a.png", backend="disk")
    assert run("stats", "disk:a.png").stdout.splitlines()[1].split()[:4] == [
        *("3x4", "uint8", "0", "11")
    ]
