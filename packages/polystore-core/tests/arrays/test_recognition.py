"""Arrays and their frameworks are recognised."""

from typing import Any

import numpy as np
import pytest

from polystore_core import framework_of, is_array, to_framework

from .samples import Own, Speaker


@pytest.mark.parametrize(
    ("value", "framework"),
    [
        (np.zeros(3), "numpy"),
        (np.zeros(3).view(Own), "numpy"),
        (np.float32(1), "numpy"),
        (Speaker(np.zeros(3)), "numpy"),
        (np.ndarray, None),
        (Speaker, None),
        ([1, 2], None),
        ("text", None),
        (b"bytes", None),
        (memoryview(b"bytes"), None),
        (None, None),
        (1.5, None),
    ],
)
def test_arrays_are_recognised(value: object, framework: str | None) -> None:
    assert is_array(value) == (framework is not None)
    assert framework_of(value) == framework


def test_framework_is_recognised(framework: str) -> None:
    assert framework_of(to_framework(np.zeros(3, "f4"), framework)) == framework


def test_subclass_keeps_framework(torch: Any) -> None:
    mine = type("Mine", (torch.Tensor,), {"__module__": "elsewhere"})
    assert framework_of(torch.zeros(3).as_subclass(mine)) == "torch"
