"""CSV files and data frames of pandas."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .tables import CELLS, CSV, require

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def pandas() -> Any:
    return require("pandas")


@pytest.fixture
def frame(pandas: Any) -> Any:
    return pandas.DataFrame(
        {
            "label": [1, 2, 3],
            "mean": [0.1, np.nan, -np.inf],
            "ok": [True, False, True],
            "well": ["A01", "007", 'a, "b"\n'],
            "note": ["x", None, ""],
        }
    )


def test_frames_come_back(
    frame: Any, pandas: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    pandas.testing.assert_frame_equal(read(CSV, encode(CSV, frame), as_="pandas"), frame)


def test_frames_load_as_arrays(
    frame: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    found = read(CSV, encode(CSV, frame))
    assert found["note"].tolist() == ["x", "", ""]
    assert found["label"].tolist() == [1, 2, 3]


def test_empty_frames_keep_names(
    frame: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    assert list(read(CSV, encode(CSV, frame[:0]), as_="pandas")) == list(frame)


def test_pandas_reads_our_files(frame: Any, pandas: Any, encode: Callable[..., bytes]) -> None:
    numbers = frame[["label", "mean", "ok"]]
    found = pandas.read_csv(io.BytesIO(encode(CSV, numbers)))
    pandas.testing.assert_frame_equal(found, numbers)
    cells = pandas.read_csv(
        io.BytesIO(encode(CSV, CELLS)), keep_default_na=False, dtype={"well, site": str}
    )
    assert cells["well, site"].tolist() == CELLS["well, site"].tolist()


def test_pandas_files_load(frame: Any, pandas: Any, read: Callable[..., Any]) -> None:
    frame = frame.assign(well=["A01", "B02", 'a, "b"\n'], note=["x", None, "y"])
    data = frame.to_csv(index=False).encode()
    pandas.testing.assert_frame_equal(read(CSV, data, as_="pandas"), frame)


def test_narrow_dtypes_come_back(
    pandas: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    frame = pandas.DataFrame({"a": np.array([1, 2], "u2"), "b": np.array([0.1, 2], "f4")})
    found = read(CSV, encode(CSV, frame), as_="pandas", dtypes={"a": "u2", "b": "f4"})
    pandas.testing.assert_frame_equal(found, frame)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda df, pd: df.set_index("well"), "reset_index()"),
        (lambda df, pd: df[::2], "reset_index(drop=True)"),
        (lambda df, pd: df.rename_axis("row"), "reset_index()"),
        (lambda df, pd: df.rename(columns={"ok": 3}), "name of each column, got 3"),
        (lambda df, pd: df.rename(columns={"ok": "well"}), "two columns with the same name"),
        (lambda df, pd: df[[]], "no columns"),
        (lambda df, pd: df.assign(t=pd.Timestamp(0)), "column 't' has dtype datetime64"),
        (
            lambda df, pd: df.assign(c=pd.Categorical([1, 2, 1])),
            "column 'c' has dtype category",
        ),
        (lambda df, pd: df.assign(i=pd.array([1, None, 2])), "column 'i' has dtype Int64"),
        (lambda df, pd: df.assign(o=[1, "a", None]), "column 'o' has a cell of type int"),
        (lambda df, pd: df[["note"]], "blank line"),
    ],
)
def test_odd_frames_are_refused(
    change: Callable[[Any, Any], Any],
    advice: str,
    frame: Any,
    pandas: Any,
    refusal: Callable[..., str],
) -> None:
    assert advice in refusal(CSV, change(frame, pandas))


def test_frame_with_its_index_loads(pandas: Any, read: Callable[..., Any]) -> None:
    frame = pandas.DataFrame({"area": [1.5, 2.5]}, index=["a", "b"])
    found = read(CSV, frame.to_csv().encode(), as_="pandas")
    pandas.testing.assert_frame_equal(found, pandas.read_csv(io.StringIO(frame.to_csv())))
