"""Arrays of any framework. A framework is imported only if the caller uses it.

A value is an array if it has ``__dlpack__`` or ``__array_interface__``. Backends call
:func:`to_numpy` once for a value to save. :func:`to_framework` converts a loaded array. Arrays in
host memory are converted through NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..abc.array import LazyArray
from ..abc.framework import is_aligned
from ..errors import (
    CopyRequiredError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedMetadataError,
)
from ..frameworks import framework as framework_row
from ..frameworks import framework_name
from ..frameworks.extended import as_dtype, is_extended
from ..frameworks.numpy import NumPy
from ..modules import is_instance
from ..options import Copy, check_copy
from .casting import Casting, check_casting, convert

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..abc.framework import Framework
    from ..image import ImageMetadata
    from ..values import Pixels, Value

__all__ = ["copy_array", "framework_of", "is_array", "to_framework", "to_numpy"]


def is_array(value: object) -> bool:
    """Return whether ``value`` is an array of NumPy or of another framework.

    It is one if it has ``__dlpack__`` or ``__array_interface__``, or if its framework says so, as
    for variables of TensorFlow.
    """
    if isinstance(value, type):  # np.float32, for example, has both attributes as a class
        return False
    if hasattr(value, "__dlpack__") or hasattr(value, "__array_interface__"):
        return True
    row = _row_of(value)
    return row is not None and row.is_array(value)


def _row_of(value: object) -> Framework | None:
    """Return the framework that defines the class of ``value``."""
    name = framework_name(type(value))
    return None if name == "numpy" else framework_row(name)


def framework_of(value: object) -> str | None:
    """Return the name of the framework of an array, such as "numpy", else ``None``."""
    if type(value) is np.ndarray:
        return "numpy"
    return framework_name(type(value)) if is_array(value) else None


def to_numpy(value: Value, *, copy: Copy = "auto", extended: bool = False) -> Pixels:
    """Return an array of any framework as a NumPy array of the same shape and dtype.

    For example, in ``save`` of a format:

        array = to_numpy(value)
        file.write(array.tobytes())

    Args:
        value: An array, a Dask array or a lazy handle.
        copy: "auto" shares memory if possible, so the result may be read-only. "always" copies.
            "never" raises instead of copying, for example a tensor on a GPU.
        extended: Whether to accept bfloat16 and float8, as dtypes of ml_dtypes. Pass it only if you
            store the names of dtypes: NumPy calls these two "<V2" and "|V1".

    Raises:
        UnsupportedDataError: It is not an array, it has more than numbers (a mask or a unit), or
            NumPy does not have its dtype.
        UnsupportedMetadataError: It is an image with metadata.
        CopyRequiredError: It needs a copy, and ``copy="never"``.
    """
    check_copy(copy)
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ndarray):
        _refuse_more_than_numbers(value)
        array = value.view(np.ndarray)  # memmap, matrix and recarray differ in behaviour only
    elif not is_array(value):
        array = _without_protocol(value, copy)
    else:
        array = _foreign_to_numpy(value, copy)
    _check_dtype(array.dtype, extended)
    return array.copy(order="K") if copy == "always" else array


def _without_protocol(value: Value, copy: Copy) -> Pixels:
    """Return a DataArray, a Dask array or a lazy handle as an array in memory."""
    from ..image import Image, is_dataarray, of_dataarray

    if isinstance(value, Image):
        raise _metadata_error(value.metadata, "numpy.asarray(image)")
    if is_dataarray(value):
        words = of_dataarray(value)
        if words.words() or words.channels:
            raise _metadata_error(words, "value.to_numpy()")
        return to_numpy(value.data, copy=copy)
    if not (isinstance(value, LazyArray) or is_instance(value, "dask.array", "Array")):
        row = _row_of(value)
        advice = NumPy().advice(value) if row is None else row.advice(value)
        raise UnsupportedDataError(f"expected an array, got {_kind(value)}: {advice}")
    if copy == "never":
        raise CopyRequiredError(f"{_kind(value)} is not in memory yet")
    return np.asarray(value)


def _metadata_error(words: ImageMetadata, plain: str) -> UnsupportedMetadataError:
    names = ("axes", *sorted(words.words()))
    reason = (
        f"the image would lose its metadata ({', '.join(names)}): save it as .ome.tif, .tif or "
        f".ome.zarr, or save {plain}"
    )
    return UnsupportedMetadataError(reason, words=names)


def _refuse_more_than_numbers(value: Value) -> None:
    """Raise for an array whose numbers mean something else without a mask or a unit."""
    # Subclasses of ndarray have it in their own attributes (astropy, unyt). Other objects replace
    # the arithmetic of NumPy, and return the __dlpack__ of an array inside them (pint).
    if is_instance(value, "numpy.ma", "MaskedArray"):
        raise UnsupportedDataError(
            "a masked array would lose its mask: save value.filled(…), or data and mask separately"
        )
    kind = type(value)
    # Attributes that an ndarray has not: in its __dict__, or in slots of its classes.
    if isinstance(value, np.ndarray):
        slots = [name for cls in kind.__mro__ for name in vars(cls).get("__slots__", ())]
        names = {*getattr(value, "__dict__", ()), *slots}
        of_numpy = kind.__module__.partition(".")[0] == "numpy"
        carries = not of_numpy and any(getattr(value, n, None) is not None for n in names)
    else:
        carries = hasattr(kind, "__array_ufunc__") and not hasattr(kind, "__dlpack__")
    if carries:
        plain = [f"value.{name}" for name in ("value", "magnitude") if hasattr(value, name)]
        raise UnsupportedDataError(
            f"{_kind(value)} would lose its attributes, such as a unit: "
            f"save {(*plain, 'numpy.asarray(value)')[0]}"
        )


def _foreign_to_numpy(value: Value, copy: Copy) -> Pixels:
    row = _row_of(value)
    if row is not None:
        return row.to_numpy(value, copy="never" if copy == "never" else "auto")
    _refuse_more_than_numbers(value)
    if hasattr(value, "__array_interface__"):
        array = np.asarray(value)
        if copy == "never" and not _is_shared(array, value):
            raise CopyRequiredError(f"{_kind(value)} does not share its memory")
        return array
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError) as error:
        raise UnsupportedDataError(
            f"{_kind(value)} cannot be read by NumPy: {error}"
        ) from error


def _is_shared(array: Pixels, value: Value) -> bool:
    """Return whether ``array`` has the memory of ``value``. Scalars and pictures have none."""
    data = value.__array_interface__.get("data")
    address = array.__array_interface__["data"][0]
    return not isinstance(value, np.generic) and isinstance(data, tuple) and data[0] == address


def to_framework(
    value: Value,
    framework: str,
    *,
    device: str | None = None,
    dtype: DTypeLike | None = None,
    copy: Copy = "auto",
    casting: Casting = "exact",
    donate: bool = False,
) -> Value:
    """Return an array of any framework as an array of another one.

    For example:

        tensor = to_framework(array, "torch", device="cuda:0", dtype="float32")

    Only ``dtype`` changes the element type. JAX without x64, which would narrow 64-bit numbers,
    raises an error. The result never shares memory that one side may change and the other takes for
    constant.

    Args:
        value: An array.
        framework: "numpy", "torch", "jax", "tensorflow", "cupy", or an installed plugin.
        device: Where to put it, such as "cuda:0".
        dtype: The element type to convert to, with NumPy's names.
        copy: As for ``FileManager.load``.
        casting: The conversions that ``dtype`` may make. See :func:`convert`.
        donate: Whether you give up the memory of ``value``. An immutable array of JAX or TensorFlow
            can then keep it, if it has C order and an address that is a multiple of 64 bytes.

    Raises:
        MissingDependencyError: The framework is not installed.
        UnsupportedDataError: The framework does not have this dtype, or ``dtype`` cannot hold an
            element.
        CopyRequiredError: Memory cannot be shared, and ``copy="never"``.
    """
    check_copy(copy)
    check_casting(casting)
    row = framework_row(framework)
    as_it_is = dtype is None and device is None and copy != "always"
    own = framework_of(value)
    # Not for "numpy": a masked array or an object with __dlpack__ must be checked and converted.
    if as_it_is and framework != "numpy" and own == framework:
        return value
    if dtype is None and own not in (None, "numpy") and framework != "numpy":
        moved = _through_dlpack(value, framework_row(str(own)), row, device, copy, donate)
        if moved is not None:
            return moved
    array = to_numpy(value, copy="never" if copy == "never" else "auto", extended=True)
    if dtype is not None and array.dtype != (wanted := numpy_dtype(dtype)):
        if copy == "never":
            raise CopyRequiredError(f"converting {array.dtype} to {wanted} makes a new array")
        array, donate = convert(array, wanted, casting), True
    return row.from_numpy(array, device=device, copy=copy, donate=donate)


def _through_dlpack(
    value: Value,
    source: Framework,
    row: Framework,
    device: str | None,
    copy: Copy,
    donate: bool,
) -> Value | None:
    """Return ``value`` as an array of ``row`` through DLPack, or ``None`` if NumPy is needed.

    It keeps arrays on a GPU, and immutable frameworks share memory that NumPy would copy.
    """
    if source.device_of(value) == "cpu":
        if not (source.is_immutable and row.is_immutable) or copy == "always":
            return None
        array = source.to_numpy(value, copy="auto")
        if array.dtype.isbuiltin == 2 or not is_aligned(array):
            return None
    elif source.is_immutable and not row.is_immutable:
        if copy == "never":
            raise CopyRequiredError(
                f"arrays of {source.name} never change, and arrays of {row.name} can: they must "
                "not share memory"
            )
        copy = "always"
    # The other way round: the caller could still change the memory of an immutable array.
    elif row.is_immutable and not source.is_immutable and copy == "auto" and not donate:
        copy = "always"
    return row.from_device(source.export(value), device=device, copy=copy)


def copy_array(value: Value, *, copy: Copy = "auto") -> Value:
    """Return a copy of an array of any framework with the same class, dtype and device.

    Args:
        value: An array. A tensor that was computed from parameters is copied without its history.
        copy: "auto" may return an immutable array itself. "never" returns any array itself.
    """
    check_copy(copy)
    if copy == "never":
        return value
    row = framework_row(framework_of(value) or "numpy")
    return row.copy(value, always=copy == "always")


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _check_dtype(dtype: np.dtype[Value], extended: bool) -> None:
    if dtype.hasobject:
        raise UnsupportedDataError(
            "polystore does not pickle, so it cannot store an array of Python objects: "
            "convert it to another dtype, or save its elements separately"
        )
    # isbuiltin 2 is a type that another library adds to NumPy. No format stores those of 4 bits.
    if dtype.isbuiltin == 2 and not (extended and is_extended(dtype.name)):
        raise _no_numpy_dtype(dtype.name)


def numpy_dtype(dtype: DTypeLike) -> np.dtype[Value]:
    """Return the dtype of an option ``dtype=``. Raises ``InvalidOptionError``."""
    try:
        return as_dtype(dtype)
    except (TypeError, ValueError) as error:
        # The text of torch.float16 or tf.float16 ends with the name of NumPy's type.
        name = str(getattr(dtype, "name", dtype)).rpartition(".")[2]
        known = name in np.sctypeDict or is_extended(name)
        expected = f"a NumPy dtype{f', such as {name!r}' if known else ''}"
        raise InvalidOptionError("dtype", dtype, expected) from error


def _no_numpy_dtype(name: str) -> UnsupportedDataError:
    places = "save it as .safetensors, or in Zarr 3, or " if is_extended(name) else ""
    other = "float32" if is_extended(name) else "int8 or float32"
    return UnsupportedDataError(
        f"NumPy does not have {name}: {places}convert the array, for example to {other}"
    )
