import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from polystore_core.errors import DamagedDataError
from polystore_stream.wire import ring
from polystore_stream.wire.messages import PIECE, Ring, encode
from polystore_stream.wire.ring import RingReader, RingWriter

HEAD = 4096
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: has no memfd")
fcntl = pytest.importorskip("fcntl", reason="system: has no POSIX files")

Make = Callable[..., RingWriter]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[RingWriter] = []

    def writer(slots: int = 2, *, named: bool = False) -> RingWriter:
        made.append(RingWriter(slots, named=named))
        return made[-1]

    yield writer
    for one in made:
        one.close()


@pytest.fixture
def folder() -> Path:
    return Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir())


@pytest.fixture
def place(folder: Path) -> Iterator[Path]:
    """Give the path of a ring, and remove its file or folder afterwards."""
    path = folder / f"polystore-ring-test-{os.getpid()}"
    yield path
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)


def catch_refusal(message: Ring) -> str:
    with pytest.raises(DamagedDataError) as caught:
        RingReader(message)
    assert caught.value.format == "ring"
    return caught.value.reason


def read_mappings() -> str:
    return Path("/proc/self/maps").read_text()


# ── both sides ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("named", [pytest.param(False, marks=linux), True])
def test_pixels_pass_through(make: Make, named: bool) -> None:
    writer = make(3, named=named)
    reader = RingReader(writer.message)
    writer.forget_name()
    assert reader.slots == writer.slots == 3
    for index, nbytes in [(0, 1), (2, PIECE), (1, 1000), (0, PIECE)]:
        pixels = np.random.default_rng(index).integers(0, 256, nbytes, np.uint8)
        writer.slot(index, nbytes)[:] = pixels
        np.testing.assert_array_equal(reader.slot(index, nbytes), pixels)
    reader.close()


@linux
def test_other_process_reads(make: Make) -> None:
    writer = make()
    writer.slot(1, 3)[:] = [1, 2, 3]
    code = (
        "import sys, msgspec\n"
        "from polystore_stream.wire.messages import read_header\n"
        "from polystore_stream.wire.ring import RingReader\n"
        "reader = RingReader(read_header(sys.stdin.buffer.read()))\n"
        "print(reader.slot(1, 3).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        input=encode(writer.message),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b"[1, 2, 3]\n"


def test_slots_do_not_overlap(make: Make) -> None:
    writer = make(2, named=True)
    reader = RingReader(writer.message)
    writer.slot(0, PIECE)[:] = 1
    writer.slot(1, PIECE)[:] = 2
    assert (reader.slot(0, PIECE) == 1).all()
    assert (reader.slot(1, PIECE) == 2).all()


def test_reader_cannot_write(make: Make) -> None:
    writer = make(named=True)
    assert not RingReader(writer.message).slot(0, 10).flags.writeable


@pytest.mark.parametrize(
    ("index", "nbytes"), [(2, 1), (-1, 1), (10**30, 1), (0, 0), (0, -1), (0, PIECE + 1)]
)
def test_wrong_slot_is_damage(make: Make, index: int, nbytes: int) -> None:
    reader = RingReader(make(2, named=True).message)
    with pytest.raises(
        DamagedDataError, match=f"{nbytes} bytes do not fit slot {index} of 2 slots"
    ):
        reader.slot(index, nbytes)


@linux
@pytest.mark.parametrize("named", [False, True])
def test_memory_is_released_with_last_view(make: Make, named: bool) -> None:
    writer = make(named=named)
    reader = RingReader(writer.message)
    writer.slot(0, 4)[:] = 7
    view = reader.slot(0, 4)
    writer.close()
    reader.close()
    assert view.tolist() == [7] * 4
    assert read_mappings().count("polystore-ring") == 1
    del view
    assert "polystore-ring" not in read_mappings()


@linux
def test_slots_take_memory_when_used(make: Make) -> None:
    writer = make(64)
    status = os.stat(writer.message.path)
    assert status.st_size == HEAD + 64 * PIECE
    assert status.st_blocks * 512 <= 2 * HEAD
    writer.slot(5, 1)[:] = 1
    assert PIECE <= os.stat(writer.message.path).st_blocks * 512 <= 2 * PIECE


@linux
def test_no_memory_raises_os_error(make: Make, descriptors: Callable[[], int]) -> None:
    before = descriptors()
    with pytest.raises(OSError, match="Errno"):
        make(1 << 41)
    assert descriptors() == before


# ── names ────────────────────────────────────────────────────────────────────────────────


@linux
def test_memory_has_no_name(make: Make, folder: Path) -> None:
    before = {*folder.iterdir()}
    writer = make()
    RingReader(writer.message)
    assert {*folder.iterdir()} == before


def test_name_is_forgotten(make: Make, folder: Path) -> None:
    before = {*folder.iterdir()}
    writer = make(named=True)
    (path,) = {*folder.iterdir()} - before
    assert str(path) == writer.message.path
    assert path.stat().st_mode & 0o777 == 0o600
    writer.forget_name()
    writer.forget_name()
    assert {*folder.iterdir()} == before


def test_close_removes_name(make: Make, folder: Path) -> None:
    before = {*folder.iterdir()}
    writer = make(named=True)
    Path(writer.message.path).unlink()  # another process was faster
    writer.close()
    other = make(named=True)
    other.close()
    other.close()
    assert {*folder.iterdir()} == before


# ── other files ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "/proc/self/fd/0",
        "/proc/1/fd/../../../etc/passwd",
        "/proc/1/fd/1/",
        "/proc/1/mem",
        "proc/1/fd/1",
        "/dev/shm/../../etc/passwd",
        "/dev/shm/passwd",
        "/dev/shm/../etc/polystore-ring-1",
        "/dev/shm/a/polystore-ring-1",
        "/dev/shm/polystore-ring-1\0",
        "/dev/shm/polystore-ring-\ud800",
        "/proc/1/fd/1\n",
        "/proc/\N{ARABIC-INDIC DIGIT ONE}/fd/1",
        "/dev/shm/polystore-ring-",
        "polystore-ring-1",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    assert "is not the path of a ring" in catch_refusal(
        Ring(path=path, size=HEAD + PIECE, nonce="00" * 16)
    )


@pytest.mark.parametrize("name", ["/proc/999999999/fd/1", "polystore-ring-gone"])
def test_missing_ring_is_damage(folder: Path, name: str) -> None:
    message = Ring(path=str(folder / name), size=HEAD + PIECE, nonce="00" * 16)
    assert "No such file" in catch_refusal(message)


@pytest.mark.parametrize("named", [pytest.param(False, marks=linux), True])
@pytest.mark.parametrize("nonce", ["00" * 16, "", "00", "zz" * 16, "é", "00" * 1000])
def test_wrong_nonce_is_refused(make: Make, named: bool, nonce: str) -> None:
    message = make(named=named).message
    assert "belongs to another process" in catch_refusal(replace(message, nonce=nonce))
    RingReader(message)


@pytest.mark.parametrize(
    "size", [0, -1, HEAD, HEAD + PIECE, HEAD + 2 * PIECE + 1, HEAD + 3 * PIECE, 10**30]
)
def test_wrong_size_is_refused(make: Make, size: int) -> None:
    message = make(2, named=True).message
    assert f"do not fit the size {size}" in catch_refusal(replace(message, size=size))


@pytest.mark.parametrize("size", [0, 100, HEAD, HEAD + PIECE - 1])
def test_odd_size_is_refused(place: Path, size: int) -> None:
    place.write_bytes(bytes(size))
    assert f"{size} bytes" in catch_refusal(Ring(path=str(place), size=size, nonce="00" * 16))


def test_other_magic_is_refused(place: Path) -> None:
    place.write_bytes(b"polystore ring 2".ljust(HEAD + PIECE, b"\0"))
    message = Ring(path=str(place), size=HEAD + PIECE, nonce="00" * 16)
    assert "belongs to another process" in catch_refusal(message)


def test_link_is_not_followed(make: Make, place: Path) -> None:
    message = make(named=True).message
    place.symlink_to(message.path)
    catch_refusal(replace(message, path=str(place)))


def test_folder_is_refused(place: Path) -> None:
    place.mkdir()
    catch_refusal(Ring(path=str(place), size=place.stat().st_size, nonce="00" * 16))


def test_pipe_does_not_block(place: Path) -> None:
    os.mkfifo(place)
    assert "0 bytes" in catch_refusal(Ring(path=str(place), size=HEAD + PIECE, nonce="00" * 16))


def make_memory(*seals: int, size: int = HEAD + PIECE) -> tuple[int, Ring]:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"polystore ring 1" + bytes(16))
    os.truncate(fd, size)
    for seal in seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
    return fd, Ring(path=f"/proc/{os.getpid()}/fd/{fd}", size=size, nonce="00" * 16)


