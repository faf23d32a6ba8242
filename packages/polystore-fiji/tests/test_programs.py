"""Which Java, ImageJ and Fiji are found, and which command starts them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polystore_core.errors import InvalidOptionError, ReceiverUnavailableError
from polystore_fiji import imagej, launching, places
from polystore_fiji.install import install
from polystore_fiji.java import find_java, read_java

from .machine import IJ_JAR, install_imagej, needs_imagej, needs_java, open_display, run_python

Script = Callable[[str, str], Path]

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform == "win32", reason="system: shell scripts"),
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private home, without the variables of the person who runs the tests."""
    for name in ("POLYSTORE_JAVA", "POLYSTORE_FIJI", "POLYSTORE_IJ", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path / "run"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with open_display() as display:
        monkeypatch.setenv("DISPLAY", display)
        yield home


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return a function that writes an executable script and returns its path."""

    def write(place: str, text: str) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


OLD_JAVA = """echo 'java version "1.7.0_80"' >&2"""


@pytest.fixture(scope="module")
def small_java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A JRE without windows from the JDK, like a headless package of a distribution."""
    if shutil.which("jlink") is None:
        pytest.skip("no JDK is installed: apt-get install default-jdk")
    folder = tmp_path_factory.mktemp("jlink") / "jre"
    subprocess.run(["jlink", "--add-modules", "java.base", "--output", folder], check=True)
    yield folder / "bin/java"
    shutil.rmtree(folder)


# ── Java ─────────────────────────────────────────────────────────────────────────────────


@needs_java
def test_java_here_is_found() -> None:
    """The Java of the PATH is found, with its version, and it can open windows."""
    java = find_java()
    printed = subprocess.run([java.command, "-version"], capture_output=True, text=True).stderr
    assert f'"{java.version}"' in printed
    assert (java.feature >= 8, java.windows) == (True, True)
    assert str(java) == f"{java.version}: {java.command}"


@pytest.mark.parametrize(
    ("version", "feature"), [("1.8.0_392", 8), ("9", 9), ("17.0.15", 17), ("26-ea", 26)]
)
def test_versions_are_read(script: Script, version: str, feature: int) -> None:
    """Versions of both schemes are read, from a Java that prints only its version."""
    java = read_java(script("java", f"""echo 'openjdk version "{version}"' >&2"""))
    assert java is not None
    assert (java.version, java.feature) == (version, feature)


def test_old_java_is_refused(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a Java before 8 names it and its version."""
    monkeypatch.setenv("POLYSTORE_JAVA", str(script("java", OLD_JAVA)))
    with pytest.raises(
        ReceiverUnavailableError, match=r"java is Java 1\.7\.0_80, not 8 or later"
    ):
        find_java()


@needs_java
def test_old_java_is_skipped(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old Java in JAVA_HOME does not hide a good one on the PATH."""
    old = script("jdk7/bin/java", OLD_JAVA)
    monkeypatch.setenv("JAVA_HOME", str(old.parents[1]))
    assert find_java().command != old


def test_headless_java(small_java: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java without windows is accepted for a headless ImageJ, and refused otherwise."""
    monkeypatch.setenv("POLYSTORE_JAVA", str(small_java))
    assert "headless" in str(find_java(windows=False))
    with pytest.raises(
        ReceiverUnavailableError, match="headless: it cannot open windows"
    ) as no:
        find_java()
    assert "apt-get install default-jre" in no.value.advice
    assert "--headless" in no.value.advice


@pytest.mark.parametrize("text", ["exit 1", "echo hello"])
def test_wrong_java_variable_is_refused(
    script: Script, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """POLYSTORE_JAVA is used or refused. No other Java is tried."""
    monkeypatch.setenv("POLYSTORE_JAVA", str(script("java", text)))
    with pytest.raises(InvalidOptionError, match=r"POLYSTORE_JAVA=.*a java command"):
        find_java()


@needs_java
@pytest.mark.parametrize(
    "place", ["java/linux64/zulu8/jre", "jre", "java/macos64/z/Contents/Home"]
)
def test_bundled_java_is_first(home: Path, place: str) -> None:
    """The Java inside a Fiji is preferred to all others."""
    here = shutil.which("java")
    assert here is not None
    bundled = home / "Fiji.app" / place
    bundled.parent.mkdir(parents=True)
    bundled.symlink_to(Path(here).resolve().parents[1])
    assert find_java(folder=home / "Fiji.app").command == bundled / "bin/java"


@pytest.mark.skipif(sys.platform != "linux", reason="system: mount namespaces")
@pytest.mark.skipif(
    not Path("/usr/lib/jvm").is_dir(), reason="system: Java is not in /usr/lib/jvm"
)
def test_missing_java_is_reported(home: Path) -> None:
    """On a machine without Java the error says how to install one."""
    done = run_python(
        "-m",
        "polystore_fiji",
        "launch",
        "--headless",
        "--ij",
        IJ_JAR,
        hiding="/usr/lib/jvm",
        PATH="/usr/bin:/bin",
        HOME=str(home),
        POLYSTORE_RUNTIME_DIR=str(home / "run"),
    )
    assert done.returncode == 2, done.stdout
    assert "ImageJ cannot be started: Java was not found; install one" in done.stderr
    assert done.stderr.count("\n") == 1


# ── ImageJ ───────────────────────────────────────────────────────────────────────────────


@needs_imagej
def test_version_is_read() -> None:
    """The version is the one that ImageJ itself shows."""
    found = imagej.find_imagej(ij=IJ_JAR)
    assert re.fullmatch(r"1\.\d\d[a-z]\d*", found.version)
    assert str(found) == f"{found.version}: {IJ_JAR}"


@needs_imagej
@pytest.mark.parametrize(
    "jar", ["ij.jar", "jars/ij-1.53t.jar", "ImageJ.app/Contents/Java/ij.jar"]
)
def test_folder_is_recognised(tmp_path: Path, jar: str) -> None:
    """Folders of ImageJ, of Fiji and of ImageJ's macOS bundle are recognised."""
    folder = install_imagej(tmp_path / "here", jar)
    assert imagej.imagej_at(folder).jar == folder / jar


@needs_imagej
def test_newest_jar_counts(tmp_path: Path) -> None:
    """An updated Fiji may still hold the older jar, so the newest one is used."""
    folder = install_imagej(tmp_path / "Fiji.app", "jars/ij-1.54p.jar")
    install_imagej(tmp_path / "Older", "jars/ij-1.54f.jar").rename(folder / "older")
    shutil.copy(IJ_JAR, folder / "jars/ij-1.54f.jar")
    assert imagej.imagej_at(folder).jar.name == "ij-1.54p.jar"


@needs_imagej
@pytest.mark.parametrize(
    "launcher",
    ["fiji-linux-x64", "Fiji.app/Contents/MacOS/fiji-macos", "Contents/MacOS/ImageJ-macosx"],
)
def test_launcher_leads_to_folder(tmp_path: Path, script: Script, launcher: str) -> None:
    """The path of a launcher, or of a link to it, leads to its folder."""
    folder = install_imagej(tmp_path / "Fiji", "jars/ij-1.53t.jar")
    command = script(f"Fiji/{launcher}", "exit")
    link = tmp_path / "fiji"
    link.symlink_to(command)
    assert imagej.imagej_folder(command) == folder
    assert imagej.imagej_folder(link) == folder


@needs_imagej
def test_bundle_leads_to_folder(tmp_path: Path) -> None:
    """On macOS people name the .app inside the folder."""
    folder = install_imagej(tmp_path / "Fiji", "jars/ij-1.53t.jar")
    (folder / "Fiji.app/Contents/MacOS").mkdir(parents=True)
    assert imagej.imagej_folder(folder / "Fiji.app") == folder


@needs_imagej
def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    """The error says what was expected and what the folder holds."""
    for name in ("empty", "images/a.tif", "no_plugins"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(IJ_JAR, tmp_path / "no_plugins/ij.jar")
    file = tmp_path / "file"
    file.write_bytes(b"")
    expected = r"jars/ij-1\.\*\.jar or ij\.jar, and plugins/"
    for name, content in [
        ("nowhere", r"\(it does not exist\)"),
        ("empty", "(?m:$)"),
        ("images", r"\(it holds a\.tif\)"),
        ("no_plugins", r"\(it holds ij\.jar\)"),
        ("file", r"\(it is a file, but not a launcher in such a folder\)"),
    ]:
        with pytest.raises(InvalidOptionError, match=f"fiji=.*{expected} ?{content}"):
            imagej.find_imagej(fiji=tmp_path / name)


@needs_imagej
def test_wrong_jars_are_refused(tmp_path: Path) -> None:
    """A file that is not a jar of ImageJ is refused, as a jar and inside a folder."""
    folder = install_imagej(tmp_path / "ImageJ")
    for content in (b"", b"PK no zip"):
        (folder / "ij.jar").write_bytes(content)
        with pytest.raises(InvalidOptionError, match="its jar is damaged"):
            imagej.find_imagej(fiji=folder)
    with zipfile.ZipFile(tmp_path / "other.jar", "w") as jar:
        jar.writestr("A.class", b"")
    for name in ("nowhere.jar", "other.jar", "ImageJ/ij.jar", "ImageJ"):
        with pytest.raises(InvalidOptionError, match=r"ij=.*the class ij\.ImageJ"):
            imagej.find_imagej(ij=tmp_path / name)


@needs_imagej
def test_variables_are_ordered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument precedes POLYSTORE_FIJI, which precedes POLYSTORE_IJ. Errors name the source."""
    folder, other = install_imagej(tmp_path / "one"), install_imagej(tmp_path / "two")
    monkeypatch.setenv("POLYSTORE_IJ", str(IJ_JAR))
    assert imagej.find_imagej().folder is None
    monkeypatch.setenv("POLYSTORE_FIJI", str(folder))
    assert imagej.find_imagej().folder == folder
    assert imagej.find_imagej(fiji=other).folder == other
    assert imagej.find_imagej(ij=IJ_JAR).folder is None
    with pytest.raises(InvalidOptionError, match="None, because fiji= is given too"):
        imagej.find_imagej(fiji=folder, ij=IJ_JAR)
    monkeypatch.setenv("POLYSTORE_FIJI", str(tmp_path))
    with pytest.raises(InvalidOptionError, match="POLYSTORE_FIJI="):
        imagej.find_imagej()


@needs_imagej
def test_usual_places(home: Path) -> None:
    """Home folders precede the system's jar, and a folder with our receiver precedes all."""
    without = install_imagej(home / "Fiji.app", "jars/ij-1.53t.jar")
    assert imagej.find_imagej().folder == without
    chosen = install_imagej(home / "ImageJ")
    install(chosen)
    assert imagej.find_imagej().folder == chosen
    assert {without, chosen} <= {found.folder for found in imagej.installations()}


@needs_imagej
def test_command_leads_to_folder(
    home: Path, tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Fiji in any folder is found by the command that starts it."""
    folder = install_imagej(tmp_path / "far/away", "jars/ij-1.53t.jar")
    (home / "bin").mkdir()
    (home / "bin/fiji").symlink_to(script("far/away/fiji-linux-x64", "exit"))
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert folder in list(places.fiji_folders())


@needs_imagej
def test_damaged_folder_is_skipped(home: Path) -> None:
    """A damaged ImageJ in a usual place does not hide the others."""
    broken = install_imagej(home / "Fiji.app")
    (broken / "ij.jar").write_bytes(b"half a downl")
    good = install_imagej(home / "ImageJ")
    assert [found.folder for found in imagej.installations() if found.folder] == [good]


@pytest.mark.skipif(sys.platform != "linux", reason="system: mount namespaces")
def test_missing_imagej_is_reported(home: Path) -> None:
    """On a machine without ImageJ the error says how to get Fiji or ImageJ."""
    done = run_python(
        "-m",
        "polystore_fiji",
        "launch",
        "--headless",
        hiding="/usr/share/java",
        HOME=str(home),
        POLYSTORE_RUNTIME_DIR=str(home / "run"),
    )
    assert done.returncode == 2, done.stdout
    assert "ImageJ was not found; get Fiji (https://fiji.sc) and name its folder" in done.stderr


# ── the command that starts it ───────────────────────────────────────────────────────────


@needs_java
@needs_imagej
def test_jar_is_started_with_receiver() -> None:
    """A single jar is started with the receiver's jar, headless on request."""
    found = imagej.find_imagej(ij=IJ_JAR)
    start = launching.command(found, "left")
    assert start[-2:] == ["--name", "left"]
    assert start[start.index("-cp") + 1].split(os.pathsep)[0] == str(IJ_JAR)
    assert "-Djava.awt.headless=true" not in start
    assert "-Djava.awt.headless=true" in launching.command(found, "left", headless=True)


@needs_java
@needs_imagej
def test_folder_is_started_with_plugins(tmp_path: Path) -> None:
    """An ImageJ folder is started with its plugins, and runs the receiver's command."""
    folder = install_imagej(tmp_path / "my ImageJ")
    install(folder)
    start = launching.command(imagej.imagej_at(folder), "left eye")
    ends = ["-port0", "-eval", 'run("Receive from polystore", "name=[left eye] started");']
    assert start[-6:] == [str(folder / "ij.jar"), "-ijpath", str(folder), *ends]


@needs_imagej
@pytest.mark.skipif(sys.platform != "linux", reason="system: the launchers of Linux")
def test_fiji_is_started_by_its_launcher(tmp_path: Path, script: Script) -> None:
    """A Fiji is started by its launcher, as a second instance if another one runs."""
    folder = install_imagej(tmp_path / "Fiji.app", "jars/ij-1.53t.jar")
    install(folder)
    with pytest.raises(
        ReceiverUnavailableError, match="does not have a launcher for this system"
    ):
        launching.command(imagej.imagej_at(folder), "left")
    arm = os.uname().machine == "aarch64"
    launcher = script(f"Fiji.app/fiji-linux-{'arm64' if arm else 'x64'}", "exit")
    macro = 'run("Receive from polystore", "name=[left] started");'
    assert launching.command(imagej.imagej_at(folder), "left") == [
        str(launcher),
        "--forbid-single-instance",
        "-eval",
        macro,
    ]


@needs_java
@needs_imagej
def test_headless_needs_no_plugin(tmp_path: Path) -> None:
    """Without windows only the jar of the folder is used, and no plugin is needed."""
    folder = install_imagej(tmp_path / "Fiji.app", "jars/ij-1.53t.jar")
    start = launching.command(imagej.imagej_at(folder), "left", headless=True)
    assert f"{folder / 'jars/ij-1.53t.jar'}{os.pathsep}" in start[start.index("-cp") + 1]


@needs_imagej
def test_missing_plugin_is_reported(tmp_path: Path) -> None:
    """A Fiji without our plugin stays as it is. The error says how to install the plugin."""
    folder = install_imagej(tmp_path / "Fiji.app")
    with pytest.raises(ReceiverUnavailableError) as refused:
        launching.launch("left", fiji=folder, backend="screen")
    install_it = f'polystore-fiji install --fiji "{folder}"'
    assert str(refused.value).startswith("backend 'screen': ")
    assert str(refused.value).endswith(install_it)
    assert list((folder / "plugins").iterdir()) == []


@needs_imagej
@pytest.mark.skipif(sys.platform != "linux", reason="system: a screen is X11's on Linux")
def test_screen_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a screen the error names the alternatives. ImageJ is not made headless silently."""
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(ReceiverUnavailableError, match="DISPLAY is not set") as refused:
        launching.launch(ij=IJ_JAR)
    assert "xvfb-run" in refused.value.advice
    assert "headless=True" in refused.value.advice
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(ReceiverUnavailableError, match="DISPLAY=:4711 does not answer"):
        launching.launch(ij=IJ_JAR)


@pytest.mark.parametrize("name", ["", 'a"b', "a]b", "a/b", "x" * 65])
def test_wrong_names_are_refused(name: str) -> None:
    """A name that would break out of the macro is refused before ImageJ is searched."""
    with pytest.raises(InvalidOptionError, match="name="):
        launching.launch(name)
