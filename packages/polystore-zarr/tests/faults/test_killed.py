"""Writers that are killed or interrupted leave the whole old value or the whole new one."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import NotFoundError
from polystore_zarr.ome import read_labels
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document

from .writers import (
    ITEMS,
    KINDS,
    check_leftovers,
    field_path,
    fields_of,
    find_hidden,
    listed_fields,
    number_of,
    save,
    saved_number,
    version,
    well_of,
)

if TYPE_CHECKING:
    from polystore_zarr.backend import ZarrBackend

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

KILLS = 22
"""For each kind of value."""
INTERRUPTS = 15


@pytest.mark.parametrize("kind", KINDS)
def test_killed_save_is_whole(backend: ZarrBackend, root: Path, start: Any, kind: str) -> None:
    """The last acknowledged version is there, or the version after it, and the next save works."""
    chance = random.Random(kind)
    if kind == "label":
        backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    path = KINDS[kind][0]
    writer, last = start("overwrite", kind), 0
    for _ in range(KILLS):
        writer.start()
        acknowledged = (writer.kill(chance) or [last])[-1]
        if backend.exists(path):
            found = saved_number(backend, path)
            assert acknowledged <= found <= acknowledged + 1
        else:
            assert acknowledged == 0
            found = 0
        save(backend, kind, found + 1)  # the locks are free
        last = found + 1
        assert saved_number(backend, path) == last
    assert last > 2 * KILLS
    check_leftovers(root, most=2 * KILLS)
    if kind == "field":
        assert listed_fields(root / "plate.ome.zarr") == {"B/03/0"}
    if kind == "label":
        labels = read_document(local_path(root / "labelled.ome.zarr/labels"))
        assert labels is not None
        assert read_labels(labels.attributes) == ("cells",)
        assert saved_number(backend, "labelled.ome.zarr") == 1


def test_killed_writer_lists_its_fields(backend: ZarrBackend, root: Path, start: Any) -> None:
    """A new plate lists each acknowledged field, even if its writer is killed many times."""
    chance = random.Random(2)
    writer, last = start("fill_plate"), 0
    for _ in range(KILLS):
        writer.start()
        last = (writer.kill(chance, most=2) or [last])[-1]
        plate = root / "plate.ome.zarr"
        wanted = {f"{well_of(n)}/{n}" for n in range(1, last + 1)}
        next_field = {f"{well_of(last + 1)}/{last + 1}"}
        assert wanted <= fields_of(plate) <= wanted | next_field
        assert wanted <= listed_fields(plate) <= fields_of(plate)
        for name in sorted(fields_of(plate)):
            assert saved_number(backend, f"plate.ome.zarr/{name}") == int(name.split("/")[2])
        if next_field <= fields_of(plate):
            last += 1
            backend.save(version(last), field_path(last), chunks=32, levels=2)
            assert listed_fields(plate) == wanted | next_field
    assert last >= KILLS
    check_leftovers(root, most=KILLS)


def test_killed_batch_is_prefix(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Each item of a batch is whole, and none is newer than the one before it."""
    chance = random.Random(3)
    backend.save_batch([version(1)] * len(ITEMS), ITEMS, chunks=32)
    writer, last = start("overwrite_batch"), 1
    for _ in range(KILLS // 2):
        writer.start()
        last = (writer.kill(chance, most=1) or [last])[-1]
        found = [number_of(value) for value in backend.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        assert last <= found[-1] <= found[0] <= last + 1
        last = found[0]
        backend.save_batch([version(last)] * len(ITEMS), ITEMS, chunks=32)
    assert backend.list_dir("f") == [Path(item).name for item in ITEMS]
    check_leftovers(root, most=KILLS)


@pytest.mark.parametrize(
    "paths",
    [
        ("m.zarr/a", "m.zarr/g/b", "m.zarr/c"),
        ("plate.ome.zarr/A/01/0", "plate.ome.zarr/B/02/1", "plate.ome.zarr/A/01/2"),
    ],
    ids=["plain", "plate"],
)
def test_killed_moves_lose_nothing(
    backend: ZarrBackend, root: Path, start: Any, paths: tuple[str, ...]
) -> None:
    """A killed move, copy or delete is either done or not done."""
    first, second, third = paths
    states = [{first}, {second}, {second, third}, {third}, set()]
    chance = random.Random(4)
    writer = start("pass_around", *paths)
    for _ in range(KILLS):
        for path in paths:
            with suppress(NotFoundError):
                backend.delete(path)
        writer.start()
        last = (writer.kill(chance, most=8) or [len(states) - 1])[-1]
        found = {path for path in paths if backend.exists(path)}
        assert found in (states[last], states[(last + 1) % 5])
        for path in found:
            assert saved_number(backend, path) == 7
        if "plate" in first:
            plate = root / "plate.ome.zarr"
            assert listed_fields(plate) <= fields_of(plate), "a missing field is listed"
            settled = states[last] & states[(last + 1) % 5]
            assert {path.removeprefix("plate.ome.zarr/") for path in settled} <= listed_fields(
                plate
            )
    check_leftovers(root, most=KILLS)


def test_killed_region_keeps_chunks(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Each chunk of a killed region write is old or new, and the lock is free."""
    backend.create("r.zarr/a", shape=(64, 64), dtype="u2", chunks=16)
    chance = random.Random(5)
    writer, last = start("write_regions"), 0
    for _ in range(KILLS):
        writer.start()
        last = (writer.kill(chance) or [last])[-1]
        found = backend.load("r.zarr/a")
        for y in range(0, 64, 16):
            for x in range(0, 64, 16):
                part = found[max(y, 5) : min(y + 16, 59), max(x, 7) : min(x + 16, 61)]
                assert set(np.unique(part)) <= {last, last + 1}
                assert len(np.unique(part)) == 1
        found[5:59, 7:61] = 0
        assert not found.any()
        last += 1
        backend.save(
            version(last, (54, 54)),
            "r.zarr/a",
            unaligned="lock",
            region=(slice(5, 59), slice(7, 61)),
        )
    check_leftovers(root, most=KILLS)


def test_interrupts_reach_caller(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Ctrl-C ends a save with KeyboardInterrupt, and no work continues in the background."""
    chance = random.Random(6)
    backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    for kind in KINDS:
        save(backend, kind, 1)
    backend.save_batch([version(1)] * len(ITEMS), ITEMS, chunks=32)
    writer = start("be_interrupted")
    writer.start()
    for number in range(INTERRUPTS):
        if number:
            writer.go_on()
        writer.expect("ready")
        time.sleep(chance.uniform(0, 0.12))
        answer = "forgotten"
        while answer == "forgotten":
            os.kill(writer.pid, signal.SIGINT)
            answer = writer.line()[0]
        assert answer == "interrupted"
        assert not find_hidden(root)
        for kind in KINDS:
            saved_number(backend, KINDS[kind][0])
        found = [number_of(value) for value in backend.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        assert not find_hidden(root)
    check_leftovers(root, most=0)
