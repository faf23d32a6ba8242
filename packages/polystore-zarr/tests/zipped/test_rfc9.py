"""Archives follow RFC-9 of OME-NGFF, "Zipped OME-Zarr", and all its recommendations."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import PolystoreError

from .archives import VALUE, comment_of, members_of

if TYPE_CHECKING:
    from polystore_testing import Bound

COMMENT = {"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": True}}}}


@pytest.fixture(params=["image", "labels", "plate"])
def archive(request: pytest.FixtureRequest, store: Bound) -> str:
    """An image that is saved directly, an image with labels, and a plate."""
    if request.param == "image":
        store.save(VALUE, "x.ozx", levels=2, chunks=8)
    elif request.param == "labels":
        store.save(VALUE, "i.ome.zarr", levels=2, chunks=8)
        store.save(VALUE.astype("u1"), "i.ome.zarr/labels/n")
        store.save(VALUE.astype("u1"), "i.ome.zarr/labels/b")
        store.copy("i.ome.zarr", "x.ozx")
    else:
        paths = [f"p.ome.zarr/{well}/{field}" for well in ("B/03", "A/01") for field in (0, 1)]
        store.save_batch([VALUE] * 4, paths, levels=2)
        store.copy("p.ome.zarr", "x.ozx")
    return "x.ozx"


def names_of(file: str) -> list[str]:
    """Return the names in the order of the central directory."""
    with zipfile.ZipFile(file) as found:
        return found.namelist()


def test_root_is_the_hierarchy(archive: str) -> None:
    """The archive has no folder around the hierarchy, and starts with its document."""
    assert names_of(archive)[0] == "zarr.json"
    assert "ome" in json.loads(members_of(archive)["zarr.json"])["attributes"]


def test_documents_are_first_and_by_depth(archive: str) -> None:
    """The central directory and the file have the same order: root, its members, their members."""
    with zipfile.ZipFile(archive) as found:
        for infos in (
            found.infolist(),
            sorted(found.infolist(), key=lambda info: info.header_offset),
        ):
            names = [info.filename for info in infos]
            documents = [name for name in names if name.rpartition("/")[2] == "zarr.json"]
            assert names[: len(documents)] == documents
            depths = [name.count("/") for name in documents]
            assert depths == sorted(depths)


def test_order_does_not_depend_on_the_disk(store: Bound) -> None:
    """The same tree gives the same order, as other tools expect of a build."""
    store.save(VALUE, "i.ome.zarr", levels=2, chunks=8)
    store.copy("i.ome.zarr", "one.ozx")
    store.copy("one.ozx", "back.ome.zarr")
    store.copy("back.ome.zarr", "two.ozx")
    assert names_of("one.ozx") == names_of("two.ozx")


def test_nothing_is_compressed_again(archive: str) -> None:
    with zipfile.ZipFile(archive) as found:
        assert {info.compress_type for info in found.infolist()} == {zipfile.ZIP_STORED}


def test_every_archive_is_zip64(archive: str) -> None:
    with zipfile.ZipFile(archive) as found:
        assert {info.extract_version for info in found.infolist()} == {45}
        size = len(found.comment)
    end = Path(archive).read_bytes()[-(size + 22 + 20 + 56) :]
    assert [end[:4], end[56:60], end[76:80]] == [b"PK\6\6", b"PK\6\7", b"PK\5\6"]


def test_info_zip_accepts_it(archive: str) -> None:
    if shutil.which("zip") is None:
        pytest.skip("system: has no zip")
    command = ["zip", "--show-files", archive]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert f"Total {len(names_of(archive))} entries" in done.stdout


def test_comment_is_json(archive: str) -> None:
    assert comment_of(archive) == COMMENT
    with zipfile.ZipFile(archive) as found:
        assert not found.comment.endswith(b"\0")
        found.comment.decode("utf-8")


def test_no_folders_and_no_duplicate_names(archive: str) -> None:
    names = names_of(archive)
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith("/") or name.startswith((".", "/"))]


def test_chunks_are_sharded(store: Bound) -> None:
    """An array with more than 64 chunks gets shards, so that the archive has few members."""
    store.save(np.zeros((1200, 1200), np.uint16) + 1, "x.ozx", chunks=64, levels=1)
    assert len(names_of("x.ozx")) < 20
    same = np.testing.assert_array_equal
    same(store.load("x.ozx", region=np.s_[:2, :2]), np.ones((2, 2), np.uint16))


@pytest.mark.parametrize("options", [{"ome": "0.4"}, {"zarr_format": 2}, {"ome": False}])
def test_ozx_is_zarr_3(store: Bound, options: dict[str, Any]) -> None:
    """RFC-9 needs a "zarr.json" at the root, and an OME-Zarr hierarchy."""
    with pytest.raises(PolystoreError, match="ozx"):
        store.save(VALUE, "x.ozx", **options)
    assert not store.exists("x.ozx")


def test_older_image_is_not_packed_as_ozx(store: Bound) -> None:
    store.save(VALUE, "i.ome.zarr", ome="0.4", levels=1)
    with pytest.raises(PolystoreError, match="ozx"):
        store.copy("i.ome.zarr", "x.ozx")
    assert not store.exists("x.ozx")
    store.copy("i.ome.zarr", "x.ome.zarr.zip")
    np.testing.assert_array_equal(store.load("x.ome.zarr.zip"), VALUE)
    assert comment_of("x.ome.zarr.zip") is None


def test_comment_is_for_ome_only(store: Bound) -> None:
    store.save(VALUE, "x.zarr.zip")
    assert comment_of("x.zarr.zip") is None
    store.save(VALUE, "i.ome.zarr.zip", levels=1)
    assert comment_of("i.ome.zarr.zip") == COMMENT


def test_no_archive_is_made_in_a_hierarchy(store: Bound) -> None:
    """RFC-9 prohibits an archive in a store. There, such a name is an ordinary name."""
    store.save(VALUE, "g.zarr/x.ozx", ome=False)
    np.testing.assert_array_equal(store.load("g.zarr/x.ozx"), VALUE)
    assert os.path.isdir("g.zarr/x.ozx")


@pytest.mark.slow
def test_ngff_zarr_reads_ours_and_we_read_theirs(store: Bound) -> None:
    ngff_zarr = pytest.importorskip("ngff_zarr", reason="ngff-zarr is not installed")
    store.save(VALUE, "x.ozx", levels=2, scale=(0.5, 0.25), units="um")
    theirs = ngff_zarr.from_ngff_zarr("x.ozx")
    np.testing.assert_array_equal(np.asarray(theirs.images[0].data), VALUE)
    image = ngff_zarr.to_ngff_image(VALUE, dims=["y", "x"], scale={"y": 0.5, "x": 0.25})
    scales = ngff_zarr.to_multiscales(image, scale_factors=[2], chunks=16)
    ngff_zarr.to_ngff_zarr("theirs.ozx", scales, version="0.5")
    np.testing.assert_array_equal(store.load("theirs.ozx"), VALUE)
    assert store.info("theirs.ozx").metadata["scale"] == [0.5, 0.25]
