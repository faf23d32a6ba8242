"""How often the documents of plates and wells are read and written, and which fields they list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager, file_lock
from polystore_core.errors import BatchError, DamagedDataError, VersionConflictError
from polystore_testing import Bound
from polystore_zarr import members, save_plate
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.ome import read_plate, read_well
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document, write_attributes

PLANE = np.arange(64, dtype="u2").reshape(8, 8)
WELLS = [f"{row}/{column}" for row in "ABC" for column in range(1, 9)]

_events: list[Counter[tuple[str, str]]] = []


def _count(event: str, given: tuple[Any, ...]) -> None:
    # Files of Python's ``io`` report an opening a second time, with a mode. Count only the first.
    if _events and event == "os.rename" and str(given[1]).endswith("zarr.json"):
        _events[-1]["written", str(given[1])] += 1
    elif (
        _events and event == "open" and given[1] is None and str(given[0]).endswith("zarr.json")
    ):
        is_read = not given[2] & (os.O_WRONLY | os.O_RDWR) and os.path.exists(given[0])
        _events[-1]["read" if is_read else "other", str(given[0])] += 1


@pytest.fixture(scope="module", autouse=True)
def hook() -> None:
    sys.addaudithook(_count)


@contextmanager
def count_documents() -> Iterator[Callable[[str], dict[str, int]]]:
    """Count the documents in the current folder that the body reads and replaces."""
    _events.append(found := Counter())

    def of(kind: str) -> dict[str, int]:
        here = os.getcwd()
        return {
            os.path.relpath(os.path.dirname(path), here): count
            for (event, path), count in found.items()
            if event == kind and path.startswith(here) and ".~ps-" not in path
        }

    try:
        yield of
    finally:
        _events.remove(found)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


def list_fields(plate: str) -> set[str]:
    """Return the fields that the documents of a plate list."""
    document = read_document(local_path(plate))
    assert document is not None
    described = read_plate(document.attributes)
    found = set()
    for path in described.wells if described else ():
        well = read_document(local_path(f"{plate}/{path}"))
        fields = None if well is None else read_well(well.attributes)
        found |= {f"{path}/{field}" for field in (fields.fields if fields else ())}
    return found


def save_all(store: Bound, plate: str, names: list[str], **options: Any) -> None:
    store.save_batch([PLANE] * len(names), [f"{plate}/{name}" for name in names], **options)


# ── each document once ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [3, 24])
def test_field_reads_five_documents(store: Bound, count: int) -> None:
    for well in WELLS[:count]:
        store.save(PLANE, f"p.ome.zarr/{well}/0")
    with count_documents() as of:
        store.save(PLANE, "p.ome.zarr/A/1/1")
    assert sum(of("read").values()) <= 5
    assert of("written") == {"p.ome.zarr/A/1": 1}
    with count_documents() as of:
        store.save(PLANE, "p.ome.zarr/C/9/0")
    assert sum(of("read").values()) <= 5
    assert of("written") == {"p.ome.zarr": 1, "p.ome.zarr/C/9": 1}
    with count_documents() as of:
        store.save(PLANE, "p.ome.zarr/C/9/0")
    assert of("written") == {}, "the field was already listed"


def test_batch_writes_documents_once(store: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_SECONDS", float("inf"))
    names = [f"{well}/{field}" for well in WELLS for field in range(3)]
    with count_documents() as of:
        save_all(store, "p.ome.zarr", names)
    assert of("written").pop("p.ome.zarr") == 2, "for the first field and at the end"
    assert max(of("written").values()) <= 2
    assert list_fields("p.ome.zarr") == set(names)


def test_save_plate_writes_documents_once(
    store: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "_SECONDS", float("inf"))
    names = [f"scan/{well.replace('/', '')}_s{n}.tif" for well in WELLS for n in (1, 2)]
    store.manager.save_batch([PLANE] * len(names), names, backend="disk")
    with count_documents() as of:
        save_plate(
            store.manager,
            "scan",
            "p.ome.zarr",
            names="{well}_s{site}.tif",
            source_backend="disk",
            backend="zarr",
        )
    assert of("written").pop("p.ome.zarr") == 2
    assert list_fields("p.ome.zarr") == {f"{well}/{n}" for well in WELLS for n in (1, 2)}


def test_rows_change_documents_once(store: Bound) -> None:
    save_all(store, "p.ome.zarr", [f"{well}/0" for well in WELLS])
    with count_documents() as of:
        store.delete("p.ome.zarr/B", recursive=True)
    assert of("written") == {"p.ome.zarr": 1}
    with count_documents() as of:
        store.copy("p.ome.zarr/A", "p.ome.zarr/D")
    assert of("written") == {"p.ome.zarr": 1}
    with count_documents() as of:
        store.move("p.ome.zarr/C", "p.ome.zarr/E")
    assert of("written") == {"p.ome.zarr": 2}, "one row is removed, and one is added"
    assert list_fields("p.ome.zarr") == {f"{row}/{n}/0" for row in "ADE" for n in range(1, 9)}


@pytest.mark.parametrize("ome", ["0.4", "0.5"])
def test_batch_fills_many_stores(store: Bound, ome: str) -> None:
    names = [f"{well}/0" for well in WELLS[:5]]
    paths = [f"{plate}.ome.zarr/{name}" for name in names for plate in ("p", "q")]
    store.save_batch([PLANE] * len(paths), paths, ome=ome)
    assert list_fields("p.ome.zarr") == list_fields("q.ome.zarr") == set(names)


# ── batches that end early ───────────────────────────────────────────────────────────────


def test_failed_batch_lists_its_fields(store: Bound) -> None:
    values = [PLANE, PLANE, PLANE, "not an array", PLANE]
    with pytest.raises(BatchError):
        store.save_batch(values, [f"p.ome.zarr/{well}/0" for well in WELLS[:5]])
    assert list_fields("p.ome.zarr") == {"A/1/0", "A/2/0", "A/3/0"}


KILLED = """
import os, signal, sys
import numpy as np
from polystore_core import FileManager

