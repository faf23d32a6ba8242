"""Where images go in a real ImageJ, and what it holds of them: no windows are needed for that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import BatchError, RejectedError, UnsupportedDataError
from polystore_core.rois import ROI, Points
from polystore_stream import Layout

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji

SIZE = (12, 16)


def plane(value: float, dtype: str = "u2") -> Any:
    return np.full(SIZE, value, dtype)


def only(viewer: RemoteFiji) -> dict[str, Any]:
    (layer,) = viewer.layers()
    return layer


# ── pixels and types ─────────────────────────────────────────────────────────────────────

HELD = {
    "uint8": np.arange(192, dtype="u1").reshape(SIZE),
    "uint16": np.arange(192, dtype=">u2").reshape(SIZE) * 300,
    "float32": np.linspace(-1, 1, 192, dtype="f4").reshape(SIZE),
    "nan": np.where(np.eye(12) > 0, np.nan, 0.5),
    "bool": np.eye(12, 16) > 0,
    "int8": np.arange(-96, 96, dtype="i1").reshape(SIZE),
    "int16": np.arange(192, dtype="i2").reshape(SIZE) * 300 - 20000,
    "float16": np.linspace(-1, 1, 192, dtype="f2").reshape(SIZE),
    "int32": np.arange(192, dtype="i4").reshape(SIZE) - (1 << 24),
    "uint64": np.arange(192, dtype="u8").reshape(SIZE),
    "tczyx": np.arange(2 * 3 * 4 * 192, dtype="u2").reshape(2, 3, 4, *SIZE),
    "czyx": np.arange(3 * 2 * 192, dtype="f4").reshape(3, 2, *SIZE),
    "rgb": np.arange(576, dtype="u2").astype("u1").reshape(*SIZE, 3),
    "rgba": np.arange(768, dtype="u2").astype("u1").reshape(*SIZE, 4),
}


@pytest.mark.parametrize("name", HELD)
@pytest.mark.smoke
def test_pixels_are_held(there: FileManager, hidden: RemoteFiji, name: str) -> None:
    """ImageJ holds the pixels that were saved; they come back in their own type."""
    value = HELD[name]
    there.save(value, "held.npy", backend="screen")
    found = hidden.pixels("held.npy")
    assert found.dtype == value.dtype.newbyteorder("=")
    assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")


def test_conversion_is_told(there: FileManager, hidden: RemoteFiji) -> None:
    """An image says in which type ImageJ has it, and what it was."""
    for value, shown in (
        (plane(1, "i2"), "<f4"),
        (plane(1, "?"), "|u1"),
        (plane(70000, "i8"), "<f4"),
        (plane(1, "u2"), "<u2"),
    ):
        there.save(value, "a.npy", backend="screen")
        assert (only(hidden)["dtype"], only(hidden)["original"]) == (shown, value.dtype.str)
    there.save(plane(60000, "i8"), "labels.npy", backend="screen", labels=True)
    assert hidden.layers()[-1]["dtype"] == "<u2"


def test_inexact_pixels_are_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """What no type of ImageJ holds is refused before it travels, with what to do."""
    there.save(plane(1), "a.npy", backend="screen")
    for value, advice in (
        (plane(0.1, "f8"), r"round them with image\.astype\('float32'\)"),
        (plane((1 << 24) + 1, "i4"), "rescale them to uint16"),
        (plane(1e300, "f8"), "round them"),
        (np.zeros((*SIZE, 3), "f4"), r"convert it, or save its colours as channels"),
    ):
        axes = "yxs" if value.ndim == 3 else None
        with pytest.raises(UnsupportedDataError, match=advice):
            there.save(value, "a.npy", backend="screen", axes=axes)
    assert np.array_equal(hidden.pixels("a.npy"), plane(1))


# ── one hyperstack ───────────────────────────────────────────────────────────────────────


def test_axes_are_dimensions(there: FileManager, hidden: RemoteFiji) -> None:
    """Axes t, c and z of an array are the dimensions of a hyperstack."""
    there.save(HELD["tczyx"], "whole.npy", backend="screen")
    layer = only(hidden)
    assert (layer["axes"], layer["shape"]) == ("tzcyx", [2, 4, 3, *SIZE])
    assert layer["mode"] == "composite"
    assert layer["labels"] == ["whole.npy"] * 24


def test_series_is_one_stack(there: FileManager, hidden: RemoteFiji) -> None:
    """A thousand files are one stack, in natural order, each slice with the name of its file."""
    paths = [f"series/cells_{index}.tif" for index in range(1000)]
    there.save_batch([plane(index) for index in range(1000)], paths, backend="screen")
    layer = only(hidden)
    assert (layer["name"], layer["shape"]) == ("cells", [1000, 1, 1, *SIZE])
    assert layer["labels"] == [f"cells_{index}.tif" for index in range(1000)]
    for index in (0, 2, 10, 999):
        assert hidden.pixels(paths[index])[0, 0] == index


def test_stack_grows(there: FileManager, hidden: RemoteFiji) -> None:
    """More of a series goes into its stack; one of its paths, alone, to where it stands."""
    paths = [f"more/cells_{index}.tif" for index in range(6)]
    there.save_batch([plane(1)] * 4, paths[:4], backend="screen")
    there.save_batch([plane(2)] * 2, paths[4:], backend="screen")
    there.save(plane(3), paths[2], backend="screen")
    assert only(hidden)["shape"] == [6, 1, 1, *SIZE]
    assert [hidden.pixels(path)[0, 0] for path in paths] == [1, 1, 3, 1, 2, 2]


def test_channels_are_one_image(there: FileManager, hidden: RemoteFiji) -> None:
    """A template with channels makes one image of C x Z x T, called after its folder."""
    paths = [f"w/t{t}_z{z}_w{c}.tif" for t in range(2) for z in range(3) for c in (1, 2)]
    values = [plane(index) for index in range(12)]
    there.save_batch(values, paths, backend="screen", names="t{t}_z{z}_w{channel}.tif")
    layer = only(hidden)
    assert (layer["name"], layer["shape"]) == ("w", [2, 3, 2, *SIZE])
    assert layer["coordinates"] == [["0", "1"], ["0", "1", "2"], ["1", "2"]]
    for path, value in zip(paths, values, strict=True):
        assert np.array_equal(hidden.pixels(path), value)


def test_folders_stay_apart(there: FileManager, hidden: RemoteFiji) -> None:
    """The same names in two folders are two images, also where they come alternately."""
    for z in range(3):
        for number, folder in enumerate("AB"):
            for c in range(2):
                there.save(
                    plane(100 * number + 10 * c + z), f"{folder}/w{c}_z{z}.tif", backend="screen",
                    names="w{channel}_z{z}.tif",
                )  # fmt: skip
    shapes = {layer["name"]: layer["shape"] for layer in hidden.layers()}
    assert shapes == {"A": [1, 3, 2, *SIZE], "B": [1, 3, 2, *SIZE]}
    assert hidden.pixels("A/w1_z2.tif")[0, 0] == 12
    assert hidden.pixels("B/w1_z2.tif")[0, 0] == 112


def test_sliders_share_frames(there: FileManager, hidden: RemoteFiji) -> None:
    """ImageJ has three axes: all that is neither channel nor z is folded into T."""
    names = "{well}_f{field}_t{t}_z{z}_w{channel}.tif"
    paths = [
        f"{well}_f{field}_t{t}_z{z}_w{c}.tif"
        for well in ("B03", "B10", "B2") for field in (1, 2) for t in (0, 1) for z in (0, 1)
        for c in (1, 2)
    ]  # fmt: skip
    there.save_batch(
        [plane(n) for n in range(len(paths))], paths, backend="screen", names=names
    )
    layer = only(hidden)
    assert layer["shape"] == [12, 2, 2, *SIZE]
    assert layer["sliders"] == ["well", "field", "t", "z"]
    assert layer["coordinates"][0][:5] == ["B2, 1, 0", "B2, 1, 1", "B2, 2, 0", "B2, 2, 1",
                                           "B03, 1, 0"]  # fmt: skip
    for number, path in enumerate(paths):
        assert hidden.pixels(path)[0, 0] == number


def test_late_slices_find_their_place(there: FileManager, hidden: RemoteFiji) -> None:
    """Slices stand in natural order, whenever they come."""
    for z in ("10", "2", "007", "1"):
        there.save(plane(int(z)), f"p_{z}.tif", backend="screen", names="p_{z}.tif")
        assert hidden.pixels(f"p_{z}.tif")[0, 0] == int(z)
    assert only(hidden)["coordinates"][1] == ["1", "2", "007", "10"]
    assert only(hidden)["labels"] == ["p_1.tif", "p_2.tif", "p_007.tif", "p_10.tif"]
    for z in ("10", "2", "007", "1"):
        assert hidden.pixels(f"p_{z}.tif")[0, 0] == int(z)


def test_holes_are_left(there: FileManager, hidden: RemoteFiji) -> None:
    """Planes that have not come leave holes without a name, and are filled when they come."""
    for c, z in ((1, 1), (2, 2), (1, 3)):
        there.save(plane(c * 10 + z), f"w{c}_z{z}.tif", backend="screen",
                   names="w{channel}_z{z}.tif")  # fmt: skip
    assert only(hidden)["shape"] == [1, 3, 2, *SIZE]
    assert only(hidden)["labels"] == ["w1_z1.tif", None, None, "w2_z2.tif", "w1_z3.tif", None]
    with pytest.raises(RejectedError, match=r"'w2_z1\.tif' is not shown"):
        hidden.pixels("w2_z1.tif")
    there.save(plane(21), "w2_z1.tif", backend="screen", names="w{channel}_z{z}.tif")
    assert [hidden.pixels(f"w{c}_z{z}.tif")[0, 0] for c, z in ((1, 1), (2, 1), (2, 2))] == [
        11, 21, 22,
    ]  # fmt: skip


def test_coordinates_are_said(there: FileManager, hidden: RemoteFiji) -> None:
    """What a name does not say is said outright."""
    at = [{"time": t, "channel": c} for t in range(2) for c in ("DAPI", "GFP")]
    there.save_batch([plane(n) for n in range(4)], list("abcd"), backend="screen", at=at)
    assert only(hidden)["shape"] == [2, 1, 2, *SIZE]
    assert only(hidden)["coordinates"][2] == ["DAPI", "GFP"]
    assert hidden.pixels("c")[0, 0] == 2


def test_arrays_stand_within_sliders(there: FileManager, hidden: RemoteFiji) -> None:
    """Volumes of several times: their z is Z, the time of their name is T."""
    for t in range(3):
        volume = np.stack([plane(10 * t + z) for z in range(2)])
        there.save(volume, f"v_{t}.npy", backend="screen", names="v_{t}.npy")
    assert only(hidden)["shape"] == [3, 2, 1, *SIZE]
    assert hidden.pixels("v_1.npy")[:, 0, 0].tolist() == [10, 11]


def test_layouts_make_images(there: FileManager, hidden: RemoteFiji) -> None:
    """A layout says what has images of its own: windows and layers."""
    options: dict[str, Any] = {
        "names": "{well}_{stain}_z{z}.tif",
        "layout": Layout(window=("well",), layer=("stain",)),
    }
    for well in ("B03", "B04"):
        for stain in ("raw", "mask"):
            for z in range(2):
                there.save(plane(z), f"{well}_{stain}_z{z}.tif", backend="screen", **options)
    found = {layer["name"]: layer["shape"] for layer in hidden.layers()}
    names = ["B03 raw", "B03 mask", "B04 raw", "B04 mask"]
    assert found == {name: [1, 2, 1, *SIZE] for name in names}
    assert hidden.pixels("B04_mask_z1.tif", window="B04")[0, 0] == 1


def test_rgb_is_a_stack(there: FileManager, hidden: RemoteFiji) -> None:
    """RGB has no channels in ImageJ: those of its name are further frames."""
    rgb = HELD["rgb"]
    paths = [f"w{c}_z{z}.tif" for c in range(2) for z in range(3)]
    values = [rgb + np.uint8(n) for n in range(6)]
    there.save_batch(values, paths, backend="screen", names="w{channel}_z{z}.tif")
    layer = only(hidden)
    assert (layer["rgb"], layer["shape"]) == (True, [2, 3, 1, *SIZE])
    for path, value in zip(paths, values, strict=True):
        assert np.array_equal(hidden.pixels(path), value)


def test_labels_are_an_image(there: FileManager, hidden: RemoteFiji) -> None:
    """Labels of the same path stand beside the image."""
    labels = np.arange(192, dtype="i8").reshape(SIZE) % 7
    there.save(plane(9), "cells.tif", backend="screen")
    there.save(labels, "cells.tif", backend="screen", labels=True)
    image, painted = hidden.layers()
    assert (image["name"], image["type"]) == ("cells", "image")
    assert (painted["name"], painted["type"]) == ("cells labels", "labels")
    assert painted["channels"][0]["window"] == [0, 255]
    there.save(labels + 1, "cells.tif", backend="screen", labels=True)
    assert len(hidden.layers()) == 2
    assert np.array_equal(hidden.pixels("cells.tif"), plane(9))


# ── what does not fit ────────────────────────────────────────────────────────────────────


def test_other_shape_begins_anew(there: FileManager, hidden: RemoteFiji) -> None:
    """One path with another shape or type is its image, begun anew."""
    for value in (plane(1), np.ones((3, *SIZE), "u2"), plane(1.5, "f4"), HELD["rgb"]):
        there.save(value, "a.npy", backend="screen")
        assert np.array_equal(hidden.pixels("a.npy"), value)
        assert only(hidden)["name"] == "a"


def test_misfit_is_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """A slice that does not fit is the error of its save; the stack stays as it is."""
    paths = [f"fit/fit_{index}.npy" for index in range(3)]
    there.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    for value in (np.zeros((9, 9), "u2"), plane(1, "u1"), np.zeros((2, *SIZE), "u2")):
        with pytest.raises(RejectedError) as caught:
            there.save(value, paths[1], backend="screen")
        assert caught.value.path == paths[1]
        assert "image 'fit' holds 3 of <u2 of shape [12, 16], axes yx" in str(caught.value)
        assert "save it under another name or with labels=True" in str(caught.value)
        assert "Or save all 3 as one batch" in str(caught.value)
    assert only(hidden)["shape"] == [3, 1, 1, *SIZE]
    assert hidden.pixels(paths[1])[0, 0] == 1


def test_misfit_ends_series(there: FileManager, hidden: RemoteFiji) -> None:
    """In a series it is the failure of that value, and those before it are shown."""
    values = [plane(0), plane(1), np.zeros((9, 9), "u2"), plane(3)]
    paths = [f"ends/ends_{index}.npy" for index in range(4)]
    with pytest.raises(BatchError) as caught:
        there.save_batch(values, paths, backend="screen")
    assert isinstance(caught.value.failed[2][1], RejectedError)
    assert hidden.pixels(paths[1])[0, 0] == 1


def test_whole_batch_begins_anew(there: FileManager, hidden: RemoteFiji) -> None:
    """All of a stack as one batch, of another shape or type, is that stack, begun anew."""
    paths = [f"new/new_{index}.npy" for index in range(3)]
    there.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    for shape, dtype in (((8, 8), "u2"), ((8, 8), "f4"), ((8, 8, 3), "u1")):
        there.save_batch([np.full(shape, n, dtype) for n in range(3)], paths, backend="screen")
        assert only(hidden)["shape"] == [3, 1, 1, 8, 8]
        assert [hidden.pixels(path).flat[0] for path in paths] == [0, 1, 2]


def test_unawaited_misfit_is_told(there: FileManager) -> None:
    """What nobody waited for is told by the next flush."""
    there.save_batch([plane(1)] * 2, ["late/late_1.npy", "late/late_2.npy"], backend="screen")
    there.save(plane(1, "u1"), "late/late_1.npy", backend="screen", wait=None)
    with pytest.raises(RejectedError, match="image 'late' holds 2"):
        there.registry["screen"].flush()  # type: ignore[union-attr]


# ── what an image says of itself ─────────────────────────────────────────────────────────


def test_calibration_is_ImageJs(there: FileManager, hidden: RemoteFiji) -> None:
    """Pixel sizes and units are ImageJ's calibration; a saved unit is written as ImageJ does."""
    there.save(
        np.zeros((2, 3, *SIZE), "u2"), "scaled.npy", backend="screen", axes="tzyx",
        scale=(90, 2, 0.25, 0.5),
        units={"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
    )  # fmt: skip
    assert only(hidden)["scale"] == [90, 2, 1, 0.25, 0.5]
    assert only(hidden)["units"] == ["sec", "µm", "", "µm", "µm"]
    there.save(np.zeros((2, 3, *SIZE), "u2"), "scaled.npy", backend="screen", axes="tzyx")
    assert only(hidden)["scale"] == [90, 2, 1, 0.25, 0.5]
    there.save(
        np.zeros((2, 3, *SIZE), "u2"), "scaled.npy", backend="screen", axes="tzyx",
        scale={"z": 4}, units="nanometer",
    )  # fmt: skip
    assert only(hidden)["scale"] == [1, 4, 1, 1, 1]
    assert only(hidden)["units"][1:] == ["nm", "", "nm", "nm"]


def test_calibration_of_slices(there: FileManager, hidden: RemoteFiji) -> None:
    """Planes of a series say what a pixel is; the image has it however it grows."""
    for z in range(3):
        there.save(plane(z), f"s_{z}.npy", backend="screen", names="s_{z}.npy",
                   scale=(0.2, 0.1), units="micrometer")  # fmt: skip
        assert only(hidden)["scale"][3:] == [0.2, 0.1]
        assert only(hidden)["units"][3:] == ["µm", "µm"]


def test_channels_have_looks(there: FileManager, hidden: RemoteFiji) -> None:
    """Channels have the colours and windows that are said, else colours told apart by everybody."""
    channels = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 5, "end": 500}},
        {"label": "GFP", "color": "00FF00"},
        "other",
    ]
    value = np.stack([plane(n) + np.arange(16, dtype="u2") for n in range(3)])
    there.save(value, "c.npy", backend="screen", axes="cyx", channels=channels)
    first, second, _ = only(hidden)["channels"]
    assert only(hidden)["labels"][:2] == ["DAPI: c.npy", "GFP: c.npy"]
    assert (first["color"], first["window"]) == ("0000ff", [5, 500])
    assert (second["color"], second["window"]) == ("00ff00", [1, 16])
    there.save(value, "d.npy", backend="screen", axes="cyx")
    colors = [channel["color"] for channel in hidden.layers()[-1]["channels"]]
    assert colors == ["ff00ff", "00ff00", "00ffff"]


