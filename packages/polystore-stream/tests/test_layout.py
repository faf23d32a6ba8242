import dataclasses
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from polystore_core import NameTemplate
from polystore_core.errors import InvalidOptionError
from polystore_stream.wire.layout import Layout, Place, place_of, places_of

DATA = Path(__file__).parents[4] / "shared" / "data"
SITES = NameTemplate("{well}_s{site}_w{channel}_z{z}.tif")
SITE = "run/B02_s1_w1_z3.tif"
SERIES = [f"DrosophilaEmbryo_GFPHistone_{n:04}.tif" for n in range(12)]


def place(path, names=None, layout=None, at=None) -> Place:
    template = NameTemplate(names) if isinstance(names, str) else names
    return place_of(path, names=template, layout=layout or Layout(), at=at)


def places(paths, names=None, layout=None, at=None) -> list[Place]:
    template = NameTemplate(names) if isinstance(names, str) else names
    return places_of(paths, names=template, layout=layout or Layout(), at=at)


def coordinates(found: list[Place]) -> list[str]:
    return [text for one in found for _, text in one.at]


# ── the layout ───────────────────────────────────────────────────────────────────────────


def test_iterables_become_tuples() -> None:
    layout = Layout(layer=["channel"], slider=iter(("t", "z")), window={"well": 1})
    assert (layout.layer, layout.slider, layout.window) == (("channel",), ("t", "z"), ("well",))
    assert hash(layout) == hash(Layout(window=("well",)))


def test_layout_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Layout().layer = ()


def test_bare_string_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"slider='z'.*\('z',\)"):
        Layout(slider="z")


