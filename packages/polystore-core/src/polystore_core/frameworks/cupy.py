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
    """Arrays of CuPy. They are always on a GPU, so NumPy gets a copy."""

    name: ClassVar[str] = "cupy"

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        if copy == "never":
            raise CopyRequiredError(f"the array is on {self.device_of(value)}")
        array: Pixels = value.get()
        return array

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        index = self._index(device)
        if copy == "never":
            raise CopyRequiredError("the array would move to a GPU")
        array = self.shareable(array, "auto", needs_writable=False)
        if array.dtype.isbuiltin == 2:
            raise self.no_such_dtype(array)
        with self.module.cuda.Device(index):
            return self.module.asarray(array)

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        cupy = self.module
        index = self._index(device)
        result = value if isinstance(value, cupy.ndarray) else cupy.from_dlpack(value)
        if index is None:
            index = result.device.id if device is None else cupy.cuda.Device().id
        if index == result.device.id and copy != "always":
            return result
        if copy == "never":
            raise CopyRequiredError(f"the array would move to cuda:{index}")
        with cupy.cuda.Device(index):
            return result.copy()

    def _index(self, device: str | None) -> int | None:
        """Return the number of a GPU: "cuda:1" is 1, "cuda" the current one."""
        present = self.devices()
        if present and device in (None, "cuda"):
            return None
        if device not in present:
            raise self.no_such_device(device or "cuda")
        return int(device.partition(":")[2])

    def devices(self) -> list[str]:
        runtime = self.module.cuda.runtime
        try:
            return [f"cuda:{index}" for index in range(runtime.getDeviceCount())]
        except runtime.CUDARuntimeError:  # no driver, or no GPU
            return []

    def stage(self, *, device: str | None) -> Stage | None:
        from .staging import CuPyStage

        return CuPyStage(self.module, self._index(device))

    def device_of(self, value: Value, /) -> str:
        return f"cuda:{value.device.id}"