def test_channels_by_name_have_looks(there: FileManager, hidden: RemoteFiji) -> None:
    """Channels that come one by one have the colour said with each."""
    for c, color in ((1, "ff8000"), (2, "0080ff")):
        there.save(
            plane(c), f"w{c}.tif", backend="screen", names="w{channel}.tif", colormap=color,
            contrast_limits=(0, 10 * c),
        )  # fmt: skip
    assert [(c["color"], c["window"]) for c in only(hidden)["channels"]] == [
        ("ff8000", [0, 10]),
        ("0080ff", [0, 20]),
    ]


@pytest.mark.parametrize(
    ("colormap", "brightest"),
    [("gray", "ffffff"), ("Red", "ff0000"), ("#ff8000", "ff8000"), ("fire", "ffffff"),
     ("cyan", "00ffff")],
)  # fmt: skip
def test_colormaps_are_known(
    there: FileManager, hidden: RemoteFiji, colormap: str, brightest: str
) -> None:
    """A colormap is one of ImageJ's lookup tables, or a colour."""
    there.save(plane(7, "u1"), "a.npy", backend="screen", colormap=colormap)
    assert only(hidden)["channels"][0]["color"] == brightest


def test_ranges_are_chosen(there: FileManager, hidden: RemoteFiji) -> None:
    """Black and brightest are what is said; else all of 8 bits, or the least and greatest."""
    ramp = np.arange(192).reshape(SIZE)
    for value, options, expected in (
        (ramp.astype("u1"), {}, [0, 255]),
        (ramp.astype("u2") + 50, {}, [50, 241]),
        (ramp.astype("f4") - 50, {}, [-50, 141]),
        (np.full(SIZE, np.nan, "f4"), {}, [0, 1]),
        (plane(5), {}, [5, 6]),
        (ramp > 3, {}, [0, 255]),
        (ramp > 3, {"contrast_limits": (0, 1)}, [0, 255]),
        (ramp.astype("f4"), {"contrast_limits": (-1.5, 7)}, [-1.5, 7]),
    ):
        hidden.clear()
        there.save(value, "a.npy", backend="screen", **options)
        assert only(hidden)["channels"][0]["window"] == expected


