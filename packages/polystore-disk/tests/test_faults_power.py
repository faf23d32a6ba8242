"""Power cuts on a real ext4 leave either the old value or the new one, complete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_disk.backend import DiskBackend
from polystore_testing.power import WEAK, PowerCut, require_power_cuts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CUTS = 4
START = """
import numpy as np
from polystore_core import atomic_update_json
from polystore_disk.backend import DiskBackend
disk, n = DiskBackend(root=folder), 60_000  # several pages, and the saves soon outrun the device
def value(version): return np.full(n, version, "<u4")
"""
REPLACING = {
    "save": """
disk.save(value(1), "a.npy")
def step(version): disk.save(value(version), "a.npy")
""",
    "save durably": """
disk.save(value(1), "a.npy")
def step(version): disk.save(value(version), "a.npy", durable=True)
""",
    "save_batch": """
n //= 8
paths = [f"{i}.npy" for i in range(8)]
disk.save_batch([value(1)] * 8, paths)
def step(version): disk.save_batch([value(version)] * 8, paths)
""",
    "copy": """
disk.save(value(1), "a.npy")
def step(version):
    disk.save(value(version), f"{version % 3}.tmp.npy", durable=False)
    disk.copy(f"{version % 3}.tmp.npy", "a.npy")
""",
    "move": """
disk.save(value(1), "a.npy")
def step(version):
    disk.save(value(version), "new.tmp.npy", durable=False)
    disk.move("new.tmp.npy", "a.npy")
""",
    "update": """
atomic_update_json(folder + "/a.json", lambda _: {"v": 1})
def step(version):
    atomic_update_json(folder + "/a.json", lambda old: {"v": version, "pad": "x" * 9000})
""",
}
UNFLUSHED = """
disk.save(value(1), "a.npy")
def step(version): disk.save(value(version), "a.npy", durable=False)
"""
NEW = """
def step(version):
    disk.save(value(version)[: n // 8], f"f{version % 4}/{version}.npy", durable=True)
"""


@pytest.fixture(params=["", WEAK], ids=["default", "weak"])
def power(request: pytest.FixtureRequest, tmp_path: Path) -> PowerCut:
    require_power_cuts()
    return PowerCut(tmp_path, request.param, seed=7)


def version_of(path: Path) -> int:
    """Return which version a file holds. Every element must be of that version."""
    if path.suffix == ".json":
        return int(json.loads(path.read_text())["v"])
    (version,) = np.unique(DiskBackend().load(path))
    return int(version)


@pytest.mark.parametrize("operation", REPLACING)
def test_old_or_new_survives(power: PowerCut, operation: str) -> None:
    for _ in range(CUTS):
        after, newest = power.run(START + REPLACING[operation])
        names = [path for path in after.glob("[!.]*.*") if ".tmp" not in path.name]
        assert names
        for path in names:
            version = version_of(path)
            assert 1 <= version <= newest + 1
            if operation in ("save durably", "update"):
                assert version >= newest, "an acknowledged save is lost"


def test_durable_names_survive(power: PowerCut) -> None:
    for _ in range(CUTS):
        after, newest = power.run(START + NEW)
        for version in range(2, newest + 1):
            assert version_of(after / f"f{version % 4}/{version}.npy") == version


def test_power_cuts_do_harm(tmp_path: Path) -> None:
    """Power cuts without a flush destroy a value.

    Otherwise the tests above would prove nothing.
    """
    require_power_cuts()
    power = PowerCut(tmp_path, WEAK, seed=7)
    for _ in range(20):
        after, _ = power.run(START + UNFLUSHED)
        try:
            version_of(after / "a.npy")
        except (ValueError, OSError):
            return
    pytest.fail("no value was damaged by 20 power cuts")
