"""Stores without ``Trees`` put chunks first and the document last, and replace nothing.

An array exists as soon as its document does. So a reader sees no array, or the whole array.
"""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    NotFoundError,
    PolystoreError,
    StorageError,
    UnsupportedOperationError,
)
from polystore_zarr.backend import ZarrBackend

from .places import PARTS, SHAPE, Place, number, number_of
from .recording import Recording, is_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WITHOUT = ["zip", "objects", "plain objects"]
without_trees = pytest.mark.parametrize("place", WITHOUT, indirect=True)


@pytest.fixture
def store(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "bucket")


@pytest.fixture
def zarr(store: Recording) -> ZarrBackend:
    return ZarrBackend(store=store)


def check_refused(place: Place, call: Callable[[], object], feature: str) -> None:
    """Check that a refusal names the store and its feature, and that nothing was touched."""
    before = place.content()
    with pytest.raises(UnsupportedOperationError) as caught:
        call()
    text = str(caught.value)
    assert caught.value.backend == "z"
    assert repr(place.store) in text
    assert f"features.{feature}" in text
    assert place.content() == before


# ── the order of puts ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("a.zarr", PARTS),
        ("a.zarr", {"chunks": 8, "shards": (24, 24)}),
        ("a.zarr", {"chunks": 16, "compressor": "gzip"}),
        ("a.zarr", {"chunks": 16, "zarr_format": 2}),
        ("i.ome.zarr", {"chunks": 16, "levels": 2}),
    ],
)
def test_document_is_put_last(
    zarr: ZarrBackend, store: Recording, path: str, options: dict[str, Any]
) -> None:
    zarr.save(number(1), path, **options)
    puts = store.puts()
    top = [key for key in puts if key.count("/") == 1 and is_document(key)]
    assert top
    assert puts[-len(top) :] == top
    assert len(set(puts)) == len(puts), "a key was put twice"


def test_level_is_complete_before_its_document(zarr: ZarrBackend, store: Recording) -> None:
    zarr.save(number(1), "i.ome.zarr", chunks=16, levels=2)
    puts = store.puts()
    for level in ("i.ome.zarr/0/", "i.ome.zarr/1/"):
        of_level = [key for key in puts if key.startswith(level)]
        assert is_document(of_level[-1])
        assert not any(map(is_document, of_level[:-1]))


def test_reader_sees_nothing_before_the_document(zarr: ZarrBackend, store: Recording) -> None:
    """Another backend looks at the array at each request of the writer."""
    other = ZarrBackend(store=Recording(store.folder))
    seen: list[bool] = []

    def look(request: str, key: str) -> None:
        if request == "put":
            seen.append(other.exists("g.zarr/a"))
            assert "g.zarr/a" not in other.list_files(".", recursive=True)

    store.before = look
    zarr.save(number(1), "g.zarr/a", **PARTS)
    assert len(seen) > 9
    assert not any(seen)
    assert number_of(other.load("g.zarr/a")) == 1


def test_failing_put_leaves_no_array(zarr: ZarrBackend, store: Recording) -> None:
    """A put may fail at any request. The next save is then whole."""
    zarr.save(number(1), "g.zarr/first", **PARTS)
    total = len(store.puts())
    for failing in range(total + 1):
        left = failing

        def fail(request: str, key: str) -> None:
            nonlocal left
            if request == "put":
                left -= 1
                if left < 0:
                    raise OSError(28, "No space left on device", key)

        store.before = fail
        path = f"h{failing}.zarr/a"
        try:
            zarr.save(number(2), path, **PARTS)
        except StorageError as error:
            assert error.errno == 28  # noqa: PT017
            store.before = lambda request, key: None
            assert not zarr.is_file(path)
            zarr.save(number(3), path, **PARTS)
            assert number_of(zarr.load(path)) == 3
        else:
            store.before = lambda request, key: None
            assert number_of(zarr.load(path)) == 2


# ── refused calls ────────────────────────────────────────────────────────────────────────


