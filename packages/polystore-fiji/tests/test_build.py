"""The receiver's jar as it is built, and the wheel that contains it."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from polystore_fiji.jars import find_own_jar
from polystore_stream.wire.messages import PROTOCOL

from .machine import IJ_JAR, PACKAGE, needs_imagej

needs_jdk = pytest.mark.skipif(
    shutil.which("javac") is None, reason="no JDK is installed: apt-get install default-jdk"
)
JAR = "src/polystore_fiji/polystore_receiver.jar"
JAVA_8 = 52  # the version that its class files carry
CLASSES = PACKAGE / "java/polystore/fiji"

pytestmark = [pytest.mark.screen, needs_jdk, needs_imagej]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package without any built file."""
    return copy_package(tmp_path)


@pytest.fixture(scope="module")
def built_jar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the jar that was built in a copy of the package."""
    checkout = copy_package(tmp_path_factory.mktemp("built"))
    (checkout / "java/notes.txt").write_text("a resource")
    (checkout / "java/.notes.txt.swp").write_text("an editor's")
    done = run(checkout, "build_receiver.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the compiler printed warnings"
    assert done.stdout.endswith(" s\n")
    return checkout / JAR


def copy_package(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("*.jar", "__pycache__", "tests")
    return shutil.copytree(PACKAGE, folder / "polystore-fiji", ignore=ignore)


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_hatch(
    folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    return run(folder, "-m", "hatchling", "build", "-d", "out", *arguments, **variables)


# ── the sources ──────────────────────────────────────────────────────────────────────────


def list_imports(package: str) -> set[str]:
    """Return the names that a package's sources import from ImageJ and from our packages."""
    found: set[str] = set()
    for source in (CLASSES / package).glob("*.java"):
        found |= set(re.findall(r"^import (?:static )?([\w.*]+);", source.read_text(), re.M))
    return {name for name in found if name.startswith(("ij.", "polystore."))}


def test_packages_depend_one_way() -> None:
    """The transport imports neither ImageJ nor its package, which imports no entry point."""
    assert not list_imports("transport")
    ours = {name for name in list_imports("imagej") if name.startswith("polystore.")}
    assert ours
    assert all(re.match(r"polystore\.fiji\.(imagej|transport)\.", name) for name in ours)


def test_entry_points_stay() -> None:
    """Python starts Main and ImageJ's menu starts the others. All other classes are in packages."""
    names = {path.stem for path in CLASSES.glob("*.java")}
    assert names == {"Main", "Receive", "ToggleScaleBar"}


def test_sources_are_short() -> None:
    """No file has more than 500 lines."""
    lengths = {path: len(path.read_text().splitlines()) for path in CLASSES.rglob("*.java")}
    assert {path.name for path, length in lengths.items() if length > 500} == set()


def test_classes_with_locks_have_maps() -> None:
    """A class that threads share starts with a comment: which lock guards which fields."""
    shared = re.compile(r"^[^*/]*\b(synchronized|volatile|Atomic\w+ \w+|\w+Lock \w+)\b", re.M)
    sources = {path: path.read_text() for path in CLASSES.rglob("*.java")}
    found = {path: text for path, text in sources.items() if shared.search(text)}
    assert CLASSES / "transport/Inbox.java" in found
    mapped = re.compile(r"^(public )?final class .* \{\n    // Locks: ", re.M)
    assert [path.name for path, text in found.items() if not mapped.search(text)] == []


# ── the jar ──────────────────────────────────────────────────────────────────────────────


def test_builds_are_equal(built_jar: Path, checkout: Path) -> None:
    """The same sources make the same bytes, at any time and in any folder."""
    shutil.copy(built_jar.parents[2] / "java/notes.txt", checkout / "java")
    for path in (checkout / "java").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert run(checkout, "build_receiver.py").returncode == 0
    assert (checkout / JAR).read_bytes() == built_jar.read_bytes()


def test_classes_are_of_java_8(built_jar: Path) -> None:
    """Fiji's own Java may be Java 8."""
    with zipfile.ZipFile(built_jar) as jar:
        classes = [name for name in jar.namelist() if name.endswith(".class")]
        versions = {struct.unpack(">H", jar.read(name)[6:8])[0] for name in classes}
    assert "polystore/fiji/Main.class" in classes
    assert versions == {JAVA_8}


def test_jar_is_a_plugin(built_jar: Path) -> None:
    """The menu names existing classes.

    Other files of java/ are in the jar, hidden files are not.
    """
    with zipfile.ZipFile(built_jar) as jar:
        names = jar.namelist()
        lines = jar.read("plugins.config").decode().splitlines()
    assert names[0] == "META-INF/MANIFEST.MF"
    assert "notes.txt" in names
    assert not [name for name in names if name.endswith((".java", ".swp"))]
    entries = [[word.strip() for word in line.split(",")] for line in lines[1:]]
    assert [entry[:2] for entry in entries] == [
        ["Plugins>polystore", '"Receive from polystore"'],
        ["Plugins>polystore", '"Show or hide scale bar"'],
    ]
    assert {f"{target.replace('.', '/')}.class" for *_, target in entries} <= set(names)


