"""CuPy: arrays on NVIDIA GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..abc.framework import Framework
from ..errors import CopyRequiredError

if TYPE_CHECKING:
    from ..abc.framework import Stage
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["CuPy"]


class CuPy(Framework):
    name: ClassVar[str] = "cupy"

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        if copy == "never":
            raise CopyRequiredError(f"the array is on {self.device_of(value)}")
        array: Pixels = value.get()
        return array

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        cupy = self.module
        index = self._index(device)
        if copy == "never":
            raise CopyRequiredError("the array would move to a GPU")
        array = self.shareable(array, "auto", needs_writable=False)
        if array.dtype.isbuiltin == 2:
            raise self.no_such_dtype(array)
        with cupy.cuda.Device(index):
            return cupy.asarray(array)

    def _index(self, device: str | None) -> int | None:
        """Return the number of a GPU: "cuda:1" is 1, "cuda" the current one."""
        cupy = self.module
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise self.no_such_device(device or "cuda") from error
        if device in (None, "cuda"):
            return None
        kind, _, number = str(device).partition(":")
        if kind != "cuda" or not number.isdecimal() or int(number) >= count:
            raise self.no_such_device(str(device))
        return int(number)

    def stage(self, *, device: str | None) -> Stage | None:
        from .staging import CuPyStage

        return CuPyStage(self.module, self._index(device))

    def device_of(self, value: Value, /) -> str:
        return f"cuda:{value.device.id}"
