"""TensorFlow, whose tensors are immutable, and whose variables are not."""

from __future__ import annotations

import copy as copying
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..abc.framework import Framework
from ..errors import CopyRequiredError, UnsupportedDataError
from .extended import is_extended

if TYPE_CHECKING:
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["TensorFlow"]


_CPU = 1
"""A device type of DLPack."""


class TensorFlow(Framework):
    """Tensors and variables of TensorFlow."""

    name: ClassVar[str] = "tensorflow"
    is_immutable: ClassVar[bool] = True

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        value = self.export(value)
        dtype = np.dtype(value.dtype.as_numpy_dtype)
        if dtype.hasobject:
            raise UnsupportedDataError(
                "the tensor holds text as Python objects, and polystore does not pickle: save "
                "tensor.numpy().astype('S')"
            )
        if not is_extended(dtype.name) and (dtype.kind not in "biufc" or dtype.isbuiltin == 2):
            # DLPack of quantised types and of text aborts the process.
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
            # For an unknown device TensorFlow would silently use another one.
            device = self._place(device)
            if copy == "never" and "CPU" not in device:
                raise CopyRequiredError(f"the tensor would move to {device}")
        on_host = device is None or "CPU" in device
        array, shares = self.given(array, copy, donate=donate and on_host)
        try:
            if shares:  # otherwise copied, because NumPy could change an immutable tensor
                return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
            with tensorflow.device(device):
                return tensorflow.convert_to_tensor(array)
        except (TypeError, ValueError, BufferError) as error:
            raise self.no_such_dtype(array) from error

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        on_host = device is None or "CPU" in self._place(device)
        # Not from a GPU: TensorFlow does not wait for the stream that fills its memory.
        if copy == "always" or not on_host or value.__dlpack_device__()[0] != _CPU:
            return None
        return self.module.experimental.dlpack.from_dlpack(value.__dlpack__())

    def is_array(self, value: Value, /) -> bool:
        return isinstance(value, self.module.Variable)

    def export(self, value: Value, /) -> Value:
        return value if hasattr(value, "__dlpack__") else value.value()  # of a variable

    def advice(self, value: Value, /) -> str:
        tf = self.module
        if isinstance(value, tf.RaggedTensor):
            return "save tensor.to_tensor(), or its values and row_splits"
        if isinstance(value, tf.SparseTensor):
            return "save tensorflow.sparse.to_dense(tensor), or its indices and values"
        if isinstance(value, tf.IndexedSlices):
            return "save tensorflow.convert_to_tensor(slices)"
        if isinstance(value, tf.Tensor):
            return (
                "it has no values inside a tensorflow.function: save what the function returns"
            )
        return super().advice(value)

    def _place(self, device: str) -> str:
        """Return TensorFlow's name of a device: "cuda:0" and "/GPU:0" are "/device:GPU:0"."""
        name = device.upper().rpartition("/")[2].removeprefix("DEVICE:").replace("CUDA", "GPU")
        present = [found.name for found in self.module.config.list_logical_devices()]
        for place in (f"/device:{name}", f"/device:{name}:0"):
            if place in present:
                return place
        raise self.no_such_device(device)

    def devices(self) -> list[str]:
        found = [one.name for one in self.module.config.list_logical_devices()]
        return ["cpu", *(_spelling(name) for name in found if "CPU" not in name)]

    def copy(self, value: Value, /, *, always: bool) -> Value:
        if isinstance(value, self.module.Variable):  # can be assigned to
            # DeepCopy would return a tensor, which the caller could not assign to.
            return copying.deepcopy(value)
        return self.module.raw_ops.DeepCopy(x=value) if always else value

    def device_of(self, value: Value, /) -> str:
        return _spelling(value.device)


def _spelling(device: str) -> str:
    place = device.rpartition("device:")[2].lower().replace("gpu", "cuda")
    return "cpu" if not place or "cpu" in place else place
