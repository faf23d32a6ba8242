"""Power cuts on a real ext4 destroy no value that existed before, and no durable value."""

import numpy as np
import pytest

from polystore_core.errors import DamagedDataError
from polystore_testing.power import WEAK, PowerCut, require_power_cuts
from polystore_zip.backend import ZipBackend

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CUTS = 5
START = """
import numpy as np
from polystore_zip.backend import ZipBackend
archive = ZipBackend(file=folder + "/scan.zip")
def value(version): return np.full(40_000 if version % 7 == 0 else 500, version, "<i4")
"""
WORKLOADS = {
    "save durably": """
def save(version): archive.save(value(version), f"{version}.npy", durable=True)
""",
    "save_batch durably": """
def save(version):
    names = [f"{version}.npy", f"a/{version}.npy", f"b/{version}.npy"]
    archive.save_batch([value(version)] * 3, names, durable=True)
""",
    "save": """
def save(version): archive.save(value(version), f"{version}.npy")
import ctypes, os, random, threading
libc = ctypes.CDLL(None, use_errno=True)
def write_back():
    # The kernel may write pages at any time and in any order.
    while not os.path.exists(archive.file): pass
    descriptor = os.open(archive.file, os.O_RDWR)
    while True:
        start = ctypes.c_int64(random.randrange(os.path.getsize(archive.file)) & ~4095)
        libc.sync_file_range(descriptor, start, ctypes.c_int64(random.choice([4096, 65536])), 7)
threading.Thread(target=write_back, daemon=True).start()
""",
}
RUN = """
archive.save_batch([value(-n) for n in range(1, 200)], [f"old/{n}.npy" for n in range(1, 200)],
                   durable=True)
save(1)
def step(version): save(version)
"""


def value(version):
    return np.full(40_000 if version % 7 == 0 else 500, version, "<i4")


@pytest.mark.parametrize("options", ["", WEAK])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_power_cut(tmp_path, workload, options):
    require_power_cuts()
    cut = PowerCut(tmp_path, options, seed=len(workload))
    for _ in range(CUTS):
        folder, last = cut.run(START + WORKLOADS[workload] + RUN)
        archive = ZipBackend(file=folder / "scan.zip")
        for n in range(1, 200):
            np.testing.assert_array_equal(archive.load(f"old/{n}.npy"), value(-n))
        for version in range(1, last + 1) if "durably" in workload else ():
            np.testing.assert_array_equal(archive.load(f"{version}.npy"), value(version))
        for name in archive.list_files("."):
            try:
                found = archive.load(name)
            except DamagedDataError:  # The bytes had not reached the device.
                assert workload == "save"
                continue
            np.testing.assert_array_equal(found, value(int(name.partition(".")[0])))
        archive.save(value(1), "new.npy", durable=True)
        np.testing.assert_array_equal(archive.load("old/7.npy"), value(-7))
