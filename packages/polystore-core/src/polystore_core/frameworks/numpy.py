"""NumPy, through which arrays in host memory are converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..abc.framework import Framework
from ..errors import InvalidOptionError

if TYPE_CHECKING:
    from ..options import Copy
    from ..values import Pixels, Value

__all__ = ["NumPy"]


class NumPy(Framework):
    """Arrays of NumPy."""

    name: ClassVar[str] = "numpy"

    def to_numpy(self, value: Value, /, *, copy: Copy) -> Pixels:
        array: Pixels = value
        return array

    def copy(self, value: Value, /, *, always: bool) -> Value:
        import numpy as np  # not at the top, because manifests must not import it

        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return value.copy("K")
        return super().copy(value, always=always)

    def from_numpy(
        self, array: Pixels, /, *, device: str | None, copy: Copy, donate: bool
    ) -> Pixels:
        if device not in (None, "cpu"):
            raise InvalidOptionError(
                "device", device, "'cpu' for NumPy arrays (pass framework= as well)"
            )
        return array.copy(order="K") if copy == "always" else array
