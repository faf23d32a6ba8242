"""Where images go in a real ImageJ, and what it holds of them: no windows are needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import BatchError, RejectedError, UnsupportedDataError
from polystore_stream import Layout

from .planes import SIZE, only, plane

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji


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
        (plane((1 << 24) + 1, "i4"), "rescale them to uint16"),
        (plane(1e300, "f8"), "rescale them"),
        (np.zeros((*SIZE, 3), "f4"), r"convert it, or save its colours as channels"),
    ):
        axes = "yxs" if value.ndim == 3 else None
        with pytest.raises(UnsupportedDataError, match=advice):
            there.save(value, "a.npy", backend="screen", axes=axes)
    assert np.array_equal(hidden.pixels("a.npy"), plane(1))


def test_floats_are_rounded(there: FileManager, hidden: RemoteFiji) -> None:
    """float64 is rounded, and loaded as float32; an image of exact ones is float64 again."""
    options = {"backend": "screen", "names": "f_{z}.npy"}
    for z, (value, loaded) in enumerate(((0.1, "f4"), (0.5, "f8"), (0.2, "f4"))):
        there.save(plane(value, "f8"), f"f_{z}.npy", **options)
        found = there.load(f"f_{z}.npy", "screen")
        assert found.dtype == loaded
        assert np.array_equal(found, plane(value, "f8").astype(loaded))
    assert only(hidden)["dtype"] == "<f4"
    there.registry.add("exact", "fiji_stream", viewer="hidden", convert="exact")
    with pytest.raises(UnsupportedDataError, match=r"float64 are not exact.*convert='float32'"):
        there.save(plane(0.1, "f8"), "a.npy", "exact")
    there.save(plane(0.5, "f8"), "a.npy", "exact")


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
                    plane(100 * number + 10 * c + z),
                    f"{folder}/w{c}_z{z}.tif",
                    backend="screen",
                    names="w{channel}_z{z}.tif",
                )
    shapes = {layer["name"]: layer["shape"] for layer in hidden.layers()}
    assert shapes == {"A": [1, 3, 2, *SIZE], "B": [1, 3, 2, *SIZE]}
    assert hidden.pixels("A/w1_z2.tif")[0, 0] == 12
    assert hidden.pixels("B/w1_z2.tif")[0, 0] == 112


def test_sliders_share_frames(there: FileManager, hidden: RemoteFiji) -> None:
    """ImageJ has three axes: all that is neither channel nor z is folded into T."""
    names = "{well}_f{field}_t{t}_z{z}_w{channel}.tif"
    paths = [
        f"{well}_f{field}_t{t}_z{z}_w{c}.tif"
        for well in ("B03", "B10", "B2")
        for field in (1, 2)
        for t in (0, 1)
        for z in (0, 1)
        for c in (1, 2)
    ]
    there.save_batch(
        [plane(n) for n in range(len(paths))], paths, backend="screen", names=names
    )
    layer = only(hidden)
    assert layer["shape"] == [12, 2, 2, *SIZE]
    assert layer["sliders"] == ["well", "field", "t", "z"]
    assert layer["coordinates"][0][:5] == [
        "B2, 1, 0",
        "B2, 1, 1",
        "B2, 2, 0",
        "B2, 2, 1",
        "B03, 1, 0",
    ]
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
        there.save(
            plane(c * 10 + z), f"w{c}_z{z}.tif", backend="screen", names="w{channel}_z{z}.tif"
        )
    assert only(hidden)["shape"] == [1, 3, 2, *SIZE]
    assert only(hidden)["labels"] == ["w1_z1.tif", None, None, "w2_z2.tif", "w1_z3.tif", None]
    with pytest.raises(RejectedError, match=r"'w2_z1\.tif' is not shown"):
        hidden.pixels("w2_z1.tif")
    there.save(plane(21), "w2_z1.tif", backend="screen", names="w{channel}_z{z}.tif")
    assert [hidden.pixels(f"w{c}_z{z}.tif")[0, 0] for c, z in ((1, 1), (2, 1), (2, 2))] == [
        11,
        21,
        22,
    ]


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
