"""PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ..abc.framework import Framework
from ..errors import CopyRequiredError, UnsupportedDataError
from .extended import bits_of, is_extended, with_type

if TYPE_CHECKING:
    from ..abc.framework import Stage
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["Torch"]


class Torch(Framework):
    name: ClassVar[str] = "torch"

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        if value.layout != self.module.strided or value.is_quantized or value.is_meta:
            remedy = "tensor.dequantize()" if value.is_quantized else "tensor.to_dense()"
            if value.is_meta:
                remedy = "a tensor that has data"
            raise UnsupportedDataError(
                f"the tensor is sparse, quantised or without data ({value.layout}, "
                f"{value.dtype}, {value.device}): save {remedy}"
            )
        if copy == "never":
            if value.device.type != "cpu":
                raise CopyRequiredError(f"the tensor is on {value.device}")
            if value.is_conj() or value.is_neg():
                raise CopyRequiredError("the tensor is a view that is conjugated or negated")
        plain = value.detach().cpu().resolve_conj().resolve_neg()
        name = str(plain.dtype).removeprefix("torch.")
        try:
            if is_extended(name):
                return with_type(plain.view(self._bits(plain.dtype.itemsize)).numpy(), name)
            array: Pixels = plain.numpy()
        except (TypeError, RuntimeError) as error:
            raise UnsupportedDataError(
                f"{type(value)} cannot be read by NumPy: {error}"
            ) from error
        return array

    def _bits(self, itemsize: int) -> Any:
        return self.module.uint16 if itemsize == 2 else self.module.uint8

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        torch = self.module
        array = self.shareable(array, copy, needs_writable=True)
        if array.dtype.isbuiltin == 2:
            dtype = getattr(torch, array.dtype.name, None)
            if dtype is None:
                raise self.no_such_dtype(array)
            tensor = torch.from_numpy(bits_of(array)).view(dtype)
        else:
            try:
                tensor = torch.from_numpy(array)
            except TypeError as error:
                raise self.no_such_dtype(array) from error
        if device is None:
            return tensor
        place = self._place(device)
        if copy == "never" and tensor.device != place:
            raise CopyRequiredError(f"the tensor would move to {place}")
        return tensor.to(place)

    def _place(self, device: str) -> Any:
        try:
            return self.module.empty(0, device=device).device
        except (AssertionError, RuntimeError) as error:
            raise self.no_such_device(device) from error

    def stage(self, *, device: str | None) -> Stage | None:
        place = None if device is None else self._place(device)
        if place is None or place.type != "cuda":
            return None
        from .staging import TorchStage

        def tensor(array: Pixels) -> Any:
            return self.from_numpy(array, device=None, copy="never", donate=True)

        return TorchStage(self.module, place, tensor)

    def device_of(self, value: Value, /) -> str:
        return str(value.device)
