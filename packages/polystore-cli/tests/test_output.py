import json
from datetime import UTC, datetime

import numpy as np
import pytest

from polystore_cli.output import info_document, local_time, print_columns, print_json
from polystore_core import Info


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(("size", "name"), [("1", "a"), ("12345", "b" * 300)], right=("size",))
    assert capsys.readouterr().out == f" size  name\n    1  a\n12345  {'b' * 300}\n"


def test_no_rows_leave_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(("size", "name"), [])
    assert capsys.readouterr().out == "size  name\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (np.float32("inf"), None),
        (np.uint16(7), 7),
        (np.arange(3), [0, 1, 2]),
        ((1, 2), [1, 2]),
        ({1: b"raw"}, {"1": "b'raw'"}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        ("\udcff", "\udcff"),
        (True, True),
    ],
)
def test_json_has_only_standard_values(
    value: object, expected: object, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json({"value": value})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "value": expected
    }


def test_info_has_every_field() -> None:
    document = info_document(Info(path="a", kind="file", size=3))
    assert list(document) == [
        "path",
        "kind",
        "size",
        "modified",
        "format",
        "shape",
        "dtype",
        "target",
        "metadata",
        "image",
    ]
    assert document["size"] == 3


def test_unknown_time_is_dash() -> None:
    assert local_time(None) == "-"