@linux
def test_unsealed_memory_is_refused() -> None:
    for seals in ((), (fcntl.F_SEAL_GROW,), (fcntl.F_SEAL_WRITE,)):
        fd, message = make_memory(*seals)
        assert "not sealed" in catch_refusal(message)
        os.close(fd)


@linux
def test_sealed_memory_is_accepted() -> None:
    fd, message = make_memory(fcntl.F_SEAL_SHRINK)
    os.lseek(fd, HEAD, os.SEEK_SET)
    os.write(fd, b"abc")
    assert RingReader(message).slot(0, 3).tobytes() == b"abc"
    os.close(fd)


@linux
def test_open_file_is_refused(tmp_path: Path) -> None:
    content = (b"polystore ring 1" + bytes(16)).ljust(HEAD + PIECE, b"\0")
    (tmp_path / "private").write_bytes(content)
    with open(tmp_path / "private", "rb") as file:
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        assert "not sealed" in catch_refusal(
            Ring(path=path, size=len(content), nonce="00" * 16)
        )


@linux
def test_writer_cannot_shrink_memory(make: Make) -> None:
    message = make().message
    fd = int(message.path.rpartition("/")[2])
    for size in (0, message.size - 1, message.size + 1):
        with pytest.raises(PermissionError):
            os.truncate(fd, size)


@linux
def test_refusal_leaves_nothing_open(
    make: Make, place: Path, descriptors: Callable[[], int]
) -> None:
    message = make().message
    place.write_bytes(bytes(HEAD + PIECE))
    before = descriptors()
    catch_refusal(replace(message, nonce="11" * 16))
    catch_refusal(replace(message, size=message.size + PIECE))
    catch_refusal(replace(message, path=str(place), size=HEAD + PIECE))
    assert descriptors() == before
    assert read_mappings().count("polystore-ring") == 1  # that of the writer


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────────


@linux
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the file closes itself
def test_interrupted_ring_leaves_nothing() -> None:
    """Ctrl-C between any two steps of our code leaves nothing open."""
    step = 1
    while interrupt(step):
        assert "polystore-ring" not in read_mappings()
        for descriptor in Path("/proc/self/fd").iterdir():
            assert "polystore-ring" not in os.path.realpath(descriptor)
        step += 1
    assert step > 100


def interrupt(step: int) -> bool:
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != ring.__file__:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if not left:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        RingWriter(2).close()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False
