import errno
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from polystore_core.errors import (
    AccessDeniedError,
    DamagedDataError,
    InvalidOptionError,
    NotFoundError,
    StorageError,
)
from polystore_stream import discovery
from polystore_stream.discovery import (
    Endpoint,
    announce,
    check_name,
    find,
    host_identity,
    process_runs,
    process_start,
    read_connection,
    remove_socket,
    socket_address,
    withdraw,
)
from polystore_stream.discovery import runtime_directory as folder_of_user

posix = pytest.mark.skipif(os.name != "posix", reason="system: needs POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")
TOKEN = "3q-4u_secret"


def endpoint(**changes: object) -> Endpoint:
    whole = Endpoint(
        kind="napari",
        name="default",
        address="ipc:///nowhere",
        token=TOKEN,
        pid=os.getpid(),
        started=process_start(os.getpid()),
        since=1.0,
        host=host_identity(),
    )
    return replace(whole, **changes)


@pytest.fixture
def dead() -> int:
    """Give the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def zombie() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as pipe:
        # It has closed its files and ends at any moment.
        pipe.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process
    process.wait()


def bind_socket(path: Path) -> str:
    """Leave the file of a socket, as ZeroMQ does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return f"ipc://{path}"


# ── the private folder ───────────────────────────────────────────────────────────────────


def test_given_folder_is_made(runtime_directory: Path, monkeypatch) -> None:
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(runtime_directory / "a/b"))
    assert folder_of_user() == runtime_directory / "a/b"
    assert folder_of_user().stat().st_mode & 0o777 == 0o700
    assert folder_of_user() == runtime_directory / "a/b"


def test_session_folder_is_used(runtime_directory: Path, monkeypatch) -> None:
    monkeypatch.delenv("POLYSTORE_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_directory))
    assert folder_of_user() == runtime_directory / "polystore"


@posix
@pytest.mark.parametrize("session", [None, "", "/nowhere/at/all"])
def test_temporary_folder_is_last(runtime_directory: Path, monkeypatch, session) -> None:
    monkeypatch.delenv("POLYSTORE_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(runtime_directory))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if session is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", session)
    assert folder_of_user() == runtime_directory / f"polystore-{os.getuid()}"


@posix
@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o770, 0o777])
def test_open_folder_is_refused(runtime_directory: Path, mode: int) -> None:
    runtime_directory.chmod(mode)
    for use in (folder_of_user, lambda: announce(endpoint()), lambda: find("napari")):
        with pytest.raises(AccessDeniedError, match="private folder"):
            use()
    assert [*runtime_directory.iterdir()] == []
    runtime_directory.chmod(0o700)


@posix
def test_folder_of_others_is_refused(runtime_directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("system: needs root, to act as two users")
    os.chown(runtime_directory, 12345, 12345)
    with pytest.raises(AccessDeniedError, match="owner"):
        folder_of_user()


@posix
def test_link_and_file_are_refused(runtime_directory: Path, monkeypatch) -> None:
    (runtime_directory / "file").touch(0o600)
    (runtime_directory / "private").mkdir(0o700)
    (runtime_directory / "link").symlink_to("private")
    (runtime_directory / "dangling").symlink_to("nowhere")
    for name in ("file", "link", "dangling"):
        monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(runtime_directory / name))
        with pytest.raises(AccessDeniedError, match=name):
            folder_of_user()


def test_impossible_folder_is_storage_error(runtime_directory: Path, monkeypatch) -> None:
    (runtime_directory / "file").touch()
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(runtime_directory / "file/below"))
    with pytest.raises(StorageError, match="private folder") as caught:
        folder_of_user()
    assert caught.value.errno == errno.ENOTDIR


# ── announcements ─────────────────────────────────────────────────────────────────────────


def test_announced_receiver_is_found(runtime_directory: Path) -> None:
    whole = endpoint(name="größe 2", server_key="x" * 40)
    path = announce(whole)
    assert find("napari") == find("napari", "größe 2") == [whole]
    assert find("napari", "default") == find("fiji") == []
    assert read_connection(path) == read_connection(str(path)) == whole
    assert [*runtime_directory.iterdir()] == [path]
    withdraw(path)
    withdraw(path)
    assert find("napari") == []


