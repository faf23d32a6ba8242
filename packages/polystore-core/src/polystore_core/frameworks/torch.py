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
    """Tensors of PyTorch."""

    name: ClassVar[str] = "torch"

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        self._refuse_without_plain_data(value)
        if copy == "never":
            if value.device.type != "cpu":
                raise CopyRequiredError(f"the tensor is on {value.device}")
            if value.is_conj() or value.is_neg():
                raise CopyRequiredError("the tensor is a view that is conjugated or negated")
        plain = self.export(value).cpu()
        name = str(plain.dtype).removeprefix("torch.")
        try:
            if is_extended(name):
                # NumPy itself has neither bfloat16 nor float8, so only the bits are handed over.
                return with_type(plain.view(self._bits(plain.dtype.itemsize)).numpy(), name)
            array: Pixels = plain.numpy()
        except (TypeError, RuntimeError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise UnsupportedDataError(
                f"NumPy cannot read {kind} ({value.dtype}), because its data is inside another "
                f"object or of an unknown type ({error}): save the plain tensor that it holds"
            ) from error
        return array

    def export(self, value: Value, /) -> Value:
        return value.detach().resolve_conj().resolve_neg()

    def _refuse_without_plain_data(self, value: Value) -> None:
        torch = self.module
        remedy = ""
        # PyTorch has no public test for the tensors of torch.func, nor for fake tensors.
        if torch._C._functorch.is_functorch_wrapped_tensor(value):
            what, remedy = "inside torch.func", "the result of the transformed function"
        elif isinstance(value, torch._subclasses.FakeTensor) or value.is_meta:
            what, remedy = "without data", "a tensor that has data"
        # Before the layout: a nested tensor has the layout "jagged", and is not a sparse one.
        elif value.is_nested:
            what, remedy = (
                "nested",
                "the tensors of tensor.unbind(), or tensor.to_padded_tensor(0)",
            )
        elif value.is_quantized:
            what, remedy = (
                "quantised",
                "tensor.dequantize(), or tensor.int_repr() and its scale",
            )
        elif value.layout != torch.strided:
            what, remedy = "sparse", "tensor.to_dense()"
        if remedy:
            raise UnsupportedDataError(
                f"the tensor is {what} ({value.dtype}, {value.layout}): save {remedy}"
            )

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

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        torch = self.module
        place = None if device is None else self._place(device)
        tensor = value if isinstance(value, torch.Tensor) else torch.from_dlpack(value)
        if place not in (None, tensor.device):
            if copy == "never":
                raise CopyRequiredError(f"the tensor would move to {place}")
            return tensor.to(place)
        return tensor.clone() if copy == "always" else tensor

    def _place(self, device: str) -> Any:
        # An empty tensor, because torch.device accepts devices that do not exist.
        try:
            place = self.module.empty(0, device=device).device
        except (AssertionError, ImportError, RuntimeError) as error:
            raise self.no_such_device(device) from error
        if place.type == "meta":  # a tensor without data
            raise self.no_such_device(device)
        return place

    def devices(self) -> list[str]:
        torch = self.module
        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]

    def stage(self, *, device: str | None) -> Stage | None:
        place = None if device is None else self._place(device)
        if place is None or place.type != "cuda":
            return None
        from .staging import TorchStage

        def tensor(array: Pixels) -> Any:
            return self.from_numpy(array, device=None, copy="never", donate=True)

        return TorchStage(self.module, place, tensor)

    def copy(self, value: Value, /, *, always: bool) -> Value:
        if type(value) is not self.module.Tensor and value.is_leaf:
            return super().copy(value, always=always)  # a Parameter keeps its class
        # Not deepcopy: it fails for a tensor computed from parameters, and copies the whole storage
        # of a view.
        own = value.detach().clone()
        return own.requires_grad_() if value.is_leaf and value.requires_grad else own

    def device_of(self, value: Value, /) -> str:
        return str(value.device)
