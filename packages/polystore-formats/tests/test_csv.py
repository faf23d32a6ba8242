from __future__ import annotations

import contextlib
import csv
import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing import FormatTests, overrides

from .tables import CELLS, CSV, require

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class TestConformance(FormatTests):
    format_ = CSV
    values: ClassVar[list[Any]] = [
        np.array([(1, 0.1, True, "A01"), (-2, -np.inf, False, '"x",\n')], "i8,f8,?,U5"),
        np.array([("",), ("NA",)], [("a\r\nb", "U2")]),
    ]
    refused: ClassVar[list[Any]] = [
        np.zeros(3),
        np.zeros((3, 2)),
        CELLS.reshape(2, 2),
        CELLS[0],
        [{"a": 1}],
        {"a": [1]},
        np.zeros(3, [("a", "c16")]),
        np.zeros(3, [("a", "M8[s]")]),
        np.zeros(3, [("a", "S3")]),
        np.zeros(3, [("a", "i4", (2,))]),
        np.zeros(3, [("a", [("b", "i4")])]),
        "a,b",
        np.zeros(3, [("a", "g")]),
        np.array([("a\0b",)], [("a", "U3")]),
        np.array([("\ud800",)], [("a", "U1")]),
        np.zeros(3, [("\ud800", "i8")]),
        np.zeros(3, [("a\0", "i8")]),
        np.array([("x" * 100_001,)], [("a", "U100001")]),
        np.array([({},)], [("a", "O")]),
    ]

    @overrides("CSV has no checksum, so a cut between two rows leaves a table")
    def test_cut_bytes_are_damage(self) -> None:
        content = self.encode(CELLS)
        for length in (0, 5, content.index(b"nan"), len(content) - 2):
            self.check_damage(content[:length])


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
columns = {
    "?": st.booleans(),
    "i8": st.integers(-(2**63), 2**63 - 1),
    "f8": st.floats(),
    "U": text
    | st.sampled_from(["1", "007", "nan", "NA", "True", "", " ", '"', "\r", "\n", ";", "1.5"]),
}


@st.composite
def tables(draw: st.DrawFn) -> NDArray[Any]:
    """Draw tables with rows, of dtypes that come back without ``dtypes=``."""
    names = draw(st.lists(text.filter(bool), min_size=1, max_size=4, unique=True))
    kinds = draw(
        st.lists(st.sampled_from(sorted(columns)), min_size=len(names), max_size=len(names))
    )
    rows = draw(st.lists(st.tuples(*(columns[kind] for kind in kinds)), min_size=1, max_size=5))
    widths = [
        max((len(row[i]) for row in rows), default=0) if kind == "U" else 0
        for i, kind in enumerate(kinds)
    ]
    dtype = [
        (name, f"U{width or 1}" if kind == "U" else kind)
        for name, kind, width in zip(names, kinds, widths, strict=True)
    ]
    return np.array(rows, dtype)


@given(tables(), st.sampled_from([",", ";", "\t", "|"]))
def test_tables_come_back(table: NDArray[Any], delimiter: str) -> None:
    file = io.BytesIO()
    CSV.save(table, file, delimiter=delimiter)
    file.seek(0)
    found = CSV.load(file, delimiter=delimiter)
    assert found.dtype == table.dtype
    for name in table.dtype.names or ():
        np.testing.assert_array_equal(found[name], table[name])


@pytest.mark.parametrize(
    ("dtype", "values", "inferred"),
    [
        ("i1", [-128, 127], "i8"),
        ("u1", [0, 255], "i8"),
        (">i4", [-(2**31), 7], "i8"),
        ("u8", [0, 2**64 - 1], "u8"),
        ("u8", [0, 1], "i8"),
        ("f2", [0.1, np.nan], "f8"),
        ("f4", [0.1, 3.4e38], "f8"),
        (">f8", [0.1, -0.0], "f8"),
        ("U9", ["a", "bc"], "U2"),
    ],
)
def test_named_dtypes_come_back(
    dtype: str,
    values: list[Any],
    inferred: str,
    encode: Callable[..., bytes],
    read: Callable[..., Any],
) -> None:
    """Without ``dtypes=``, other dtypes become wider ones with the same values."""
    table = np.array([(value,) for value in values], [("x", dtype)])
    data = encode(CSV, table)
    named, plain = read(CSV, data, dtypes={"x": dtype}), read(CSV, data)
    assert named.dtype == table.dtype
    assert named.tobytes() == table.tobytes()
    assert plain["x"].dtype == np.dtype(inferred)
    np.testing.assert_array_equal(plain["x"], table["x"])


