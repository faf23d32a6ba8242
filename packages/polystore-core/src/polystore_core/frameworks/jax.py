"""JAX, whose arrays are immutable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..abc.framework import Framework
from ..errors import CopyRequiredError, UnsupportedDataError

if TYPE_CHECKING:
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["Jax"]


_WIDE = frozenset({"int64", "uint64", "float64", "complex128"})
"""The dtypes that JAX narrows if x64 is not enabled."""


class Jax(Framework):
    """Arrays of JAX."""

    name: ClassVar[str] = "jax"
    is_immutable: ClassVar[bool] = True

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        jax = self.module
        if isinstance(value, jax.core.Tracer):
            raise UnsupportedDataError(
                "the array has no values while JAX traces a function: save what the function "
                "returns, or save through jax.experimental.io_callback"
            )
        if isinstance(value, jax.Array):
            if value.is_deleted():
                raise UnsupportedDataError(
                    "the array was deleted or donated: save it before that, or save a copy"
                )
            if not value.is_fully_addressable:
                raise UnsupportedDataError(
                    "parts of the array are in other processes: gather it with "
                    "jax.experimental.multihost_utils.process_allgather, or save the shards"
                )
            places = value.devices()
            if copy == "never" and (len(places) > 1 or self.device_of(value) != "cpu"):
                names = ", ".join(sorted(map(str, places)))
                raise CopyRequiredError(f"the array is on {names}")
        return np.asarray(value)

    def advice(self, value: Value, /) -> str:
        if str(getattr(value, "dtype", "")).startswith("key<"):
            return "save jax.random.key_data(keys), and the name of their implementation"
        return super().advice(value)

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        jax = self.module
        if array.dtype.name in _WIDE:
            self._refuse_narrowing(array.dtype.name)
        array, shares = self.given(array, copy, donate=donate)
        try:
            # Shared only if the caller gave the memory up: NumPy could change it otherwise.
            result = jax.dlpack.from_dlpack(array) if shares else jax.numpy.array(array)
        except (TypeError, BufferError) as error:
            raise self.no_such_dtype(array) from error
        if device is None:
            return result
        place = self._place(device)
        if copy == "never" and place not in result.devices():
            raise CopyRequiredError(f"the array would move to {place}")
        return jax.device_put(result, place)

    def from_device(self, value: Value, /, *, device: str | None, copy: Copy) -> Value | None:
        jax = self.module
        # torch.float64 has no name attribute, so it is taken from its text.
        self._refuse_narrowing(getattr(value.dtype, "name", str(value.dtype)[6:]))
        result = value if isinstance(value, jax.Array) else jax.dlpack.from_dlpack(value)
        if device is not None and (place := self._place(device)) not in result.devices():
            if copy == "never":
                raise CopyRequiredError(f"the array would move to {place}")
            return jax.device_put(result, place)
        return jax.numpy.array(result) if copy == "always" else result

    def _refuse_narrowing(self, name: str) -> None:
        if name in _WIDE and not self.module.config.jax_enable_x64:
            raise UnsupportedDataError(
                f"JAX would narrow {name} silently: call "
                'jax.config.update("jax_enable_x64", True), or pass dtype= with a narrower type '
                "(casting='same_kind' rounds)"
            )

    def _place(self, device: str) -> Any:
        platform, _, index = device.lower().partition(":")
        try:
            if int(index or 0) >= 0:  # a list accepts -1, and would return the last device
                return self.module.local_devices(backend=platform)[int(index or 0)]
        except (IndexError, RuntimeError, ValueError) as error:
            raise self.no_such_device(device) from error
        raise self.no_such_device(device)

    def devices(self) -> list[str]:
        found = self.module.local_devices()
        others = {_name_of(place) for place in found if place.platform != "cpu"}
        return ["cpu", *sorted(others)]

    def device_of(self, value: Value, /) -> str:
        if isinstance(value, self.module.core.Tracer):
            return "cpu"
        places = sorted(value.devices(), key=lambda place: place.id)
        return "cpu" if {p.platform for p in places} == {"cpu"} else _name_of(places[0])


def _name_of(place: Any) -> str:
    kind = place.platform
    # JAX calls GPUs of NVIDIA and of AMD "gpu". Only the version of the platform tells which.
    if kind == "gpu" and "cuda" in str(place.client.platform_version).lower():
        kind = "cuda"
    return f"{kind}:{place.local_hardware_id or 0}"