def report(done, total):
    if done == 9:
        os.kill(os.getpid(), signal.SIGKILL)

paths = sys.argv[1:]
FileManager().save_batch(
    [np.zeros((8, 8), "u2")] * len(paths), paths, backend="zarr", progress=report
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs SIGKILL")
@pytest.mark.parametrize("by_transfer", [False, True])
def test_killed_batch_is_completed(store: Bound, by_transfer: bool) -> None:
    """The next batch lists the fields that a killed batch did not list, also with "skip"."""
    names = [f"{well}/0" for well in WELLS]
    paths = [f"p.ome.zarr/{name}" for name in names]
    ran = subprocess.run([sys.executable, "-c", KILLED, *paths], timeout=60)
    assert ran.returncode == -signal.SIGKILL
    assert {"A/1/0"} <= list_fields("p.ome.zarr") <= set(names[:9])
    if by_transfer:
        fm = FileManager()
        fm.save_batch([PLANE] * len(names), [f"plate/{name}" for name in names], "memory")
        routes: Any = {"source_backend": "memory", "target_backend": "zarr"}
        fm.transfer("plate", "p.ome.zarr", **routes, if_exists="skip")
    else:
        save_all(store, "p.ome.zarr", names, if_exists="skip")
    assert list_fields("p.ome.zarr") == set(names)
    with count_documents() as of:
        save_all(store, "p.ome.zarr", names, if_exists="skip")
    assert of("written") == {}


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs interval timers")
@pytest.mark.timeout(60)
def test_ctrl_c_while_the_documents_wait_for_the_lock(
    store: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved fields are still listed."""
    monkeypatch.setattr(members, "_SECONDS", float("inf"))
    names = [f"{well}/0" for well in WELLS[:4]]
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock("p.ome.zarr"):
            locked.set()
            release.wait()

    holder = threading.Thread(target=hold)

    def report(done: int, total: int) -> None:
        if done == total:  # the first field is listed, and the others wait
            holder.start()
            locked.wait()
            signal.setitimer(signal.ITIMER_REAL, 0.3)

    def interrupt(*_: object) -> None:
        release.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            save_all(store, "p.ome.zarr", names, progress=report)
    finally:
        signal.signal(signal.SIGALRM, before)
        holder.join()
    assert list_fields("p.ome.zarr") == set(names)


def test_damaged_well_fails_its_item(store: Bound) -> None:
    """The error names the field whose document cannot be changed, not the last field."""
    save_all(store, "p.ome.zarr", [f"{well}/0" for well in WELLS[:4]])
    well = Path("p.ome.zarr/A/2/zarr.json")
    document = json.loads(well.read_text())
    document["attributes"]["ome"]["well"]["images"] = 7
    well.write_text(json.dumps(document))
    with pytest.raises(BatchError) as caught:
        save_all(store, "p.ome.zarr", [f"{well}/1" for well in WELLS[:4]])
    [(path, cause)] = caught.value.failed.values()
    assert path == "p.ome.zarr/A/2/1"
    assert isinstance(cause, DamagedDataError)
    assert "A/1/1" in list_fields_of_well("A/1")


def list_fields_of_well(well: str) -> set[str]:
    document = read_document(local_path(f"p.ome.zarr/{well}"))
    fields = None if document is None else read_well(document.attributes)
    return {f"{well}/{field}" for field in (fields.fields if fields else ())}


# ── documents of other programs ──────────────────────────────────────────────────────────


def test_changed_bytes_are_seen(store: Bound) -> None:
    """Another program changes a large document in place, within one tick of the clock."""
    wells = [f"{row}/{column}" for row in "ABCD" for column in range(1, 41)]
    save_all(store, "p.ome.zarr", [f"{well}/0" for well in wells])
    place = Path("p.ome.zarr/zarr.json")
    before = place.stat()
    text = place.read_text()
    assert len(text) > 4096, "large enough to be remembered"
    place.write_text(text.replace('"name": "p"', '"name": "x"'))
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.save(PLANE, "p.ome.zarr/E/1/0")
    document = read_document(local_path("p.ome.zarr"))
    plate = None if document is None else read_plate(document.attributes)
    assert plate is not None
    assert plate.name == "x"
    assert plate.wells == (*wells, "E/1")


def test_foreign_keys_stay_in_batch(store: Bound) -> None:
    save_all(store, "p.ome.zarr", ["A/1/0"])
    place = Path("p.ome.zarr/zarr.json")
    document = json.loads(place.read_text())
    document["attributes"]["theirs"] = float("nan")
    document["attributes"]["ome"]["plate"] |= {"field_count": 1, "acquisitions": [{"id": 0}]}
    document["attributes"]["ome"]["plate"]["wells"][0]["note"] = "x"
    place.write_text(json.dumps(document))
    save_all(store, "p.ome.zarr", ["A/2/0", "A/2/1", "B/1/0"])
    changed = json.loads(place.read_text())["attributes"]
    assert np.isnan(changed["theirs"])
    plate = changed["ome"]["plate"]
    assert plate["acquisitions"] == [{"id": 0}]
    assert plate["field_count"] == 2
    assert [well["path"] for well in plate["wells"]] == ["A/1", "A/2", "B/1"]
    assert plate["wells"][0]["note"] == "x"
    for field in range(1, 4):
        store.save(PLANE, f"p.ome.zarr/A/1/{field}")
    assert json.loads(place.read_text())["attributes"]["ome"]["plate"]["field_count"] == 4


def test_batch_removes_consolidated_copies(
    store: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consolidated metadata that is written during a batch lacks the last wells of that batch."""
    import zarr

    monkeypatch.setattr(members, "_SECONDS", float("inf"))
    names = [f"{well}/0" for well in WELLS[:4]]

    def consolidate(done: int, total: int) -> None:
        if done == total:
            with pytest.warns(UserWarning, match="onsolidated"):
                zarr.consolidate_metadata("p.ome.zarr")

    save_all(store, "p.ome.zarr", names, progress=consolidate)
    assert list_fields("p.ome.zarr") == set(names)
    assert "consolidated_metadata" not in json.loads(Path("p.ome.zarr/zarr.json").read_text())


# ── calls ────────────────────────────────────────────────────────────────────────────────


def _frames(call: Callable[[], Any]) -> int:
    """Return how many of our functions ``call`` runs. A generator counts at each step."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and "polystore" in frame.f_code.co_filename

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def test_small_saves_make_few_calls(store: Bound) -> None:
    """The limits are those of the design and 10 % more. Python versions count generators
    differently."""
    for name in ("a", "b"):
        store.save(PLANE, f"run.zarr/{name}")
        store.load(f"run.zarr/{name}")
    assert _frames(lambda: store.save(PLANE, "run.zarr/c")) <= 154
    assert _frames(lambda: store.load("run.zarr/c")) <= 110
    for column in range(1, 4):
        store.save(PLANE, f"p.ome.zarr/A/{column}/0")
    assert _frames(lambda: store.save(PLANE, "p.ome.zarr/A/1/1")) <= 330


def test_document_that_another_program_has_replaced(tmp_path: Path) -> None:
    """Another program takes no lock of ours. Its change must be found before it is overwritten."""
    backend = ZarrBackend(root=tmp_path)
    backend.save(PLANE, "plate.ome.zarr/A/1/0")
    store = local_path(tmp_path / "plate.ome.zarr")
    document = read_document(store)
    assert document is not None
    theirs = {**document.fields, "attributes": {**document.attributes, "theirs": 1}}
    (tmp_path / "plate.ome.zarr/zarr.json").write_text(json.dumps(theirs))
    with pytest.raises(VersionConflictError):
        write_attributes(store, document, {"ours": 1}, store=store, durable=False)
    assert json.loads((tmp_path / "plate.ome.zarr/zarr.json").read_text()) == theirs
    backend.save(PLANE, "plate.ome.zarr/A/2/0")
    after = read_document(store)
    assert after is not None
    assert after.attributes["theirs"] == 1
    assert len(after.attributes["ome"]["plate"]["wells"]) == 2
