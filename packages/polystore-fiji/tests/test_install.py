"""Installing the receiver into an ImageJ, the command, and real programs that it starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polystore_core.errors import IncompatibleReceiverError, RejectedError, StorageError
from polystore_fiji import connect
from polystore_fiji.__main__ import main
from polystore_fiji.checks import findings
from polystore_fiji.install import install, uninstall
from polystore_fiji.jars import check_installed, find_installed_jars, find_own_jar
from polystore_fiji.launching import launch
from polystore_stream import discovery
from polystore_testing.display import private_display
from polystore_testing.processes import becomes, runs

from .machine import (
    IJ_JAR,
    PACKAGE,
    install_imagej,
    needs_imagej,
    needs_java,
    open_display,
    run_python,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.screen, needs_imagej]
needs_links = pytest.mark.skipif(
    sys.platform == "win32", reason="system: symbolic links need a privilege on Windows"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = install_imagej(tmp_path / "ImageJ")
    (folder / "plugins/Other_Plugin.jar").write_bytes(b"other")
    return folder


def list_plugins(folder: Path) -> list[str]:
    found = (folder / "plugins").rglob("*.jar")
    return sorted(str(path.relative_to(folder / "plugins")) for path in found)


def put_receiver(folder: Path, protocol: str, name: str = "polystore_receiver.jar") -> Path:
    """Put a receiver with another protocol among the plugins."""
    path = folder / "plugins" / name
    path.parent.mkdir(exist_ok=True)
    lines = f"Implementation-Version: 9.9\r\nPolystore-Protocol: {protocol}\r\n"
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\r\n{lines}\r\n")
    return path


# ── plugins/ ─────────────────────────────────────────────────────────────────────────────


def test_install_copies_the_jar(folder: Path) -> None:
    """The jar is copied among the plugins unchanged, and no other file is added."""
    target, replaced = install(folder)
    assert target.read_bytes() == find_own_jar().path.read_bytes()
    assert replaced == []
    assert list_plugins(folder) == ["Other_Plugin.jar", "polystore_receiver.jar"]
    assert len(list((folder / "plugins").iterdir())) == 2


def test_older_receivers_are_removed(folder: Path) -> None:
    """ImageJ would also load receivers with other names or in subfolders, so they are removed."""
    older = [
        put_receiver(folder, "0.9", "polystore_receiver-0.0.9.jar"),
        put_receiver(folder, "1.0", "Stuff/polystore_receiver.jar"),
    ]
    assert install(folder)[1] == older
    assert list_plugins(folder) == ["Other_Plugin.jar", "polystore_receiver.jar"]
    assert install(folder)[1] == [folder / "plugins/polystore_receiver.jar"]
    assert check_installed(folder).version == find_own_jar().version


def test_uninstall_removes_only_ours(folder: Path) -> None:
    """The jar from install is removed, and other plugins stay."""
    target, _ = install(folder)
    assert uninstall(folder) == [target]
    assert list_plugins(folder) == ["Other_Plugin.jar"]
    assert uninstall(folder) == []


def test_unwritable_jar_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the jar cannot be written, the error names its path."""
    target = folder / "plugins/polystore_receiver.jar"
    target.mkdir()
    with pytest.raises(StorageError, match="polystore_receiver"):
        install(folder)
    assert main(["install", "--fiji", str(folder)]) == 2
    assert str(target) in capsys.readouterr().err


@needs_links
def test_link_to_a_fiji_is_followed(folder: Path, tmp_path: Path) -> None:
    """A link to a Fiji leads to its plugins."""
    link = tmp_path / "Fiji.app"
    link.symlink_to(folder, target_is_directory=True)
    assert install(link)[0] == link / "plugins/polystore_receiver.jar"
    assert list_plugins(folder) == ["Other_Plugin.jar", "polystore_receiver.jar"]
    uninstall(link)
    assert list_plugins(folder) == ["Other_Plugin.jar"]


@needs_links
def test_link_with_the_name_of_the_jar_is_replaced(folder: Path, tmp_path: Path) -> None:
    """A link with the name of the jar is replaced, and its target stays as it is."""
    other = tmp_path / "other.jar"
    other.write_bytes(b"other")
    target = folder / "plugins/polystore_receiver.jar"
    target.symlink_to(other)
    assert install(folder) == (target, [target])
    assert not target.is_symlink()
    assert other.read_bytes() == b"other"
    target.unlink()
    target.symlink_to(tmp_path / "nothing.jar")
    install(folder)
    assert not (tmp_path / "nothing.jar").exists()
    assert target.read_bytes() == find_own_jar().path.read_bytes()