@posix
def test_announcement_is_private() -> None:
    old = os.umask(0)
    try:
        path = announce(endpoint())
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_receivers_are_announced() -> None:
    paths = {announce(endpoint()) for _ in range(20)}
    assert len(paths) == len(find("napari")) == 20


def test_newest_comes_first() -> None:
    for since in (2.0, 5.5, 3.25):
        announce(endpoint(since=since))
    assert [found.since for found in find("napari")] == [5.5, 3.25, 2.0]


def test_kinds_are_distinct() -> None:
    announce(endpoint(kind="napari-light"))
    assert find("napari") == []
    assert len(find("napari-light")) == 1


def test_token_is_not_shown() -> None:
    whole = endpoint()
    assert TOKEN not in f"{whole!r} {whole} {whole.title}"
    assert whole.title == f"napari 'default' (process {os.getpid()})"


def test_token_does_not_pickle() -> None:
    with pytest.raises(TypeError, match="connection file"):
        pickle.dumps(endpoint())


def test_locality_is_known() -> None:
    assert endpoint().is_local
    assert not endpoint(host="elsewhere").is_local
    assert not endpoint(host="").is_local


@pytest.mark.parametrize("name", ["default", "B-02.x y_1", "größe", "1", "x" * 64])
def test_name_is_possible(name: str) -> None:
    assert check_name("viewer", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a/b", "a\nb", "a\n", "a\0", "*", "a:b", "\udcff", "é\u0301", None, 5, b"a"],
)
def test_odd_names_are_refused(name) -> None:
    with pytest.raises(InvalidOptionError, match=r"viewer=.*1 to 64 letters"):
        check_name("viewer", name)


# ── files of killed receivers ─────────────────────────────────────────────────────────────


@posix
def test_dead_receivers_are_removed(runtime_directory: Path, dead: int) -> None:
    alive = announce(endpoint())
    place = bind_socket(runtime_directory / "dead.sock")
    announce(endpoint(pid=dead, address=place))
    announce(endpoint(pid=dead, address=place))
    announce(endpoint(pid=dead, address="tcp://127.0.0.1:5555"))
    assert find("napari", "another") == []
    assert [*runtime_directory.iterdir()] == [alive]


@linux
def test_reused_process_number_is_removed(runtime_directory: Path) -> None:
    announce(endpoint(started="1"))
    assert find("napari") == []
    assert [*runtime_directory.iterdir()] == []


@linux
def test_zombie_is_removed(runtime_directory: Path, zombie: subprocess.Popen[bytes]) -> None:
    announce(endpoint(pid=zombie.pid, started=process_start(zombie.pid)))
    assert find("napari") == []
    assert [*runtime_directory.iterdir()] == []


@posix
def test_receivers_on_other_machines_stay(runtime_directory: Path, dead: int) -> None:
    path = announce(endpoint(pid=dead, host="a container that shares this folder"))
    assert find("napari") == []
    assert [*runtime_directory.iterdir()] == [path]


@posix
def test_folder_of_socket_is_removed(dead: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="polystore-socket-"))
    announce(endpoint(pid=dead, address=bind_socket(folder / "a.sock")))
    assert find("napari") == []
    assert not folder.exists()


@posix
def test_only_sockets_are_removed(tmp_path: Path, dead: int) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    for address in (f"ipc://{tmp_path / 'thesis.txt'}", f"ipc://{tmp_path}", "ipc://", "ipc"):
        announce(endpoint(pid=dead, address=address))
    announce(endpoint(pid=dead, address=f"ipc://{'x' * 5000}"))
    announce(endpoint(pid=dead, address=f"tcp://{tmp_path / 'thesis.txt'}"))
    assert find("napari") == []
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


@posix
def test_other_files_keep_folder() -> None:
    folder = Path(tempfile.mkdtemp(prefix="polystore-socket-"))
    (folder / "other").touch()
    remove_socket(endpoint(address=bind_socket(folder / "a.sock")))
    remove_socket(endpoint(address=f"ipc://{folder / 'a.sock'}"))
    assert [path.name for path in folder.iterdir()] == ["other"]
    shutil.rmtree(folder)


RUBBISH: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"5",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"kind":"napari"}',
    b'{"kind":"\xff"}',
]
CHANGES: list[dict[str, object]] = [
    {"pid": "1"},
    {"pid": None},
    {"pid": 1.5},
    {"name": 5},
    {"token": None},
    {"since": "now"},
    {"address": []},
    {"host": {}},
]


