"""Install each wheel alone, as pip does, and try it: python check_alone.py WHEELS SBOMS

Each distribution gets an empty environment with only its declared dependencies. There it must
import, and keep its smallest promise. Then the folder SBOMS gets a CycloneDX document of that
environment, with the distributions that ``pip install`` brings.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from check_wheels import ROOT, TORCH, VERSION, Environment

DECLARED = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))["packages"]
SAVED = """
import numpy as np
image = np.arange(6, dtype="uint16").reshape(2, 3)
fm.save(image, path, backend=backend)
assert (fm.load(path, backend=backend) == image).all()
"""
SMALLEST = {
    "polystore": """
from polystore import FileManager
fm, path, backend = FileManager(), "a.npy", "disk"
"""
    + SAVED,
    "polystore-core": """
from polystore_core import FileManager, atomic_write, file_lock
with file_lock("a.txt"), atomic_write("a.txt") as file:
    file.write("whole")
assert open("a.txt").read() == "whole"
FileManager()
""",
    "polystore-formats": """
import numpy as np
from polystore_core import FileBackend, LocalStore
files = FileBackend(LocalStore())
files.save(np.arange(3), "a.npy")
assert files.load("a.npy").tolist() == [0, 1, 2]
""",
    "polystore-memory": """
from polystore_core import FileManager
fm, path, backend = FileManager(), "a", "memory"
"""
    + SAVED,
    "polystore-disk": """
from polystore_core import FileManager
fm, path, backend = FileManager(), "a.npy", "disk"
"""
    + SAVED,
    "polystore-zip": """
from polystore_core import BackendRegistry, FileManager
registry = BackendRegistry()
registry.add("archive", "zip", file="a.zip")
fm, path, backend = FileManager(registry), "a.npy", "archive"
"""
    + SAVED,
    "polystore-zarr": """
from polystore_core import FileManager
fm, path, backend = FileManager(), "a.zarr/image", "zarr"
"""
    + SAVED,
    "polystore-workspace": """
import json
from polystore_core import BackendRegistry, FileManager
entry = {"backend": "disk", "address": "raw.tif"}
document = {"polystore_workspace": 1, "root": ".", "entries": {"B03/a.tif": entry}}
open("ws.json", "w").write(json.dumps(document))
registry = BackendRegistry()
registry.add("ws", "virtual_workspace", file="ws.json")
assert FileManager(registry).list_files("B03", backend="ws") == ["B03/a.tif"]
""",
    "polystore-stream": """
import numpy as np
from polystore_core import FileManager
from polystore_stream import receive
with receive(timeout=60) as items:
    FileManager().save(np.ones((2, 3)), "a", backend="streaming")
    assert next(items).data.sum() == 6
""",
    "polystore-napari": """
import runpy, sys
import napari
from polystore_napari import launch
sys.argv = ["polystore-napari", "--help"]
runpy.run_module("polystore_napari", run_name="__main__")
""",
    "polystore-fiji": """
import zipfile
from polystore_fiji.jars import find_own_jar
assert "polystore/fiji/Main.class" in zipfile.ZipFile(find_own_jar().path).namelist()
""",
    "polystore-torch": """
import numpy as np
from polystore_core import DataSource
from polystore_torch import Images
class Zeros(DataSource):
    _backend_type = "zeros"
    def list_files(self, directory, /, **options):
        return ["plate/a_f1"]
    def load(self, path, /):
        return np.zeros((2, 3), "float32")
pixels, labels = Images("plate", backend="zeros", names="{name}_f{field}")[0]
assert (pixels.shape, labels) == ((2, 3), {"name": "a", "field": "1"})
""",
    "polystore-cli": """
import runpy, sys
sys.argv = ["polystore", "plugins", "--json"]
runpy.run_module("polystore_cli", run_name="__main__")
""",
    "polystore-testing": """
import pathlib, pytest, sys
pathlib.Path("test_alone.py").write_text('''
import pytest
from polystore_core import LocalStore
from polystore_testing import StoreTests
class TestLocalStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return LocalStore(tmp_path)
''')
sys.exit(pytest.main(["-q", "test_alone.py"]))
""",
}


def write_sbom(environment: Environment, name: str, target: Path) -> None:
    """Write which distributions are in ``environment``, with ``name`` as the main one."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "packages" / name / "pyproject.toml")]
    command += ["--mc-type", "library", "-o", str(target / f"{name}-{VERSION}.cdx.json")]
    subprocess.run([*command, str(environment.bin / "python")], check=True)


def main(wheels: Path, sboms: Path) -> None:
    sboms.mkdir(exist_ok=True)
    assert SMALLEST.keys() == DECLARED.keys()
    for name, code in SMALLEST.items():
        with tempfile.TemporaryDirectory() as folder:
            environment = Environment(Path(folder, "environment"), wheels, with_pip=False)
            environment.install(
                *([TORCH] if name == "polystore-torch" else []), f"{name}=={VERSION}"
            )
            environment.run("python", "-c", code, folder=Path(folder))
            write_sbom(environment, name, sboms)
            print(f"{name} works alone with {len(environment.list_installed()) - 1} others")


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:]))
