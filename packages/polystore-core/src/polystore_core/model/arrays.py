"""Arrays of any framework, without importing a framework that the caller has not asked for.

A value is an array if it speaks ``__dlpack__`` or ``__array_interface__``. Everything passes
through NumPy: backends call :func:`to_numpy` once, at their boundary, and
:func:`to_framework` hands a loaded array to PyTorch, JAX or TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from ..abc.array import LazyArray
from ..errors import (
    CopyRequiredError,
    InvalidOptionError,
    MissingDependencyError,
    UnsupportedDataError,
    UnsupportedMetadataError,
)
from ..modules import is_instance
from .casting import Casting, check_casting, convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from ..image import ImageMetadata
    from ..values import Pixels, Value

__all__ = ["COPY", "FRAMEWORKS", "Copy", "framework_of", "is_array", "to_framework", "to_numpy"]

Copy: TypeAlias = Literal["auto", "always", "never"]
COPY: tuple[Copy, ...] = ("auto", "always", "never")

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")


def is_array(value: object) -> bool:
    """Whether ``value`` speaks ``__dlpack__`` or ``__array_interface__`` (a type does not)."""
    return not isinstance(value, type) and (
        hasattr(value, "__dlpack__") or hasattr(value, "__array_interface__")
    )


def framework_of(value: object) -> str | None:
    """Return the framework that ``value`` is an array of, "numpy" included, or ``None``."""
    if not is_array(value):
        return None
    for cls in type(value).__mro__:  # a subclass is defined in a module of the caller's
        package = cls.__module__.partition(".")[0].replace("jaxlib", "jax")
        if package in FRAMEWORKS:
            return package
    return "numpy"


def to_numpy(value: Value, *, copy: Copy = "auto") -> Pixels:
    """Return ``value`` as a NumPy array of the same shape and element type.

    ``copy="auto"`` shares memory where that is possible (the result may be read-only),
    ``"always"`` gives memory of its own, ``"never"`` raises ``CopyRequiredError`` instead of
    copying, as for a tensor on a GPU.

    Raises ``UnsupportedDataError`` for anything but arrays, for arrays that carry more than
    their numbers (a mask, a unit), and for element types that NumPy lacks (bfloat16) or that
    only pickle could store (object).
    """
    _check_copy(copy)
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ndarray):
        _refuse_more_than_numbers(value)
        array = value.view(np.ndarray)  # memmap, matrix, recarray: behaviour, and the same data
    elif not is_array(value):
        array = _without_protocol(value, copy)
    else:
        array = _foreign_to_numpy(value, copy)
    _check_dtype(array.dtype)
    return array.copy(order="K") if copy == "always" else array


def _without_protocol(value: Value, copy: Copy) -> Pixels:
    """Read an image, a DataArray, a Dask array or a lazy handle whole."""
    from ..image import Image, is_dataarray, of_dataarray

    if isinstance(value, Image):
        raise _lost_words(value.metadata, "numpy.asarray(image)")
    if is_dataarray(value):
        words = of_dataarray(value)
        if words.words() or words.channels:
            raise _lost_words(words, "value.to_numpy()")
        return to_numpy(value.data, copy=copy)
    if not (isinstance(value, LazyArray) or is_instance(value, "dask.array", "Array")):
        raise UnsupportedDataError(
            f"expected an array, got {_kind(value)}: convert it with numpy.asarray(…) first"
        )
    if copy == "never":
        raise CopyRequiredError(f"{_kind(value)} is not in memory yet")
    return np.asarray(value)


def _lost_words(words: ImageMetadata, plain: str) -> UnsupportedMetadataError:
    names = ("axes", *sorted(words.words()))
    reason = (
        f"the image would lose its words ({', '.join(names)}): save it as .ome.tif, .tif or "
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
    framework = framework_of(value)
    if framework == "torch":
        return _torch_to_numpy(value, copy)
    if framework == "jax":
        if copy == "never" and value.devices().pop().platform != "cpu":
            raise CopyRequiredError(f"the array is on {value.devices()}")
        return np.asarray(value)
    if framework == "tensorflow":
        return _tensorflow_to_numpy(value, copy)
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


def _torch_to_numpy(value: Value, copy: Copy) -> Pixels:
    if str(value.dtype) == "torch.bfloat16":
        raise _no_numpy_dtype("bfloat16")
    if value.requires_grad:
        raise UnsupportedDataError(
            "the tensor is part of a gradient graph, which would be lost: save tensor.detach()"
        )
    if copy == "never" and value.device.type != "cpu":
        raise CopyRequiredError(f"the tensor is on {value.device}")
    try:
        array: NDArray[Any] = value.cpu().numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, conjugated, without data
        raise UnsupportedDataError(
            f"{_kind(value)} cannot be read by NumPy: {error}"
        ) from error
    return array


def _tensorflow_to_numpy(value: Value, copy: Copy) -> Pixels:
    dtype = np.dtype(value.dtype.as_numpy_dtype)
    _check_dtype(dtype)
    if dtype.kind not in "biufc":  # quantised; DLPack of such types aborts the process
        raise _no_numpy_dtype(value.dtype.name)
    if "CPU" in value.device:
        return np.from_dlpack(value)
    if copy == "never":
        raise CopyRequiredError(f"the tensor is on {value.device}")
    return np.asarray(value.numpy())


def to_framework(
    value: Value,
    framework: str,
    *,
    device: str | None = None,
    dtype: DTypeLike | None = None,
    copy: Copy = "auto",
    casting: Casting = "exact",
) -> Value:
    """Return the array ``value`` as an array of ``framework``, on ``device``.

    ``dtype`` converts on the way (NumPy's names), and ``casting`` says how: see
    :func:`convert`. Nothing else changes an element type: JAX would narrow
    64-bit numbers without x64, and that is refused. The result never aliases memory that one
    side believes to be read-only.

    Raises ``MissingDependencyError`` where the framework is not installed,
    ``UnsupportedDataError`` where it has no such element type or ``dtype`` cannot hold an
    element, ``CopyRequiredError`` for ``copy="never"`` where memory cannot be shared.
    """
    _check_copy(copy)
    check_casting(casting)
    if framework not in FRAMEWORKS:
        raise InvalidOptionError("framework", framework, f"one of {', '.join(FRAMEWORKS)}")
    as_it_is = dtype is None and device is None and copy != "always"
    # What only speaks to NumPy (a masked array, a DLPack object) still becomes an ndarray below.
    if as_it_is and framework != "numpy" and framework_of(value) == framework:
        return value
    array = to_numpy(value, copy="never" if copy == "never" else "auto")
    if dtype is not None and array.dtype != (wanted := _numpy_dtype(dtype)):
        if copy == "never":
            raise CopyRequiredError(f"converting {array.dtype} to {wanted} makes a new array")
        array = convert(array, wanted, casting)
    return _FROM_NUMPY[framework](array, device, copy)


def _to_plain_numpy(array: Pixels, device: str | None, copy: Copy) -> Pixels:
    if device not in (None, "cpu"):
        raise InvalidOptionError("device", device, "'cpu' for NumPy arrays")
    return array.copy(order="K") if copy == "always" else array


def _to_torch(array: Pixels, device: str | None, copy: Copy) -> Value:
    torch = _framework_module("torch")
    array = _shareable(array, copy, "torch", needs_writable=True)
    try:
        tensor = torch.from_numpy(array)
    except TypeError as error:
        raise _no_such_dtype("torch", array) from error
    if device is None:
        return tensor
    try:
        place = torch.empty(0, device=device).device
    except (AssertionError, RuntimeError) as error:
        raise _no_such_device("torch", device) from error
    if copy == "never" and tensor.device != place:
        raise CopyRequiredError(f"the tensor would move to {place}")
    return tensor.to(place)


def _to_jax(array: Pixels, device: str | None, copy: Copy) -> Value:
    jax = _framework_module("jax")
    wide = array.dtype.itemsize == (16 if array.dtype.kind == "c" else 8)
    if wide and array.dtype.kind in "iufc" and not jax.config.jax_enable_x64:
        raise UnsupportedDataError(
            f"JAX would narrow {array.dtype} silently: call "
            'jax.config.update("jax_enable_x64", True), or pass dtype= with a narrower type '
            "(casting='same_kind' rounds)"
        )
    array = _shareable(array, copy, "jax", needs_writable=copy == "never")
    if copy == "never":
        _check_alignment(array)
    try:
        # JAX arrays are immutable, so memory that NumPy can still write is shared on demand only.
        result = jax.dlpack.from_dlpack(array) if copy == "never" else jax.numpy.array(array)
    except (TypeError, BufferError) as error:
        raise _no_such_dtype("jax", array) from error
    if device is None:
        return result
    platform, _, index = device.partition(":")
    try:
        place = jax.devices(platform)[int(index or 0)]
    except (IndexError, RuntimeError, ValueError) as error:
        raise _no_such_device("jax", device) from error
    if copy == "never" and place not in result.devices():
        raise CopyRequiredError(f"the array would move to {place}")
    return jax.device_put(result, place)


def _to_tensorflow(array: Pixels, device: str | None, copy: Copy) -> Value:
    tensorflow = _framework_module("tensorflow")
    if device is not None:
        # TensorFlow would take another device in silence.
        place = f"/device:{device.upper().rpartition('/')[2].removeprefix('DEVICE:')}"
        present = [found.name for found in tensorflow.config.list_logical_devices()]
        if not {place, f"{place}:0"}.intersection(present):
            raise _no_such_device("tensorflow", device)
        if copy == "never" and "CPU" not in place:
            raise CopyRequiredError(f"the tensor would move to {place}")
    array = _shareable(array, copy, "tensorflow", needs_writable=copy == "never")
    if copy == "never":
        _check_alignment(array)
    try:
        if copy == "never":  # TensorFlow tensors are immutable: shared on demand only
            return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
        with tensorflow.device(device):
            return tensorflow.convert_to_tensor(array)
    except (TypeError, ValueError, BufferError) as error:
        raise _no_such_dtype("tensorflow", array) from error


_FROM_NUMPY: dict[str, Callable[[NDArray[Any], str | None, Copy], Any]] = {
    "numpy": _to_plain_numpy,
    "torch": _to_torch,
    "jax": _to_jax,
    "tensorflow": _to_tensorflow,
}


def _shareable(array: Pixels, copy: Copy, framework: str, *, needs_writable: bool) -> Pixels:
    """Return ``array`` in a layout that every framework survives.

    Negative strides abort the process in PyTorch, and writing into a tensor over a read-only
    memory map is a segmentation fault: check first, copy or refuse.
    """
    if array.dtype.kind not in "biufc":
        raise _no_such_dtype(framework, array)
    if not array.dtype.isnative:
        if copy == "never":
            raise CopyRequiredError(
                f"{array.dtype.str} does not have this machine's byte order"
            )
        return array.astype(array.dtype.newbyteorder("="))
    reason = ""
    if any(stride < 0 for stride in array.strides):
        reason = "the array has negative strides"
    elif needs_writable and not array.flags.writeable:
        reason = "the array is read-only"
    elif any(stride % array.itemsize for stride in array.strides) or not array.flags.aligned:
        reason = "the array is not aligned"
    if reason and copy == "never":
        raise CopyRequiredError(reason)
    return array.copy() if reason or copy == "always" else array


def _check_alignment(array: Pixels) -> None:
    """Refuse what JAX copies, and what aborts the process at TensorFlow's first operation."""
    if array.ctypes.data % 64 or not array.flags.c_contiguous:
        raise CopyRequiredError("the array is not C-contiguous, or not aligned to 64 bytes")


def _framework_module(name: str) -> Value:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingDependencyError(
            "framework", name, (name,), f"polystore[{name}]"
        ) from error


def _check_copy(copy: Copy) -> None:
    if copy not in COPY:
        raise InvalidOptionError("copy", copy, f"one of {', '.join(COPY)}")


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _check_dtype(dtype: np.dtype[Value]) -> None:
    if dtype.hasobject:
        raise UnsupportedDataError(
            "polystore does not pickle, so it cannot store an array of Python objects: "
            "convert it to another dtype, or save its elements separately"
        )
    if dtype.isbuiltin == 2:  # added to NumPy by another library, such as ml_dtypes
        raise _no_numpy_dtype(dtype.name)


def _numpy_dtype(dtype: DTypeLike) -> np.dtype[Value]:
    try:
        return np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidOptionError("dtype", dtype, "a NumPy dtype") from error


def _no_numpy_dtype(name: str) -> UnsupportedDataError:
    return UnsupportedDataError(
        f"NumPy does not have {name}: convert the array, for example to float32, or view its "
        "bits as integers"
    )


def _no_such_device(framework: str, device: str) -> InvalidOptionError:
    return InvalidOptionError(
        "device", device, f"a device of this machine that {framework} can use"
    )


def _no_such_dtype(framework: str, array: Pixels) -> UnsupportedDataError:
    return UnsupportedDataError(
        f"{framework} does not have dtype {array.dtype}: pass dtype= to convert, or load it as "
        "NumPy"
    )