@pytest.mark.parametrize("given", [None, 3, (3,), ("z", ""), [("z",)]])
def test_other_values_are_refused(given) -> None:
    with pytest.raises(InvalidOptionError, match="slider"):
        Layout(slider=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": ("z",)}, r"'z' is also in slider=\('t', 'z'\)"),
        ({"slider": ("t", "w")}, r"'w' is also in layer=\('channel',\)"),
        ({"slider": ("t", "time")}, r"'time' is also in slider=\('t', 'time'\)"),
        ({"slider": ("t",), "window": ("time",)}, r"'time' is also in slider=\('t',\)"),
        ({"layer": ("channel", "c")}, r"'c' is also in layer=\('channel', 'c'\)"),
        ({"window": ("well", "well")}, r"'well' is also in window=\('well', 'well'\)"),
    ],
)
def test_repeated_name_is_refused(given, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        Layout(**given)


@pytest.mark.parametrize(("layer", "split"), [(("w",), True), ((), False), (("t",), False)])
def test_channels_known_by_alias(layer, split: bool) -> None:
    assert Layout(layer=layer, slider=()).channels_are_layers is split


# ── names ────────────────────────────────────────────────────────────────────────────────


def test_fields_find_their_place() -> None:
    found = place(SITE, SITES)
    assert (found.window, found.title) == ("", "channel 1")
    assert found.at == (("well", "B02"), ("site", "1"), ("z", "3"))


def test_sliders_follow_layout() -> None:
    names = "{z}_{t}_{site}_{well}.tif"
    found = place("1_2_3_A1.tif", names, Layout(slider=("t", "well", "z")))
    assert found.at == (("site", "3"), ("t", "2"), ("well", "A1"), ("z", "1"))


@pytest.mark.parametrize(
    ("names", "slider", "canonical"),
    [
        ("{time}.tif", ("t",), "t"),
        ("{t}.tif", ("time",), "t"),
        ("{w}.tif", ("channel",), "c"),
        ("{channel}.tif", ("c",), "c"),
        ("{site}.tif", ("site",), "site"),
    ],
)
def test_aliases_become_canonical(names: str, slider, canonical: str) -> None:
    layout = Layout(layer=(), slider=slider)
    assert place("7.tif", names, layout).at == ((canonical, "7"),)


def test_windows_are_titled() -> None:
    layout = Layout(window=("well", "site"))
    found = place(SITE, SITES, layout)
    assert found.window == "B02 site 1"
    assert found.at == (("z", "3"),)
    assert found.layer != place("run/B03_s1_w1_z3.tif", SITES, layout).layer


@pytest.mark.parametrize(
    ("path", "names", "layer", "title"),
    [
        ("1.tif", "{w}.tif", ("channel",), "channel 1"),
        ("DAPI.tif", "{channel}.tif", ("channel",), "DAPI"),
        ("B02_s3_DAPI.tif", "{well}_s{site}_{channel}.tif", ("site", "channel"), "site 3 DAPI"),
        ("run/masks/B02.tif", "{well}.tif", ("channel",), "masks"),
        ("run/B02/z3.tif", "{well}/z{z}.tif", ("channel",), "run"),
        ("B02/z3.tif", "{well}/z{z}.tif", ("channel",), "z"),
        ("scan-_3.tif", "scan-_{z}.tif", ("channel",), "scan"),
        ("/3.tif", "{z}.tif", ("channel",), "images"),
        ("any.tif", "*.tif", ("channel",), "images"),
    ],
)
def test_titles_are_readable(path: str, names: str, layer, title: str) -> None:
    assert place(path, names, Layout(layer=layer)).title == title


def test_folders_separate_layers() -> None:
    keys = {
        place(path, names).layer
        for path, names in [
            ("images/B02_DAPI.tif", "{well}_{channel}.tif"),
            ("masks/B02_DAPI.tif", "{well}_{channel}.tif"),
            ("/masks/B02_DAPI.tif", "{well}_{channel}.tif"),
            ("a/masks/B02_DAPI.tif", "*/{well}_{channel}.tif"),
            ("a/images/B02_DAPI.tif", "images/{well}_{channel}.tif"),
            ("images/B02_GFP.tif", "{well}_{channel}.tif"),
        ]
    }
    assert len(keys) == 6


def test_folder_fields_share_layer() -> None:
    found = places(["run/B02/z1.tif", "./run//B03/z1.tif"], "{well}/z{z}.tif")
    assert found[0].layer == found[1].layer == place("run/B09/z7.tif", "{well}/z{z}.tif").layer


def test_channels_of_an_image_share_group() -> None:
    names, layout = "{well}_{channel}_z{z}.tif", Layout(layer=("well", "channel"))
    first, second, other = (
        place(f"run/{name}_z1.tif", names, layout)
        for name in ("B02_DAPI", "B02_GFP", "B03_GFP")
    )
    assert first.layer != second.layer
    assert first.group == second.group != other.group
    assert (first.channel, first.group_title, first.title) == ("DAPI", "B02", "B02 DAPI")
    assert place("run/B02_z1.tif", "{well}_z{z}.tif").group == ""


def test_other_sliders_make_another_layer() -> None:
    assert place("3.tif", "{z}.tif").layer != place("3.tif", "{t}.tif").layer


def test_batch_places_as_single() -> None:
    paths = [PurePosixPath(f"run/B02_s{n}_w1_z3.tif") for n in range(3)]
    assert places(paths, SITES) == [place(path, SITES) for path in paths]


def test_misfit_is_named() -> None:
    with pytest.raises(InvalidOptionError) as single:
        place("run/notes.tif", SITES)
    with pytest.raises(InvalidOptionError) as batch:
        places([SITE, "run/notes.tif"], SITES)
    assert "run/notes.tif" in str(batch.value)
    assert SITES.template in str(batch.value)
    assert str(batch.value) == str(single.value)


def test_first_misfit_counts_others() -> None:
    with pytest.raises(
        InvalidOptionError, match=r"(?m)'a\.tif'.*; 2 more of 4 names do not fit$"
    ):
        places(["a.tif", SITE, "b.tif", "c.tif"], SITES)


@pytest.mark.parametrize(
    ("layout", "option"),
    [({"layer": ("chanel",)}, "layer"), ({"slider": ("zed",)}, "slider")],
)
@pytest.mark.parametrize("names", [SITES, None])
def test_typos_list_known_names(layout, option: str, names) -> None:
    (typo,) = layout[option]
    with pytest.raises(
        InvalidOptionError,
        match=f"(?m){option}=.*names from .*'z'.*, but '{typo}' is not one of them$",
    ):
        place(SITE, names, Layout(**layout))


def test_typos_list_the_fields() -> None:
    with pytest.raises(InvalidOptionError, match="'well', 'site', 'channel', 'z', 'tile', 't'"):
        place(SITE, SITES, Layout(window=("wel",)), at={"tile": 1})


@pytest.mark.parametrize(
    ("names", "at"), [("{t}_{time}.tif", None), ("{t}_{z}.tif", {"time": 1})]
)
def test_repeated_field_is_refused(names: str, at) -> None:
    with pytest.raises(InvalidOptionError, match="each field once, but 't' is there twice"):
        place("1_2.tif", names, at=at)


# ── given coordinates ─────────────────────────────────────────────────────────────────────


def test_coordinates_without_names() -> None:
    found = place("out/a.tif", at={"z": 3, "channel": "DAPI", "tile": np.uint8(7)})
    assert found.title == "DAPI"
    assert found.at == (("tile", "7"), ("z", "3"))


def test_coordinates_with_names() -> None:
    found = place("out/B02.tif", "{well}.tif", at={"tile": 1, "time": 5})
    assert found.title == "out"
    assert found.at == (("well", "B02"), ("tile", "1"), ("t", "5"))


def test_given_batch_is_paired() -> None:
    found = places(["a.tif", "b.tif"], at=[{"z": 0, "t": 2}, {"t": 2, "z": 1}])
    assert [one.at for one in found] == [(("t", "2"), ("z", "0")), (("t", "2"), ("z", "1"))]
    assert found[0].layer == found[1].layer


@pytest.mark.parametrize("value", [1.0, None, True, np.True_, np.float32(1), b"1", (1,)])
def test_other_coordinates_are_refused(value) -> None:
    with pytest.raises(InvalidOptionError, match="a str or an int for 'z'"):
        place("a.tif", at={"z": value})


@pytest.mark.parametrize(
    "at", [{3: 1}, {"": 1}, {"a b": 1}, {"t": 1, "time": 1}, [("z", 1)], [], "", 0]
)
def test_other_names_are_refused(at) -> None:
    with pytest.raises(InvalidOptionError, match="at="):
        place("a.tif", at=at)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ({"z": 1}, "a list of 2 mappings"),
        ([{"z": 1}], "a list of 2 mappings"),
        (2, "a list of 2 mappings"),
        (iter([{"z": 1}, {"z": 2}]), "a list of 2 mappings"),
        ("zz", "a mapping such as"),
        ([{"z": 1}, {"t": 1}], "the same names as in the first mapping: 'z'"),
    ],
)
def test_uneven_batch_is_refused(at, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        places(["a.tif", "b.tif"], at=at)


# ── without names ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["run/cells_01.tif", "cells_01.ome.tif", Path("/x/cells_01")])
def test_single_image_has_no_slider(path) -> None:
    assert place(path) == Place("", None, "cells_01", ())
    assert places([path]) == [place(path)]


def test_empty_batch_has_no_places() -> None:
    assert places([]) == []
    assert places([], SITES) == []
    assert places([], at=[]) == []


def test_series_becomes_stack() -> None:
    found = places(SERIES)
    assert {one.title for one in found} == {"DrosophilaEmbryo_GFPHistone"}
    assert {one.layer for one in found} == {found[0].layer}
    assert [one.at for one in found[:2]] == [(("image", "0000"),), (("image", "0001"),)]


@pytest.mark.parametrize(
    ("paths", "title", "expected"),
    [
        (
            ["AS_09047_050428030001_O10f02d2.TIF", "AS_09047_050428030001_O02f00d2.TIF"],
            "AS_09047_050428030001",
            ["O10f02d2", "O02f00d2"],
        ),
        (["run/img1.tif", "run/img2.tif"], "run", ["img1", "img2"]),
        (["/img1.tif", "/img2.tif"], "images", ["img1", "img2"]),
        (["d/x_1.tif", "d/x_2.png"], "x", ["1.tif", "2.png"]),
        (["p/A/img.tif", "p/B/img.tif"], "img", ["A", "B"]),
        (["p/A/t_1.tif", "p/B/t_1.tif", "p/t_2.tif"], "t", ["A/1", "B/1", "2"]),
        (["d/x_.tif", "d/x_1.tif"], "x", ["x_", "1"]),
        (["d/stack - 1.ome.tif", "d/stack - 2.ome.tif"], "stack", ["1", "2"]),
    ],
)
def test_stack_is_readable(paths: list[str], title: str, expected: list[str]) -> None:
    found = places(paths)
    assert {one.title for one in found} == {title}
    assert coordinates(found) == expected


def test_same_batch_same_places() -> None:
    assert places(SERIES) == places(SERIES)
    assert places(list(reversed(SERIES))) == places(SERIES)[::-1]


def test_next_batch_joins_stack() -> None:
    whole = places(SERIES)
    assert places(SERIES[:3]) + places(SERIES[3:10]) + places(SERIES[10:]) == whole


def test_kinds_of_file_are_separate() -> None:
    images, masks = (places([f"x_1.{suffix}", f"x_2.{suffix}"]) for suffix in ("tif", "png"))
    assert coordinates(images) == coordinates(masks)
    assert images[0].layer != masks[0].layer


def test_undecodable_names_travel() -> None:
    found = places(["d\udcff/a_1.tif", "d\udcff/a_2\udcff.tif"])
    assert json.loads(json.dumps([one.layer for one in found]).encode("utf-8"))
    assert coordinates(found) == ["1", r"2\udcff"]


# ── one place, one image ─────────────────────────────────────────────────────────────────


def test_shared_place_names_both() -> None:
    paths = ["run/a_B02_z1.tif", "run/b_B02_z1.tif"]
    with pytest.raises(InvalidOptionError) as caught:
        places(paths, "*_{well}_z{z}.tif", Layout(window=("well",)))
    text = str(caught.value)
    assert all(path in text for path in paths)
    assert "*_{well}_z{z}.tif" in text
    assert "layer 'run', z=1, window 'B02'" in text


def test_shared_coordinates_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"at=\{'z': '1'\}.*'a\.tif' and 'b\.tif'"):
        places(["a.tif", "b.tif"], at=[{"z": 1}, {"z": "1"}])


