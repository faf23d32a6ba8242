"""Saved values form a zip archive that other programs can read."""

import itertools
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    InvalidOptionError,
)
from polystore_zip.backend import ZipBackend
from polystore_zip.records import End, new_member

A = np.arange(5000, dtype="u2").reshape(50, 100)


# ── the written archive ──────────────────────────────────────────────────────────────────


def test_other_programs_read_archive(backend, file, tmp_path, check_others):
    backend.save(A, "plate/a.npy")
    backend.save({"µ": 1}, "plate/größe µ.json")
    backend.save_batch([A, A + 1], ["b/1.npy", "b/2.npy"])
    check_others(["plate/a.npy", "plate/größe µ.json", "b/1.npy", "b/2.npy"])
    zipfile.ZipFile(file).extractall(tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out/b/2.npy"), A + 1)
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-q", file, "-d", tmp_path / "unzipped"], check=True)
        found = tmp_path / "unzipped/plate/größe µ.json"
        assert stat.S_IMODE(found.stat().st_mode) & 0o600 == 0o600
        assert abs(found.stat().st_mtime - os.stat(file).st_mtime) < 100


def test_no_space_is_left_between_members(backend, file):
    """Single saves need no more space than one batch, because old directories are overwritten."""
    names = [f"plate/{n}.npy" for n in range(60)]
    for name in names:
        backend.save(A[:2], name)
    other = ZipBackend(file=f"{file}.2")
    other.save_batch([A[:2]] * 60, names)
    assert os.path.getsize(file) == os.path.getsize(f"{file}.2")


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="system: lists no open files")
def test_many_members_need_few_open_files(backend, file, tmp_path, check_others):
    """Systems allow 256 or 1024 open files. All members of an array are added together."""
    store, before, most = backend.store, len(os.listdir("/dev/fd")), 0
    content = {f"a/{n}": f"{n:,}".encode() * (n % 7) for n in range(600)}
    sinks = []
    with store.together() as commit:
        for key, value in content.items():
            sinks.append(store.sink(key, if_exists="error"))
            sinks[-1].file.write(value)
            sinks[-1].seal()
            commit(sinks[-1])
            most = max(most, len(os.listdir("/dev/fd")))
        assert not list(store.scan())
    for sink in sinks:
        sink.discard()
    assert most - before < 80
    # One descriptor more, for the archive itself.
    assert len(os.listdir("/dev/fd")) <= before + 1
    assert {stat.key: store.read(stat.key) for stat in store.scan()} == content
    lock = f".~ps-{os.path.basename(file)}.lock"
    assert sorted(os.listdir(os.path.dirname(file))) == [lock, os.path.basename(file)]
    check_others(list(content))


def test_old_directories_are_small(backend, file):
    for n in range(60):
        backend.save(np.zeros(1000 if n % 2 else 10), f"plate/{n}.npy")
    with zipfile.ZipFile(file) as archive:
        held = sum(info.file_size for info in archive.infolist())
    assert os.path.getsize(file) < 1.125 * held + 60 * 200


def test_positions_beyond_4_gib(backend, file, check_others):
    """The archive is sparse: its directory starts after 5 GiB of zeros."""
    with open(file, "wb") as archive:
        archive.truncate(5 << 30)
        archive.seek(5 << 30)
        archive.write(End(5 << 30, 0, 0).pack())
    for n in range(3):
        backend.save(A + n, f"{n}.npy")
    backend.save_batch([A, A], ["3.npy", "4.npy"])
    check_others([f"{n}.npy" for n in range(5)])
    np.testing.assert_array_equal(ZipBackend(file=file).load("2.npy"), A + 2)


