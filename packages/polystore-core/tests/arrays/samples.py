"""Arrays of every kind, and lists of element types."""

import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]

FOREIGN = [name for name in FRAMEWORKS if name != "numpy"]
PLAIN = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
NARROW = [dtype for dtype in PLAIN if dtype not in ("i8", "u8", "f8", "c16")]


def aligned(count: int, dtype: str = "f4", offset: int = 0) -> NDArray[Any]:
    """Return 0, 1, 2, … in memory that starts ``offset`` bytes after a multiple of 64."""
    size = count * np.dtype(dtype).itemsize
    memory = np.zeros(size + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    array = memory[begin : begin + size].view(dtype)
    array[:] = np.arange(count).astype(dtype)
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


class Speaker:
    """Has the methods of DLPack and nothing else."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Mute(Speaker):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("not today")


class Own(np.ndarray):
    pass


class Quantity(np.ndarray):
    """Carries a unit, like the arrays of astropy and unyt."""

    unit = None

    def __array_finalize__(self, source: Any) -> None:
        self.unit = getattr(source, "unit", None)

    @property
    def value(self) -> NDArray[Any]:
        return self.view(np.ndarray)


class Slotted(np.ndarray):
    __slots__ = ("magnitude",)


class Wrapping:
    """Like pint, replaces the arithmetic of NumPy and passes on everything else."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.magnitude = array

    def __array_ufunc__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("another unit")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.magnitude, name)


def quantity(unit: str | None, kind: Any = Quantity) -> Any:
    value = np.arange(3.0).view(kind)
    setattr(value, "magnitude" if kind is Slotted else "unit", unit)
    return value
