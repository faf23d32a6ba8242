"""Staging buffers that are used in turn for transfers to a GPU.

These tests need no GPU, because lending a buffer needs none.
"""

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from polystore_core import in_threads
from polystore_core.frameworks.staging import Ring


class Host:
    """Allocates buffers, and transfers as late as a GPU may: when the caller waits for it."""

    def __init__(self) -> None:
        self.allocated: list[NDArray[np.uint8]] = []
        self.targets: dict[int, NDArray[Any]] = {}
        self.ring = Ring(self._allocate)

    def _allocate(self, nbytes: int) -> NDArray[np.uint8]:
        self.allocated.append(np.empty(nbytes, np.uint8))
        return self.allocated[-1]

    def send(self, index: int, array: NDArray[Any]) -> None:
        def transfer() -> None:
            self.targets[index] = staged.copy()

        staged = self.ring.stage(array)
        self.ring.take_back(staged, transfer)


def lend_filled(ring: Ring, value: int, shape: tuple[int, ...] = (3, 2)) -> NDArray[Any]:
    array = ring.lend(shape, np.dtype("u2"))
    array[...] = value
    return array


def test_no_buffer_is_lent_before_it_is_transferred() -> None:
    host = Host()
    for number in range(50):
        host.send(number, lend_filled(host.ring, number))
    host.ring.finish()
    assert {n: array.tolist() for n, array in host.targets.items()} == {
        n: [[n, n]] * 3 for n in range(50)
    }
    assert len(host.allocated) < 10


def test_threads_share_the_ring() -> None:
    host = Host()
    barrier = threading.Barrier(4)

    def send_one(number: int) -> None:
        array = lend_filled(host.ring, number)
        if number < 4:
            barrier.wait()  # Four buffers are lent at once.
        host.send(number, array)

    with in_threads(4) as run:
        list(run(send_one, range(200)))
    host.ring.finish()
    assert {n: int(a[0, 0]) for n, a in host.targets.items()} == {n: n for n in range(200)}


def test_unsent_buffer_delays_no_other() -> None:
    host = Host()
    for number in range(20):
        lend_filled(host.ring, 99)  # This buffer is never sent.
        host.send(number, lend_filled(host.ring, number))
    host.ring.finish()
    assert [int(host.targets[n][0, 0]) for n in range(20)] == list(range(20))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (5, 7)])
def test_any_shape_is_lent(shape: tuple[int, ...]) -> None:
    host = Host()
    array = lend_filled(host.ring, 7, shape)
    assert (array.shape, array.dtype, array.flags.c_contiguous) == (shape, "u2", True)
    host.send(0, array)
    host.ring.finish()
    assert host.targets[0].tolist() == np.full(shape, 7).tolist()


def test_buffers_grow() -> None:
    host = Host()
    for number in range(12):
        host.send(number, lend_filled(host.ring, number, (number + 1, 10)))
    host.ring.finish()
    assert [host.targets[n].shape for n in range(12)] == [(n + 1, 10) for n in range(12)]


@pytest.mark.parametrize(
    "array", [np.arange(6.0)[::-1], np.arange(6, dtype=">i4"), np.asfortranarray(np.eye(3))]
)
def test_other_arrays_are_copied(array: NDArray[Any]) -> None:
    host = Host()
    expected = array.tolist()
    host.send(0, array)
    array[...] = 0  # The array belongs to the caller again.
    host.ring.finish()
    assert host.targets[0].tolist() == expected
    assert host.targets[0].dtype.isnative
