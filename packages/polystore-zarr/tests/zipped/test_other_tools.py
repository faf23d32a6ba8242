"""Archives of other tools, and other tools that read ours."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_zarr.backend import ZarrBackend

from .archives import DEFLATED, STORED, VALUE, zip_folder

if TYPE_CHECKING:
    from polystore_testing import Bound

same = np.testing.assert_array_equal


def _save_image(store: Bound, path: str, **options: Any) -> None:
    store.save(VALUE, path, levels=2, scale=(0.5, 0.25), units="um", **options)


@pytest.mark.parametrize("options", [["-r"], ["-r", "-0"], ["-r", "-9", "-D"]])
def test_info_zip(store: Bound, options: list[str]) -> None:
    """RFC-9 uses "zip -r" in its examples."""
    if shutil.which("zip") is None:
        pytest.skip("system: has no zip")
    _save_image(store, "i.ome.zarr", chunks=16, shards=False)
    command = ["zip", "-q", *options, "../i.ozx", "."]
    subprocess.run(command, cwd="i.ome.zarr", check=True, timeout=60)
    same(store.load("i.ozx"), VALUE)
    same(store.load("i.ozx", level=1), store.load("i.ome.zarr", level=1))


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_archive_that_was_streamed(store: Bound, compression: int) -> None:
    """The headers of a streamed archive have no sizes. The sizes follow each member."""
    store.save(VALUE, "a.zarr", chunks=4, shards=(24, 24))
    streamed = _Stream()
    zip_folder("a.zarr", streamed, compression=compression)
    Path("x.zarr.zip").write_bytes(streamed.getvalue())
    same(store.load("x.zarr.zip"), VALUE)
    same(store.load("x.zarr.zip", region=np.s_[30:, :3]), VALUE[30:, :3])


class _Stream(io.BytesIO):
    """A stream that cannot seek, such as a socket or standard output."""

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation

    def seekable(self) -> bool:
        return False


def test_archive_with_bytes_in_front(store: Bound) -> None:
    """A self-extracting archive starts with a script. Positions count from the first member."""
    store.save(VALUE, "a.zarr")
    zip_folder("a.zarr", "good.zip")
    Path("x.zarr.zip").write_bytes(b"#!/bin/sh\n" * 100 + Path("good.zip").read_bytes())
    same(store.load("x.zarr.zip"), VALUE)


def test_names_that_are_not_ascii(store: Bound) -> None:
    for name in ("\u00e9", "\u0416", "a b"):
        store.save(VALUE, f"g.zarr/{name}")
    zip_folder("g.zarr", "g.zarr.zip")
    assert store.list_dir("g.zarr.zip") == store.list_dir("g.zarr")
    for path in store.list_files("g.zarr.zip"):
        same(store.load(path), VALUE)


def test_other_codecs_in_an_archive(store: Bound) -> None:
    """zarr-python decodes them, through our store."""
    with zarr.storage.ZipStore("x.zarr.zip", mode="w") as zipped:
        array = zarr.create_array(
            zipped,
            shape=VALUE.shape,
            dtype="u2",
            chunks=(20, 12),
            filters=[zarr.codecs.TransposeCodec(order=(1, 0))],
        )
        array[...] = VALUE
    same(store.load("x.zarr.zip"), VALUE)
    same(store.load("x.zarr.zip", region=np.s_[::3, 7]), VALUE[::3, 7])


def test_zarrs_pipeline_falls_back_to_zarr(tmp_path: Path) -> None:
    """The pipeline zarrs opens files by their paths, and members of an archive have no paths."""
    pytest.importorskip("zarrs", reason="zarrs is not installed")
    backend = ZarrBackend(codec_pipeline="zarrs")
    path = str(tmp_path / "x.zarr.zip")
    backend.save(VALUE, path)
    same(backend.load(path), VALUE)
    same(backend.open(path)[3:5], VALUE[3:5])


def test_other_tools_unpack_our_archives(store: Bound) -> None:
    """The owner can read the files that unzip makes."""
    _save_image(store, "i.ozx")
    with zipfile.ZipFile("i.ozx") as archive:
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}
        archive.extractall("i.ome.zarr")
    same(store.load("i.ome.zarr"), VALUE)
    same(store.load("i.ome.zarr", level=1), store.load("i.ozx", level=1))


def test_same_value_gives_the_same_bytes(store: Bound) -> None:
    _save_image(store, "a.ozx")
    _save_image(store, "f/a.ozx")
    assert Path("a.ozx").read_bytes() == Path("f/a.ozx").read_bytes()


def test_models_accept_our_images(store: Bound) -> None:
    models = pytest.importorskip(
        "ome_zarr_models.v05", reason="ome-zarr-models is not installed"
    )
    _save_image(store, "i.ozx")
    with zarr.storage.ZipStore("i.ozx", mode="r") as zipped:
        image = models.Image.from_zarr(zarr.open_group(zipped, mode="r"))
    found = image.attributes.ome.multiscales[0]
    assert found.name == "i"
    assert [axis.name for axis in found.axes] == ["y", "x"]


def test_models_accept_our_plates(store: Bound) -> None:
    models = pytest.importorskip(
        "ome_zarr_models.v05", reason="ome-zarr-models is not installed"
    )
    store.save_batch([VALUE] * 2, ["p.ome.zarr/A/01/0", "p.ome.zarr/B/03/0"], levels=1)
    store.copy("p.ome.zarr", "p.ozx")
    with zarr.storage.ZipStore("p.ozx", mode="r") as zipped:
        plate = models.HCS.from_zarr(zarr.open_group(zipped, mode="r"))
        assert len(list(plate.well_groups)) == 2


def test_zarr_python_adds_to_our_archives(store: Bound) -> None:
    """It appends members, and writes a document a second time. We read the new ones."""
    store.save(VALUE, "x.zarr.zip")
    handle = store.open("x.zarr.zip")
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zarr.storage.ZipStore("x.zarr.zip", mode="a") as zipped,
    ):
        zarr.open_array(zipped, mode="r+").attrs["note"] = "new"
    assert store.info("x.zarr.zip").metadata["attributes"] == {"note": "new"}
    same(store.load("x.zarr.zip"), VALUE)
    with pytest.raises(FileNotFoundError, match="open it again"):
        handle[...]
    assert os.listdir(".") == ["x.zarr.zip"]