def test_repeated_path_is_allowed() -> None:
    assert len(set(places(["x/a_1.tif", "x//a_1.tif", "x/a_2.tif"]))) == 2
    assert len(set(places([SITE, SITE], SITES))) == 1
    assert len(set(places(["x/a.tif", "x/a.tif"]))) == 1


@pytest.mark.parametrize("names", [None, "{well}/series_{t}.tif"])
def test_places_of_a_long_series_differ(names) -> None:
    paths = [f"/data/run/A{n % 96}/series_{n:05}.tif" for n in range(10_000)]
    found = places(paths, names)
    assert len(set(found)) == len(paths)
    assert len({one.layer for one in found}) == 1


# ── real names ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("folder", "names", "layers", "sliders"),
    [
        ("plate-cellomics", "*_{well}f{field}d{channel}.TIF", 1, {"well", "field"}),
        ("fly-3channel", "*_POS{site}_{channel}.tif", 3, {"site"}),
        ("timelapse", "*_{t}.tif", 1, {"t"}),
        ("worms-imagexpress", "*_{well}_w{w}_*.tif", 2, {"well"}),
        ("timelapse", None, 1, {"image"}),
        ("plate-cellomics", None, 1, {"image"}),
    ],
)
def test_real_folders_have_places(folder, names, layers, sliders) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"data: the real images of {folder} are not in {DATA}")
    paths = sorted((DATA / folder).glob("*.[tT][iI][fF]"))
    found = places(paths, names)
    assert len(set(found)) == len(paths) > 3
    assert len({one.layer for one in found}) == layers
    assert {name for one in found for name, _ in one.at} == sliders
    assert {one.window for one in found} == {""}


