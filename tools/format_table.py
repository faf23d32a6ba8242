"""Write the table of types in docs/formats.md: python tools/format_table.py

Each type is saved and loaded with each format of the table, so the page cannot promise a type that
does not come back. It needs tifffile, imagecodecs and ml_dtypes. A test says that the page is up to
date.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from polystore_core import as_dtype, formats
from polystore_core.errors import UnsupportedDataError

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
START = "<!-- written by tools/format_table.py -->\n"
END = "<!-- end of the table -->\n"
SUFFIXES = (".npy", ".npz", ".safetensors", ".tif", ".png", ".csv")
PICTURES = (".tif", ".png")
"""Formats of images, which have at least two dimensions."""
NAMED = (".npz", ".safetensors")
"""Formats of named arrays."""
NUMBERS = [np.dtype(code).name for code in "?bBhHiIqQefdFD"]
"""From bool to complex128, by the codes of NumPy."""
VALUES: dict[str, Any] = {
    **{name: np.array([0, 1, 1, 0], name) for name in NUMBERS},
    # 0 and 1 are exact in every type, so no type is refused because of rounding.
    "bfloat16": np.array([0, 1, 1, 0], as_dtype("bfloat16")),
    "float8_e4m3fn": np.array([0, 1, 1, 0], as_dtype("float8_e4m3fn")),
    "big-endian": np.array([0, 1, 1, 0], ">u2"),
    "text": np.array(["a", "b", "cd", ""]),
    "bytes": np.array([b"a", b"b", b"cd", b"e"]),
    "datetime64": np.array(["2026-01-01"] * 4, "M8[s]"),
    "structured": np.zeros(4, [("a", "u1"), ("b", "f4")]),
    "object": np.array([{}, {}, {}, {}], object),
}
"""An array of each type of the table."""


def try_type(suffix: str, name: str) -> str | None:
    """Return "same", "other" or "refused", or ``None`` if the question makes no sense.

    Raises:
        AssertionError: The values changed on the way.
    """
    array = VALUES[name]
    value: Any = array.reshape(2, 2) if suffix in PICTURES else array
    if suffix == ".csv":
        if array.dtype.names or name == "big-endian":
            return None  # a column is not a table, and text has no byte order
        value = np.zeros(4, [("a", array.dtype)])
        value["a"] = array
    format_: Any = formats().of(f"x{suffix}")
    file = io.BytesIO()
    try:
        format_.save({"a": value} if suffix in NAMED else value, file)
    except UnsupportedDataError:
        return "refused"
    loaded = format_.load(io.BytesIO(file.getvalue()))
    found = loaded["a"] if suffix in (*NAMED, ".csv") else loaded
    # Lists have no element type. Whether it is the same is the answer, and not an error.
    assert found.tolist() == (array if suffix == ".csv" else value).tolist(), (suffix, name)
    return "same" if found.dtype.str == array.dtype.str else "other"


def make_table() -> str:
    """Return the table of types, as Markdown."""
    lines = [
        "| suffix | loads as it was saved | loads as another type | refused |",
        "|---|---|---|---|",
    ]
    for suffix in SUFFIXES:
        fates: dict[str, list[str]] = {"same": [], "other": [], "refused": []}
        for name in VALUES:
            if (fate := try_type(suffix, name)) is not None:
                fates[fate].append(name)
        cells = "".join(
            f" {', '.join(names)} |".replace("  |", " |") for names in fates.values()
        )
        lines.append(f"| `{suffix}` |{cells}")
    return "\n".join(lines) + "\n"


def read_table() -> str:
    """Return the table in the page."""
    return PAGE.read_text("utf-8").partition(START)[2].partition(END)[0].strip() + "\n"


def main() -> int:
    """Write the table into the page."""
    head, _, rest = PAGE.read_text("utf-8").partition(START)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{START}\n{make_table()}\n{END}{tail}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
