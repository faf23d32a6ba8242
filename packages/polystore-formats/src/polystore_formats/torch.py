"""``.pt`` and ``.pth``: tensors, and dicts, lists and tuples of tensors and plain values.

Reads and writes only the types that PyTorch's ``weights_only`` unpickler accepts, so no function
in a file is called. That unpickler was broken twice (CVE-2025-32434 and CVE-2026-24747, fixed in
2.10). For files of strangers, prefer formats without pickle.
"""

from __future__ import annotations

import copy
import pickle
import re
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO

import torch

from polystore_core import Format, is_array
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .archive import ARCHIVE_ERRORS, PIECE, check_names, open_archive
from .decoding import wrong_start
from .limits import allocating, file_size

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["DEPTH_LIMIT", "Torch"]

DEPTH_LIMIT = 100
"""The deepest nesting that is written, because pickle calls itself for each level."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.Size, torch.dtype)
_REFUSED = re.compile(r"(?i)unsupported|not supported|maximum supported version")
"""Words in PyTorch's errors for a whole checkpoint with classes, functions or a new version."""
_ADVICE = (
    "Load it with the program that wrote it, and save its tensors and plain values: "
    "module.state_dict(), and number.item() of NumPy numbers"
)
_MEMBERS_LIMIT = 100_000  # one for each storage


class Torch(Format):
    """Tensors, plain values, and dicts, lists and tuples of them.

    A tensor keeps its dtype, shape and ``requires_grad``. Its ``grad`` is not saved. The result
    of a computation is saved as its values, without the graph that computed it. A view is saved
    alone, without the rest of the storage that it shares.
    """

    name = "torch"
    decode_errors = (*ARCHIVE_ERRORS, pickle.UnpicklingError)

    def save(self, value: Value, file: BinaryIO, /) -> None:
        """Write the value."""
        plain = _plain(value, 0)
        sink = _Sink(file)
        try:
            torch.save(plain, sink)
        except RuntimeError as error:
            raise sink.error or error from None

    def load(self, file: BinaryIO, /, *, map_location: str = "cpu") -> Value:
        """Load the value.

        Args:
            map_location: the device for all tensors, such as "cpu" or "cuda:0".
        """
        try:
            torch.empty(0, device=map_location)
        except (RuntimeError, AssertionError, TypeError) as error:
            known = "a device of this machine, such as 'cpu' or 'cuda:0'"
            raise InvalidOptionError("map_location", map_location, known) from error
        size = file_size(file)
        try:
            with allocating(size, "torch", "load it on a machine with more memory"):
                _check_archive(file)  # torch.load does not check the CRC-32 of tensors
                file.seek(0)
                return torch.load(file, map_location=map_location, weights_only=True)
        except (PolystoreError, OSError, torch.OutOfMemoryError):
            # The disk or the GPU has failed, so the file may be undamaged.
            raise
        except Exception as error:  # damaged opcodes can raise any error in the unpickler
            reason = _reason(error)
            if _REFUSED.search(reason):
                raise UnsupportedFileError(f"{reason} {_ADVICE}", "torch") from error
            raise DamagedDataError(f"PyTorch cannot load it: {reason}", "torch") from error


def _plain(value: Value, depth: int) -> Value:
    """Return ``value`` with copies instead of views. Raise an error for types that do not load."""
    if depth > DEPTH_LIMIT:
        raise UnsupportedDataError(
            f"it is nested more than {DEPTH_LIMIT} levels deep: save it in parts", "torch"
        )
    kind = type(value)
    if kind in (torch.Tensor, torch.nn.Parameter):
        return _tensor(value)
    if kind in (dict, OrderedDict):
        plain = copy.copy(value)  # keeps ``_metadata``, with which modules load old state dicts
        for key, item in value.items():
            if type(key) not in _PLAIN:
                raise UnsupportedDataError(
                    f"the key {key!r:.80} would not load equal: use a str or a number", "torch"
                )
            plain[key] = _plain(item, depth + 1)
        if kind is OrderedDict:
            _plain(vars(value), depth + 1)  # pickle stores its attributes too
        return plain
    if kind in (list, tuple):
        return kind(_plain(item, depth + 1) for item in value)
    if kind in _PLAIN:
        return value
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    raise UnsupportedDataError(f"{name} {_advice(value)}", "torch")


def _advice(value: Value) -> str:
    if isinstance(value, torch.nn.Module):
        return "needs its code to load: save module.state_dict()"
    if is_array(value):
        return "is not a plain torch.Tensor: save torch.asarray(value), or save it as .npy"
    return "is not supported: save tensors, plain values, and dicts, lists and tuples of them"


def _tensor(tensor: torch.Tensor) -> torch.Tensor:
    odd = tensor.is_quantized or tensor.is_meta or tensor.is_nested or vars(tensor)
    if tensor.layout != torch.strided or odd:
        raise UnsupportedDataError(
            f"a tensor is sparse, nested or quantised, or has no data, or has its own attributes "
            f"({tensor.layout}, {tensor.dtype}, {tensor.device}): save tensor.to_dense()",
            "torch",
        )
    # The graph of a result holds functions, and conjugation may be a flag on shared storage.
    if tensor.grad_fn is not None or tensor.is_conj() or tensor.is_neg():
        values = tensor.detach().resolve_conj().resolve_neg()
        tensor = values.requires_grad_(tensor.requires_grad and tensor.is_leaf)
    # torch.save writes the whole storage of a view: a slice of a stack would become the stack.
    if tensor.untyped_storage().nbytes() <= tensor.numel() * tensor.element_size():
        return tensor
    alone = tensor.detach().clone()
    if type(tensor) is torch.nn.Parameter:
        return torch.nn.Parameter(alone, tensor.requires_grad)
    return alone.requires_grad_(tensor.requires_grad)


class _Sink:
    """A file that keeps the ``OSError`` of a write. ``torch.save`` hides it in a RuntimeError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _check_archive(file: BinaryIO) -> None:
    """Check that the file is an archive of PyTorch, and the CRC-32 of each member."""
    file.seek(0)
    start = file.read(8)
    if start.startswith(b"\x80"):
        raise UnsupportedFileError(
            "it is a pickle, from PyTorch before 1.6 or from pickle.dump. " + _ADVICE,
            "torch",
        )
    if not start.startswith(b"PK\3\4"):
        raise wrong_start(start, "a zip archive of PyTorch", "torch")
    with open_archive(file, "torch", max_entries=_MEMBERS_LIMIT) as archive:
        check_names(archive, "torch")
        names = archive.namelist()
        # A TorchScript program has code of its own, which must not run.
        if any(name.endswith("/constants.pkl") for name in names):
            raise UnsupportedFileError(
                "it is a TorchScript program: load it with torch.jit.load", "torch"
            )
        if not any(name.endswith("/data.pkl") for name in names):
            raise UnsupportedFileError(
                "it is a zip archive that PyTorch did not write", "torch"
            )
        for member in archive.infolist():
            # PyTorch never compresses. Compressed members could unpack to any size.
            if member.compress_type != zipfile.ZIP_STORED:
                reason = f"member {member.filename!r} is compressed: pack it again uncompressed"
                raise UnsupportedFileError(reason, "torch")
            with archive.open(member) as part:
                while part.read(PIECE):  # zipfile compares the CRC-32 at the end of the member
                    pass


def _reason(error: Exception) -> str:
    """Return PyTorch's reason, without its advice to switch the protection off."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].partition("\n")[0]
    return text.partition(" Please use")[0] or type(error).__name__
