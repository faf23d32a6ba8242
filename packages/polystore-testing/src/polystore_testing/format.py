"""Promises of formats: a value is loaded as it was saved."""

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
    """A format loads each value as it was saved, or refuses it."""

    format_: ClassVar[Format]
    values: ClassVar[list[Any]]
    """Values that must be loaded as they were saved."""
    refused: ClassVar[list[Any]]
    """Values that the format must refuse."""
    lossy: ClassVar[bool] = False
    """Whether pixels may change. Shape and element type must not."""
    siblings: ClassVar[Mapping[str, bytes]] = {}
    """Content of the other files that the format reads, by their names."""

    def encode(self, value: Value) -> bytes:
        """Return the bytes of a saved value."""
        file = io.BytesIO()
        self.format_.save(value, file)
        return file.getvalue()

    def decode(self, content: bytes, operation: str = "load") -> Value:
        """Return the result of ``load`` or ``info`` for ``content``."""
        method: Callable[..., Any] = getattr(self.format_, operation)
        # The empty name is the file itself, which some formats open a second time.
        opener = Opener(partial(_open, {**self.siblings, "": content}), "")
        return method(io.BytesIO(content), *((opener,) if self.format_.reads_siblings else ()))

    def test_registry_accepts_class(self) -> None:
        """The class has a ``name``, and can be created without arguments."""
        cls = type(self.format_)
        fault = class_fault("format", cls, cls.__qualname__)
        assert fault is None, f"{fault.reason} ({fault.place})"

    def test_values_come_back(self) -> None:
        """A loaded value equals the saved value, in type, shape, element type and content."""
        for value in self.values:
            found = self.decode(self.encode(value))
            assert type(found) is type(value)
            if self.lossy:
                assert (found.shape, found.dtype) == (value.shape, value.dtype)
            else:
                _assert_equal(found, value)

    def test_loads_into_memory(self) -> None:
        """``load_into`` returns what ``load`` returns, with and without memory of the caller."""

        def given(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
            # Fill the memory with a pattern, so that pixels that were not written are noticed.
            return np.frombuffer(
                bytearray(b"\xa5" * (math.prod(shape) * dtype.itemsize)), dtype
            ).reshape(shape)

        for value in self.values:
            content = self.encode(value)
            for memory in (given, lambda *_: None):
                opener = Opener(partial(_open, {**self.siblings, "": content}), "")
                more = (opener,) if self.format_.reads_siblings else ()
                found = self.format_.load_into(io.BytesIO(content), memory, *more)
                _assert_equal(found, self.decode(content))

    def test_saving_is_repeatable(self) -> None:
        """Saving a value twice writes the same bytes."""
        for value in self.values:
            # Headers of ZIP and TIFF have fields for the current time, so a format must fill
            # them with a constant.
            assert self.encode(value) == self.encode(value)

    def test_refusal_writes_nothing(self) -> None:
        """A refused value raises ``UnsupportedDataError`` before any byte is written."""
        for value in self.refused:
            file = io.BytesIO()
            with pytest.raises(UnsupportedDataError):
                self.format_.save(value, file)
            assert file.getvalue() == b"", f"{value!r} was refused too late"

    def test_info_tells_shape(self) -> None:
        """``info`` returns the shape of the saved value, without unknown fields."""
        for value in self.values:
            info = self.decode(self.encode(value), "info")
            assert set(info) <= {"shape", "dtype", "image", "metadata"}
            if "shape" in info and hasattr(value, "shape"):
                assert info["shape"] == value.shape

    def test_cut_bytes_are_damage(self) -> None:
        """A file that is cut short is never loaded."""
        content = self.encode(self.values[0])
        # About 40 lengths, and the one without the last byte, which formats notice least.
        for length in {*range(0, len(content), max(1, len(content) // 40)), len(content) - 1}:
            self.check_damage(content[:length])

    def test_changed_bytes_never_crash(self) -> None:
        """A changed byte gives a value or ``DamagedDataError``, and no other exception."""
        content = self.encode(self.values[0])
        expected: tuple[type[Exception], ...] = (
            DamagedDataError,
            UnsupportedDataError,
            *self.format_.decode_errors,
        )

        # No deadline: a format may take long for one example on a busy machine.
        @settings(max_examples=examples(150), deadline=None, database=None)
        @given(st.integers(0, len(content) - 1), st.integers(1, 255))
        def mutate(position: int, change: int) -> None:
            changed = bytearray(content)
            # `change` is never 0, so the byte always differs from the stored one.
            changed[position] ^= change
            try:
                self.decode(bytes(changed))
            except expected:
                return

        mutate()

    def test_foreign_bytes_are_damage(self) -> None:
        """A file of another format is never loaded."""
        self.check_damage(b"certainly no file of this format \x00\xff" * 10)

    def test_options_have_names(self) -> None:
        """An unknown option of ``save`` or ``load`` is refused."""
        for method in (type(self.format_).save, type(self.format_).load):
            with pytest.raises(UnknownOptionError):
                check_options(method, {"no_such_option": 1}, "the format")

    def check_damage(self, content: bytes) -> None:
        """Assert that ``content`` raises ``DamagedDataError``, as it would in a backend.

        Backends convert the format's ``decode_errors`` to it.
        """
        with pytest.raises((DamagedDataError, *self.format_.decode_errors)):
            self.decode(content)


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