def test_unknown_colormap_is_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """A colormap that ImageJ does not have is the error of that save, and names some it has."""
    with pytest.raises(
        RejectedError, match="no lookup table 'nonsense': expected grays"
    ) as caught:
        there.save(plane(1), "color.npy", backend="screen", colormap="nonsense")
    assert caught.value.path == "color.npy"
    assert hidden.layers() == []


# ── questions ────────────────────────────────────────────────────────────────────────────


def test_unknown_questions_are_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """What ImageJ cannot answer is told, with what it can."""
    with pytest.raises(RejectedError, match=r"expected one of .*layers, .*screenshot"):
        hidden.query("colour")
    with pytest.raises(RejectedError, match=r"'nothing\.npy' is not shown: no path is shown"):
        hidden.pixels("nothing.npy")
    with pytest.raises(RejectedError, match="no image is shown"):
        hidden.screenshot()
    there.save(plane(1), "a.npy", backend="screen")
    with pytest.raises(RejectedError, match="image 'b' is not open: expected 'a'"):
        hidden.screenshot(window="b")


def test_unknown_names_are_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """A name that nothing has is an error with the names that there are, never an empty answer."""
    there.save(plane(1), "cells.npy", backend="screen")
    there.save(plane(1), "B03_s1.npy", backend="screen", names="{well}_s{site}.npy",
               layout=Layout(window=("well",)))  # fmt: skip
    there.save(
        [ROI(Points([(1, 2)]), "spot"), ROI(Points([(3, 4)]))], "r.roi", backend="screen"
    )
    for question, expected in {
        "rois layer sport": "'' (without a name), 'spot'; did you mean 'spot'?",
        "rois window cell": "expected one of 'B03 images', 'cells'; did you mean 'cells'?",
        "screenshot window Cells": "did you mean 'cells'?",
        "clear window x": "image 'x' is not open: expected one of 'B03 images', 'cells'",
        "pixels path cell.npy": "expected 'cells.npy'; did you mean 'cells.npy'?",
        "pixels window B04": "'' (without a name), 'B03'; did you mean 'B03'?",
        "layers window x": "'window' is not valid for layers: no option is valid for layers",
        "rois path x": "'path' is not valid for rois: expected one of 'layer', 'window'",
    }.items():
        name, option, value = question.split()
        with pytest.raises(RejectedError) as caught:
            hidden.query(name, **{option: value})
        assert caught.value.reason.endswith(expected)
    assert len(hidden.layers()) == 2, "clear has taken nothing away"
    assert [roi.name for roi in hidden.rois(layer="spot")] == ["spot"]
    assert [roi.name for roi in hidden.rois(layer="")] == [""]


