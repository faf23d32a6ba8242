"""Install the built wheels into empty environments, as users do: python check_wheels.py FOLDER"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CORE_ALONE = {"numpy", "pluggy", "polystore-core"}
PLAIN = CORE_ALONE | {"polystore", "polystore-memory", "polystore-disk", "polystore-formats"}


class Environment:
    """An empty virtual environment that installs from the folder of wheels first."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
        self.wheels = wheels

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.wheels,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def install(self, *requirements: str) -> None:
        self.run(
            "python", "-m", "pip", "install", "--quiet", "--find-links", str(self.wheels),
            *requirements,
        )  # fmt: skip

    def installed(self) -> set[str]:
        listed = self.run("python", "-m", "pip", "list", "--format=freeze").split()
        return {line.partition("==")[0].lower() for line in listed} - {"pip", "setuptools"}


def main(wheels: Path) -> None:
    built = {path.name.partition("-")[0]: path for path in wheels.glob("*.whl")}
    for path in built.values():
        names = zipfile.ZipFile(path).namelist()
        licensed = any(name.endswith("licenses/LICENSE") for name in names)
        assert licensed, f"{path.name} has no license"
        code = [name for name in names if name.endswith(".py")]
        assert bool(code) == (not path.name.startswith("polystore-")), path.name
    receiver = "polystore_fiji/polystore_receiver.jar"
    assert receiver in zipfile.ZipFile(built["polystore_fiji"]).namelist()
    with tempfile.TemporaryDirectory() as folder:
        alone = Environment(Path(folder) / "core", wheels)
        alone.install(str(built["polystore_core"]))
        assert alone.installed() == CORE_ALONE, alone.installed()
        alone.run("python", "-c", "import polystore; polystore.FileManager()")
        print("polystore-core installs with", *sorted(alone.installed()))

        plain = Environment(Path(folder) / "plain", wheels)
        plain.install(str(built["polystore"]))
        assert plain.installed() == PLAIN, plain.installed()
        print("polystore installs with", *sorted(plain.installed()))
        script = str(ROOT / "tests/run_snippets.py")
        plain.install(f"{built['polystore']}[tiff,image,zarr,dask,streaming,fiji,cli,progress]")
        print(plain.run("python", script, *map(str, DOCUMENTS)), end="")
        assert "disk" in plain.run("polystore", "plugins")
        compiled = "from polystore_fiji.jars import own_jar; print('receiver', own_jar())"
        print(plain.run("python", "-c", compiled), end="")
        print(plain.run("polystore", "--version"), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
