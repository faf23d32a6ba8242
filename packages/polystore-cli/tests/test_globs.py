from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_cli.address import Address
from polystore_cli.globbing import expand_address
from polystore_core import FileManager
from polystore_core.errors import NotFoundError

Run = Callable[..., Result]

PATHS = ["a.txt", "b.txt", "p/z2.txt", "p/z10.txt", "p/q/c.txt", "p/.hidden.txt", ".git/d.txt"]


@pytest.fixture(params=["disk", "memory"])
def backend(request: pytest.FixtureRequest, files: FileManager) -> str:
    name: str = request.param
    for path in PATHS:
        if "/" in path:
            files.ensure_directory(path.rpartition("/")[0], backend=name)
        files.save("text", path, backend=name)
    return name


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("*", ["a.txt", "b.txt", "p"]),
        ("*/", ["p"]),
        ("p/*.txt", ["p/z2.txt", "p/z10.txt"]),
        ("p/.*", ["p/.hidden.txt"]),
        ("*/q/c.txt", ["p/q/c.txt"]),
        ("**/c.txt", ["p/q/c.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "p/z2.txt", "p/z10.txt", "p/q/c.txt"]),
        ("p/**", ["p/q", "p/z2.txt", "p/z10.txt", "p/q/c.txt"]),
        ("a.txt", ["a.txt"]),
        ("not there.txt", ["not there.txt"]),
    ],
)
def test_pattern_matches(
    files: FileManager, backend: str, pattern: str, found: list[str]
) -> None:
    addresses = expand_address(files, Address(backend, pattern))
    assert [one.path for one in addresses] == found


def test_absolute_pattern(files: FileManager, tmp_path: Path) -> None:
    files.save("text", "a.txt", backend="disk")
    (found,) = expand_address(files, Address("disk", f"{tmp_path}/*.txt"))
    assert found.path == f"{tmp_path}/a.txt"


@pytest.mark.parametrize("pattern", ["x*", "p/x*/y", "a.txt/*"])
def test_no_match_is_an_error(files: FileManager, pattern: str) -> None:
    files.save("text", "a.txt", backend="disk")
    with pytest.raises((NotFoundError, NotADirectoryError)):
        expand_address(files, Address("disk", pattern))


def test_file_named_like_a_pattern_wins(files: FileManager) -> None:
    for path in ("a[1].txt", "a1.txt"):
        files.save("text", path, backend="disk")
    (found,) = expand_address(files, Address("disk", "a[1].txt"))
    assert found.path == "a[1].txt"


def test_zarr_arrays_match(files: FileManager) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore_zarr not installed")
    for name in ("x", "y"):
        files.save(np.eye(2), f"s.zarr/{name}/image", backend="zarr")
    found = expand_address(files, Address("zarr", "s.zarr/*/image"))
    assert [one.path for one in found] == ["s.zarr/x/image", "s.zarr/y/image"]


def test_ls_prints_matches_by_path(run: Run, files: FileManager) -> None:
    for path in PATHS:
        files.save("text", path, backend="disk")
    assert run("ls", "disk:p/*.txt").stdout == "p/z2.txt\np/z10.txt\n"
    assert run("ls", "-r", "disk:*", "--pattern", "c*").stdout == "p/q/c.txt\n"
    assert run("ls", "--full", "disk:**/c.txt").stdout == "disk:p/q/c.txt\n"


def test_cp_takes_patterns(run: Run, files: FileManager) -> None:
    for path in ("a.txt", "b.txt", "c.json"):
        files.save("text", path, backend="disk")
    assert run("cp", "disk:*.txt", "disk:out/").exit_code == 0
    assert run("ls", "disk:out").stdout == "a.txt\nb.txt\n"
