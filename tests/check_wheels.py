"""Install the built wheels into empty environments, as users do: python check_wheels.py FOLDER"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("packages/*/README.md"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *PAGES]
TRAINING = [ROOT / "docs/training.md", ROOT / "packages/polystore-torch/README.md"]
TORCH = "torch==2.13.0"  # as in noxfile.py: the CPU build
SNIPPETS = str(ROOT / "tests/run_snippets.py")
VERSION = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))["version"]
PUBLISHED = "0.6.3"  # by others, under the name polystore
PUBLISHED_WORKS = """
import os, tempfile
from importlib.metadata import version
import numpy as np
from polystore import DiskBackend, FileManager, MemoryBackend

manager = FileManager({"disk": DiskBackend(), "memory": MemoryBackend()})
image = np.arange(6).reshape(2, 3)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.npy")
    manager.save(image, path, "disk")
    assert (manager.load(path, "disk") == image).all()
print(version("polystore"))
"""
CORE_ALONE = {"numpy", "pluggy", "polystore-core"}
PLAIN = CORE_ALONE | {"polystore", "polystore-memory", "polystore-disk", "polystore-formats"}


class Environment:
    """An empty virtual environment that installs from the folder of wheels first."""

    def __init__(self, folder: Path, wheels: Path, *, with_pip: bool = True) -> None:
        venv.create(folder, with_pip=with_pip)
        self.bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.wheels = wheels

    def run(self, *command: str, folder: Path | None = None) -> str:
        return self._call(str(self.bin / command[0]), *command[1:], folder=folder)

    def install(self, *requirements: str) -> None:
        self._pip("install", "--quiet", "--find-links", str(self.wheels), *requirements)

    def list_installed(self) -> set[str]:
        listed = self._pip("list", "--format=freeze").split()
        return {line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools"}

    def _pip(self, *words: str) -> str:
        own = str(self.bin / "python")
        return self._call(sys.executable, "-m", "pip", "--python", own, *words)

    def _call(self, *command: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=folder or self.wheels,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout


def check_content(built: dict[str, Path]) -> None:
    """Assert that each wheel has a license and only its own import package."""
    for name, path in built.items():
        files = zipfile.ZipFile(path).namelist()
        assert any(file.endswith("licenses/LICENSE") for file in files), path.name
        tops = {file.partition("/")[0] for file in files}
        assert {top for top in tops if not top.endswith(".dist-info")} == {name}, path.name
    assert (
        "polystore_fiji/polystore_receiver.jar"
        in zipfile.ZipFile(built["polystore_fiji"]).namelist()
    )


def check_core(environment: Environment, wheel: Path) -> None:
    """Assert that core installs alone."""
    environment.install(str(wheel))
    assert environment.list_installed() == CORE_ALONE, environment.list_installed()
    environment.run("python", "-c", "import polystore_core; polystore_core.FileManager()")
    print("polystore-core installs with", *sorted(CORE_ALONE))


def check_documents(environment: Environment, wheel: Path) -> None:
    """Assert that polystore installs little, and that the documents are right with extras."""
    environment.install(str(wheel))
    assert environment.list_installed() == PLAIN, environment.list_installed()
    print("polystore installs with", *sorted(PLAIN))
    environment.install(f"{wheel}[cli]")
    with tempfile.TemporaryDirectory() as folder:
        print(environment.run("polystore", "demo", folder=Path(folder)), end="")
    environment.install(
        f"{wheel}[tiff,image,safetensors,zip,zarr,dask,workspace,streaming,fiji,cli,progress]"
    )
    environment.install("polystore-testing", "hatchling", "editables")  # to write a backend
    environment.install("--no-deps", "polystore-napari")  # the part for pipelines
    plain = [str(path) for path in DOCUMENTS if path not in TRAINING]
    print(environment.run("python", SNIPPETS, *plain), end="")
    environment.install(TORCH, f"{wheel}[training]")
    print(environment.run("python", SNIPPETS, *map(str, TRAINING)), end="")
    assert "disk" in environment.run("polystore", "plugins")
    compiled = "from polystore_fiji.jars import find_own_jar; print('receiver', find_own_jar())"
    print(environment.run("python", "-c", compiled), end="")
    print(environment.run("polystore", "--version"), end="")


def check_upgrade(environment: Environment) -> None:
    """Assert that pip replaces the published version with ours, and ours with that one."""
    environment.install(f"polystore=={PUBLISHED}")
    for step in ("upgrade", "downgrade", "upgrade again"):
        if step == "downgrade":
            environment.install(f"polystore=={PUBLISHED}")
            found = environment.run("python", "-c", PUBLISHED_WORKS).split()[-1]
            assert found == PUBLISHED, found
        else:
            environment.install("--upgrade", "polystore[zarr]")
            found = environment.run(
                "python", "-c", "import polystore; print(polystore.__version__)"
            ).strip()
            assert found == VERSION, found
            environment.run("python", SNIPPETS, str(ROOT / "docs/quickstart.md"))
        print(step, "to", found)


def main(wheels: Path) -> None:
    built = {path.name.partition("-")[0]: path for path in wheels.glob("*.whl")}
    check_content(built)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_core(Environment(folder / "core", wheels), built["polystore_core"])
        check_documents(Environment(folder / "plain", wheels), built["polystore"])
        check_upgrade(Environment(folder / "upgrade", wheels))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
