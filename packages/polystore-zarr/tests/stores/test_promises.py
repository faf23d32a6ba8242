"""A test for each row of the table "What each store promises" of docs/zarr.md.

A store keeps the promise, or refuses the call with an error that names it.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import LazyArray
from polystore_core.errors import (
    NotFoundError,
    PolystoreError,
    UnsupportedOperationError,
)
from polystore_zarr.backend import ZarrBackend

from .places import LOCAL, PARTS, PLACES, SHAPE, WHOLE, Place, number, number_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import Region

STORES = [name for name in PLACES if name != "plain objects"]
every_store = pytest.mark.parametrize("place", STORES, indirect=True)
PROCESSES = [*LOCAL, "zip", "objects"]
"""Stores that other processes see."""


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of the store that the test uses."""
    found: str = request.node.callspec.params["place"]
    return found


def run_in_another_process(work: Callable[..., Any], *arguments: object) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def check_refused(place: Place, call: Callable[[], object], match: str = r"features\.") -> None:
    before = place.content()
    with pytest.raises(UnsupportedOperationError, match=match) as caught:
        call()
    assert repr(place.store) in str(caught.value)
    assert place.content() == before


class WatchedPixels(LazyArray):
    """Pixels that call a function when they are read, in the middle of a save."""

    shape = SHAPE
    dtype = np.dtype(np.uint16)

    def __init__(self, value: int, then: Callable[[], object]) -> None:
        self.value, self.then = value, then

    def __getitem__(self, region: Region) -> Any:
        self.then()
        return number(self.value)[region]


# ── replaced in one step ─────────────────────────────────────────────────────────────────


@every_store
@pytest.mark.parametrize("path", ["a.zarr", "g.zarr/a", "i.ome.zarr"])
def test_replaced_in_one_step(place: Place, name: str, path: str) -> None:
    options = {"levels": 1} if "ome" in path else PARTS
    place.z.save(number(1), path, **options)
    if name not in WHOLE:
        check_refused(place, partial(place.z.save, number(2), path, **options))
        return
    looks: list[int] = []
    value = WatchedPixels(2, lambda: looks.append(number_of(place.z.load(path))))
    place.z.save(value, path, **options)
    assert set(looks) == {1}
    assert number_of(place.z.load(path)) == 2


