"""Power cuts on a real ext4 leave the whole old array or the whole new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import DamagedDataError
from polystore_testing.power import WEAK, PowerCut, require_power_cuts
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CUTS = 2

START = """
import numpy as np
from polystore_zarr.backend import ZarrBackend
zarr = ZarrBackend(root=folder)
def value(version): return np.full((200, 200), version, "u4")
plain = {"chunks": 50, "shards": False, "compressor": "none"}
"""
REPLACING = {
    "save": """
zarr.save(value(1), "g.zarr/a", **plain)
def step(version): zarr.save(value(version), "g.zarr/a", **plain)
""",
    "save durably": """
zarr.save(value(1), "g.zarr/a", **plain)
def step(version): zarr.save(value(version), "g.zarr/a", durable=True, **plain)
""",
    "save image": """
zarr.save(value(1), "p.ome.zarr", levels=2)
def step(version): zarr.save(value(version), "p.ome.zarr", levels=2)
""",
    "copy": """
zarr.save(value(1), "g.zarr/a", **plain)
def step(version):
    zarr.save(value(version), "tmp.zarr", durable=False, **plain)
    zarr.copy("tmp.zarr", "g.zarr/a")
""",
    "move": """
zarr.save(value(1), "g.zarr/a", **plain)
def step(version):
    zarr.save(value(version), "tmp.zarr", durable=False, **plain)
    zarr.move("tmp.zarr", "g.zarr/a")
""",
}
UNFLUSHED = """
zarr.save(value(1), "g.zarr/a", **plain)
def step(version): zarr.save(value(version), "g.zarr/a", durable=False, **plain)
"""
PLATE = """
zarr.save(value(1), "q.ome.zarr/A/01/0", levels=1)
def step(version):
    path = f"q.ome.zarr/{'ABCD'[version % 4]}/{version:02}/0"
    zarr.save(value(version), path, levels=1, durable=DURABLE)
"""


GROWING = """
def frame(number): return np.full((60, 50), number, "u4")
shape = (None, 60, 50)
handle = zarr.create(PATH, shape=shape, dtype="u4", durable=DURABLE, **OPTIONS)
handle.append(frame(1))
handle.flush()
def step(version):
    handle.append(frame(version))
    if version % 4 == 0: handle.flush()
"""


@pytest.fixture(params=["", WEAK], ids=["default", "weak"])
def power(request: pytest.FixtureRequest, tmp_path: Path) -> PowerCut:
    require_power_cuts()
    return PowerCut(tmp_path, request.param, seed=9)


def run(power: PowerCut, code: str) -> tuple[ZarrBackend, int]:
    """Return the backend after the cut, and the last acknowledged version."""
    after, newest = power.run(START + code)
    return ZarrBackend(root=after), newest


def version_of(backend: ZarrBackend, path: str) -> int:
    value = backend.load(path)
    assert value.shape == (200, 200)
    assert (value == value.flat[0]).all(), "a mixture of versions"
    return int(value.flat[0])


@pytest.mark.parametrize("operation", REPLACING)
def test_old_or_new_survives(power: PowerCut, operation: str) -> None:
    for _ in range(CUTS):
        backend, newest = run(power, REPLACING[operation])
        path = "p.ome.zarr" if "image" in operation else "g.zarr/a"
        version = version_of(backend, path)
        assert 1 <= version <= newest + 1
        if operation == "save durably":
            assert version >= newest, "an acknowledged save is gone"


@pytest.mark.parametrize("durable", [None, True])
def test_documents_survive(power: PowerCut, durable: bool | None) -> None:
    """A plate that is being filled can be listed and read. With ``True``, no field is missing."""
    for _ in range(CUTS):
        backend, newest = run(power, PLATE.replace("DURABLE", str(durable)))
        assert version_of(backend, "q.ome.zarr/A/01/0") == 1
        found = backend.list_files("q.ome.zarr", recursive=True)
        if durable:
            versions = {version_of(backend, path) for path in found}
            assert versions >= set(range(1, newest + 1))


@pytest.mark.parametrize("durable", [None, True])
@pytest.mark.parametrize("kind", ["array", "image"])
def test_flushed_frames_survive(power: PowerCut, kind: str, durable: bool | None) -> None:
    """A reader finds all flushed frames, and the next writer removes incomplete ones."""
    path, options = "g.zarr/a", {"chunks": (1, 25, 50)}
    if kind == "image":
        path, options = "p.ome.zarr", {"axes": "tyx", "levels": 2}
    code = GROWING.replace("DURABLE", str(durable)).replace("OPTIONS", repr(options))
    for _ in range(CUTS):
        backend, newest = run(power, code.replace("PATH", repr(path)))
        kept = newest if durable else max(1, newest // 4 * 4)
        for level in range(1 + (kind == "image")):
            found = backend.load(path, region=np.s_[:kept], level=level)
            expected = np.arange(1, kept + 1)[:, None, None]
            assert (found == expected).all()
        with backend.open(path, mode="a") as handle:
            assert kept <= len(handle) <= newest + 1
            handle.append(np.full((60, 50), len(handle) + 1, "u4"))
            count = len(handle)
        found = backend.load(path)
        assert (found == np.arange(1, count + 1)[:, None, None]).all()


def test_power_cuts_do_harm(tmp_path: Path) -> None:
    """Without a flush, values are damaged. Otherwise the tests above would prove nothing."""
    require_power_cuts()
    power = PowerCut(tmp_path, WEAK, seed=9)
    for _ in range(20):
        backend, _ = run(power, UNFLUSHED)
        try:
            version_of(backend, "g.zarr/a")
        except (DamagedDataError, AssertionError, OSError):
            return
    pytest.fail("20 power cuts, and every value is whole")
