"""The contract of an array framework: how its arrays become NumPy arrays, and come from them."""

from __future__ import annotations

import copy as copying
import importlib
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import (
    CopyRequiredError,
    InvalidOptionError,
    MissingDependencyError,
    UnsupportedDataError,
)

if TYPE_CHECKING:
    import numpy as np

    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["Framework", "Stage", "allocate_aligned", "is_aligned"]


class Stage(ABC):
    """Sends arrays to a device while others are read. Several threads may use it."""

    @abstractmethod
    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
        """Return host memory, uninitialised and C-contiguous, that is sent fast."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        """Return an uninitialised array on the device."""

    @abstractmethod
    def send(self, array: Pixels, target: Value) -> None:
        """Begin to copy ``array``, lent or not, into ``target``, or a part of it.

        Lent memory is not the caller's any more.
        """

    @abstractmethod
    def finish(self) -> None:
        """Wait until all that was sent is there, for work on the caller's stream."""


class Framework(ABC):
    """A library of arrays, such as PyTorch. Every conversion goes through these methods.

    ``name`` is the top-level package in which the arrays' classes are defined: that is how they
    are recognised. ``copy="auto"`` shares memory where that is safe, ``"always"`` never does, and
    ``"never"`` raises ``CopyRequiredError`` instead of copying.

    No result may alias memory that one side believes to be read-only.
    """

    name: ClassVar[str]
    install: str = ""
    """What installs it, such as "polystore[torch]". It comes from the manifest."""
    is_immutable: ClassVar[bool] = False
    """Whether its arrays never change: they share memory only with arrays that do not either."""

    @property
    def module(self) -> Any:
        """The package. It is imported only when somebody asks for this framework."""
        try:
            return importlib.import_module(self.name)
        except ModuleNotFoundError as error:
            if error.name != self.name:
                raise
            missing, install = (self.name,), self.install or self.name
            raise MissingDependencyError("framework", self.name, missing, install) from error

    # ── what an author writes ────────────────────────────────────────────────────────────

    @abstractmethod
    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        """Return ``value`` as a NumPy array of the same shape and element type.

        ``copy`` is "auto" or "never". Types that NumPy lacks (bfloat16) come as those of
        ml_dtypes. Raises ``UnsupportedDataError`` for arrays that are not plain numbers.
        """

    @abstractmethod
    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        """Return ``array`` as one of this framework's, on ``device`` (``None``: its default).

        ``donate`` says that nobody else uses the memory of ``array``: an immutable result may
        take it over.

        Raises ``InvalidOptionError`` for a device that is not there, ``UnsupportedDataError`` for
        an element type that the framework lacks.
        """

    def is_array(self, value: Value, /) -> bool:
        """Return whether ``value`` is an array without ``__dlpack__`` or ``__array_interface__``.

        Only values of a class of this framework are asked about.
        """
        return False

    def advice(self, value: Value, /) -> str:
        """Return what to save instead of ``value``, which is not an array."""
        return "convert it with numpy.asarray(…) first"

    def devices(self) -> list[str]:
        """Return the names of the devices of this machine that ``device=`` takes."""
        return ["cpu"]

    def device_of(self, value: Value, /) -> str:
        """Return where ``value`` is: "cpu", or a name that ``device=`` takes, as "cuda:0"."""
        return "cpu"

    def export(self, value: Value, /) -> Value:
        """Return the array ``value`` as others read it through DLPack, without a copy."""
        return value

    def copy(self, value: Value, /, *, always: bool) -> Value:
        """Return an array of the same type, element type and device in memory of its own.

        An immutable array may be its own copy, unless ``always``. Override it where
        ``copy.deepcopy`` fails, or shares memory.
        """
        return value if self.is_immutable and not always else copying.deepcopy(value)

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        """Return an array of any framework as one of this, through DLPack.

        ``value`` is on a device, or both frameworks are immutable. ``None`` if it must pass
        through NumPy. Sharing is safe unless ``copy`` is "always".
        """
        return None

    def stage(self, *, device: str | None) -> Stage | None:
        """Return what sends arrays to a GPU while others are read.

        ``None`` for the host, and where nothing is gained over ``from_numpy``.
        """
        return None

    # ── what all of them share ───────────────────────────────────────────────────────────

    def shareable(self, array: Pixels, copy: Copy, *, needs_writable: bool) -> Pixels:
        """Return ``array`` in a layout that every framework survives.

        Negative strides abort the process in PyTorch, and writing into a tensor over a read-only
        memory map is a segmentation fault: check first, copy or refuse.
        """
        if array.dtype.kind not in "biufc" and array.dtype.isbuiltin != 2:
            raise self.no_such_dtype(array)
        if not array.dtype.isnative:
            if copy == "never":
                raise CopyRequiredError(
                    f"{array.dtype.str} does not have this machine's byte order"
                )
            return array.astype(array.dtype.newbyteorder("="))
        reason = ""
        if any(stride < 0 for stride in array.strides):
            reason = "the array has negative strides"
        elif needs_writable and not array.flags.writeable:
            reason = "the array is read-only"
        elif not array.flags.aligned or any(s % array.itemsize for s in array.strides):
            reason = "the array is not aligned"
        if reason and copy == "never":
            raise CopyRequiredError(reason)
        return array.copy() if reason or copy == "always" else array

    def given(self, array: Pixels, copy: Copy, *, donate: bool) -> tuple[Pixels, bool]:
        """Return ``shareable(array)``, and whether an immutable result takes over its memory.

        That needs C order, an address that is a multiple of 64 bytes, and an element type that
        NumPy hands over. The result must copy the memory if it does not take it over.
        """
        is_needed = copy == "never"
        array = self.shareable(array, copy if is_needed else "auto", needs_writable=is_needed)
        reason = ""
        if array.dtype.isbuiltin == 2:
            reason = f"NumPy and {self.name} cannot share {array.dtype.name}"
        elif not is_aligned(array):
            reason = "the array is not C-contiguous, or not aligned to 64 bytes"
        if reason and is_needed:
            raise CopyRequiredError(reason)
        is_donated = donate and copy == "auto" and array.flags.writeable
        return array, is_needed or (is_donated and not reason)

    def no_such_dtype(self, array: Pixels) -> UnsupportedDataError:
        return UnsupportedDataError(
            f"{self.name} does not have dtype {array.dtype}: pass dtype= to convert, or load it as "
            "NumPy"
        )

    def no_such_device(self, device: str) -> InvalidOptionError:
        present = ", ".join(self.devices())
        expected = (
            f"one of {present}" if present else "a GPU and its driver (there is none here)"
        )
        return InvalidOptionError("device", device, f"{expected}, for {self.name}")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__}>"


def is_aligned(array: Pixels) -> bool:
    """Return whether JAX and TensorFlow can take the memory: C-contiguous, in steps of 64 bytes."""
    return array.flags.c_contiguous and array.ctypes.data % 64 == 0


def allocate_aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    """Return an uninitialised array whose memory every framework can take over."""
    import numpy as np

    if dtype.kind not in "biufcV" or dtype.hasobject:  # text and dates: none can take them over
        return np.empty(shape, dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + 64, np.uint8)
    return np.ndarray(shape, dtype, memory, offset=-memory.ctypes.data % 64)