@pytest.mark.parametrize("place", WHOLE, indirect=True)
@pytest.mark.timeout(120)
def test_readers_see_old_or_new(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    done = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(number_of(place.z.load("g.zarr/a")))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for value in range(2, 40):
            place.z.save(number(value), "g.zarr/a", **PARTS)
    finally:
        done.set()
        reader.join()
    assert seen


# ── new arrays appear whole ──────────────────────────────────────────────────────────────


@every_store
@pytest.mark.parametrize("path", ["a.zarr", "g.zarr/h/a", "f/a.tif", "i.ome.zarr"])
def test_new_arrays_appear_whole(place: Place, path: str) -> None:
    options = {"levels": 1} if "ome" in path else PARTS
    looks: list[bool] = []

    def look() -> None:
        looks.append(place.z.exists(path))
        assert path not in place.z.list_files(".", recursive=True)

    place.z.save(WatchedPixels(1, look), path, **options)
    assert looks
    assert not any(looks)
    assert number_of(place.z.load(path)) == 1


@every_store
def test_failed_array_does_not_appear(place: Place) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.z.save(WatchedPixels(1, fail), "g.zarr/a", **PARTS)
    assert not place.z.exists("g.zarr/a")
    place.z.save(number(2), "g.zarr/a", **PARTS)
    assert number_of(place.z.load("g.zarr/a")) == 2


# ── region writes ────────────────────────────────────────────────────────────────────────


@every_store
def test_region_writes(place: Place, name: str) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    save = partial(place.z.save, number(2, (16, 36)), "g.zarr/a", region=np.s_[:16])
    if name == "zip":
        check_refused(place, save, r"features\.replace")
        return
    save()
    assert number_of(place.z.load("g.zarr/a")[:16]) == 2


@every_store
def test_arrays_are_created_to_be_written_in_parts(place: Place, name: str) -> None:
    create = partial(place.z.create, "g.zarr/a", shape=SHAPE, dtype="u2", **PARTS)
    if name == "zip":  # each chunk could be written only once
        check_refused(place, create, r"features\.replace")
        return
    handle = create()
    assert not handle[...].any()
    handle[...] = number(3)
    handle[:16] = number(4, (16, 36))
    assert number_of(place.z.load("g.zarr/a")[16:]) == 3


# ── groups and plates by many processes ──────────────────────────────────────────────────


def _save_field(place: Place, well: str) -> None:
    place.z.save(number(1), f"p.ome.zarr/{well}/0", chunks=16, levels=1)


def _save_fields_in_process(backend: ZarrBackend, wells: list[str]) -> None:
    for well in wells:
        backend.save(number(1), f"p.ome.zarr/{well}/0", chunks=16, levels=1)


@every_store
def test_plates_by_many(place: Place, name: str) -> None:
    if name == "zip":
        check_refused(place, partial(_save_field, place, "A/01"))
        return
    wells = [f"{row}/{column:02}" for row in "AB" for column in (1, 2, 3)]
    if name in PROCESSES:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.starmap(
                _save_fields_in_process,
                [(place.backend, wells[:3]), (place.backend, wells[3:])],
            )
    else:
        threads = [threading.Thread(target=_save_field, args=(place, well)) for well in wells]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert place.z.list_files("p.ome.zarr", recursive=True) == [
        f"p.ome.zarr/{well}/0" for well in wells
    ]
    document = json.loads(_read(place, "p.ome.zarr/zarr.json"))
    found = [entry["path"] for entry in document["attributes"]["ome"]["plate"]["wells"]]
    assert sorted(found) == wells


def _read(place: Place, key: str) -> bytes:
    return place.store.read(place.store.key(key))


def _save_in_process(backend: ZarrBackend, path: str, value: int) -> None:
    backend.save(number(value), path, **PARTS)


@pytest.mark.parametrize("place", PROCESSES, indirect=True)
def test_groups_by_many(place: Place) -> None:
    paths = [f"g.zarr/h/{index}" for index in range(6)]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        jobs = [(place.backend, path, index + 1) for index, path in enumerate(paths)]
        pool.starmap(_save_in_process, jobs)
    assert place.z.list_files("g.zarr", recursive=True) == paths
    for index, path in enumerate(paths):
        assert number_of(place.z.load(path)) == index + 1


def test_memory_is_of_one_process(folder: Any) -> None:
    place = Place(PLACES["memory"], folder)
    place.z.save(number(1), "a.zarr")
    with pytest.raises(NotFoundError, match="another process"):
        run_in_another_process(_load, place.fm, "a.zarr")


def _load(fm: Any, path: str) -> Any:
    return fm.load(path, backend="z")


# ── survives a power cut ─────────────────────────────────────────────────────────────────


@every_store
def test_survives_a_power_cut(place: Place, name: str) -> None:
    """The store says whether it can. Tests in tests/faults and in zip check the flushes."""
    save = partial(place.z.save, number(1), "g.zarr/a", durable=True, **PARTS)
    if name in ("memory", "objects"):
        check_refused(place, save, r"features\.durable")
        return
    save()
    assert number_of(place.z.load("g.zarr/a")) == 1


# ── locks between processes ──────────────────────────────────────────────────────────────


def _write_corner(backend: ZarrBackend, seed: int) -> None:
    for _ in range(5):
        part = np.s_[4 * seed : 4 * seed + 4, :]
        value = number(seed + 2, (4, 36))
        backend.save(value, "g.zarr/a", region=part, unaligned="lock")


@every_store
def test_locks_between_processes(place: Place, name: str) -> None:
    """Writers of parts of one chunk do not lose each other's pixels."""
    place.z.save(number(1), "g.zarr/a", **PARTS)
    if name in ("zip", "objects"):
        check_refused(place, partial(_write_corner, place.backend, 0))
        return
    if name == "memory":
        threads = [
            threading.Thread(target=_write_corner, args=(place.backend, seed))
            for seed in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.starmap(_write_corner, [(place.backend, seed) for seed in range(4)])
    found = place.z.load("g.zarr/a")
    assert [number_of(found[4 * seed : 4 * seed + 4]) for seed in range(4)] == [2, 3, 4, 5]


# ── the pipeline of zarrs ────────────────────────────────────────────────────────────────


@every_store
def test_zarrs_pipeline(place: Place, name: str) -> None:
    if name == "local":
        assert ZarrBackend(codec_pipeline="zarrs").codec_pipeline == "zarrs"
        return
    option: dict[str, Any] = {"store": place.store}
    if name == "root":
        option = {"root": place.backend.root}
    with pytest.raises(UnsupportedOperationError, match=rf"zarrs.*{next(iter(option))}="):
        ZarrBackend(**option, codec_pipeline="zarrs")


# ── a Dask cluster ───────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(120)
@every_store
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_dask_cluster(place: Place, name: str, scheduler: str) -> None:
    """Workers in other processes read parts, and write the blocks of an array.

    They write into a temporary folder, so this works with every store.
    """
    dask = pytest.importorskip("dask", reason="dask is not installed")
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    blocks = da.full(SHAPE, 3, chunks=16, dtype=np.uint16)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        place.z.save(number(2), "g.zarr/a", **PARTS)
        lazy = da.from_array(place.z.open("g.zarr/a"), chunks=16)
        if name == "memory" and scheduler == "processes":
            with pytest.raises(PolystoreError, match="another process"):
                lazy.sum().compute()
        else:
            assert int(lazy.sum().compute()) == 2 * SHAPE[0] * SHAPE[1]
        place.z.save(blocks, "g.zarr/b")
    assert number_of(place.z.load("g.zarr/b")) == 3