@without_trees
@pytest.mark.parametrize("path", ["a.zarr", "g.zarr/a", "f/a.tif", "i.ome.zarr"])
def test_replacing_is_refused(place: Place, path: str) -> None:
    options = {"levels": 1} if "ome" in path else PARTS
    place.z.save(number(1), path, **options)
    calls = [
        partial(place.z.save, number(2), path, **options),
        partial(place.z.save, number(2, (8, 8)), path),
    ]
    if "ome" not in path:
        create = partial(place.z.create, path, shape=(4,), dtype="u1", if_exists="replace")
        calls.append(create)
    for call in calls:
        check_refused(place, call, "trees")
    place.z.save(number(3), "other.zarr", **PARTS)
    check_refused(place, partial(place.z.copy, "other.zarr", path), "trees")
    assert number_of(place.z.load(path)) == 1


@without_trees
def test_batch_stops_at_an_existing_array(place: Place) -> None:
    place.z.save(number(1), "g.zarr/b", **PARTS)
    with pytest.raises(Exception, match=r"features\.trees") as caught:
        place.z.save_batch([number(2)] * 3, ["g.zarr/a", "g.zarr/b", "g.zarr/c"])
    assert caught.value.failed_index == 1
    assert number_of(place.z.load("g.zarr/a")) == 2
    assert number_of(place.z.load("g.zarr/b")) == 1
    assert not place.z.exists("g.zarr/c")


@without_trees
def test_folders_are_not_copied(place: Place) -> None:
    """Folders are not copied or moved, because other processes would see half of them."""
    place.z.save_batch([number(1), number(2)], ["g.zarr/a", "g.zarr/h/b"])
    check_refused(place, partial(place.z.copy, "g.zarr", "h.zarr"), "trees")
    if place.store.features.delete != "none":
        check_refused(place, partial(place.z.move, "g.zarr", "h.zarr"), "renames")


@pytest.mark.parametrize("place", ["objects", "plain objects"], indirect=True)
def test_array_is_moved_by_a_copy(place: Place) -> None:
    """The source is removed only when its value is at the target."""
    place.z.save(number(1), "g.zarr/a", **PARTS)
    place.z.move("g.zarr/a", "h.zarr/b")
    assert number_of(place.z.load("h.zarr/b")) == 1
    assert not place.z.exists("g.zarr/a")
    assert not [key for key in place.content() if key.startswith("g.zarr/a/")]


def test_zip_deletes_nothing(folder: Path) -> None:
    from .places import PLACES

    place = Place(PLACES["zip"], folder)
    place.z.save(number(1), "g.zarr/a", **PARTS)
    check_refused(place, partial(place.z.delete, "g.zarr/a"), "delete")
    check_refused(place, partial(place.z.delete_all, "g.zarr"), "delete")
    check_refused(place, partial(place.z.move, "g.zarr/a", "g.zarr/b"), "delete")
    assert not {"delete", "delete_all", "move"} & place.backend.capabilities.operations


@pytest.mark.parametrize("place", ["plain objects"], indirect=True)
def test_conditions_need_a_store_that_has_them(place: Place) -> None:
    for if_exists in ("error", "skip"):
        call = partial(place.z.save, number(1), "a.zarr", if_exists=if_exists)
        check_refused(place, call, "create_only")
    check_refused(
        place, partial(place.z.create, "a.zarr", shape=(4,), dtype="u1"), "create_only"
    )


@pytest.mark.parametrize("place", ["plain objects"], indirect=True)
def test_value_that_is_too_large(place: Place) -> None:
    """The store refuses a chunk that is larger than 4 MiB, and no array appears."""
    value = np.random.default_rng(1).integers(0, 255, 5 << 20, dtype=np.uint8)
    with pytest.raises(StorageError, match=r"at most 4,194,304|too large") as caught:
        place.z.save(value, "a.zarr", chunks=value.size, shards=False)
    assert caught.value.path == "a.zarr"
    assert not place.z.exists("a.zarr")
    assert not any(map(is_document, place.content()))


