"""The table for formats: bytes that give back what went in."""

from __future__ import annotations

import errno
import io
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core import Opener, check_options, class_fault
from polystore_core.errors import DamagedDataError, UnknownOptionError, UnsupportedDataError

from .conformance import Conformance
from .examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from polystore_core import Format, Value

__all__ = ["FormatTests"]


class FormatTests(Conformance):
    """Supply ``format_``, ``values`` that must come back equal and ``refused`` that must not go in.

    A format that reads siblings has them in ``siblings``, their content by their name.
    ``lossy = True`` says that pixels come back alike, in the same shape and element type.
    """

    format_: ClassVar[Format]
    values: ClassVar[list[Any]]
    refused: ClassVar[list[Any]]
    lossy: ClassVar[bool] = False
    siblings: ClassVar[Mapping[str, bytes]] = {}

    def encoded(self, value: Value) -> bytes:
        """Return the bytes that the format makes of ``value``."""
        file = io.BytesIO()
        self.format_.save(value, file)
        return file.getvalue()

    def decoded(self, content: bytes, operation: str = "load") -> Value:
        """Return what ``load``, or ``info``, makes of ``content``."""
        method: Callable[..., Any] = getattr(self.format_, operation)
        opener = Opener(partial(_open, {**self.siblings, "": content}), "")
        return method(io.BytesIO(content), *((opener,) if self.format_.reads_siblings else ()))

    def test_registry_accepts_class(self) -> None:
        """The class has a ``name``, and can be made without arguments."""
        cls = type(self.format_)
        fault = class_fault("format", cls, cls.__qualname__)
        assert fault is None, f"{fault.reason} ({fault.place})"

    def test_values_come_back(self) -> None:
        for value in self.values:
            found = self.decoded(self.encoded(value))
            assert type(found) is type(value)
            if self.lossy:
                assert (found.shape, found.dtype) == (value.shape, value.dtype)
            else:
                _assert_equal(found, value)

    def test_loads_into_memory(self) -> None:
        """``load_into`` returns what ``load`` returns, with and without memory of the caller."""

        def given(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
            return np.frombuffer(
                bytearray(b"\xa5" * (math.prod(shape) * dtype.itemsize)), dtype
            ).reshape(shape)

        for value in self.values:
            content = self.encoded(value)
            for memory in (given, lambda *_: None):
                opener = Opener(partial(_open, {**self.siblings, "": content}), "")
                more = (opener,) if self.format_.reads_siblings else ()
                found = self.format_.load_into(io.BytesIO(content), memory, *more)
                _assert_equal(found, self.decoded(content))

    def test_saving_is_repeatable(self) -> None:
        for value in self.values:
            assert self.encoded(value) == self.encoded(value)

    def test_refusal_writes_nothing(self) -> None:
        for value in self.refused:
            file = io.BytesIO()
            with pytest.raises(UnsupportedDataError):
                self.format_.save(value, file)
            assert file.getvalue() == b"", f"{value!r} was refused too late"

    def test_info_tells_shape(self) -> None:
        for value in self.values:
            info = self.decoded(self.encoded(value), "info")
            assert set(info) <= {"shape", "dtype", "image", "metadata"}
            if "shape" in info and hasattr(value, "shape"):
                assert info["shape"] == value.shape

    def test_cut_bytes_are_damage(self) -> None:
        content = self.encoded(self.values[0])
        for length in {*range(0, len(content), max(1, len(content) // 40)), len(content) - 1}:
            self.damaged(content[:length])

    def test_changed_bytes_never_crash(self) -> None:
        """A changed byte gives a value or ``DamagedDataError``: no other exception."""
        content = self.encoded(self.values[0])
        expected: tuple[type[Exception], ...] = (
            DamagedDataError,
            UnsupportedDataError,
            *self.format_.decode_errors,
        )

        @settings(max_examples=examples(150), deadline=None, database=None)
        @given(st.integers(0, len(content) - 1), st.integers(1, 255))
        def mutate(position: int, change: int) -> None:
            changed = bytearray(content)
            changed[position] ^= change
            try:
                self.decoded(bytes(changed))
            except expected:
                return

        mutate()

    def test_foreign_bytes_are_damage(self) -> None:
        self.damaged(b"certainly no file of this format \x00\xff" * 10)

    def test_options_have_names(self) -> None:
        for method in (type(self.format_).save, type(self.format_).load):
            with pytest.raises(UnknownOptionError):
                check_options(method, {"no_such_option": 1}, "the format")

    def damaged(self, content: bytes) -> None:
        """Assert that ``content`` is refused as the backends do it."""
        with pytest.raises((DamagedDataError, *self.format_.decode_errors)):
            self.decoded(content)


def _open(files: Mapping[str, bytes], path: str) -> BinaryIO:
    if path not in files:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return io.BytesIO(files[path])


def _assert_equal(found: Value, value: Value) -> None:
    if isinstance(value, dict):
        assert list(found) == list(value)
        for key in value:
            _assert_equal(found[key], value[key])
    elif isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.dtype.str == value.dtype.str
        np.testing.assert_array_equal(found, value)
    else:
        assert found == value
