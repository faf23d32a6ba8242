"""Bytes of a value, and what can happen to bytes."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from polystore import Format
from polystore.errors import DamagedDataError, UnsupportedDataError

Written: TypeAlias = Callable[..., bytes]
Read: TypeAlias = Callable[..., Any]
Refusal: TypeAlias = Callable[[Format, Any], str]
Survivors: TypeAlias = Callable[[Format, bytes], list[Any]]


@pytest.fixture
def written() -> Written:
    """Return the bytes that a format makes of a value."""

    def write(format: Format, value: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        format.save(value, file, **options)
        return file.getvalue()

    return write


@pytest.fixture
def read() -> Read:
    """Return the value that a format makes of bytes."""

    def load(format: Format, data: bytes, **options: Any) -> Any:
        return format.load(io.BytesIO(data), **options)

    return load


@pytest.fixture
def refusal() -> Refusal:
    """Return why a format refuses a value, before it has written anything."""

    def refuse(format: Format, value: Any) -> str:
        file = io.BytesIO()
        with pytest.raises(UnsupportedDataError) as caught:
            format.save(value, file)
        assert file.getvalue() == b""
        assert file.tell() == 0
        return str(caught.value)

    return refuse


@pytest.fixture
def survivors() -> Survivors:
    """Return what loads of 44 cuts and 120 changed bits; the rest is ``DamagedDataError``."""

    def load_all(format: Format, data: bytes) -> list[Any]:
        loaded = []
        for damaged in _damaged(data):
            with contextlib.suppress(DamagedDataError):
                loaded.append(format.load(io.BytesIO(damaged)))
        return loaded

    return load_all


def _damaged(data: bytes) -> Iterator[bytes]:
    for part in range(44):
        yield data[: part * len(data) // 44]
    chance = random.Random(0)
    for _ in range(120):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(changed)