# ── several writers ──────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["objects", "zip"], indirect=True)
@pytest.mark.parametrize("if_exists", ["error", "skip", "replace"])
def test_one_of_several_writers_wins(place: Place, if_exists: str) -> None:
    """At each path one whole array appears, even if the others have put some chunks."""
    ready = threading.Barrier(4, timeout=30)

    def work(seed: int) -> list[int]:
        won = []
        for step in range(12):
            ready.wait()
            # Each writer has its own grid, so chunks of two writers would never fit together.
            value = number(10 * step + seed, (24 + 8 * seed, 40))
            try:
                place.z.save(value, f"g.zarr/{step}", chunks=8, if_exists=if_exists)
            except (AlreadyExistsError, UnsupportedOperationError):
                continue
            except BaseException:
                ready.abort()  # the others would wait for this one
                raise
            won.append(step)
        return won

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(work, range(1, 5)))
    for step in range(12):
        found = place.z.load(f"g.zarr/{step}")
        seed = number_of(found) - 10 * step
        assert found.shape == (24 + 8 * seed, 40)
        assert step in won[seed - 1]
        if if_exists != "skip":
            assert sum(step in steps for steps in won) == 1


def test_slow_writer_does_not_spoil_the_winner(zarr: ZarrBackend, store: Recording) -> None:
    """Between two chunks of a slow writer, another one writes a whole array to the same path."""
    other = ZarrBackend(store=Recording(store.folder))
    outcome: list[str] = []

    def overtake(request: str, key: str) -> None:
        if request == "put" and "/c/1/" in key and not outcome:
            outcome.append("tried")
            try:
                other.save(number(2), "g.zarr/a", if_exists="error", **PARTS)
                outcome.append("won")
            except (AlreadyExistsError, StorageError):
                outcome.append("lost")

    store.before = overtake
    try:
        zarr.save(number(1), "g.zarr/a", if_exists="error", **PARTS)
        assert outcome == ["tried", "lost"]
        expected = 1
    except AlreadyExistsError:
        assert outcome == ["tried", "won"]
        expected = 2
    assert number_of(other.load("g.zarr/a")) == expected


def test_leftover_chunks_are_never_read(zarr: ZarrBackend, store: Recording) -> None:
    """A killed writer has left chunks without a document. The next array has fewer chunks."""
    zarr.save(number(7), "g.zarr/a", **PARTS)
    store.delete("g.zarr/a/zarr.json")
    assert not zarr.is_file("g.zarr/a")
    assert "g.zarr/a" not in zarr.list_files(".", recursive=True)
    try:
        handle = zarr.create("g.zarr/a", shape=SHAPE, dtype="u2", fill_value=5, **PARTS)
    except StorageError as error:
        assert "g.zarr/a" in str(error)  # noqa: PT017 - it says what to delete
        return
    assert (handle[...] == 5).all(), "chunks of a killed writer were read as pixels"
    handle[:16, :16] = number(1, (16, 16))
    assert (handle[16:] == 5).all()


# ── changes during a read ────────────────────────────────────────────────────────────────

CHANGED = (NotFoundError, StorageError, DamagedDataError)
"""The errors that the table of semantics allows for an array that changes during a read."""


@pytest.mark.parametrize("layout", [PARTS, {"chunks": 8, "shards": (24, 24)}])
@pytest.mark.parametrize("again", ["same shape", "other shape", "not again"])
@pytest.mark.parametrize("request_number", range(1, 6))
def test_array_changes_while_it_is_read(
    zarr: ZarrBackend,
    store: Recording,
    layout: dict[str, Any],
    again: str,
    request_number: int,
) -> None:
    """The array is deleted, and perhaps saved again with an equal document.

    The read gives the old array, the new array or an error.
    """
    zarr.save(number(1), "g.zarr/a", **layout)
    other = ZarrBackend(store=Recording(store.folder))
    left = request_number

    def change(request: str, key: str) -> None:
        nonlocal left
        left -= request == "read"
        if left == 0:
            left = -1
            other.delete("g.zarr/a")
            if again != "not again":
                shape = SHAPE if again == "same shape" else (24, 24)
                other.save(number(2, shape), "g.zarr/a", **layout)

    store.before = change
    try:
        found = zarr.load("g.zarr/a")
    except CHANGED:
        pass
    else:
        assert number_of(found) in (1, 2)
    store.before = lambda request, key: None
    if again == "not again":
        with pytest.raises(NotFoundError):
            zarr.load("g.zarr/a")
    else:
        assert number_of(zarr.load("g.zarr/a")) == 2


