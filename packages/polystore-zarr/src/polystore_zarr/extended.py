"""bfloat16 and float8 as data types of zarr, under the names in the registry of Zarr 3.

https://github.com/zarr-developers/zarr-extensions. zarr does not have these types. They are added
to its registry when an array of such a type is created or opened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from zarr import dtype as zarr_dtype
from zarr import errors as zarr_errors
from zarr.core.dtype.common import HasEndianness, HasItemSize
from zarr.dtype import ZDType, data_type_registry

from polystore_core import as_dtype, is_extended
from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["register_type"]

_NAME = "DataTypeValidationError"
# zarr 3.2 has moved this class, and the old place gives a warning.
DataTypeValidationError: type[Exception] = getattr(
    zarr_errors if hasattr(zarr_errors, _NAME) else zarr_dtype, _NAME
)

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def register_type(name: object) -> None:
    """Register the data type of a document with zarr, if it is bfloat16 or a float8.

    Raises:
        MissingDependencyError: ml_dtypes is not installed.
        UnsupportedDataError: ml_dtypes does not have the type.
    """
    if not (isinstance(name, str) and is_extended(name)) or name in data_type_registry.contents:
        return
    try:
        native = as_dtype(name)
    except TypeError as error:
        raise UnsupportedDataError(f"ml_dtypes does not have {name!r:.40}", "zarr") from error
    base = _OneByte if native.itemsize == 1 else _TwoBytes
    fields = {"native": native, "dtype_cls": type(native), "_zarr_v3_name": name}
    data_type_registry.register(name, type(name, (base,), fields))


@dataclass(frozen=True, kw_only=True)
class _OneByte(ZDType[Any, Any], HasItemSize):
    """The base of the classes. Each has the name of a type, and the type of ml_dtypes."""

    native: ClassVar[np.dtype[Any]]

    @property
    def item_size(self) -> int:
        return self.native.itemsize

    @classmethod
    def from_native_dtype(cls, dtype: Value) -> Self:
        if dtype.newbyteorder("=") != cls.native:
            raise DataTypeValidationError(f"{dtype} is not {cls.native}")
        return cls()

    def to_native_dtype(self) -> np.dtype[Any]:
        return self.native

    @classmethod
    def _from_json_v2(cls, data: Value) -> Self:  # noqa: ARG003 - of an interface
        raise DataTypeValidationError(f"Zarr 2 does not have {cls.native}")

    @classmethod
    def _from_json_v3(cls, data: Value) -> Self:
        if data != cls._zarr_v3_name:
            raise DataTypeValidationError(f"{data!r} is not {cls._zarr_v3_name}")
        return cls()

    def to_json(self, zarr_format: Literal[2, 3]) -> Value:
        if zarr_format == 2:
            raise ValueError(f"Zarr 2 does not have {self.native}")
        return self._zarr_v3_name

    def _check_scalar(self, data: object) -> bool:
        return isinstance(data, int | float | np.number | self.native.type)

    def cast_scalar(self, data: Value) -> Value:
        if not self._check_scalar(data):
            raise TypeError(f"{data!r} is not a number")
        if data == 0 and math.copysign(1, data) > 0:
            return self.default_scalar()
        return self.native.type(data)

    def default_scalar(self) -> Value:
        # Not native.type(0): float8_e8m0fnu has no zero, and would give NaN.
        return np.zeros((), self.native)[()]

    def from_json_scalar(self, data: Value, *, zarr_format: Literal[2, 3]) -> Value:
        if isinstance(data, str) and data.startswith("0x"):
            bits = np.array(int(data, 16), f"u{self.item_size}")
            return bits.view(self.native)[()]
        return self.cast_scalar(_SPECIAL.get(data, data) if isinstance(data, str) else data)

    def to_json_scalar(self, data: object, *, zarr_format: Literal[2, 3]) -> float | str:
        value = self.cast_scalar(data)
        number = float(value)
        if number - number == 0:  # finite
            return number
        bits = int(np.array(value, self.native).view(f"u{self.item_size}"))
        # NaN has many bit patterns. Zarr 3 writes only one of them as a word, and the others
        # as bits.
        usual = {
            int(np.array(special, self.native).view(f"u{self.item_size}")): name
            for name, special in _SPECIAL.items()
        }
        return usual.get(bits, f"0x{bits:0{2 * self.item_size}x}")


@dataclass(frozen=True, kw_only=True)
class _TwoBytes(_OneByte, HasEndianness):
    """The same for types of two bytes, which have a byte order."""

    def to_native_dtype(self) -> np.dtype[Any]:
        return self.native.newbyteorder(">" if self.endianness == "big" else "<")
