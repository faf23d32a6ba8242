"""A viewer follows an acquisition of another process with the code of the docs."""

import shutil
import subprocess
import sys
import tempfile
from itertools import islice

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager

pytest.importorskip("polystore_stream")
pytest.importorskip("polystore_zarr")
pytestmark = pytest.mark.timeout(120)

ACQUISITION = """
import sys, time
import numpy as np
from polystore import FileManager

with FileManager().create(
    "run.zarr/movie", shape=(None, 24, 32), dtype="uint16", backend="zarr"
) as movie:
    for n in range(30):
        movie.append(np.full((24, 32), n, "uint16"))
        time.sleep(0.01)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, with private receivers."""
    # The kernel limits the names of sockets, so this one is short.
    runtime = tempfile.mkdtemp(prefix="ps-")
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", runtime)
    monkeypatch.chdir(tmp_path)
    yield
    shutil.rmtree(runtime)


@pytest.mark.usefixtures("folder")
def test_viewer_follows_an_acquisition():
    from polystore_stream import receive

    stream = "streaming"
    with (
        BackendRegistry() as registry,
        receive() as incoming,
        subprocess.Popen([sys.executable, "-c", ACQUISITION]),
    ):
        fm, layers = FileManager(registry), set()
        for item in islice(fm.watch("run.zarr/movie", backend="zarr"), 30):
            fm.save(item.load(), f"movie/{item.index}", backend=stream, names="{t}")
            shown = next(incoming)
            layers.add(shown.layer)
            assert (shown.path, shown.at) == (f"movie/{item.index}", {"t": f"{item.index}"})
            assert np.array_equal(shown.data, np.full((24, 32), item.index, "uint16"))
    assert len(layers) == 1
