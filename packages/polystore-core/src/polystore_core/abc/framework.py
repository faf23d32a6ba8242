"""``Framework``: how the arrays of a library are converted to NumPy arrays, and back."""

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
        """Return host memory from which transfers are fast: uninitialised and C-contiguous."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        """Return an uninitialised array on the device."""

    @abstractmethod
    def send(self, array: Pixels, target: Value) -> None:
        """Start to copy ``array`` into ``target``, or into a part of it.

        If the memory of ``array`` was lent, do not use it any more.
        """

    @abstractmethod
    def finish(self) -> None:
        """Make work on the caller's stream wait for all transfers."""


class Framework(ABC):
    """A library of arrays, such as PyTorch. All conversions use these methods.

    ``copy="auto"`` shares memory where that is safe. ``"always"`` never shares it. ``"never"``
    raises ``CopyRequiredError`` instead of copying. A result must not share memory that one side
    can change and the other takes for constant.

    The page "Array frameworks" has an example.
    """

    name: ClassVar[str]
    """The top-level package of the classes of its arrays. Arrays are recognised by it."""
    install: str = ""
    """The argument of ``pip install``, such as "polystore[torch]", from the manifest."""
    is_immutable: ClassVar[bool] = False
    """Whether its arrays never change. They share memory only with others that never change."""

    @property
    def module(self) -> Any:
        """The package. It is imported only when it is needed."""
        try:
            return importlib.import_module(self.name)
        except ModuleNotFoundError as error:
            # It is installed, but it fails to import another module.
            if error.name != self.name:
                raise
            missing, install = (self.name,), self.install or self.name
            raise MissingDependencyError("framework", self.name, missing, install) from error

    # ── to implement ─────────────────────────────────────────────────────────────────────

    @abstractmethod
    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        """Return ``value`` as a NumPy array of the same shape and dtype.

        Args:
            value: An array of this framework.
            copy: "auto" or "never".

        Returns:
            An array. Types that NumPy does not have, such as bfloat16, are those of ml_dtypes.

        Raises:
            UnsupportedDataError: The array does not hold plain numbers.
            CopyRequiredError: It needs a copy, and ``copy="never"``.
        """

    @abstractmethod
    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        """Return a NumPy array as an array of this framework.

        Args:
            array: Any NumPy array. :meth:`shareable` gives it a layout that you can share.
            device: A name from :meth:`devices`, or ``None`` for the default device.
            copy: "auto", "never" or "always".
            donate: Whether the caller gives up the memory of ``array``, so that an immutable result
                may keep it.

        Raises:
            InvalidOptionError: The device does not exist. See :meth:`no_such_device`.
            UnsupportedDataError: The framework does not have this dtype. See :meth:`no_such_dtype`.
            CopyRequiredError: It needs a copy, and ``copy="never"``.
        """

    def is_array(self, value: Value, /) -> bool:
        """Return whether ``value`` is an array, if it has no ``__dlpack__``.

        It is called only for values of classes of this framework that have neither ``__dlpack__``
        nor ``__array_interface__``.
        """
        return False

    def advice(self, value: Value, /) -> str:
        """Return advice for an error: how to save ``value``, which is not an array."""
        return "convert it with numpy.asarray(…) first"

    def devices(self) -> list[str]:
        """Return the devices of this machine, as names for ``device=``."""
        return ["cpu"]

    def device_of(self, value: Value, /) -> str:
        """Return the device of ``value``: "cpu", or another name for ``device=``, as "cuda:0"."""
        return "cpu"

    def export(self, value: Value, /) -> Value:
        """Return an array that other frameworks can read through DLPack, without a copy."""
        return value

    def copy(self, value: Value, /, *, always: bool) -> Value:
        """Return a copy of an array with the same class, dtype and device.

        An immutable array may be its own copy, unless ``always`` is true. Override it if
        ``copy.deepcopy`` fails or shares memory.
        """
        return value if self.is_immutable and not always else copying.deepcopy(value)

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        """Return an array of any framework as one of this framework, through DLPack.

        Args:
            value: An array on a device, or of an immutable framework like this one.
            device: A name from :meth:`devices`, or ``None``.
            copy: You can share the memory unless this is "always".

        Returns:
            The array, or ``None`` if it must be converted through NumPy.
        """
        return None

    def stage(self, *, device: str | None) -> Stage | None:
        """Return a :class:`Stage` for ``device``, or ``None`` if ``from_numpy`` is as fast."""
        return None

    # ── for all frameworks ───────────────────────────────────────────────────────────────

    def shareable(self, array: Pixels, copy: Copy, *, needs_writable: bool) -> Pixels:
        """Return ``array`` in a layout that every framework can share.

        Raises:
            CopyRequiredError: It needs a copy, and ``copy="never"``.
            UnsupportedDataError: No framework has this dtype.
        """
        # Negative strides abort the process in PyTorch, and writing into a tensor over a read-only
        # memory map is a segmentation fault.
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
        """Return ``shareable(array)``, and whether an immutable result can keep its memory.

        It can if the array has C order, an address that is a multiple of 64 bytes, and a dtype that
        NumPy can share. Otherwise the result must copy the memory.
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
        """Return the error for an array whose dtype this framework does not have."""
        return UnsupportedDataError(
            f"{self.name} does not have dtype {array.dtype}: pass dtype= to convert, or load it as "
            "NumPy"
        )

    def no_such_device(self, device: str) -> InvalidOptionError:
        """Return the error for a device that does not exist. It lists those that do."""
        present = ", ".join(self.devices())
        expected = (
            f"one of {present}" if present else "a GPU and its driver (there is none here)"
        )
        return InvalidOptionError("device", device, f"{expected}, for {self.name}")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__}>"


def is_aligned(array: Pixels) -> bool:
    """Return whether JAX and TensorFlow can keep the memory: C order, at a multiple of 64 bytes."""
    return array.flags.c_contiguous and array.ctypes.data % 64 == 0


def allocate_aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
    """Return an uninitialised array whose memory every framework can keep."""
    import numpy as np

    if dtype.kind not in "biufcV" or dtype.hasobject:  # no framework has text and dates
        return np.empty(shape, dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + 64, np.uint8)
    return np.ndarray(shape, dtype, memory, offset=-memory.ctypes.data % 64)
