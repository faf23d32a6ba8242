"""JAX. Its arrays are immutable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..abc.framework import Framework
from ..errors import CopyRequiredError, UnsupportedDataError

if TYPE_CHECKING:
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["Jax"]


class Jax(Framework):
    name: ClassVar[str] = "jax"
    is_immutable: ClassVar[bool] = True

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        if copy == "never" and self.device_of(value) != "cpu":
            raise CopyRequiredError(f"the array is on {value.devices()}")
        return np.asarray(value)

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Value:
        jax = self.module
        wide = array.dtype.itemsize == (16 if array.dtype.kind == "c" else 8)
        if wide and array.dtype.kind in "iufc" and not jax.config.jax_enable_x64:
            raise UnsupportedDataError(
                f"JAX would narrow {array.dtype} silently: call "
                'jax.config.update("jax_enable_x64", True), or pass dtype= with a narrower type '
                "(casting='same_kind' rounds)"
            )
        array, shares = self.given(array, copy, donate=donate)
        try:
            # JAX arrays are immutable: memory that NumPy can still write is shared on demand only.
            result = jax.dlpack.from_dlpack(array) if shares else jax.numpy.array(array)
        except (TypeError, BufferError) as error:
            raise self.no_such_dtype(array) from error
        if device is None:
            return result
        place = self._place(device)
        if copy == "never" and place not in result.devices():
            raise CopyRequiredError(f"the array would move to {place}")
        return jax.device_put(result, place)

    def _place(self, device: str) -> Any:
        platform, _, index = device.partition(":")
        try:
            return self.module.devices(platform)[int(index or 0)]
        except (IndexError, RuntimeError, ValueError) as error:
            raise self.no_such_device(device) from error

    def device_of(self, value: Value, /) -> str:
        platforms = {place.platform for place in value.devices()}
        if platforms == {"cpu"}:
            return "cpu"
        place = sorted(value.devices(), key=lambda place: place.id)[0]
        return f"{place.platform}:{place.id}"
