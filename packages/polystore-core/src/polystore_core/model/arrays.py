"""Arrays of any framework, without importing a framework that the caller has not asked for.

A value is an array if it speaks ``__dlpack__`` or ``__array_interface__``. Backends call
:func:`to_numpy` once, at their boundary, and :func:`to_framework` hands a loaded array to another
framework. What is in host memory passes through NumPy.
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
    """Return whether ``value`` is an array of NumPy or of a framework.

    It speaks ``__dlpack__`` or ``__array_interface__``, or its framework says so, as TensorFlow
    says of its variables.
    """
    if isinstance(value, type):
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
    """Return the framework that ``value`` is an array of, "numpy" included, or ``None``."""
    if type(value) is np.ndarray:
        return "numpy"
    return framework_name(type(value)) if is_array(value) else None


def to_numpy(value: Value, *, copy: Copy = "auto", extended: bool = False) -> Pixels:
    """Return ``value`` as a NumPy array of the same shape and element type.

    ``copy="auto"`` shares memory where that is possible (the result may be read-only),
    ``"always"`` gives memory of its own, ``"never"`` raises ``CopyRequiredError`` instead of
    copying, as for a tensor on a GPU.

    ``extended=True`` also gives bfloat16 and float8, as element types of ml_dtypes. Pass it only
    where they are stored under their names: NumPy calls them "<V2" and "|V1".

    Raises ``UnsupportedDataError`` for anything but arrays, for arrays that carry more than
    their numbers (a mask, a unit), and for element types that NumPy lacks (bfloat16) or that
    only pickle could store (object).
    """
    check_copy(copy)
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ndarray):
        _refuse_more_than_numbers(value)
        array = value.view(np.ndarray)  # memmap, matrix, recarray: behaviour, and the same data
    elif not is_array(value):
        array = _without_protocol(value, copy)
    else:
        array = _foreign_to_numpy(value, copy)
    _check_dtype(array.dtype, extended)
    return array.copy(order="K") if copy == "always" else array


def _without_protocol(value: Value, copy: Copy) -> Pixels:
    """Read an image, a DataArray, a Dask array or a lazy handle whole."""
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
    """Refuse an array that carries something without which its numbers mean something else.

    Subclasses of ``ndarray`` keep it in attributes of their own (astropy, unyt). Other objects
    replace NumPy's arithmetic, and hand on the ``__dlpack__`` of an array inside them (pint).
    """
    if is_instance(value, "numpy.ma", "MaskedArray"):
        raise UnsupportedDataError(
            "a masked array would lose its mask: save value.filled(…), or data and mask separately"
        )
    kind = type(value)
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
    """Return whether ``array`` is over the memory of ``value``: a scalar or picture has none."""
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
    """Return the array ``value`` as an array of ``framework``, on ``device``.

    ``dtype`` converts on the way (NumPy's names), and ``casting`` says how: see
    :func:`convert`. Nothing else changes an element type: JAX would narrow
    64-bit numbers without x64, and that is refused. The result never aliases memory that one
    side believes to be read-only.

    ``donate=True`` gives the value up: nobody else uses its memory, so an immutable array of JAX
    or TensorFlow may take it over. Without a copy that needs C order, and an address that is a
    multiple of 64 bytes.

    Raises ``MissingDependencyError`` where the framework is not installed,
    ``UnsupportedDataError`` where it has no such element type or ``dtype`` cannot hold an
    element, ``CopyRequiredError`` for ``copy="never"`` where memory cannot be shared.
    """
    check_copy(copy)
    check_casting(casting)
    row = framework_row(framework)
    as_it_is = dtype is None and device is None and copy != "always"
    own = framework_of(value)
    # What only speaks to NumPy (a masked array, a DLPack object) still becomes an ndarray below.
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
    """Return ``value`` as an array of ``row`` without NumPy, or ``None`` if it must help.

    GPUs talk to each other, and immutable frameworks share what NumPy would have to copy.
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
    elif row.is_immutable and not source.is_immutable and copy == "auto" and not donate:
        copy = "always"
    return row.from_device(source.export(value), device=device, copy=copy)


def copy_array(value: Value, *, copy: Copy = "auto") -> Value:
    """Return an array of any framework in memory of its own: same class, dtype and device.

    ``copy="auto"`` may return an immutable array itself, and ``"never"`` returns any array
    itself. Values that are computed from PyTorch's parameters are copied without their history.
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
    # Added to NumPy by another library. Those of 4 bits, of ml_dtypes, have no storage anywhere.
    if dtype.isbuiltin == 2 and not (extended and is_extended(dtype.name)):
        raise _no_numpy_dtype(dtype.name)


def numpy_dtype(dtype: DTypeLike) -> np.dtype[Value]:
    try:
        return as_dtype(dtype)
    except (TypeError, ValueError) as error:
        # A type of a framework, such as torch.float16 or tf.float16, has NumPy's name at its end.
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
