"""The table of docs/formats.md is up to date."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "format_table.py"


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    return runpy.run_path(str(TOOL))


def test_the_table_is_up_to_date(tool: dict[str, Any]) -> None:
    assert tool["read_table"]() == tool["make_table"](), f"run: python {TOOL}"


@pytest.mark.parametrize(
    ("suffix", "name", "fate"),
    [
        (".npy", "structured", "same"),
        (".npy", "object", "refused"),
        (".safetensors", "bfloat16", "same"),
        (".safetensors", "big-endian", "other"),
        (".png", "float32", "refused"),
        (".csv", "uint16", "other"),
    ],
)
def test_types_are_stored_as_the_table_says(
    tool: dict[str, Any], suffix: str, name: str, fate: str
) -> None:
    assert tool["try_type"](suffix, name) == fate
