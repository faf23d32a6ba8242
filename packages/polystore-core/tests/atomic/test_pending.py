"""Files that appear when they are complete."""

import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from polystore_core.files.pending import PendingFile

from .folders import list_names


def test_one_exclusive_save_succeeds(path: Path) -> None:
    start = threading.Barrier(4)

    def save(content: bytes) -> bytes | None:
        pending = PendingFile(path, exclusive=True)
        try:
            pending.file.write(content)
            pending.seal()
            start.wait()
            pending.commit()
        except FileExistsError:
            return None
        finally:
            pending.discard()
        return content

    with ThreadPoolExecutor(4) as pool:
        saved = [content for content in pool.map(save, [b"1", b"2", b"3", b"4"]) if content]
    assert saved == [path.read_bytes()]
    assert list_names(path.parent) == ["a.txt"]


def test_late_file_is_replaced(path: Path) -> None:
    pending = PendingFile(path)
    pending.file.write(b"mine")
    pending.seal()
    path.write_bytes(b"theirs")
    pending.commit()
    pending.discard()
    assert path.read_bytes() == b"mine"
    assert list_names(path.parent) == ["a.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="system: Windows has no modes")
def test_late_file_keeps_its_mode(path: Path) -> None:
    """The mode of a file that appears after ``seal`` is kept, like that of an earlier file."""
    pending = PendingFile(path)
    pending.file.write(b"mine")
    pending.seal()
    path.write_bytes(b"theirs")
    path.chmod(0o600)
    pending.commit()
    pending.discard()
    assert path.read_bytes() == b"mine"
    assert path.stat().st_mode & 0o777 == 0o600


def test_position_equals_that_of_the_file(path: Path) -> None:
    pending = PendingFile(path)
    pending.file.write(b"0123456789" * 20_000)
    pending.file.seek(5)
    assert pending.file.read(3) == b"567"
    assert (pending.file.tell(), pending.raw.tell()) == (
        8,
        os.lseek(pending._get_descriptor(), 0, 1),
    )
    pending.file.seek(-4, os.SEEK_END)
    pending.file.write(b"end")
    pending.seal()
    assert pending.file.tell() == pending.raw.tell() == 199_999
    pending.commit()
    pending.discard()
    assert path.read_bytes() == b"0123456789" * 19_999 + b"012345end9"


def test_pending_touches_nothing_early(path: Path) -> None:
    pending = PendingFile(path.parent / "folder" / "a.txt")
    assert pending.file.tell() == 0
    assert os.listdir(path.parent) == []
    pending.discard()
    assert os.listdir(path.parent) == []


def test_numpy_cannot_bypass(path: Path) -> None:
    pending = PendingFile(path)
    with pytest.raises(io.UnsupportedOperation):
        pending.file.fileno()
    np.save(pending.file, np.arange(50_000))
    pending.seal()
    pending.commit()
    pending.discard()
    assert np.array_equal(np.load(path), np.arange(50_000))