@given(st.lists(st.floats(width=32), min_size=1))
def test_narrow_floats_come_back(values: list[float]) -> None:
    table = np.array([(value,) for value in values], [("x", "f4")])
    file = io.BytesIO()
    CSV.save(table, file)
    file.seek(0)
    np.testing.assert_array_equal(CSV.load(file, dtypes={"x": "f4"})["x"], table["x"])


def test_bytes_are_plain(encode: Callable[..., bytes]) -> None:
    assert encode(CSV, CELLS[:2]) == (
        b'"label","mean intensity","in focus","well, site"\n'
        b'1,20.5,True,"A01"\n'
        b'-2,nan,False,"007, ""quoted"""\n'
    )


def test_many_rows_come_back(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    """The table has more rows than are written or read at a time."""
    table = np.zeros(25_001, [("i", "i8"), ("x", "f8")])
    table["i"] = np.arange(25_001)
    table["x"] = np.random.default_rng(0).normal(size=25_001)
    np.testing.assert_array_equal(read(CSV, encode(CSV, table)), table)


def test_empty_tables_keep_names(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    empty = CELLS[:0]
    found = read(CSV, encode(CSV, empty))
    assert (len(found), found.dtype.names) == (0, CELLS.dtype.names)
    dtypes = {name: CELLS.dtype[name] for name in CELLS.dtype.names or ()}
    assert read(CSV, encode(CSV, empty), dtypes=dtypes).dtype == CELLS.dtype


def test_record_arrays_are_tables(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    records = CELLS.view(np.recarray)
    np.testing.assert_array_equal(read(CSV, encode(CSV, records))["label"], CELLS["label"])


# ── inferred types ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", " 2", "+3 "], [1, 2, 3]),
        (["TRUE", "false"], [True, False]),
        (["1", ""], [1.0, np.nan]),
        (["1", "NA"], [1.0, np.nan]),
        (["", ""], [np.nan, np.nan]),
        (["True", ""], ["True", ""]),
        ([".5", "5.", "1e3", "-1.5E-3"], [0.5, 5.0, 1000.0, -0.0015]),
        (["inf", "-Infinity", "NaN"], [np.inf, -np.inf, np.nan]),
        (["007", "008"], ["007", "008"]),
        (["1_000"], ["1_000"]),
        (["\u0663"], ["\u0663"]),
        (["0x10"], ["0x10"]),
        (["."], ["."]),
        (["e5"], ["e5"]),
        (["18446744073709551615"], np.array([2**64 - 1], np.uint64)),
        (["18446744073709551616"], ["18446744073709551616"]),
        (["9223372036854775808", "-1"], ["9223372036854775808", "-1"]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["12345678901234567890123"], ["12345678901234567890123"]),
        (['"1"', '"2"'], ["1", "2"]),
        (['5" pipe', "b"], ['5" pipe', "b"]),
        (["NA", "x"], ["NA", "x"]),
    ],
)
def test_types_are_inferred(cells: list[str], expected: Any, read: Callable[..., Any]) -> None:
    data = "x,row\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    found = read(CSV, data.encode())["x"]
    assert found.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"a,b\r1,x\r2,y\r",
        b"a,b\n1,x\n2,y",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b"\na,b\n\n1,x\n2,y\n\n",
        b'"a","b"\n1,"x"\n2,"y"\n',
    ],
)
def test_line_ends_do_not_matter(data: bytes, read: Callable[..., Any]) -> None:
    assert read(CSV, data).tolist() == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiters_are_read(delimiter: str, read: Callable[..., Any]) -> None:
    data = delimiter.join(["a", '"b,"']) + "\n" + delimiter.join(["1", '"x;\t|"']) + "\n"
    found = read(CSV, data.encode(), delimiter=delimiter)
    assert (found.dtype.names, found.tolist()) == (("a", "b,"), [(1, "x;\t|")])


def test_csv_module_reads_our_files(encode: Callable[..., bytes]) -> None:
    rows = list(csv.reader(io.StringIO(encode(CSV, CELLS).decode(), newline="")))
    assert rows[0] == list(CELLS.dtype.names or ())
    assert rows[2] == ["-2", "nan", "False", '007, "quoted"']
    assert rows[3][3] == "two\r\nlines"