@pytest.mark.parametrize("place", ["objects", "plain objects"], indirect=True)
def test_handle_of_a_deleted_array(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    handle = place.z.open("g.zarr/a")
    assert number_of(handle[:16]) == 1
    place.z.delete("g.zarr/a")
    with pytest.raises(NotFoundError):
        handle[16:]
    place.z.save(number(2), "g.zarr/a", **PARTS)
    try:
        assert number_of(handle[...]) == 2
    except NotFoundError as error:
        assert "open it again" in str(error)  # noqa: PT017


@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["objects", "memory"], indirect=True)
def test_readers_never_see_a_mixture(place: Place) -> None:
    """Writers delete the array and save it again, at full speed."""
    done = threading.Event()
    place.z.save(number(1), "g.zarr/a", **PARTS)

    def write(seed: int) -> None:
        for step in range(25):
            with suppress(PolystoreError):
                place.z.delete("g.zarr/a")
            try:
                place.z.save(number(100 * seed + step), "g.zarr/a", if_exists="error", **PARTS)
            except (AlreadyExistsError, StorageError):
                continue

    def read(_: int) -> int:
        seen = 0
        while not done.is_set():
            try:
                number_of(place.z.load("g.zarr/a"))
                seen += 1
            except CHANGED:
                continue
        return seen

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, index) for index in range(2)]
        writers = [pool.submit(write, seed) for seed in (1, 2)]
        for writer in writers:
            writer.result()
        done.set()
        assert all(reader.result() >= 0 for reader in readers)


# ── parts and members ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["memory", "objects", "plain objects"], indirect=True)
def test_regions_are_written_by_chunks(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    place.z.save(number(2, (16, 36)), "g.zarr/a", region=np.s_[16:32])
    found = place.z.load("g.zarr/a")
    assert number_of(found[16:32]) == 2
    assert number_of(found[:16]) == number_of(found[32:]) == 1
    handle = place.z.open("g.zarr/a", mode="r+")
    handle[32:] = number(3, (8, 36))
    assert number_of(place.z.load("g.zarr/a")[32:]) == 3


@pytest.mark.parametrize("place", WITHOUT, indirect=True)
def test_unaligned_region_needs_locks(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    call = partial(
        place.z.save, number(2, (5, 5)), "g.zarr/a", region=np.s_[:5, :5], unaligned="lock"
    )
    check_refused(place, call, "replace" if place.store.features.replace == "none" else "locks")


def test_zip_writes_no_regions(folder: Path) -> None:
    from .places import PLACES

    place = Place(PLACES["zip"], folder)
    place.z.save(number(1), "g.zarr/a", **PARTS)
    call = partial(place.z.save, number(2, (16, 36)), "g.zarr/a", region=np.s_[16:32])
    check_refused(place, call, "replace")


@pytest.mark.parametrize("place", ["memory", "objects"], indirect=True)
def test_plates_by_many_writers(place: Place) -> None:
    """The documents of plates are changed under a lock, or on the condition of their version."""
    wells = [(row, column) for row in "ABCD" for column in ("01", "02", "03")]

    def save(well: tuple[str, str]) -> None:
        place.z.save(number(1), f"p.ome.zarr/{well[0]}/{well[1]}/0", chunks=16, levels=1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, wells))
    document = json.loads(place.store.read("p.ome.zarr/zarr.json"))
    paths = {found["path"] for found in document["attributes"]["ome"]["plate"]["wells"]}
    assert paths == {f"{row}/{column}" for row, column in wells}
    assert len(place.z.list_files("p.ome.zarr", recursive=True)) == len(wells)


@pytest.mark.parametrize("place", ["zip", "plain objects"], indirect=True)
@pytest.mark.parametrize("path", ["p.ome.zarr/A/01/0", "i.ome.zarr/labels/n"])
def test_lists_need_conditions_or_locks(place: Place, path: str) -> None:
    """A member that no list names would be lost, so no part of it is written."""
    if path.startswith("i"):
        place.z.save(number(1), "i.ome.zarr", chunks=16, levels=1)
    before = place.content()
    with pytest.raises(UnsupportedOperationError, match=r"features\.") as caught:
        place.z.save(number(1), path, chunks=16, levels=1)
    assert repr(place.store) in str(caught.value)
    assert place.content() == before