def test_real_wells_become_windows() -> None:
    paths = [f"AS_09047_050428030001_O{n:02}f0{m}d2.TIF" for n in (1, 2) for m in range(3)]
    layout = Layout(window=("well",))
    found = places(paths, "*_{well}f{field}d{channel}.TIF", layout)
    assert [one.window for one in found] == ["O01"] * 3 + ["O02"] * 3
    assert [one.at for one in found[:3]] == [(("field", f"0{m}"),) for m in range(3)]
    assert {one.title for one in found} == {"channel 2"}


# ── images in stores ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("plate.ome.zarr/B/03/0", "B03/0"),
        ("/data/plate.zarr/AF/48/12", "AF48/12"),
        ("plate.zarr/B/03/0/labels/nuclei", "B03/0 nuclei"),
        ("plate.zarr/B/03", "plate/B/03"),
        ("plate.zarr/run/images/cells", "cells"),
        ("images.ome.zarr/0", "images/0"),
        ("images.zarr/cells", "cells"),
        ("cells.ome.zarr", "cells"),
        ("B/03/0", "0"),
        (".zarr/7", "images/7"),
    ],
)
def test_fields_are_titled(path: str, title: str) -> None:
    """A number alone is not a good title, so fields of a plate get the name of their well."""
    found = place(path)
    assert (found.layer, found.title, found.at) == (None, title, ())


def test_fields_become_one_stack() -> None:
    """The slider shows the wells and fields of the batch in order."""
    paths = [f"plate.ome.zarr/{well}/{field}" for well in ("A/01", "A/02") for field in "01"]
    found = places(paths)
    assert coordinates(found) == ["A01/0", "A01/1", "A02/0", "A02/1"]
    assert {(one.title, one.layer) for one in found} == {
        ("plate", places(["plate.ome.zarr/H/12/0", *paths])[0].layer)
    }
    labels = places([f"{path}/labels/nuclei" for path in paths])
    assert (labels[0].title, coordinates(labels)) == ("plate nuclei", coordinates(found))
    assert labels[0].layer != found[0].layer


def test_fields_of_two_plates_are_distinct() -> None:
    found = places([f"{name}.zarr/A/01/0" for name in "pq"])
    assert coordinates(found) == ["p.zarr/A/01", "q.zarr/A/01"]