def test_member_beyond_4_gib(backend, file):
    size = (4 << 30) + 100
    member = new_member("big.txt", size, 0)
    with open(file, "wb") as archive:
        archive.write(member.header())
        offset = archive.tell() + size
        archive.seek(offset - 7)
        archive.write(b"the end")
        archive.write(member.entry())
        archive.write(End(offset, len(member.entry()), 1).pack())
    assert backend.store.read("big.txt", -7) == b"the end"
    backend.save(A, "a.npy")
    with zipfile.ZipFile(file) as archive:
        assert archive.getinfo("big.txt").file_size == size
        assert archive.read("a.npy")[-A.nbytes :] == A.tobytes()


def test_more_than_65535_members(backend, file, check_others):
    names = [f"{n}.txt" for n in range(65_534)]
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"1")
    for n in range(3):
        backend.save("2", f"last{n}.txt", durable=False)
        assert len(ZipBackend(file=file).list_dir(".")) == 65_535 + n
    assert ZipBackend(file=file).load("last2.txt") == "2"
    check_others([*names, "last0.txt", "last1.txt", "last2.txt"])


def test_name_that_zip_cannot_store_is_refused(backend):
    for name, fault in [
        (os.fsdecode(b"\xff.npy"), "are Unicode"),
        ("a" * 70_000 + ".npy", "at most 65,535 bytes"),
        ("C:/a.npy", "do not accept it"),
        ("__MACOSX/a.npy", "leave it out"),
    ]:
        with pytest.raises(InvalidOptionError, match=fault):
            backend.save(A, name)
    assert backend.list_dir(".") == []


