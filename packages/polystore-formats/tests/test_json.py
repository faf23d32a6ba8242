from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import formats
from polystore_core.errors import DamagedDataError, UnsupportedFileError
from polystore_testing import FormatTests, overrides

if TYPE_CHECKING:
    from collections.abc import Callable

JSON: Any = formats().of("x.json")

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
)


class TestConformance(FormatTests):
    format_ = JSON
    values: ClassVar[list[Any]] = [
        {"well": "A01", "ü": [1, 2.5, None, True, "\u2028"]},
        [],
        {},
        "text",
        0,
        -0.0,
    ]
    refused: ClassVar[list[Any]] = [
        (1, 2),
        {1: 2},
        float("nan"),
        {"a": [float("inf")]},
        b"bytes",
        "\ud800",
        {1, 2},
    ]

    @overrides("the document ends before its last line break")
    def test_cut_bytes_are_damage(self) -> None:
        content = self.encode(self.values[0])
        for length in range(len(content) - 1):
            self.check_damage(content[:length])


@given(documents, st.sampled_from([None, 0, 2]))
def test_documents_come_back(document: Any, indent: int | None) -> None:
    file = io.BytesIO()
    JSON.save(document, file, indent=indent)
    file.seek(0)
    found = JSON.load(file)
    assert found == document
    # 1, 1.0 and True are equal, so this compares their text.
    assert repr(found) == repr(document)


def test_json_module_reads_our_files(encode: Callable[..., bytes]) -> None:
    assert json.loads(encode(JSON, {"a": [1, "ü"]})) == {"a": [1, "ü"]}


def test_files_of_json_module_load(read: Callable[..., Any]) -> None:
    assert read(JSON, json.dumps({"a": [1, "ü\U0001f600"]}).encode()) == {
        "a": [1, "ü\U0001f600"]
    }


def test_indent_can_be_left_out(encode: Callable[..., bytes]) -> None:
    assert encode(JSON, {"a": 1}) == b'{\n  "a": 1\n}\n'
    assert encode(JSON, {"a": 1}, indent=None) == b'{"a": 1}\n'


def test_byte_order_mark_is_skipped(read: Callable[..., Any]) -> None:
    assert read(JSON, b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[1,]", b"{'a': 1}", b"[Na]", b'"\xc3', b'"\xff\0"', b"[1] [2]", b"\0"],
    ids=lambda data: repr(data[:12]),
)
def test_damage_is_found(damaged: bytes, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError):
        read(JSON, damaged)


def test_nan_of_python_loads(
    encode: Callable[..., bytes], read: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    document = {"nan": math.nan, "high": math.inf, "low": [-math.inf]}
    found = read(JSON, json.dumps(document).encode())
    assert math.isnan(found.pop("nan"))
    assert found == {"high": math.inf, "low": [-math.inf]}
    for value in document.values():
        assert "cannot hold NaN or infinity: replace it" in refusal(JSON, value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1}\n{"a": 2}\n', "JSON Lines"),  # pandas, to_json(lines=True)
        ('"µ"'.encode("cp1252"), "save it in UTF-8"),
        ('"µ"'.encode("utf-16"), "utf-16 text"),  # PowerShell's ">"
        (b'{"1": 1, "1": 2}', "the same key twice"),  # json.dumps({1: 1, "1": 2})
        (b"[" * 100_000, "recursion"),
        (b"1" * 5_000, "4300 digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_unsupported_documents_are_not_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    with pytest.raises(UnsupportedFileError, match=reason):
        read(JSON, data)


def test_refused_array_gets_advice(refusal: Callable[..., str]) -> None:
    assert "save it as .npy, or save value.tolist()" in refusal(JSON, np.zeros(3))
    nested = refusal(JSON, {"a": np.zeros((4, 3))})
    assert nested.endswith(
        "JSON cannot hold a ndarray of shape (4, 3): convert it with .tolist()"
    )


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"shape": (2, 3)}, "list(...)"),
        ({"mean": np.float64(2.5)}, ".tolist()"),
        ([np.arange(3)], ".tolist()"),
        ({"tags": {"a"}}, "sorted(...)"),
        ({1: "a"}, "str(key)"),
    ],
    ids=repr,
)
def test_refused_values_get_advice(
    value: Any, advice: str, refusal: Callable[..., str]
) -> None:
    assert advice in refusal(JSON, value)


def test_deep_nesting_is_refused(refusal: Callable[..., str]) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert "recursion" in refusal(JSON, value)


def test_mutations_never_crash(
    encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    survivors(JSON, encode(JSON, {"a": list(range(200)), "ü": "text" * 50}))
