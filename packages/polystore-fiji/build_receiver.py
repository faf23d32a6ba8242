"""Compile the receiver: python build_receiver.py, a second or two, with a JDK and ImageJ's jar.

The sources in ``java/`` become ``src/polystore_fiji/polystore_receiver.jar``, bytecode of Java 8,
with the other files of ``java/`` next to the classes. Equal sources and compilers make equal jars.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "java"
JAR = HERE / "src/polystore_fiji/polystore_receiver.jar"
# The version of the Java sources. A test compares it with polystore_stream.wire.messages.PROTOCOL.
PROTOCOL = "1.1"


class MissingToolError(Exception):
    """A JDK, ImageJ's jar or the sources are missing. The text says how to install them."""


def build(target: Path = JAR) -> Path:
    """Compile the sources into ``target``, which is replaced only if all goes well.

    Raises:
        MissingToolError: a JDK, ImageJ's jar or the sources are missing.
        RuntimeError: the compiler failed. The text has its output.
    """
    sources = sorted(SOURCES.rglob("*.java"))
    if not sources:
        raise MissingToolError(f"{SOURCES} has no .java file: use the whole source tree")
    compiler, imagej = find_compiler(), find_imagej()
    with tempfile.TemporaryDirectory(prefix="polystore-fiji-") as folder:
        classes = Path(folder, "classes")
        classes.mkdir()
        command = [compiler, "--release", "8", "-Xlint:all,-options", "-encoding", "UTF-8"]
        command += ["-cp", str(imagej), "-d", str(classes), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"javac failed:\n{done.stdout}{done.stderr}")
        print(done.stdout + done.stderr, end="", file=sys.stderr)  # warnings
        draft = target.with_suffix(f".{os.getpid()}.new")
        try:
            _pack(classes, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    return target


def find_compiler() -> str:
    """Return the javac of JAVA_HOME, else the one on the PATH."""
    home = os.environ.get("JAVA_HOME")
    found = (home and shutil.which("javac", path=f"{home}/bin")) or shutil.which("javac")
    if not found:
        raise MissingToolError(
            "javac was found neither on the PATH nor in JAVA_HOME: install a JDK, 9 or later "
            "(Debian: apt-get install default-jdk-headless imagej)"
        )
    return found


def find_imagej() -> Path:
    """Return the jar of ImageJ that POLYSTORE_IJ names, else one in a usual place."""
    places = runpy.run_path(str(HERE / "src/polystore_fiji/places.py"))
    given = os.environ.get("POLYSTORE_IJ")
    for jar in [Path(given)] if given else places["ij_jars"]():
        if jar.is_file():
            return Path(jar)
    raise MissingToolError(
        f"no jar of ImageJ was found{f' at POLYSTORE_IJ={given}' if given else ''}: install "
        "one (Debian: apt-get install default-jdk-headless imagej), or set POLYSTORE_IJ to an "
        "ij.jar"
    )


def _pack(classes: Path, target: Path) -> None:
    """Zip classes and resources. Their order and their dates are always the same."""
    content = {path.relative_to(classes): path for path in classes.rglob("*.class")}
    for path in SOURCES.rglob("*"):
        if path.is_file() and path.suffix != ".java" and not path.name.startswith("."):
            content[path.relative_to(SOURCES)] = path
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as jar:
        jar.writestr(_entry("META-INF/MANIFEST.MF"), _manifest())
        for name in sorted(content):
            jar.writestr(_entry(name.as_posix()), content[name].read_bytes())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # 1980: the least date that a zip knows
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # by default it depends on the system that builds
    return entry


def _manifest() -> str:
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = {
        "Manifest-Version": "1.0",
        "Implementation-Title": project["name"],
        "Implementation-Version": project["version"],
        "Polystore-Protocol": PROTOCOL,
    }
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"


def main() -> int:
    start = time.monotonic()
    try:
        jar = build()
    except (MissingToolError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - start
    print(f"{jar}: {jar.stat().st_size:,} bytes, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
