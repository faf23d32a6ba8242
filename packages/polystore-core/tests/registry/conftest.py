"""Cells of a notebook."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from polystore_core.options import known_options

from .samples import Define


@pytest.fixture
def define() -> Iterator[Define]:
    """Return a function that runs a notebook cell, whose classes are deleted after the test."""
    cells: list[dict[str, Any]] = []

    def run(code: str, module: str = "__notebook__") -> Any:
        cells.append({"__name__": module})
        exec(code, cells[-1])
        return cells[-1].get("MyBackend")

    yield run
    cells.clear()
    known_options.cache_clear()
    gc.collect()
