import copy
import dataclasses
import itertools
import pickle
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from polystore_core import NameTemplate
from polystore_core.errors import InvalidOptionError
from polystore_core.model.names import split_well

DATA = Path(__file__).parents[4] / "shared/data"
CELLOMICS = "*_{well}f{field}d{channel}.TIF"
IMAGEXPRESS = "{plate}_{well}_w{channel}_{guid}.tif"
GUID = "10E01AFB-34C4-416E-A9D3-51B90AB53728"


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        (CELLOMICS, "AS_09047_050428030001_O01f00d2.TIF", "well=O01 field=00 channel=2"),
        (CELLOMICS, "/data/x_A99f99d9/AS_O24f02d0.TIF", "well=O24 field=02 channel=0"),
        ("*_{row}{column}f{field}d{w}.TIF", "AS_O01f00d2.TIF", "row=O column=01 field=00 w=2"),
        ("{plate}_POS{site}_{channel}.tif", "01_POS002_D.TIF", "plate=01 site=002 channel=D"),
        ("DrosophilaEmbryo_*_{t}.tif", "DrosophilaEmbryo_GFPHistone_0020.tif", "t=0020"),
        (
            IMAGEXPRESS,
            f"1649_1109_0003_Amp5-1_B_20070424_C01_w1_{GUID}.tif",
            f"plate=1649_1109_0003_Amp5-1_B_20070424 well=C01 channel=1 guid={GUID}",
        ),
        ("*_{well}_w{channel}_*.tif", f"Amp5-1_B_2007_C01_w1_{GUID}.tif", "well=C01 channel=1"),
        (
            "{plate}_{well}_T{t}F{field}L{l}A{a}Z{z}C{channel}.tif",
            "Assay_B03_T0001F002L01A03Z04C05.tif",
            "plate=Assay well=B03 t=0001 field=002 l=01 a=03 z=04 channel=05",
        ),
        (
            "r{row}c{column}f{field}p{z}-ch{channel}sk{time}*.tiff",
            "r01c02f03p04-ch1sk5fk1fl1.tiff",
            "row=01 column=02 field=03 z=04 channel=1 time=5",
        ),
        # MetaXpress writes a GUID right after the last number.
        *[
            (template, f"P_A01_s{site}_w{w}{guid}.tif", f"well=A01 site={site} w={w}")
            for template in ("*_{well}_s{site}_w{w}*.tif", "P_{well}_s{site}_w{w}*.tif")
            for site, w, guid in [
                ("8", "1", "1619fbbe-5bcd-487b-8e48-fc183b5072d9"),
                ("12", "24", "4E1B7C90-75e6-426c-8b41-71a5693784e3"),
                ("3", "2", GUID),
                ("3", "5", "b71ae91c-75e6-426c-8b41-71a5693784e3"),
            ]
        ],
        ("*_{well}_s{site}*.tif", f"P_B05_s151E{GUID[2:]}.tif", "well=B05 site=15"),
        ("*_w{w}*.tif", "P_w11619fbb-5bcd-487b-8e48-fc18.tif", "w=11619"),  # Not a GUID.
        (
            "{well}_s{site}_w{channel}_z{z}.tif",
            "AA12_s1_wDAPI_z3.TIF",
            "well=AA12 site=1 channel=DAPI z=3",
        ),
    ],
)
def test_instrument_names_parse(template: str, path: str, values: str) -> None:
    expected = dict(pair.split("=") for pair in values.split())
    assert NameTemplate(template).parse(path) == expected
    assert NameTemplate(template).fields == tuple(expected)
    assert NameTemplate(template).matches(path)


@pytest.mark.skipif(
    not DATA.is_dir(), reason="data: the images of real microscopes are missing"
)
@pytest.mark.parametrize(
    ("folder", "template"),
    [
        ("plate-cellomics", CELLOMICS),
        ("fly-3channel", "*_POS{site}_{channel}.tif"),
        ("timelapse", "*_{t}.tif"),
        ("worms-imagexpress", IMAGEXPRESS),
    ],
)
def test_real_folders_parse(folder: str, template: str) -> None:
    found = [NameTemplate(template).parse(path) for path in (DATA / folder).iterdir()]
    assert len({tuple(values.items()) for values in found}) == len(found) > 3


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("{well}/z{z}.tif", "/data/B02/z01.tif", {"well": "B02", "z": "01"}),
        ("{plate}/*/{z}.tif", "a/b/P/x/3.tif", {"plate": "P", "z": "3"}),
        ("{z}.tif", "B02//7.tif", {"z": "7"}),
        ("{plate}.zarr", "a/P.zarr/", {"plate": "P"}),
        ("{plate}/{z}.tif", PurePosixPath("P/3.tif"), {"plate": "P", "z": "3"}),
        ("{plate}/{z}.tif", PureWindowsPath(r"C:\x\P\3.tif"), {"plate": "P", "z": "3"}),
    ],
)
def test_slash_takes_last_parts(template: str, path: str, values: dict[str, str]) -> None:
    assert NameTemplate(template).parse(path) == values
    assert NameTemplate(template).matches(path)


