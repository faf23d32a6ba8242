"""Paths of this machine, and names that are never content."""

import os
from pathlib import Path

import pytest

from polystore_core import atomic_update_json, atomic_write
from polystore_core.errors import InvalidOptionError
from polystore_core.paths import check_new, check_text, full_path, is_litter, require_local

URLS = [
    "s3://bucket/a.npy",
    "s3://",
    "s3:/bucket/a.npy",  # pathlib makes this of the first one.
    "S3://bucket/a.npy",
    "gs://bucket/a.tif",
    "memory://a.npy",
    "https://example.org/a.zarr",
    "file:///data/a.npy",
    "file:/data/a.npy",
    "git+ssh://host/a.npy",
    "simplecache::s3://bucket/a.npy",
    "zip://a.npy::s3://bucket/b.zip",
]


@pytest.mark.parametrize("url", URLS)
def test_url_is_refused(url: str) -> None:
    for path in (url, Path(url)) if "/" in url.rstrip("/") else (url,):
        with pytest.raises(InvalidOptionError, match="not a URL"):
            require_local(path)
    with pytest.raises(InvalidOptionError, match=r"^root=.*not a URL"):
        full_path(url)


def test_document_at_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("s3://bucket/a.json", "~/a.json"):
        with pytest.raises(InvalidOptionError), atomic_write(path):
            pass
        with pytest.raises(InvalidOptionError):
            atomic_update_json(path, lambda document: document)
    assert list(tmp_path.iterdir()) == []


def test_file_url_suggests_path() -> None:
    with pytest.raises(InvalidOptionError, match=r"write '/data/my a\.npy'"):
        require_local("file:///data/my%20a.npy")
    with pytest.raises(InvalidOptionError, match="file://"):
        require_local("file://server/share/a.npy")


@pytest.mark.parametrize(
    "path", ["C:/data/a.npy", "a:b.npy", "plate/s3:/a.npy", "./s3:/a.npy", "12:30/a.npy", "s3:"]
)
def test_colon_may_be_in_name(path: str) -> None:
    assert require_local(path) == path


def test_viewers_accept_any_text() -> None:
    assert check_text("s3://bucket/~/a.npy") == "s3://bucket/~/a.npy"


@pytest.mark.parametrize("path", ["~", "~/", "~/a.npy", "~root/a.npy"])
def test_home_is_not_expanded(path: str) -> None:
    if os.path.expanduser(path) == path:
        pytest.skip("system: has no user called root")
    with pytest.raises(InvalidOptionError, match="only shells expand") as caught:
        require_local(path)
    assert repr(os.path.expanduser(path)) in str(caught.value)
    assert full_path(path) == os.path.expanduser(path).rstrip("/")


@pytest.mark.parametrize("path", ["./~", "./~/a.npy", "~$draft.npy", "a~/b.npy", "f/~/a.npy"])
def test_tilde_may_be_in_name(path: str) -> None:
    assert require_local(path) == path


@pytest.mark.parametrize(
    "name", ["._a.tif", "._", ".DS_Store", ".ds_store", "Thumbs.db", "THUMBS.DB", "desktop.ini"]
)
def test_litter_is_not_content(name: str) -> None:
    assert is_litter(name)
    # Such a file can still be read and deleted.
    assert require_local(f"plate/{name}") == f"plate/{name}"
    for path in (name, f"plate/{name}"):
        with pytest.raises(InvalidOptionError, match="listings leave out"):
            check_new(path)


@pytest.mark.parametrize("name", ["a._b.tif", "_a.tif", ".a.tif", "Thumbs.tif", "._a/b.tif"])
def test_other_names_are_content(name: str) -> None:
    assert check_new(name) == name
