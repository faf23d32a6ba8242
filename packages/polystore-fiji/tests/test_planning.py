"""Which image of a real ImageJ a value goes to, and which pixels it holds.

No test needs windows.
"""

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


EXAMPLES = {
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


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.smoke
def test_pixels_are_held(headless_files: FileManager, headless: RemoteFiji, name: str) -> None:
    """ImageJ holds the saved pixels, and returns them in their own type."""
    value = EXAMPLES[name]
    headless_files.save(value, "held.npy", backend="screen")
    found = headless.pixels("held.npy")
    assert found.dtype == value.dtype.newbyteorder("=")
    assert np.array_equal(found, value, equal_nan=value.dtype.kind == "f")


def test_layers_tell_both_types(headless_files: FileManager, headless: RemoteFiji) -> None:
    """An image tells its type in ImageJ and the type that was saved."""
    for value, shown in (
        (plane(1, "i2"), "<f4"),
        (plane(1, "?"), "|u1"),
        (plane(70000, "i8"), "<f4"),
        (plane(1, "u2"), "<u2"),
    ):
        headless_files.save(value, "a.npy", backend="screen")
        assert (only(headless)["dtype"], only(headless)["original"]) == (shown, value.dtype.str)
    headless_files.save(plane(60000, "i8"), "labels.npy", backend="screen", labels=True)
    assert headless.layers()[-1]["dtype"] == "<u2"


def test_inexact_pixels_are_refused(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Pixels that no type of ImageJ can hold are refused before they are sent, with advice."""
    headless_files.save(plane(1), "a.npy", backend="screen")
    for value, advice in (
        (plane((1 << 24) + 1, "i4"), "rescale them to uint16"),
        (plane(1e300, "f8"), "rescale them"),
        (np.zeros((*SIZE, 3), "f4"), r"convert it, or save its colours as channels"),
    ):
        axes = "yxs" if value.ndim == 3 else None
        with pytest.raises(UnsupportedDataError, match=advice):
            headless_files.save(value, "a.npy", backend="screen", axes=axes)
    assert np.array_equal(headless.pixels("a.npy"), plane(1))


def test_floats_are_rounded(headless_files: FileManager, headless: RemoteFiji) -> None:
    """float64 is rounded and loaded as float32.

    If all values are exact, it is loaded as float64.
    """
    options = {"backend": "screen", "names": "f_{z}.npy"}
    for z, (value, loaded) in enumerate(((0.1, "f4"), (0.5, "f8"), (0.2, "f4"))):
        headless_files.save(plane(value, "f8"), f"f_{z}.npy", **options)
        found = headless_files.load(f"f_{z}.npy", "screen")
        assert found.dtype == loaded
        assert np.array_equal(found, plane(value, "f8").astype(loaded))
    assert only(headless)["dtype"] == "<f4"
    headless_files.registry.add("exact", "fiji_stream", viewer="hidden", convert="exact")
    with pytest.raises(UnsupportedDataError, match=r"float64 are not exact.*convert='float32'"):
        headless_files.save(plane(0.1, "f8"), "a.npy", "exact")
    headless_files.save(plane(0.5, "f8"), "a.npy", "exact")


# ── one hyperstack ───────────────────────────────────────────────────────────────────────


def test_axes_are_dimensions(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Axes t, c and z of an array are the dimensions of a hyperstack."""
    headless_files.save(EXAMPLES["tczyx"], "whole.npy", backend="screen")
    layer = only(headless)
    assert (layer["axes"], layer["shape"]) == ("tzcyx", [2, 4, 3, *SIZE])
    assert layer["mode"] == "composite"
    assert layer["labels"] == ["whole.npy"] * 24


def test_series_is_one_stack(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A thousand files are one stack in natural order. Each slice has the name of its file."""
    paths = [f"series/cells_{index}.tif" for index in range(1000)]
    headless_files.save_batch([plane(index) for index in range(1000)], paths, backend="screen")
    layer = only(headless)
    assert (layer["name"], layer["shape"]) == ("cells", [1000, 1, 1, *SIZE])
    assert layer["labels"] == [f"cells_{index}.tif" for index in range(1000)]
    for index in (0, 2, 10, 999):
        assert headless.pixels(paths[index])[0, 0] == index


def test_stack_grows(headless_files: FileManager, headless: RemoteFiji) -> None:
    """New slices of a series join its stack. A known path, saved alone, replaces its slice."""
    paths = [f"more/cells_{index}.tif" for index in range(6)]
    headless_files.save_batch([plane(1)] * 4, paths[:4], backend="screen")
    headless_files.save_batch([plane(2)] * 2, paths[4:], backend="screen")
    headless_files.save(plane(3), paths[2], backend="screen")
    assert only(headless)["shape"] == [6, 1, 1, *SIZE]
    assert [headless.pixels(path)[0, 0] for path in paths] == [1, 1, 3, 1, 2, 2]


def test_channels_are_one_image(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A template with channels makes one image of C x Z x T, called after its folder."""
    paths = [f"w/t{t}_z{z}_w{c}.tif" for t in range(2) for z in range(3) for c in (1, 2)]
    values = [plane(index) for index in range(12)]
    headless_files.save_batch(values, paths, backend="screen", names="t{t}_z{z}_w{channel}.tif")
    layer = only(headless)
    assert (layer["name"], layer["shape"]) == ("w", [2, 3, 2, *SIZE])
    assert layer["coordinates"] == [["0", "1"], ["0", "1", "2"], ["1", "2"]]
    for path, value in zip(paths, values, strict=True):
        assert np.array_equal(headless.pixels(path), value)


def test_folders_stay_apart(headless_files: FileManager, headless: RemoteFiji) -> None:
    """The same names in two folders are two images, even if the saves alternate."""
    for z in range(3):
        for number, folder in enumerate("AB"):
            for c in range(2):
                headless_files.save(
                    plane(100 * number + 10 * c + z),
                    f"{folder}/w{c}_z{z}.tif",
                    backend="screen",
                    names="w{channel}_z{z}.tif",
                )
    shapes = {layer["name"]: layer["shape"] for layer in headless.layers()}
    assert shapes == {"A": [1, 3, 2, *SIZE], "B": [1, 3, 2, *SIZE]}
    assert headless.pixels("A/w1_z2.tif")[0, 0] == 12
    assert headless.pixels("B/w1_z2.tif")[0, 0] == 112


def test_sliders_share_frames(headless_files: FileManager, headless: RemoteFiji) -> None:
    """ImageJ has three axes, so all sliders except channel and z share T."""
    names = "{well}_f{field}_t{t}_z{z}_w{channel}.tif"
    paths = [
        f"{well}_f{field}_t{t}_z{z}_w{c}.tif"
        for well in ("B03", "B10", "B2")
        for field in (1, 2)
        for t in (0, 1)
        for z in (0, 1)
        for c in (1, 2)
    ]
    headless_files.save_batch(
        [plane(n) for n in range(len(paths))], paths, backend="screen", names=names
    )
    layer = only(headless)
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
        assert headless.pixels(path)[0, 0] == number


def test_slices_are_sorted(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Slices are in natural order, in any order of arrival."""
    for z in ("10", "2", "007", "1"):
        headless_files.save(plane(int(z)), f"p_{z}.tif", backend="screen", names="p_{z}.tif")
        assert headless.pixels(f"p_{z}.tif")[0, 0] == int(z)
    assert only(headless)["coordinates"][1] == ["1", "2", "007", "10"]
    assert only(headless)["labels"] == ["p_1.tif", "p_2.tif", "p_007.tif", "p_10.tif"]
    for z in ("10", "2", "007", "1"):
        assert headless.pixels(f"p_{z}.tif")[0, 0] == int(z)


def test_missing_planes_are_holes(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A plane that is missing leaves a hole without a label, until it arrives."""
    for c, z in ((1, 1), (2, 2), (1, 3)):
        headless_files.save(
            plane(c * 10 + z), f"w{c}_z{z}.tif", backend="screen", names="w{channel}_z{z}.tif"
        )
    assert only(headless)["shape"] == [1, 3, 2, *SIZE]
    assert only(headless)["labels"] == ["w1_z1.tif", None, None, "w2_z2.tif", "w1_z3.tif", None]
    with pytest.raises(RejectedError, match=r"'w2_z1\.tif' is not shown"):
        headless.pixels("w2_z1.tif")
    headless_files.save(plane(21), "w2_z1.tif", backend="screen", names="w{channel}_z{z}.tif")
    assert [headless.pixels(f"w{c}_z{z}.tif")[0, 0] for c, z in ((1, 1), (2, 1), (2, 2))] == [
        11,
        21,
        22,
    ]


def test_coordinates_may_be_given(headless_files: FileManager, headless: RemoteFiji) -> None:
    """If a name does not tell the coordinates, ``at`` gives them."""
    at = [{"time": t, "channel": c} for t in range(2) for c in ("DAPI", "GFP")]
    headless_files.save_batch(
        [plane(n) for n in range(4)], list("abcd"), backend="screen", at=at
    )
    assert only(headless)["shape"] == [2, 1, 2, *SIZE]
    assert only(headless)["coordinates"][2] == ["DAPI", "GFP"]
    assert headless.pixels("c")[0, 0] == 2


def test_volumes_on_a_slider(headless_files: FileManager, headless: RemoteFiji) -> None:
    """The z axis of volumes is Z, and the time in their names is T."""
    for t in range(3):
        volume = np.stack([plane(10 * t + z) for z in range(2)])
        headless_files.save(volume, f"v_{t}.npy", backend="screen", names="v_{t}.npy")
    assert only(headless)["shape"] == [3, 2, 1, *SIZE]
    assert headless.pixels("v_1.npy")[:, 0, 0].tolist() == [10, 11]


def test_layouts_make_images(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A layout decides which values get images of their own, by window and layer."""
    options: dict[str, Any] = {
        "names": "{well}_{stain}_z{z}.tif",
        "layout": Layout(window=("well",), layer=("stain",)),
    }
    for well in ("B03", "B04"):
        for stain in ("raw", "mask"):
            for z in range(2):
                headless_files.save(
                    plane(z), f"{well}_{stain}_z{z}.tif", backend="screen", **options
                )
    found = {layer["name"]: layer["shape"] for layer in headless.layers()}
    names = ["B03 raw", "B03 mask", "B04 raw", "B04 mask"]
    assert found == {name: [1, 2, 1, *SIZE] for name in names}
    assert headless.pixels("B04_mask_z1.tif", window="B04")[0, 0] == 1


def test_rgb_is_a_stack(headless_files: FileManager, headless: RemoteFiji) -> None:
    """RGB has no channels in ImageJ, so channels from names are further frames."""
    rgb = EXAMPLES["rgb"]
    paths = [f"w{c}_z{z}.tif" for c in range(2) for z in range(3)]
    values = [rgb + np.uint8(n) for n in range(6)]
    headless_files.save_batch(values, paths, backend="screen", names="w{channel}_z{z}.tif")
    layer = only(headless)
    assert (layer["rgb"], layer["shape"]) == (True, [2, 3, 1, *SIZE])
    for path, value in zip(paths, values, strict=True):
        assert np.array_equal(headless.pixels(path), value)


def test_labels_are_an_image(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Labels of the same path are an image of their own."""
    labels = np.arange(192, dtype="i8").reshape(SIZE) % 7
    headless_files.save(plane(9), "cells.tif", backend="screen")
    headless_files.save(labels, "cells.tif", backend="screen", labels=True)
    image, painted = headless.layers()
    assert (image["name"], image["type"]) == ("cells", "image")
    assert (painted["name"], painted["type"]) == ("cells labels", "labels")
    assert painted["channels"][0]["window"] == [0, 255]
    headless_files.save(labels + 1, "cells.tif", backend="screen", labels=True)
    assert len(headless.layers()) == 2
    assert np.array_equal(headless.pixels("cells.tif"), plane(9))


# ── values that do not fit ───────────────────────────────────────────────────────────────


def test_other_shape_restarts(headless_files: FileManager, headless: RemoteFiji) -> None:
    """If one path gets another shape or type, its image starts again."""
    for value in (plane(1), np.ones((3, *SIZE), "u2"), plane(1.5, "f4"), EXAMPLES["rgb"]):
        headless_files.save(value, "a.npy", backend="screen")
        assert np.array_equal(headless.pixels("a.npy"), value)
        assert only(headless)["name"] == "a"


def test_misfit_is_refused(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A slice that does not fit is the error of its save, and the stack stays as it is."""
    paths = [f"fit/fit_{index}.npy" for index in range(3)]
    headless_files.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    for value in (np.zeros((9, 9), "u2"), plane(1, "u1"), np.zeros((2, *SIZE), "u2")):
        with pytest.raises(RejectedError) as caught:
            headless_files.save(value, paths[1], backend="screen")
        assert caught.value.path == paths[1]
        assert "image 'fit' holds 3 of <u2 of shape [12, 16], axes yx" in str(caught.value)
        assert "save it under another name or with labels=True" in str(caught.value)
        assert "Or save all 3 as one batch" in str(caught.value)
    assert only(headless)["shape"] == [3, 1, 1, *SIZE]
    assert headless.pixels(paths[1])[0, 0] == 1


def test_misfit_ends_series(headless_files: FileManager, headless: RemoteFiji) -> None:
    """In a series the misfit fails its own value. Earlier values are shown."""
    values = [plane(0), plane(1), np.zeros((9, 9), "u2"), plane(3)]
    paths = [f"ends/ends_{index}.npy" for index in range(4)]
    with pytest.raises(BatchError) as caught:
        headless_files.save_batch(values, paths, backend="screen")
    assert isinstance(caught.value.failed[2][1], RejectedError)
    assert headless.pixels(paths[1])[0, 0] == 1


def test_whole_batch_restarts(headless_files: FileManager, headless: RemoteFiji) -> None:
    """If one batch replaces a whole stack with another shape or type, the stack starts again."""
    paths = [f"new/new_{index}.npy" for index in range(3)]
    headless_files.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    for shape, dtype in (((8, 8), "u2"), ((8, 8), "f4"), ((8, 8, 3), "u1")):
        headless_files.save_batch(
            [np.full(shape, n, dtype) for n in range(3)], paths, backend="screen"
        )
        assert only(headless)["shape"] == [3, 1, 1, 8, 8]
        assert [headless.pixels(path).flat[0] for path in paths] == [0, 1, 2]


def test_flush_raises_late_misfit(headless_files: FileManager) -> None:
    """The next flush raises the error of a save that did not wait."""
    headless_files.save_batch(
        [plane(1)] * 2, ["late/late_1.npy", "late/late_2.npy"], backend="screen"
    )
    headless_files.save(plane(1, "u1"), "late/late_1.npy", backend="screen", wait=None)
    with pytest.raises(RejectedError, match="image 'late' holds 2"):
        headless_files.registry["screen"].flush()  # type: ignore[union-attr]
