import os

import pytest

from polystore_cli.address import Address, AddressError, parse_address

NAMES = ("disk", "memory", "raw", "x")


@pytest.mark.parametrize(
    ("text", "backend", "path"),
    [
        ("disk:a.tif", "disk", "a.tif"),
        ("raw:plate/a.tif", "raw", "plate/a.tif"),
        ("disk:/abs/a.tif", "disk", "/abs/a.tif"),
        ("disk:", "disk", "."),
        ("disk:plate/", "disk", "plate/"),
        ("disk:C:\\data\\a.tif", "disk", "C:\\data\\a.tif"),
        ("disk:a:b.tif", "disk", "a:b.tif"),
        ("disk:memory:b.tif", "disk", "memory:b.tif"),
        ("acme-disk:disk:a.tif", "acme-disk:disk", "a.tif"),
        ("acme-disk:disk:", "acme-disk:disk", "."),
        ("acme-disk:other:a.tif", "acme-disk", "other:a.tif"),
        ("nobody:a.tif", "nobody", "a.tif"),
        ("x:a.tif", "x", "a.tif"),
    ],
)
def test_address_splits(text: str, backend: str, path: str) -> None:
    assert parse_address(text, NAMES) == Address(backend, path)


@pytest.mark.parametrize(
    "text",
    [
        "a.tif",
        "",
        ":a.tif",
        "C:\\x",
        "c:/x/a.tif",
        "plate/a:b.tif",
        "./disk:a",
        "a b:c",
        "-x:c",
    ],
)
def test_missing_backend_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match="does not name a backend: write disk:"):
        parse_address(text, NAMES)


@pytest.mark.parametrize("text", ["s3://bucket/a.npy", "file:///a.tif", "https://x.org/a.zarr"])
def test_url_is_not_an_address(text: str) -> None:
    with pytest.raises(AddressError, match="is a URL: write BACKEND:PATH, such as disk:"):
        parse_address(text, NAMES)


@pytest.mark.parametrize("path", ["~", "~/plate/a.tif"])
def test_home_is_expanded(path: str) -> None:
    """The shell does not expand it after a colon."""
    assert parse_address(f"disk:{path}", NAMES).path == os.path.expanduser(path)
    assert parse_address("disk:./~/a.tif", NAMES).path == "./~/a.tif"


@pytest.mark.parametrize("text", ["a.ome.zarr", "plate.zarr/A/1/0"])
def test_stores_are_in_zarr(text: str) -> None:
    with pytest.raises(AddressError, match=f"does not name a backend: write zarr:{text}"):
        parse_address(text, (*NAMES, "zarr"))


def test_example_is_available() -> None:
    with pytest.raises(AddressError, match="does not name a backend: write raw:a"):
        parse_address("a", ("raw", "zarr"))


@pytest.mark.parametrize(
    ("path", "name", "is_folder"),
    [
        ("a.tif", "a.tif", False),
        ("plate/a.tif", "a.tif", False),
        ("plate/", "plate", True),
        (".", "", True),
        ("plate/..", "", False),
        ("/", "", True),
    ],
)
def test_name_and_folder(path: str, name: str, is_folder: bool) -> None:
    address = Address("disk", path)
    assert (address.name, address.is_folder) == (name, is_folder)


@pytest.mark.parametrize(
    ("path", "name", "joined"),
    [
        (".", "a.tif", "a.tif"),
        ("plate", "a.tif", "plate/a.tif"),
        ("plate/", "a.tif", "plate/a.tif"),
        ("/", "a.tif", "/a.tif"),
        ("plate", "", "plate"),
        (".", "", "."),
    ],
)
def test_name_below_address(path: str, name: str, joined: str) -> None:
    assert Address("disk", path) / name == Address("disk", joined)


def test_address_prints_back() -> None:
    assert str(parse_address("acme-disk:disk:a.tif", NAMES)) == "acme-disk:disk:a.tif"