def change_document(change: dict[str, object]) -> bytes:
    return json.dumps(asdict(endpoint()) | change).encode()


@pytest.mark.parametrize("content", [*RUBBISH, *map(change_document, CHANGES)])
def test_rubbish_is_ignored(runtime_directory: Path, content: bytes) -> None:
    path = runtime_directory / "napari-1-x.json"
    path.write_bytes(content)
    alive = announce(endpoint())
    assert find("napari") == [read_connection(alive)]
    assert path.read_bytes() == content
    with pytest.raises(DamagedDataError, match=r"napari-1-x\.json.*connection file"):
        read_connection(path)


@posix
@pytest.mark.parametrize("pid", [0, -1, 1 << 31, 1 << 70, -(1 << 70)])
def test_impossible_process_is_removed(runtime_directory: Path, pid: int) -> None:
    (runtime_directory / "napari-1-x.json").write_bytes(change_document({"pid": pid}))
    assert find("napari") == []
    assert [*runtime_directory.iterdir()] == []


def test_newer_version_is_read(runtime_directory: Path) -> None:
    path = runtime_directory / "napari-1-x.json"
    path.write_bytes(change_document({"compression": ["lz4"]}))
    assert find("napari") == [read_connection(path)] == [endpoint()]


@posix
def test_odd_entries_are_ignored(runtime_directory: Path) -> None:
    (runtime_directory / "napari-folder.json").mkdir()
    (runtime_directory / "napari-link.json").symlink_to("nowhere")
    (runtime_directory / "napari-loop.json").symlink_to("napari-loop.json")
    (runtime_directory / "napari-1-x.new").write_bytes(change_document({}))
    (runtime_directory / "napari").touch()
    assert find("napari") == []
    assert len([*runtime_directory.iterdir()]) == 5


# ── the file of a receiver elsewhere ──────────────────────────────────────────────────────


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there\.json.*connect to a receiver"):
        read_connection(tmp_path / "there.json")


def test_folder_is_not_a_connection_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="connect to a receiver"):
        read_connection(tmp_path)


def test_damage_hides_token(tmp_path: Path) -> None:
    path = tmp_path / "copied.json"
    for content in (change_document({"pid": TOKEN}), change_document({})[:-9]):
        path.write_bytes(content)
        with pytest.raises(DamagedDataError) as caught:
            read_connection(path)
        assert TOKEN not in str(caught.value)


# ── sockets and processes ────────────────────────────────────────────────────────────────


@posix
def test_address_is_in_folder(runtime_directory: Path) -> None:
    first, second = socket_address(), socket_address()
    assert first.startswith(f"ipc://{runtime_directory}/{os.getpid()}-")
    assert first != second


@posix
@pytest.mark.parametrize("temporary", ["t", "t" * 90])
def test_long_folder_is_avoided(
    runtime_directory: Path, tmp_path: Path, monkeypatch, temporary: str
) -> None:
    folder = runtime_directory / ("é" * 40)
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
    (tmp_path / temporary).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / temporary))
    address = socket_address()
    place = Path(address.removeprefix("ipc://"))
    assert len(os.fsencode(place)) <= 107
    assert place.parent.stat().st_mode & 0o777 == 0o700
    bind_socket(place)
    remove_socket(endpoint(address=address))
    assert not place.parent.exists()


def test_own_process_runs() -> None:
    assert process_runs(os.getpid())
    assert process_runs(os.getpid(), process_start(os.getpid()))


@posix
def test_dead_process_does_not_run(dead: int) -> None:
    assert not process_runs(dead)
    assert not process_runs(dead, "1")
    assert process_start(dead) == ""


@linux
def test_start_of_odd_program(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"])
    try:
        started = process_start(process.pid)
        assert int(started) >= int(process_start(os.getpid()))
        assert process_runs(process.pid, started)
        assert not process_runs(process.pid, started + "0")
    finally:
        process.kill()
        process.wait()
    assert not process_runs(process.pid, started)


@linux
def test_processes_share_identity() -> None:
    code = "from polystore_stream.discovery import host_identity; print(host_identity())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == host_identity()
    assert socket.gethostname() in host_identity()


def test_public_names_exist() -> None:
    assert all(hasattr(discovery, name) for name in discovery.__all__)