def test_manifest_has_versions() -> None:
    """The jar tells its distribution and its protocol."""
    jar = find_own_jar()
    assert jar.version == metadata.version("polystore-fiji")
    assert jar.protocol == PROTOCOL


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("--port", "many"),
            "port 'many' is not valid: expected a number from 0 (any free port)",
        ),
        (("--port", "65536"), "port '65536' is not valid"),
        (("--port",), "--port needs a value"),
        (("--prot", "0"), "--prot is not an option: expected --name or --port"),
    ],
)
def test_wrong_arguments_are_refused(
    built_jar: Path, arguments: tuple[str, ...], error: str
) -> None:
    """An ImageJ with wrong arguments ends, and prints what is wrong."""
    classpath = f"{IJ_JAR}{os.pathsep}{built_jar}"
    options = ["-Djava.awt.headless=true", "-cp", classpath, "polystore.fiji.Main"]
    done = subprocess.run(
        ["java", *options, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert f"error: {error}" in done.stderr


def test_compiler_errors_are_reported(checkout: Path) -> None:
    """An error of the compiler is printed, and the old jar stays."""
    (checkout / JAR).write_bytes(b"older")
    (checkout / "java/polystore/fiji/Wrong.java").write_text("class Wrong { int x = y; }")
    done = run(checkout, "build_receiver.py")
    assert done.returncode == 2
    assert "Wrong.java:1: error: cannot find symbol" in done.stderr
    assert (checkout / JAR).read_bytes() == b"older"
    assert not list((checkout / JAR).parent.glob("*.new"))


def fail_to_build(checkout: Path, **variables: str) -> str:
    done = run(checkout, "build_receiver.py", **variables)
    assert done.returncode == 2
    return done.stderr


def test_missing_tools_are_reported(checkout: Path) -> None:
    """A missing compiler, ImageJ or source file is an error that says what to install."""
    debian = "apt-get install default-jdk-headless imagej"
    printed = fail_to_build(checkout, PATH="", JAVA_HOME="")
    assert printed.startswith("error: javac was found neither on the PATH")
    assert debian in printed
    printed = fail_to_build(checkout, POLYSTORE_IJ="/nowhere/ij.jar")
    assert "no jar of ImageJ was found at POLYSTORE_IJ=/nowhere/ij.jar" in printed
    assert debian in printed
    shutil.rmtree(checkout / "java/polystore")
    assert "has no .java file" in fail_to_build(checkout)


def test_java_home_compiles(checkout: Path) -> None:
    """The JDK of JAVA_HOME is preferred to the PATH's."""
    compiler = shutil.which("javac")
    assert compiler is not None
    home = str(Path(compiler).resolve().parents[1])
    done = run(checkout, "build_receiver.py", PATH="", JAVA_HOME=home, POLYSTORE_IJ=str(IJ_JAR))
    assert done.returncode == 0, done.stderr


def test_jar_is_up_to_date(tmp_path: Path) -> None:
    """The jar that the tests run was built from the current sources."""
    script: dict[str, Any] = runpy.run_path(str(PACKAGE / "build_receiver.py"))
    jar = script["build"](tmp_path / "a.jar")
    assert jar.read_bytes() == find_own_jar().path.read_bytes(), "run: python build_receiver.py"


# ── the wheel ────────────────────────────────────────────────────────────────────────────


def test_wheel_contains_the_jar(checkout: Path) -> None:
    """A wheel built from the source distribution alone contains the compiled receiver."""
    done = run_hatch(checkout, "-t", "sdist")
    assert done.returncode == 0, done.stderr
    (archive,) = (checkout / "out").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(checkout / "unpacked", filter="data")
    (source,) = (checkout / "unpacked").iterdir()
    assert not list(source.rglob("*.jar"))
    done = run_hatch(source, "-t", "wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "out").glob("*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        assert file.read("polystore_fiji/polystore_receiver.jar") == (source / JAR).read_bytes()


def test_wheel_needs_a_compiler(checkout: Path) -> None:
    """Without javac the build of a wheel fails, and the error says what to install."""
    done = run_hatch(checkout, "-t", "wheel", PATH="", JAVA_HOME="")
    assert done.returncode == 1
    assert "polystore-fiji cannot be built: javac was found neither on the PATH" in done.stderr
    assert not list((checkout / "out").glob("*.whl"))


def test_editable_install_needs_no_compiler(checkout: Path) -> None:
    """An editable install without javac succeeds with a warning. With javac it builds the jar."""
    done = run_hatch(checkout, "-t", "wheel:editable", PATH="", JAVA_HOME="")
    assert done.returncode == 0, done.stderr
    printed = " ".join((done.stdout + done.stderr).split())
    assert (
        "installed without its receiver for ImageJ: javac was found neither on the PATH"
        in printed
    )
    assert list((checkout / "out").glob("*.whl"))
    assert run_hatch(checkout, "-t", "wheel:editable").returncode == 0
    assert (checkout / JAR).is_file()
