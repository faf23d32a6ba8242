"""A table with all kinds of cells, and the format that reads it."""

import importlib
import os
from typing import Any

import numpy as np
import pytest

from polystore_core import formats

require = (
    importlib.import_module
    if os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    else pytest.importorskip
)
CSV: Any = formats().of("x.csv")

CELLS = np.array(
    [
        (1, 20.5, True, "A01"),
        (-2, np.nan, False, '007, "quoted"'),
        (2**62, -np.inf, True, "two\r\nlines"),
        (0, 5e-324, False, ""),
    ],
    [("label", "i8"), ("mean intensity", "f8"), ("in focus", "?"), ("well, site", "U13")],
)
