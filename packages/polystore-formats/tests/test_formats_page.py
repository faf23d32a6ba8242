"""The table of docs/formats.md that says which types come back is true."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import formats
from polystore_core.errors import UnsupportedDataError

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"
NUMBERS = (
    "bool",
    "int8",
    "uint8",
    "uint16",
    "int32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
)
EXTENDED = ("bfloat16", "float8_e4m3fn")
VALUES: dict[str, Any] = {
    **{name: np.array([0, 1, 1, 0], name) for name in NUMBERS},
    "text": np.array(["a", "b", "cd", ""]),
    "bytes": np.array([b"a", b"b", b"cd", b"e"]),
    "datetime64": np.array(["2026-01-01"] * 4, "M8[s]"),
    "big-endian": np.array([0, 1, 1, 0], ">u2"),
    "structured": np.zeros(4, [("a", "u1"), ("b", "f4")]),
    "object": np.array([{}, {}, {}, {}], object),
}


def rows() -> list[tuple[str, str, str]]:
    """Return (suffix, type, what happens to it) of each entry of the table."""
    lines = PAGE.read_text("utf-8").partition("## Which types come back")[2].splitlines()
    found = []
    for line in (line for line in lines[:12] if line.startswith("| `.")):
        suffix, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for fate, names in zip(("same", "other", "refused"), cells, strict=True):
            found += [(suffix.strip("`"), name, fate) for name in re.findall(r"[\w-]+", names)]
    return found


@pytest.mark.parametrize(("suffix", "name", "fate"), rows())
def test_types_come_back_as_the_page_says(suffix: str, name: str, fate: str) -> None:
    format_: Any = formats().of(f"x{suffix}")
    if name in EXTENDED:
        ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
        array = np.array([0, 1, 1, 0], getattr(ml_dtypes, name))
    else:
        array = VALUES[name]
    if suffix in (".tif", ".png"):
        array = array.reshape(2, 2)
    value = {"a": array} if suffix in (".npz", ".safetensors") else array
    if suffix == ".csv":
        value = np.zeros(4, [("a", array.dtype)])
        value["a"] = array
    file = io.BytesIO()
    if fate == "refused":
        with pytest.raises(UnsupportedDataError):
            format_.save(value, file)
        return
    format_.save(value, file)
    loaded = format_.load(io.BytesIO(file.getvalue()))
    found = loaded["a"] if suffix in (".npz", ".csv", ".safetensors") else loaded
    assert found.tolist() == array.tolist()
    assert (found.dtype.str == array.dtype.str) == (fate == "same")


def test_the_table_is_there() -> None:
    assert len(rows()) > 50
