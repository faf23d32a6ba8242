import dataclasses
import itertools
import pickle
import re
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polystore_core import Capabilities, Info
from polystore_core.values import natural_key, natural_order


@pytest.mark.parametrize(
    "ordered",
    [
        ["z1", "z2", "z10", "z100"],
        ["z01", "z1", "z02", "z2"],
        ["a", "a0", "a00", "b"],
        ["1", "2", "10", "a"],
        ["a/2", "a/10", "a1/2", "a 1", "a.b", "b"],
        ["A01_s1_w1.tif", "A01_s1_w2.tif", "A01_s2_w1.tif", "A01_s10_w1.tif"],
        ["x1y2", "x1y10", "x2y1"],
        ["n²", "n³", "n٣"],
        ["a", "a/", "a/1", "a/b", "a!"],
        ["/1", "1", "A", "a"],
        [""],
    ],
)
def test_order_is_natural(ordered: list[str]) -> None:
    for shuffled in itertools.islice(itertools.permutations(ordered), 200):
        assert natural_order(shuffled) == ordered


def test_distinct_names_differ() -> None:
    names = ["1", "01", "001", "a1", "a01", "a/1", "a//1", "A1", "a1/"]
    assert len({natural_key(name) for name in names}) == len(names)


def test_huge_numbers_are_sorted() -> None:
    names = ["9" * 5000, "1" * 5001, "0" * 5000]  # int() refuses more than 4,300 digits.
    assert natural_order(names) == natural_order(names[::-1])


def model_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """Return the natural order by definition: text and numbers in turn, "/" before any number."""
    parts = re.split(r"([0-9]{1,4000}|/)", text)
    numbers = [-1 if part == "/" else int(part) for part in parts[1::2]]
    return tuple(itertools.chain(*zip(parts[::2], [*numbers, 0], strict=True)))[:-1], text


PIECES = st.one_of(
    st.sampled_from(["", "/", "0", "00", "1", "9", "10", "01", "a", "A", "b", " ", "."]),
    st.sampled_from(["\0", "\1", "\2", "\3", "\4", "\5", "\6", "\7", "\n", "/"]),
    st.sampled_from(["²", "٣", "𝟙", "é", "\udc80", "\ud83d", "\udfff"]),
    st.sampled_from(["7" * 43, "0" * 300 + "5", "0" * 4000, "9" * 4001, "1" * 8000]),
)
NAMES = st.lists(st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=6), max_size=40)


@given(NAMES)
@example(["a\0", "a", "a/", "a0", "a\1", "a\2", "a\3", "a\4"])
def test_order_equals_model(names: list[str]) -> None:
    assert natural_order(names) == sorted(names, key=model_key)
    assert sorted(names, key=natural_key) == sorted(names, key=model_key)


def test_many_names_equal_model() -> None:
    names = [
        f"{a}/w{b}_z{c:0{c % 4}}" for a in "ba" for b in range(30, 0, -1) for c in range(99)
    ]
    assert natural_order(names) == sorted(names, key=model_key)


def test_order_keeps_objects() -> None:
    class Name(StrEnum):
        TEN = "z10"
        TWO = "z2"

    assert natural_order(Name)[0] is Name.TWO


def test_capabilities_are_a_set() -> None:
    can = Capabilities(frozenset({"save", "delete"}))
    assert (can.reads, can.writes) == (False, True)
    assert "delete" in can
    assert "load" not in can
    assert list(can) == ["delete", "save"]


INFO = Info(
    path="a.npy",
    kind="file",
    size=152,
    modified=datetime(2024, 5, 6, tzinfo=UTC),
    shape=(2, 3),
    dtype="<u2",
    metadata={"axes": "YX"},
)


@pytest.mark.parametrize("value", [Capabilities(frozenset({"load", "save"})), INFO])
def test_values_pickle(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_values_show_content() -> None:
    assert repr(Capabilities(frozenset({"load"}))) == (
        "Capabilities(operations=frozenset({'load'}))"
    )
    shown = repr(INFO)
    for part in ("path='a.npy'", "kind='file'", "size=152", "shape=(2, 3)", "dtype='<u2'"):
        assert part in shown


@pytest.mark.parametrize("value", [Capabilities(frozenset()), Info(path="a", kind="file")])
def test_values_are_frozen(value: object) -> None:
    field = dataclasses.fields(value)[0]  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field.name, None)
    with pytest.raises((AttributeError, TypeError)):
        value.other = 1  # type: ignore[attr-defined]
