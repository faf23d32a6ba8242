import pytest

from polystore_core import LocalStore
from polystore_core.errors import InvalidOptionError, PathOutsideRootError
from polystore_zarr.store.layout import Address
from polystore_zarr.store.layout import address as address_in
from polystore_zarr.store.local import LocalFiles


def address(path: str, root: str | None = None) -> Address:
    return address_in(path, LocalFiles(LocalStore(root)))


@pytest.mark.parametrize(
    ("path", "store", "inner"),
    [
        ("/d/run.zarr/step1/image", "/d/run.zarr", ("step1", "image")),
        ("/d/run.zarr", "/d/run.zarr", ()),
        ("/d/plate.ome.zarr/B/03/0", "/d/plate.ome.zarr", ("B", "03", "0")),
        ("/d/A.ZARR/x", "/d/A.ZARR", ("x",)),
        ("/d/a.zarr/b.zarr/c", "/d/a.zarr", ("b.zarr", "c")),
        ("/d/run.zarr//./x/", "/d/run.zarr", ("x",)),
        ("/d/a.tif", "/d/images.zarr", ("a.tif",)),
        ("/d/images.zarr/a.tif", "/d/images.zarr", ("a.tif",)),
        ("/d/.zarr/a", "/d/.zarr/images.zarr", ("a",)),
    ],
)
def test_first_part_names_store(path: str, store: str, inner: tuple[str, ...]) -> None:
    found = address(path)
    assert (str(found.store), found.inner) == (store, inner)


def test_two_spellings_of_array() -> None:
    assert str(address("/d/a.tif").node) == str(address("/d/images.zarr/a.tif").node)


def test_relative_becomes_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(address("run.zarr/x").node) == str(tmp_path / "run.zarr" / "x")
    assert str(address("../a.tif").store) == f"{tmp_path}/../images.zarr"


def test_never_collides_with_file() -> None:
    paths = ["/plate/a.tif", "/plate/b.tif", "/plate/sub/a.tif"]
    nodes = {str(address(path).node) for path in paths}
    assert len(nodes) == 3
    assert nodes.isdisjoint(paths)


@pytest.mark.parametrize(
    "path", ["/d/run.zarr/../x", "", "a\0b", "/d/.~ps-x/a", "/d/run.zarr/.~ps-a"]
)
def test_impossible_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidOptionError):
        address(path)


@pytest.mark.parametrize("path", ["../a.tif", "/a.tif", "x/../../a.tif", "/r/a.tif"])
def test_paths_outside_root_are_refused(path: str) -> None:
    with pytest.raises(PathOutsideRootError):
        address(path, "/r")


def test_root_may_be_store() -> None:
    assert address("step/a", "/d/run.zarr").inner == ("step", "a")
    assert str(address("x/../a.tif", "/r").node) == "/r/images.zarr/a.tif"
    assert address(".", "/r").store is None