def test_failed_write_leaves_the_archive(file):
    """The disk is full at the end of the archive, or in the middle of it."""
    pytest.importorskip("resource", reason="system: needs POSIX limits")
    code = (
        "import sys, resource, signal, numpy as np\n"
        "from polystore_zip.backend import ZipBackend\n"
        "b = ZipBackend(file=sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))\n"
        "try: b.save(np.zeros(int(sys.argv[3])), 'new.npy')\n"
        "except OSError as error: print(type(error).__name__, error.errno)\n"
    )
    backend = ZipBackend(file=file)
    backend.save_batch([A[:1]] * 20, [f"{n}.npy" for n in range(20)])
    before = Path(file).read_bytes()
    for count, limit in [(1, len(before) + 10), (10_000, len(before) + 85_000)]:
        command = [sys.executable, "-c", code, file, str(limit), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "StorageError 27\n", done.stderr
        assert Path(file).read_bytes() == before


# ── other backends ───────────────────────────────────────────────────────────────────────


def test_transfer_to_archive_and_back(file, tmp_path, check_others):
    registry = BackendRegistry()
    registry.add("archive", "zip", file=file)
    registry.add("raw", "disk", root=tmp_path / "raw")
    registry.add("back", "disk", root=tmp_path / "back")
    fm = FileManager(registry)
    for n in range(5):
        fm.save(A + n, f"plate/{n}.tif", backend="raw")
        fm.save({"n": n}, f"plate/{n}.json", backend="raw")
    names = fm.list_files("plate", backend="raw")
    for name in names:
        fm.transfer(name, name, source_backend="raw", target_backend="archive")
    assert fm.list_files("plate", backend="archive") == names
    check_others(names)
    for name in names:
        fm.transfer(name, name, source_backend="archive", target_backend="back")
    np.testing.assert_array_equal(fm.load("plate/3.tif", backend="back"), A + 3)
    assert fm.load("plate/3.json", backend="back") == {"n": 3}


def test_command_copies_and_lists(file, tmp_path):
    config = tmp_path / "polystore.toml"
    config.write_text(
        f"[backends.archive]\nbackend = 'zip'\nfile = '{file}'\n"
        f"[backends.raw]\nbackend = 'disk'\nroot = '{tmp_path / 'raw'}'\n"
    )
    fm = FileManager(BackendRegistry.from_file(config))
    fm.save_batch([A, A + 1], ["plate/a.npy", "plate/b.npy"], backend="raw")

    def run(*words):
        command = [sys.executable, "-m", "polystore_cli", "--config", config, *words]
        return subprocess.run(command, capture_output=True, text=True)

    for source, target in [("raw:plate", "archive:plate"), ("archive:plate", "raw:back")]:
        done = run("cp", "-r", source, target)
        assert done.returncode == 0, done.stderr
    assert run("ls", "archive:plate").stdout == "a.npy\nb.npy\n"
    assert "(50, 100)" in run("info", "archive:plate/a.npy").stdout
    np.testing.assert_array_equal(fm.load("back/b.npy", backend="raw"), A + 1)
    refused = run("cp", "raw:plate/a.npy", "archive:plate/a.npy")
    assert refused.returncode == 1
    assert "ZipStore" in refused.stderr


def test_batch_without_directory_saves_nothing(file):
    """If the directory cannot be written, no value of the batch counts as saved."""
    pytest.importorskip("resource", reason="system: needs POSIX limits")
    code = (
        "import sys, resource, numpy as np\n"
        "from polystore_core.errors import BatchError\n"
        "from polystore_zip.backend import ZipBackend\n"
        "b = ZipBackend(file=sys.argv[1])\n"
        "names = [f'{n}.npy' for n in range(40)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, -1))\n"
        "try: b.save_batch([np.zeros(8)] * 40, names)\n"
        "except BatchError as error: print(error.failed_index, len(error.done))\n"
        "print(len(b.list_dir('.')))\n"
    )
    command = [sys.executable, "-c", code, file]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 0\n0\n", done.stderr
    ZipBackend(file=file).save(A, "a.npy")
    assert ZipBackend(file=file).list_dir(".") == ["a.npy"]


@pytest.mark.parametrize("durable", [None, False, True])
def test_batch_writes_one_directory_for_many(backend, file, durable):
    backend.save_batch([A] * 32, [f"{n}.npy" for n in range(10, 42)], durable=durable)
    with zipfile.ZipFile(file) as archive:
        starts = [member.header_offset for member in archive.infolist()]
    # A small directory stays behind the member for which it was written.
    assert len({after - before for before, after in itertools.pairwise(starts)}) == 1


def test_durable_save_flushes_the_names_of_new_folders(tmp_path):
    if not hasattr(os, "O_DIRECTORY"):
        pytest.skip("system: Windows cannot flush folders")
    code = (
        "import os, sys\n"
        "from polystore_zip.backend import ZipBackend\n"
        "backend = ZipBackend(file=sys.argv[1], durable=True)\n"
        "opened = set()\n"
        "def note(event, given):\n"
        "    if event == 'open' and given[2] & os.O_DIRECTORY: opened.add(given[0])\n"
        "sys.addaudithook(note)\n"
        "backend.save('1', '1.txt')\n"
        "print(*sorted(opened))\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "a" / "b" / "scan.zip"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {str(tmp_path), str(tmp_path / "a")} <= set(done.stdout.split()), done.stderr


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────────


def seal_member(backend, key):
    sink = backend.store.sink(key)
    sink.file.write(b"1")
    sink.seal()
    return sink


def test_block_that_raises_adds_nothing(backend, file):
    sink = seal_member(backend, "a.txt")

    def interrupt_block():
        with backend.store.together() as commit:
            commit(sink)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt_block()
    sink.discard()
    backend.save("2", "b.txt")
    assert ZipBackend(file=file).list_dir(".") == ["b.txt"]


def test_unfinished_block_adds_no_later_value(backend, file):
    """Ctrl-C strikes after the block starts and before its first line.

    The traceback then keeps the block.
    """
    block = backend.store.together()
    commit = block.__enter__()
    backend.save("1", "a.txt")
    assert ZipBackend(file=file).load("a.txt") == "1"
    sink = seal_member(backend, "b.txt")
    commit(sink)
    del block, commit
    sink.discard()
    backend.save("3", "c.txt")
    assert ZipBackend(file=file).list_dir(".") == ["a.txt", "c.txt"]