def test_text_is_converted_to_dtype(read: Callable[..., Any]) -> None:
    found = read(CSV, b'a,b\n"007",1\n"8",0\n', dtypes={"a": int, "b": "float32"})
    assert found.tolist() == [(7, 1.0), (8, 0.0)]
    assert found.dtype == [("a", "i8"), ("b", "f4")]


@pytest.mark.parametrize(
    ("dtype", "cell"),
    [
        ("u1", "256"),
        ("i1", "-129"),
        ("i8", "1.5"),
        ("i8", ""),
        ("i8", "1_0"),
        ("f8", "1_0"),
        ("f4", "1e39"),
        ("f8", "x"),
        ("?", "1"),
        ("?", ""),
        ("U4", "abcde"),
    ],
)
def test_cells_must_fit_dtype(dtype: str, cell: str, read: Callable[..., Any]) -> None:
    fitting = "True" if dtype == "?" else "0"
    data = f"x,y\n{fitting},1\n{cell},2\n".encode()
    with pytest.raises(InvalidOptionError, match=rf"holds '{cell}' \(row 2\)"):
        read(CSV, data, dtypes={"x": dtype})


@pytest.mark.parametrize(
    "dtypes", [{"z": int}, {"a": "nonsense"}, {"a": "M8[s]"}, {"a": "c16"}]
)
def test_dtypes_are_checked(dtypes: dict[str, Any], read: Callable[..., Any]) -> None:
    with pytest.raises(InvalidOptionError, match="dtypes"):
        read(CSV, b"a\n1\n", dtypes=dtypes)


@pytest.mark.parametrize(
    "options", [{"delimiter": ":"}, {"delimiter": ", "}, {"as_": "polars"}]
)
def test_options_are_checked(options: dict[str, Any], read: Callable[..., Any]) -> None:
    with pytest.raises(InvalidOptionError, match="one of"):
        read(CSV, b"a\n1\n", **options)


# ── damage ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"a,b\n1,2\n3", "it ends within line 3"),
        (b"a\n1\n2\n\0\n", "line 4 has a NUL"),
        (b"a\n1\n\xff\0\n", "line 3 "),
        (b'a\n"x', "it ends within quotes, in line 2"),
        ("a\n1\nµ".encode()[:-1], "line 3 "),
    ],
)
def test_damage_names_line(data: bytes, reason: str, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError) as caught:
        read(CSV, data)
    assert reason in str(caught.value)