@pytest.mark.parametrize(
    ("template", "fits", "differs"),
    [
        ("a_D.tif", "a_D.TIF", "a_d.tif"),
        ("x.ome.tif", "x.OME.TIF", "X.ome.tif"),
        ("{z}_s.v1.tif", "1_s.V1.Tif", "1_S.v1.tif"),
        ("x.a{z}.tif", "x.a1.TIF", "x.A1.tif"),
        ("P.d/{z}.tif", "P.d/1.TIF", "P.D/1.tif"),
        ("{z}.tif", "1.TIF", "1.tİf"),
    ],
)
def test_case_counts_before_suffix(template: str, fits: str, differs: str) -> None:
    assert NameTemplate(template).matches(fits)
    assert not NameTemplate(template).matches(differs)


@pytest.mark.parametrize(
    ("template", "name", "values"),
    [
        ("{name}{z}.tif", "embryo012.tif", {"name": "embryo", "z": "012"}),
        ("*{z}", "a1b22", {"z": "22"}),
        ("*{z}*", "a1b22", {"z": "1"}),
        ("{site}{channel}.tif", "01DAPI.tif", {"site": "01", "channel": "DAPI"}),
        ("{a}_{b}", "x_y_z", {"a": "x", "b": "y_z"}),
        ("{a}_{b}", "__z", {"a": "_", "b": "z"}),
        ("*_{b}", "_z", {"b": "z"}),
        ("{a}", "a\nb", {"a": "a\nb"}),
        ("{größe}_{z}", "ü_1", {"größe": "ü", "z": "1"}),
        ("plain.tif", "plain.tif", {}),
    ],
)
def test_text_is_shortest_that_fits(template: str, name: str, values: dict[str, str]) -> None:
    assert NameTemplate(template).parse(name) == values


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{site}{channel}.tif", "12.tif"),
        ("{name}{z}.tif", "12.tif"),
        ("*{well}.tif", "plateB03.tif"),
        ("{well}*", "B0123"),
        ("{row}{column}", "0102"),
        ("{name}{row}_", "ab_"),
        ("{name}{row}_", "12_"),
        ("{z}", "١٢"),
        ("{well}", "Ä1"),
        ("{a}", ""),
        ("*", ""),
        ("{a}_", "_"),
        ("{z}", "1\n"),
    ],
)
def test_no_value_is_cut(template: str, name: str) -> None:
    assert not NameTemplate(template).matches(name)
    with pytest.raises(InvalidOptionError):
        NameTemplate(template).parse(name)


@pytest.mark.parametrize(
    ("template", "name", "reason"),
    [
        (CELLOMICS, "a_O01x00d2.TIF", "after 'a_O01', expected 'f', got 'x00d2.TIF'"),
        (
            CELLOMICS,
            "a_O01f00d2.TIF.bak",
            "after 'a_O01f00d2.TIF', expected the end, got '.bak'",
        ),
        (CELLOMICS, "a_O01f", "after 'a_O01f', expected digits ({field}), got nothing"),
        (CELLOMICS, "abc", "expected '_' in 'abc'"),
        (
            CELLOMICS,
            "a_ABC01",
            "after 'a_', expected a well such as B03 ({well}), got 'ABC01'",
        ),
        ("s{site}", "t1", "expected 's', got 't1'"),
        ("a{x}b", "ab", "after 'a', expected 'b' after text ({x}) in 'b'"),
        ("a{x}", "a", "after 'a', expected text ({x}), got nothing"),
        ("{a}/{b}/z{z}", "b/z1", "expected at least 3 parts, got 2"),
        ("{well}/z{z}", "B2x/z1", "after 'B2', expected the end, got 'x'"),
    ],
)
def test_error_shows_fitting_part(template: str, name: str, reason: str) -> None:
    with pytest.raises(InvalidOptionError, match=re.escape(reason)) as caught:
        NameTemplate(template).parse(name)
    assert f"name={name!r}" in str(caught.value)
    assert repr(template) in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{z", "'{' at position 0 is alone"),
        ("z}", "'}' at position 1 is alone"),
        ("{{z}}", "'{' at position 0 is alone"),
        ("{}", "identifier in braces, not '{}'"),
        ("{1a}", "not '{1a}'"),
        ("{z:03}", "not '{z:03}'"),
        ("{z}_{z}", "{z} occurs 2 times"),
        ("{a}/{a}", "{a} occurs 2 times"),
        ("{a}{b}", "text between '{a}' and '{b}'"),
        ("*{a}", "text between '*' and '{a}'"),
        ("{a}*", "text between '{a}' and '*'"),
        ("a/**/b", "text between '*' and '*'"),
        ("{z}{t}", "other than a digit between '{z}' and '{t}'"),
        ("{well}{site}", "other than a digit"),
        ("{z}0.tif", "other than a digit between '{z}' and '0.tif'"),
        ("{row}{well}", "other than a letter"),
        ("/a", "both sides of each '/'"),
        ("a/", "both sides of each '/'"),
        ("a//b", "both sides of each '/'"),
        ("", "a non-empty str"),
        (b"{z}", "a non-empty str"),
    ],
)
def test_malformed_template_is_refused(template: str, expected: str) -> None:
    with pytest.raises(InvalidOptionError, match=re.escape(expected)) as caught:
        NameTemplate(template)
    assert (caught.value.option, caught.value.value) == ("template", template)


