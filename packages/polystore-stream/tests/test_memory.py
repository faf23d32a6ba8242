import gc
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from polystore_stream.receiving.memory import Pool

LARGE = 1 << 18


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_large_memory_is_used_again() -> None:
    pool = Pool()
    array = pool.empty(LARGE)
    first = address(array)
    del array
    assert address(pool.empty(LARGE)) == first


def test_held_memory_is_not_shared() -> None:
    pool = Pool()
    first, second = pool.empty(LARGE), pool.empty(LARGE)
    first[:], second[:] = 1, 2
    assert (first.min(), first.max()) == (1, 1)
    assert not np.shares_memory(first, second)


@pytest.mark.parametrize("nbytes", [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
def test_array_is_plain(nbytes: int) -> None:
    array = Pool().empty(nbytes)
    assert (array.shape, array.dtype) == ((nbytes,), np.uint8)
    assert array.flags.writeable
    assert array.flags.c_contiguous
    array[:] = 7
    assert array.sum(dtype=int) == 7 * nbytes


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[5:],
        lambda array: array[::-1][1:][:9],
        lambda array: array[7:8][0:1].T,
        lambda array: array.view("<u2"),
        lambda array: array.view("<f8").reshape(2, 4, -1)[1, ..., 3:],
        lambda array: array.reshape(2, -1).T,
        lambda array: np.asarray(memoryview(array)),
        lambda array: np.lib.stride_tricks.sliding_window_view(array, 5),
        lambda array: np.broadcast_to(array, (2, LARGE)),
        lambda array: array.view("?").reshape(512, 512).diagonal(),
        lambda array: memoryview(array)[3:],
        lambda array: pickle.PickleBuffer(array),
    ],
)
@pytest.mark.slow
def test_any_view_keeps_memory(view) -> None:
    pool = Pool()
    array = pool.empty(LARGE)
    first = address(array)
    kept = view(array)
    del array
    gc.collect()
    assert address(pool.empty(LARGE)) != first
    assert kept is not None
    del kept
    gc.collect()
    assert first in {address(array) for array in [pool.empty(LARGE), pool.empty(LARGE)]}


@pytest.mark.parametrize(
    "make_copy",
    [
        lambda array: pickle.loads(pickle.dumps(array)),
        lambda array: array.copy(),
        lambda array: array.astype("u2"),
        lambda array: array[[0, 1]],
        lambda array: bytes(array),
    ],
)
def test_copies_do_not_keep_memory(make_copy) -> None:
    pool = Pool()
    array = pool.empty(LARGE)
    array[:] = 5
    first = address(array)
    kept = make_copy(array)
    del array
    again = pool.empty(LARGE)
    again[:] = 9
    assert address(again) == first
    assert set(np.asarray(bytearray(kept) if isinstance(kept, bytes) else kept)[:2]) == {5}


def test_kept_memory_is_limited() -> None:
    pool = Pool(keep=2 * LARGE)
    arrays = [pool.empty(LARGE) for _ in range(5)]
    before = {address(array) for array in arrays}
    del arrays
    again = [pool.empty(LARGE) for _ in range(2)]
    assert {address(array) for array in again} <= before
    assert pool._idle_bytes == 0


@pytest.mark.parametrize("nbytes", [LARGE, 3 * LARGE])
def test_too_large_is_not_kept(nbytes: int) -> None:
    pool = Pool(keep=LARGE - 1)
    pool.empty(nbytes)
    assert pool._idle_bytes == 0


def test_new_size_replaces_the_old() -> None:
    pool = Pool(keep=4 * LARGE)
    held = [pool.empty(LARGE) for _ in range(4)]
    del held
    first = address(pool.empty(2 * LARGE))
    assert address(pool.empty(2 * LARGE)) == first
    assert pool._idle_bytes == 2 * LARGE


def test_both_sizes_are_kept() -> None:
    pool = Pool(keep=4 * LARGE)
    small, large = address(pool.empty(LARGE)), address(pool.empty(2 * LARGE))
    assert address(pool.empty(LARGE)) == small
    assert address(pool.empty(2 * LARGE)) == large


@pytest.mark.parametrize("nbytes", [1 << 62, 1 << 63, 1 << 100])
def test_too_much_raises_memory_error(nbytes: int) -> None:
    with pytest.raises(MemoryError):
        Pool().empty(nbytes)


def test_array_outlives_pool() -> None:
    array = Pool().empty(LARGE)
    gc.collect()
    array[:] = 3
    assert array[-1] == 3


def test_threads_do_not_share_blocks() -> None:
    pool = Pool(keep=8 * LARGE)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(300):
            array = pool.empty(LARGE * (1 + turn % 2))
            array[::4096] = number
            view = array[::4096].reshape(-1)
            del array
            if not (view == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert 0 < pool._idle_bytes <= pool.keep
    assert pool._idle_bytes == sum(n * len(blocks) for n, blocks in pool._idle.items())


FORKING = """
import os
from polystore_stream.receiving.memory import Pool

pool = Pool()
array = pool.empty(1 << 18)
array[:] = 1
written, told = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.read(written[0], 1)
    os.write(told[1], bytes([array[0]]))
    os._exit(0)
del array
pool.empty(1 << 18)[:] = 2
os.write(written[1], b"!")
print(os.read(told[0], 1)[0])
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="system: has no fork")
def test_forked_process_keeps_values() -> None:
    command = [sys.executable, "-W", "error", "-c", FORKING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1\n"


def test_interpreter_ends_quietly() -> None:
    code = (
        "from polystore_stream.receiving.memory import Pool; held = Pool().empty(1 << 20)[5:]"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")