# ── files of other programs ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells, expected 2"),
        (b"a,b\n1,2\n3\n4,5", "line 3 has 1 cells"),
        (b"a,b\n1,2\n\n3,4,5\n", "line 4 has 3 cells"),
        (b"a,b\n1,2,3\n4,5\n", "line 3 has 2 cells, expected 3"),
        (b"a,b\n1,2,3,4\n", "line 2 has 4 cells"),
        (b'a,b\n"x\ny",2\n3\n', "line 4 has 1 cells"),
        (b'a\n"x"y\n', "line 2 is not valid CSV: ',' expected"),
        (b"a\n" + b"x" * 200_000, "line 2 is not valid CSV: field larger"),
        (b"a\n1\n\xff\n", "encoding="),
        ("Länge;n\n1,5;2\n".encode("cp1252"), "encoding="),  # Excel, "CSV (Comma delimited)"
        ("a;b\n1;2".encode("utf-16"), "encoding="),  # PowerShell's ">"
        (b"a;b\n1,5;2\n", "pass delimiter=';'"),
        (b"\xef\xbb\xbfa;b\n1;2\n", "pass delimiter=';'"),  # Excel, "CSV UTF-8"
        (b"a\tb\n1\t2\n", r"pass delimiter='\t'"),
        (b"sep=;\r\na;b\r\n1;2\r\n", "pass delimiter=';'"),
        (b'#TYPE System.Object\r\n"a","b"\r\n"1","2"\r\n"3"\r\n', "line 4"),
        (b"Plate 7\n\nwell,area,n\nA01,1.5,2\n", "line 3 has 3 cells"),
    ],
)
def test_unsupported_tables_are_not_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    with pytest.raises(UnsupportedFileError) as caught:
        read(CSV, data)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (b",area,n\n0,1.5,1\n1,2.5,2\n", {}, {"Unnamed: 0": [0, 1], "area": [1.5, 2.5]}),
        (b'"","area"\n"1",1.5\n"2",2.5\n', {}, {"Unnamed: 0": ["1", "2"], "area": [1.5, 2.5]}),
        (b'"area","n"\n"1",1.5,1\n"2",NA,2\n', {}, {"Unnamed: 0": ["1", "2"], "n": [1, 2]}),
        (b"area,n\n1.5,1,\n2.5,2,\n", {}, {"area": [1.5, 2.5], "n": [1, 2]}),
        (b"area,n,\n1.5,1,\n2.5,2,\n", {}, {"area": [1.5, 2.5], "n": [1, 2]}),
        (b" ,Area,Mean\n1,433,191.358\n2,185,179.286\n", {}, {" ": [1, 2], "Area": [433, 185]}),
        (
            b"Image,Nuclei,Nuclei\nImageNumber,Area,X\n1,2,3\n",
            {},
            {"Image": ["ImageNumber", "1"], "Nuclei.1": ["X", "3"]},
        ),
        (b"ImageNumber,Mean_Area\n1,nan\n2,3.5\n", {}, {"ImageNumber": [1, 2]}),
        (b"\xef\xbb\xbfa;b\r\n1;2\r\n", {"delimiter": ";"}, {"a": [1], "b": [2]}),
        (b"sep=;\r\na;b\r\n1;2\r\n", {"delimiter": ";"}, {"a": [1], "b": [2]}),
        ("Länge\n1\n".encode("cp1252"), {"encoding": "cp1252"}, {"Länge": [1]}),
        ("µ\n1\n".encode("utf-16"), {"encoding": "utf-16"}, {"µ": [1]}),
        (b'"a;b"\n"1;2"\n', {}, {"a;b": ["1;2"]}),
        (b"a|b\n1\n", {}, {"a|b": [1]}),
    ],
    ids=[
        "pandas",
        "R write.csv",
        "R write.table",
        "delimiter at line ends",
        "trailing comma",
        "ImageJ Results.csv",
        "CellProfiler, two headers",
        "CellProfiler",
        "Excel, BOM and ;",
        "Excel, sep=",
        "Excel on Windows",
        "PowerShell",
        "quoted delimiters",
        "odd name",
    ],
)
def test_tables_of_other_programs_load(
    data: bytes,
    options: dict[str, Any],
    expected: dict[str, list[Any]],
    read: Callable[..., Any],
) -> None:
    found = read(CSV, data, **options)
    assert {name: found[name].tolist() for name in expected} == expected


@given(
    st.lists(
        st.sampled_from(["", "x", "x.1", "x.2", "y", "Unnamed: 0", "Unnamed: 1"]), min_size=2
    )
)
def test_names_are_those_of_pandas(header: list[str]) -> None:
    pandas = require("pandas")
    text = (",".join(header) + "\n" + ",".join("1" * len(header)) + "\n").encode()
    expected = pandas.read_csv(io.BytesIO(text), index_col=False)
    assert list(CSV.load(io.BytesIO(text)).dtype.names) == list(expected)


def test_mutations_never_crash(
    encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    for found in survivors(CSV, encode(CSV, np.concatenate([CELLS] * 20))):
        assert found.dtype.names


def test_wide_text_is_refused(read: Callable[..., Any]) -> None:
    """In an array, each cell has the width of the longest, so 20 kB would become 1.6 GB."""
    data = b"x,y\n" + b"a" * 90_000 + b",1\n" + b"b,1\n" * 5_000
    with pytest.raises(UnsupportedDataError, match="5001 cells of up to 90000 characters"):
        read(CSV, data)


@pytest.mark.parametrize("data", [b'",' * 50_000, b'"' * 100_001, b',"""' * 50_000])
@pytest.mark.timeout(20)
def test_many_quotes_load_quickly(data: bytes, read: Callable[..., Any]) -> None:
    with contextlib.suppress(DamagedDataError, UnsupportedFileError):
        read(CSV, data)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (np.zeros((3, 2)), "save other arrays as .npy"),
        (np.zeros(3, [("a", "M8[s]")]), "column 'a' has dtype datetime64[s]"),
        (np.array([("x" * 100_001,)], [("a", "U100001")]), "more than 100000 characters"),
    ],
)
def test_refusal_gives_advice(value: Any, advice: str, refusal: Callable[..., str]) -> None:
    assert advice in refusal(CSV, value)
