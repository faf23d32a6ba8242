"""TensorFlow. Its tensors are immutable, its variables are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..abc.framework import Framework
from ..errors import CopyRequiredError, UnsupportedDataError
from .extended import is_extended

if TYPE_CHECKING:
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["TensorFlow"]


class TensorFlow(Framework):
    name: ClassVar[str] = "tensorflow"
    is_immutable: ClassVar[bool] = True

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        dtype = np.dtype(value.dtype.as_numpy_dtype)
        if dtype.hasobject:
            raise UnsupportedDataError(
                "the tensor holds text as Python objects, and polystore does not pickle: save "
                "tensor.numpy().astype('S')"
            )
        if dtype.kind not in "biufc" and not is_extended(dtype.name):
            # Quantised, or text: DLPack of such types aborts the process.
            raise UnsupportedDataError(
                f"NumPy does not have {value.dtype.name}: convert the tensor, for example with "
                "tensorflow.cast(tensor, 'float32')"
            )
        if self.device_of(value) != "cpu":
            if copy == "never":
                raise CopyRequiredError(f"the tensor is on {value.device}")
            return np.asarray(value.numpy())
        if is_extended(dtype.name):  # neither DLPack nor the buffer of a tensor has them
            if copy == "never":
                raise CopyRequiredError(f"TensorFlow cannot share {dtype.name} with NumPy")
            return np.asarray(value.numpy())
        return np.from_dlpack(value)

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        tensorflow = self.module
        if device is not None:
            # TensorFlow would take another device in silence.
            place = f"/device:{device.upper().rpartition('/')[2].removeprefix('DEVICE:')}"
            present = [found.name for found in tensorflow.config.list_logical_devices()]
            if not {place, f"{place}:0"}.intersection(present):
                raise self.no_such_device(device)
            if copy == "never" and "CPU" not in place:
                raise CopyRequiredError(f"the tensor would move to {place}")
        on_host = device is None or "CPU" in device.upper()
        array, shares = self.given(array, copy, donate=donate and on_host)
        try:
            if shares:  # TensorFlow tensors are immutable: shared on demand only
                return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
            with tensorflow.device(device):
                return tensorflow.convert_to_tensor(array)
        except (TypeError, ValueError, BufferError) as error:
            raise self.no_such_dtype(array) from error

    def device_of(self, value: Value, /) -> str:
        place = value.device.rpartition("device:")[2]
        return "cpu" if "CPU" in place or not place else place
