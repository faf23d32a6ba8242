"""Find templates in names of instruments and of people."""

import os
import uuid
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_cli.naming import find_template
from polystore_core import NameTemplate

DATA = Path(__file__).parents[4] / "shared" / "data"


def _make_names(pattern: str, *axes: Sequence[object]) -> list[str]:
    return [pattern.format(*values) for values in product(*axes)]


def _cases() -> Iterator[tuple[str, list[str], str]]:
    two = (1, 2)
    yield (
        "Harmony",
        _make_names("r{:02}c{:02}f{:02}p{:02}-ch{}sk1fk1fl1.tiff", two, (3, 4), two, two, two),
        "r{row}c{column}f{field}p{z}-ch{channel}sk1fk1fl1.tiff",
    )
    yield (
        "Micro-Manager",
        _make_names("img_channel{:03}_position{:03}_time{:09}_z{:03}.tif", two, two, two, two),
        "img_channel{channel}_position{site}_time{t}_z{z}.tif",
    )
    yield (
        "Cellomics",
        _make_names("AS_09125_050118150001_{}{:02}f{:02}d{}.TIF", "AB", two, two, two),
        "AS_09125_050118150001_{well}f{field}d{channel}.TIF",
    )
    yield (
        "ImageXpress",
        [
            f"exp_C{column:02}_s{site}_w{wave}_{uuid.UUID(int=7 * column + site)}.tif"
            for column, site, wave in product(two, two, two)
        ],
        "exp_{well}_s{site}_w{channel}_*.tif",
    )
    waves = [f"w{number}{name}" for number, name in enumerate(("DAPI", "Cy5", "GFP"), 1)]
    yield (
        "MetaMorph",
        _make_names("exp_{}_s{}_t{}.TIF", waves, two, range(9, 12)),
        "exp_w{channel}_s{site}_t{t}.TIF",
    )
    yield (
        "CellVoyager",
        [
            f"Plate_#655090_{well}_T0001F{field:03}L01A0{channel}Z01C0{channel}.tif"
            for well, field, channel in product(("A01", "B02"), two, two)
        ],
        "Plate_#655090_{well}_T0001F{field}L01A*Z01C{channel}.tif",
    )
    yield (
        "InCell",
        _make_names("{} - {:02}(fld {} wv {} - x).tif", "AB", two, two, ("DAPI", "FITC")),
        "{row} - {column}(fld {field} wv {channel} - x).tif",
    )
    yield (
        "Leica",
        _make_names("Series{:03}_z{:02}_ch{:02}.tif", two, two, two),
        "Series{site}_z{z}_ch{channel}.tif",
    )
    yield (
        "Nikon",
        _make_names("exp_XY{:02}_Z{:02}_T{:03}.tif", two, two, two),
        "exp_XY{site}_Z{z}_T{t}.tif",
    )
    yield (
        "OME",
        _make_names("exp_t{:03}_z{:03}_c{}.ome.tif", two, two, two),
        "exp_t{t}_z{z}_c{channel}.ome.tif",
    )
    yield (
        "capitals",
        _make_names("T{:02}_Z{:02}_C{}.tif", two, two, two),
        "T{t}_Z{z}_C{channel}.tif",
    )
    yield (
        "wells",
        _make_names("Well_{}{:02}_Ch{}.tif", "AB", two, two),
        "Well_{well}_Ch{channel}.tif",
    )
    yield (
        "no break",
        _make_names("Well{}{:02}_Ch{}.tif", "AB", two, two),
        "Well{well}_Ch{channel}.tif",
    )
    yield "row F", _make_names("F{:02}_ch{}.tif", two, two), "{well}_ch{channel}.tif"
    yield "row C", _make_names("plate_C{:02}.tif", two), "plate_{well}.tif"
    yield "small letters", _make_names("{}{}.tif", "abc", two), "{well}.tif"
    yield "stains", _make_names("B{:02}_{}.tif", two, ("DAPI", "Cy5")), "{well}_{channel}.tif"
    yield "frames", _make_names("stack{:04}.tif", range(12)), "stack{t}.tif"
    yield (
        "people",
        _make_names("{}_{}.tif", ("control", "drug"), (1, 2, 3)),
        "{name}_{number}.tif",
    )
    yield "fruit", ["apple.tif", "pear.tif"], "{name}.tif"
    yield "capital suffix", ["a_z1.tif", "a_z2.TIF"], "a_z{z}.tif"


CASES = list(_cases())


@pytest.mark.parametrize(
    ("names", "template"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_conventions_are_found(names: list[str], template: str) -> None:
    found = find_template(names)
    assert found is not None
    assert (found.template, found.misfits) == (template, [])
    assert sorted(found.fits) == sorted(names)


@pytest.mark.parametrize(
    ("folder", "template", "values"),
    [
        ("fly-3channel", "01_POS{site}_{channel}.TIF", {"site": 3, "channel": 3}),
        (
            "plate-cellomics",
            "AS_09047_050428030001_{well}f{field}d2.TIF",
            {"well": 24, "field": 3},
        ),
        ("timelapse", "DrosophilaEmbryo_GFPHistone_{t}.tif", {"t": 21}),
        (
            "worms-imagexpress",
            "1649_1109_0003_Amp5-1_B_20070424_{well}_w{channel}_*.tif",
            {"well": 2, "channel": 2},
        ),
    ],
)
def test_templates_of_real_names_are_found(
    folder: str, template: str, values: dict[str, int]
) -> None:
    if not DATA.exists():
        pytest.skip(f"data: {DATA} is absent")
    names = os.listdir(DATA / folder)
    found = find_template(names)
    assert found is not None
    assert (found.template, found.values, found.misfits) == (template, values, [])
    assert len(found.fits) == len(names)


def test_misfits_are_listed() -> None:
    names = ["B03_z1.npy", "B03_z2.npy", "about the plate.npy", "B03_z2.tif"]
    found = find_template(names)
    assert found is not None
    assert found.template == "B03_z{z}.npy"
    assert (found.fits, found.misfits) == (names[:2], names[2:])


@pytest.mark.parametrize("names", [[], ["a.tif"], ["a.tif", "b c.tif"]])
def test_unlike_names_have_no_template(names: list[str]) -> None:
    assert find_template(names) is None


def test_names_that_differ_in_a_guid() -> None:
    names = [f"image_{uuid.UUID(int=number)}.tif" for number in range(3)]
    found = find_template(names)
    assert found is not None
    assert (found.template, found.misfits) == ("image_{number}.tif", [])


_word = st.text("aBfwz019é_- .{}*", min_size=1, max_size=8)


@given(st.lists(st.builds("{}.tif".format, _word), min_size=1, max_size=6, unique=True))
def test_template_fits_all_that_it_counts(names: list[str]) -> None:
    found = find_template(names)
    if found is not None:
        template = NameTemplate(found.template)
        values = {tuple(template.parse(name).values()) for name in found.fits}
        assert len(values) == len(found.fits) > 1
        assert sorted(found.fits + found.misfits) == sorted(names)
