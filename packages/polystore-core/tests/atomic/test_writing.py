"""Writes of one file, which keep its mode, owner and links."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polystore_core import atomic_update_json, atomic_write, atomic_write_json
from polystore_core.errors import InvalidOptionError, NotAFileError, StorageError

from .folders import STRANGER, Python, get_mode, list_names, posix

# ── one file ─────────────────────────────────────────────────────────────────────────────


def test_new_file_appears(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("new")
        assert list_names(path.parent) != ["a.txt"]
    assert path.read_text() == "new"
    assert list_names(path.parent) == ["a.txt"]


def test_old_file_is_replaced(path: Path) -> None:
    path.write_text("old, and longer than the new one")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old, and longer than the new one"
    assert path.read_text() == "new"
    assert list_names(path.parent) == ["a.txt"]


def test_write_of_nothing_empties_file(path: Path) -> None:
    path.write_text("old")
    with atomic_write(path):
        pass
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("encoding", "newline", "stored"),
    [
        ("utf-8", None, b"\xc3\xa4\n"),
        ("latin-1", None, b"\xe4\n"),
        ("utf-8", "\r\n", b"\xc3\xa4\r\n"),
    ],
)
def test_text_is_encoded(
    tmp_path: Path, encoding: str, newline: str | None, stored: bytes
) -> None:
    with atomic_write(tmp_path / "a.txt", encoding=encoding, newline=newline) as file:
        file.write("ä\n")
    assert (tmp_path / "a.txt").read_bytes() == stored


def test_bytes_are_written_unchanged(path: Path) -> None:
    with atomic_write(path, "wb") as file:
        file.write(b"\r\n\x00\xff")
    assert path.read_bytes() == b"\r\n\x00\xff"


def test_bytes_can_be_revised(path: Path) -> None:
    with atomic_write(path, "wb") as file:
        file.write(bytes(200_000))
        file.seek(100_000)
        file.write(b"middle")
        file.seek(99_999)
        assert file.read(8) == b"\0middle\0"
        file.truncate(100_006)
    assert path.read_bytes() == bytes(100_000) + b"middle"


def test_other_modes_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="mode='a'"), atomic_write(tmp_path / "a", "a"):  # type: ignore[call-overload]
        pass
    assert os.listdir(tmp_path) == []


def test_longest_name_works(path: Path) -> None:
    longest = path.parent / ("n" * 255)
    for text in ("one", "two"):
        with atomic_write(longest) as file:
            file.write(text)
    assert longest.read_text() == "two"


def test_too_long_name_raises(path: Path) -> None:
    with pytest.raises(StorageError) as caught, atomic_write(path.parent / ("n" * 256)) as file:
        file.write("new")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert list_names(path.parent) == []


def test_missing_directories_are_made(path: Path) -> None:
    deep = path.parent / "one" / "two" / "a.txt"
    with atomic_write(deep) as file:
        file.write("new")
    assert deep.read_text() == "new"


def test_bare_name_works(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for text in ("one", "two"):
        with atomic_write("a.txt") as file:
            file.write(text)
    assert path.read_text() == "two"


def test_directory_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(NotAFileError), atomic_write(path) as file:
        file.write("new")
    assert path.is_dir()


# ── modes, owners and links ──────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize("old_mode", [0o640, 0o600, 0o755])
def test_mode_is_kept(path: Path, old_mode: int) -> None:
    path.touch()
    path.chmod(old_mode)
    with atomic_write(path) as file:
        file.write("new")
    assert get_mode(path) == old_mode


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


@posix
@pytest.mark.usefixtures("umask")
def test_umask_is_obeyed(path: Path) -> None:
    with atomic_write(path) as file:
        file.write("new")
    assert get_mode(path) == 0o640


@posix
@pytest.mark.parametrize("text", ["a.txt", "../folder/a.txt", "missing.txt"])
def test_links_target_is_replaced(path: Path, text: str) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("old")
    link = folder / "link"
    link.symlink_to(text)
    with atomic_write(link) as file:
        file.write("new")
    assert os.readlink(link) == text
    assert (folder / text).read_text() == "new"
    assert not (folder / text).is_symlink()


def test_owner_is_kept(path: Path, shared: Path) -> None:
    path.touch()
    os.chown(path, 1234, 4321)
    with atomic_write(path) as file:
        file.write("new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_two_users_take_turns(shared: Path, python: Python) -> None:
    path = shared / "a.json"
    atomic_write_json({"root": True}, path)
    path.chmod(0o664)
    assert python(STRANGER, path).stderr == ""
    atomic_update_json(path, lambda old: old | {"again": True})
    assert json.loads(path.read_text()) == {"root": True, "stranger": True, "again": True}
    assert get_mode(path) == 0o664