@needs_links
@pytest.mark.parametrize("name", ["plugins", "plugins/Shared"])
def test_linked_plugins_are_refused(
    folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plugins folder that is a link may belong to another program, so it is not changed."""
    elsewhere = tmp_path / "elsewhere"
    put_receiver(folder, "1.0", "polystore_receiver-0.9.jar")
    (folder / "plugins").rename(elsewhere)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(elsewhere, target_is_directory=True)
    before = sorted(path.name for path in elsewhere.iterdir())
    for command in ("install", "uninstall"):
        assert main([command, "--fiji", str(folder)]) == 2
        error = capsys.readouterr().err
        assert f"is a link to {elsewhere}" in error
        assert "yourself" in error
    assert sorted(path.name for path in elsewhere.iterdir()) == before


@needs_links
def test_links_inside_a_fiji_are_followed(folder: Path) -> None:
    (folder / "plugins").rename(folder / "all plugins")
    (folder / "plugins").symlink_to("all plugins", target_is_directory=True)
    install(folder)
    assert (folder / "all plugins/polystore_receiver.jar").is_file()


def test_command_needs_no_utf8(tmp_path: Path) -> None:
    """A terminal without UTF-8 gets the same lines with escaped characters."""
    folder = install_imagej(tmp_path / "Größe")
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "polystore_fiji", "install", "--fiji", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Gr\\xf6\\xdfe" in done.stdout
    assert b"choose Plugins > polystore > Receive" in done.stdout


@pytest.mark.parametrize(
    ("protocol", "advice"),
    [
        ("0.9", "update the receiver: polystore-fiji install"),
        ("99.0", "update polystore-fiji: pip install --upgrade polystore-fiji"),
        ("damaged", "update the receiver: polystore-fiji install"),
    ],
)
def test_other_protocols_are_refused(folder: Path, protocol: str, advice: str) -> None:
    """The error for a receiver with another protocol says which side to update."""
    put_receiver(folder, protocol)
    with pytest.raises(IncompatibleReceiverError) as refused:
        check_installed(folder)
    assert advice in str(refused.value)
    assert str(find_own_jar()) in str(refused.value)


def test_damaged_jar_is_refused(folder: Path) -> None:
    """A truncated jar counts as an old receiver."""
    (folder / "plugins/polystore_receiver.jar").write_bytes(b"PK\3\4 half")
    with pytest.raises(IncompatibleReceiverError, match=r"unknown, protocol 0\.0"):
        check_installed(folder)


def test_minor_versions_agree(folder: Path) -> None:
    """A receiver with another minor version is compatible."""
    put_receiver(folder, f"{find_own_jar().protocol[0]}.77")
    assert check_installed(folder).version == "9.9"


def test_several_receivers_are_refused(folder: Path) -> None:
    """With two receivers, it is undefined which one ImageJ loads."""
    install(folder)
    put_receiver(folder, "1.0", "polystore_receiver-2.jar")
    with pytest.raises(IncompatibleReceiverError, match="several receivers"):
        check_installed(folder)
    assert len(find_installed_jars(folder)) == 2


# ── the command ──────────────────────────────────────────────────────────────────────────


def test_command_installs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints where the receiver is, its version, and the next step."""
    put_receiver(folder, "0.9", "polystore_receiver-0.jar")
    assert main(["install", "--fiji", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}/plugins/polystore_receiver.jar: receiver {find_own_jar()}"
    assert lines[1] == f"replaced {folder}/plugins/polystore_receiver-0.jar"
    assert "Receive from polystore" in lines[2]
    assert main(["uninstall", "--fiji", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(f"removed {folder}")
    assert main(["uninstall", "--fiji", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder} does not have a receiver\n"


def test_command_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the command prints one JSON object."""
    assert main(["install", "--json", "--fiji", str(folder)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "installed": f"{folder}/plugins/polystore_receiver.jar",
        "version": find_own_jar().version,
        "protocol": ".".join(map(str, find_own_jar().protocol)),
        "replaced": [],
    }
    assert main(["uninstall", "--json", "--fiji", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": [document["installed"]]}


@pytest.mark.parametrize("command", ["install", "uninstall", "launch"])
def test_wrong_folder_exits_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error for a wrong path is one line that says what was expected."""
    assert main([command, "--fiji", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(
        f"error: fiji='{tmp_path}' is not valid: expected a folder of"
    )
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["install"], ["launch", "--fiji", "a", "--ij", "b"], ["start"]]
)
def test_wrong_use_exits_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_missing_jar_is_reported(folder: Path, tmp_path: Path) -> None:
    """An editable install without a JDK does not have a jar, and the error names the script."""
    copy = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("*.jar", "__pycache__")
    shutil.copytree(PACKAGE / "src", copy / "src", ignore=ignore)
    (copy / "build_receiver.py").write_text("")
    done = run_python(
        "-m", "polystore_fiji", "install", "--fiji", folder, PYTHONPATH=str(copy / "src")
    )
    assert done.returncode == 2
    assert "has not been compiled" in done.stderr
    assert f"run: python {copy}/build_receiver.py" in done.stderr
    assert list_plugins(folder) == ["Other_Plugin.jar"]


# ── real programs ────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private folder in which viewers announce themselves.

    After the test all viewers are ended.
    """
    # Short, because the kernel limits the length of the name of a socket.
    path = Path(tempfile.mkdtemp(prefix="ps"))
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(path))
    monkeypatch.delenv("DISPLAY", raising=False)
    yield path
    for endpoint in discovery.find("fiji"):
        os.kill(endpoint.pid, signal.SIGTERM)
        assert becomes(lambda pid=endpoint.pid: not runs(pid))  # type: ignore[misc]
    shutil.rmtree(path)


@needs_java
def test_command_launches_headless(capsys: pytest.CaptureFixture[str]) -> None:
    """A headless ImageJ receives. The same name again is the same process."""
    arguments = ["launch", "--headless", "--ij", str(IJ_JAR), "--name", "left"]
    assert main(arguments) == 0
    (endpoint,) = discovery.find("fiji", "left")
    assert capsys.readouterr().out == f"{endpoint.title} receives at {endpoint.address}\n"
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pid"] == endpoint.pid


@needs_java
def test_installed_plugin_receives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed ImageJ is started with its own plugins, and two of them run side by side."""
    folder = install_imagej(tmp_path / "my ImageJ")
    install(folder)
    try:
        with private_display() as display:
            monkeypatch.setenv("DISPLAY", display.name)
            first = launch("left eye", fiji=folder)
            second = launch("right", fiji=folder)
            assert first.pid != second.pid
            assert launch("right") == second
            with connect("left eye") as viewer:
                viewer.quit()
            assert discovery.find("fiji") == [second]
            os.kill(second.pid, signal.SIGTERM)
            assert becomes(lambda: not discovery.find("fiji"))
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")


@needs_java
def test_menu_starts_and_ends_receiving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The menu entry makes an open ImageJ receive, and the same entry stops it.

    A pipeline cannot quit an ImageJ that a user started.
    """
    folder = install_imagej(tmp_path / "ImageJ")
    install(folder)
    go = tmp_path / "go"
    macro = f"""
        run("Receive from polystore", "name=mine");
        while (!File.exists("{go}")) wait(50);
        run("Receive from polystore");
    """
    command = ["java", "-jar", folder / "ij.jar", "-ijpath", folder, "-port0", "-eval", macro]
    try:
        with private_display() as display:
            monkeypatch.setenv("DISPLAY", display.name)
            with subprocess.Popen(command) as imagej:
                assert becomes(lambda: discovery.find("fiji", "mine"))
                with (
                    connect("mine") as viewer,
                    pytest.raises(RejectedError, match="a user started this ImageJ"),
                ):
                    viewer.query("quit")
                go.touch()
                assert becomes(lambda: not discovery.find("fiji"))
                assert imagej.poll() is None
                imagej.terminate()
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb")


# ── polystore doctor ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path) -> Iterator[Path]:
    """A machine with a screen, whose home directory does not have an ImageJ."""
    for name in ("POLYSTORE_JAVA", "POLYSTORE_FIJI", "POLYSTORE_IJ", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_display() as display:
        monkeypatch.setenv("DISPLAY", display)
        yield tmp_path


def list_states() -> dict[str, str]:
    return {finding.what: finding.state for finding in findings()}


@needs_java
def test_doctor_finds_all(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If everything is installed, nothing is missing, and each finding says what was found."""
    monkeypatch.setenv("POLYSTORE_IJ", str(IJ_JAR))
    found = {finding.what: finding for finding in findings()}
    assert {finding.state for finding in found.values()} <= {"ok", "note"}
    assert found["receiver"].found == str(find_own_jar())
    assert found["ImageJ"].found.endswith(str(IJ_JAR))
    assert found["running"].found == "none: a save starts one"
    assert "java" in found["Java"].found


def test_doctor_checks_plugins(machine: Path) -> None:
    """A folder without our plugin, with an old one, and with a good one."""
    folder = install_imagej(machine / "Fiji.app")
    assert list_states()["plugin"] == "missing"
    put_receiver(folder, "0.9")
    assert list_states()["plugin"] == "missing"
    put_receiver(folder, f"{find_own_jar().protocol[0]}.0")
    assert list_states()["plugin"] == "note"  # another version
    install(folder)
    assert list_states()["plugin"] == "ok"
    install_imagej(machine / "ImageJ")
    (other,) = (finding for finding in findings() if finding.what == "another ImageJ")
    assert other.remedy == f'polystore-fiji install --fiji "{machine / "ImageJ"}"'


@pytest.mark.skipif(sys.platform != "linux", reason="system: a screen is X11's on Linux")
def test_doctor_gives_remedies(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each missing program has a remedy."""
    monkeypatch.setenv("POLYSTORE_IJ", str(machine / "nowhere.jar"))
    monkeypatch.setenv("POLYSTORE_JAVA", str(machine / "nowhere"))
    monkeypatch.delenv("DISPLAY")
    missing = {finding.what: finding for finding in findings() if finding.state == "missing"}
    assert set(missing) == {"ImageJ", "Java", "screen"}
    assert "POLYSTORE_IJ" in missing["ImageJ"].found
    assert "POLYSTORE_JAVA" in missing["Java"].found
    assert "xvfb-run" in missing["screen"].remedy


@needs_java
def test_doctor_lists_running_viewers(machine: Path) -> None:
    """Running viewers are named."""
    endpoint = launch("left", ij=IJ_JAR, headless=True)
    (running,) = (finding for finding in findings() if finding.what == "running")
    assert running.found == endpoint.title