def test_bytes_are_refused() -> None:
    for ask in (NameTemplate("*").parse, NameTemplate("*").matches):
        with pytest.raises(InvalidOptionError, match="a str"):
            ask(b"a")  # type: ignore[arg-type]


def test_fixed_text_is_not_a_regex() -> None:
    odd = r"(a|b)+[^x]?\d$^.(c)|"
    assert NameTemplate(odd + "{z}" + odd).parse(odd + "5" + odd) == {"z": "5"}
    for name in ("a5a", "aa1.c5", "(aXb)+"):
        assert not NameTemplate(odd).matches(name)


def make_regex(template: str) -> re.Pattern[str]:
    """Return one pattern for the rules, which tries every way, and the shortest text first."""
    shapes = {
        "*": ".*?",
        "{z}": "(?<![0-9])([0-9]+)(?![0-9])",
        "{row}": "((?<![a-z])[a-z]+(?![a-z])|(?<![0-9])[0-9]+(?![0-9]))",
        "{well}": "(?<![a-z])([a-z]{1,2}[0-9]{1,3})(?![0-9])",
    }
    tokens = re.findall(r"\{\w+\}|.", template)
    regexes = (shapes.get(t, "(.+?)" if t[0] == "{" else re.escape(t)) for t in tokens)
    return re.compile("".join(regexes), re.DOTALL)


@pytest.mark.parametrize(
    "template",
    [
        "{x}_{z}",
        "*_{well}_{x}",
        "*{well}_*",
        "*{z}*_{x}_*",
        "{row}{z}*",
        "{x}{row}_*",
        "*_{x}{z}_",
        "{x}a{y}a",
        "*aa*1_",
        "*{row}_{z}{y}",
        "{well}{x}_a",
    ],
)
def test_first_fit_is_right(template: str) -> None:
    made, plain = NameTemplate(template), make_regex(template)
    fitting = 0
    for length in range(1, 8):
        for letters in itertools.product("a1_", repeat=length):
            name = "".join(letters)
            found = plain.fullmatch(name)
            assert made.matches(name) == bool(found), name
            if found:
                assert tuple(made.parse(name).values()) == found.groups(), name
                fitting += 1
    assert fitting > 10


@pytest.mark.parametrize(
    ("template", "unit"),
    [
        ("*".join("aaaaaaaaaaaa") + "_b", "a"),
        ("{p}_{q}_{r}_{s}_{t}_{u}_x", "_1"),
        ("*{z}*_*{t}x", "1"),
        ("*a{w}b*a{z}b*a{t}c", "a1b"),
        ("*{row}_{x}-{column}", "aB"),
        (CELLOMICS, "_O01f01d"),
    ],
)
@pytest.mark.timeout(60)  # In quadratic time this would take hours.
def test_hostile_names_end(template: str, unit: str) -> None:
    made, name = NameTemplate(template), unit * (200_000 // len(unit))
    assert not made.matches(name)
    with pytest.raises(InvalidOptionError):
        made.parse(name)


def test_template_is_a_value() -> None:
    made = NameTemplate(CELLOMICS)
    assert repr(made) == f"NameTemplate(template={CELLOMICS!r})"
    assert made == NameTemplate(CELLOMICS) != NameTemplate("*")
    assert {made: 1}[NameTemplate(CELLOMICS)] == 1
    for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert twin == made
        assert twin.parse("x_B2f1d0.tif") == {"well": "B2", "field": "1", "channel": "0"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.template = "*"  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize(
    ("well", "parts"),
    [("O01", ("O", "01")), ("B3", ("B", "3")), ("AA12", ("AA", "12")), ("a001", ("a", "001"))],
)
def test_well_is_split(well: str, parts: tuple[str, str]) -> None:
    assert split_well(well) == parts


@pytest.mark.parametrize("well", ["", "O", "01", "ABC1", "A1234", "A1 ", "A1\n", "Ä1", "A١", 1])
def test_invalid_well_is_refused(well: str) -> None:
    with pytest.raises(InvalidOptionError, match="one or two letters") as caught:
        split_well(well)
    assert caught.value.option == "well"


@pytest.mark.parametrize("name", ["._x_A01.tif", "plate/._x_A01.tif", ".DS_Store", "Thumbs.db"])
def test_litter_never_fits(name: str) -> None:
    """macOS writes "._x_A01.tif" next to x_A01.tif on network drives."""
    for template in (NameTemplate("*_{well}.tif"), NameTemplate("{name}")):
        assert not template.matches(name)
        with pytest.raises(InvalidOptionError, match="file browser"):
            template.parse(name)
