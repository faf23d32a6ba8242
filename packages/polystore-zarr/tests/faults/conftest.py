"""A folder for each test, and processes that end with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .writers import Writer, make_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def backend(root: Path) -> ZarrBackend:
    return make_backend(root)


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Writer]]:
    started: list[Writer] = []

    def begin(work: str, *arguments: object) -> Writer:
        started.append(Writer(work, root, *arguments))
        return started[-1]

    yield begin
    for writer in started:
        writer.end()
