"""Calls that a store cannot serve are refused before its first byte, and before pixels are made."""

from __future__ import annotations

import json
import multiprocessing
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import LazyArray
from polystore_core.errors import (
    PathOutsideRootError,
    UnsupportedOperationError,
)
from polystore_zarr.backend import ZarrBackend
from polystore_zip.backend import ZipStore

from .places import OTHERS, PARTS, SHAPE, Place, number, number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polystore_core import Region


class Untouched(LazyArray):
    """Pixels that must not be read."""

    shape, dtype = SHAPE, np.dtype("u2")

    def __getitem__(self, region: Region) -> Any:
        raise AssertionError("its pixels were read, although they cannot be saved")


def check_refused(place: Place, call: Callable[[], object], match: str) -> None:
    before = place.content()
    with pytest.raises(UnsupportedOperationError, match=match) as caught:
        call()
    assert caught.value.backend == "z"
    assert repr(place.store) in str(caught.value)
    assert place.content() == before


@pytest.mark.parametrize("place", ["zip", "objects", "plain objects"], indirect=True)
def test_refused_saves_read_no_pixels(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    save = partial(place.z.save, Untouched(), "g.zarr/a")
    check_refused(place, save, r"features\.trees")
    if place.store.features.replace == "none" or place.store.features.versions == "none":
        save = partial(place.z.save, Untouched(), "p.ome.zarr/A/01/0")
        check_refused(place, save, r"features\.(replace|versions)")
    if not place.store.features.durable:
        save = partial(place.z.save, Untouched(), "g.zarr/b", durable=True)
        check_refused(place, save, r"features\.durable = False")
        with pytest.raises(UnsupportedOperationError, match=r"features\.durable"):
            ZarrBackend(store=place.store, durable=True)


@pytest.mark.parametrize("place", ["zip"], indirect=True)
def test_writing_handle_is_refused(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    check_refused(place, partial(place.z.open, "g.zarr/a", mode="r+"), r"features\.replace")
    assert number_of(place.z.open("g.zarr/a")[...]) == 1


@pytest.mark.parametrize("place", ["objects", "plain objects"], indirect=True)
def test_locking_handle_is_refused(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    call = partial(place.z.open, "g.zarr/a", mode="r+", unaligned="lock")
    check_refused(place, call, r"features\.locks")


@pytest.mark.parametrize("place", ["zip", "plain objects"], indirect=True)
def test_consolidated_metadata_that_cannot_be_removed(place: Place) -> None:
    """Readers that use consolidated metadata would not find the new member."""
    group: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    group["consolidated_metadata"] = {"kind": "inline", "metadata": {}}
    writing = place.store.writing
    with writing("g.zarr/zarr.json", if_exists=condition(place)) as file:
        file.write(json.dumps(group).encode())
    save = partial(place.z.save, Untouched(), "g.zarr/a")
    check_refused(place, save, r"features\.(replace|versions)")
    with writing("o.zarr/.zgroup", if_exists=condition(place)) as file:
        file.write(b'{"zarr_format": 2}')
    place.z.save(number(1), "o.zarr/a")
    with writing("o.zarr/.zmetadata", if_exists=condition(place)) as file:
        file.write(b'{"metadata": {}, "zarr_consolidated_format": 1}')
    if place.store.features.delete == "none":
        save = partial(place.z.save, Untouched(), "o.zarr/b")
        check_refused(place, save, r"features\.(replace|versions)")
    else:
        place.z.save(number(2), "o.zarr/b")
        assert "o.zarr/.zmetadata" not in place.content()


def condition(place: Place) -> Any:
    return "error" if place.store.features.replace == "none" else "replace"


@pytest.mark.parametrize("place", OTHERS, indirect=True)
@pytest.mark.parametrize("path", ["../a.zarr", "g.zarr/../../a.zarr/b", "/a.zarr"])
def test_paths_stay_in_the_store(place: Place, path: str) -> None:
    for call in (
        partial(place.z.save, number(1), path),
        partial(place.z.load, path),
        partial(place.z.delete, path),
        partial(place.z.exists, path),
    ):
        if call.func.__name__ == "delete" and place.store.features.delete == "none":
            continue
        with pytest.raises(PathOutsideRootError) as caught:
            call()
        assert caught.value.backend == "z"
        assert caught.value.path == path
    assert place.content() == {}


def _save_many_chunks(file: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    zarr = ZarrBackend(store=ZipStore(file))
    zarr.save(number(1, (40, 40)), "g.zarr/a", chunks=1, shards=False)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform == "win32", reason="system: has no such limit")
def test_many_chunks_in_one_step(tmp_path: Path) -> None:
    """1,600 chunks wait to be added to the archive, but systems allow few open files."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_save_many_chunks, (str(tmp_path / "a.zip"),))
    zarr = ZarrBackend(store=ZipStore(tmp_path / "a.zip"))
    assert number_of(zarr.load("g.zarr/a")) == 1