def test_layers_are_json(there: FileManager, hidden: RemoteFiji) -> None:
    """The list of images is plain data."""
    there.save(HELD["tczyx"], "a.npy", backend="screen")
    there.save(HELD["rgb"], "b.npy", backend="screen")
    assert json.loads(json.dumps(hidden.layers())) == hidden.layers()


def test_pictures_without_windows(there: FileManager, hidden: RemoteFiji) -> None:
    """Without a window the picture of an image is its plane, in its colours."""
    there.save(plane(200, "u1"), "a.npy", backend="screen", colormap="ff8000",
               contrast_limits=(0, 200))  # fmt: skip
    picture = hidden.screenshot()
    assert picture.shape == (*SIZE, 4)
    assert (picture == (255, 128, 0, 255)).all()


def test_cleared_series_begins_anew(there: FileManager, hidden: RemoteFiji) -> None:
    """Once all is taken away, a path that stood in a series is an image of its own."""
    paths = [f"gone/gone_{index}.npy" for index in range(3)]
    there.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    hidden.clear()
    assert hidden.layers() == []
    there.save(plane(1, "f4"), paths[1], backend="screen")
    assert (only(hidden)["name"], only(hidden)["shape"]) == ("gone_1", [1, 1, 1, *SIZE])


def test_one_window_is_cleared(there: FileManager, hidden: RemoteFiji) -> None:
    """clear() of a window takes that image alone; of none, all, and paths stand nowhere then."""
    for name in ("a", "b"):
        there.save(plane(1), f"{name}.npy", backend="screen")
    hidden.clear(window="a")
    assert [layer["name"] for layer in hidden.layers()] == ["b"]
    with pytest.raises(RejectedError, match="image 'a' is not open"):
        hidden.clear(window="a")
    there.save_batch([plane(1), plane(2)], ["s_1.npy", "s_2.npy"], backend="screen")
    hidden.clear()
    there.save(plane(3), "s_2.npy", backend="screen")
    assert only(hidden)["name"] == "s_2"
