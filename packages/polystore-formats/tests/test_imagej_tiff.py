"""TIFF files between polystore and ImageJ itself."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Rectangle
from polystore_formats.imagej.roi import decode_roi, encode_roi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNITS = {"t": "minute", "z": "um", "y": "um", "x": "um"}
CHANNELS = [
    {"label": "DAPI", "color": "0000FF", "window": {"start": 10, "end": 900}},
    {"label": "GFP", "color": "green", "window": {"start": 20, "end": 1800}},
]


def image(shape: tuple[int, ...], dtype: str) -> Any:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "tzcyx": (
        image((2, 3, 2, 5, 7), "u2"),
        {
            "axes": "TZCYX",
            "scale": (2, 1.5, 1, 0.5, 0.25),
            "units": UNITS,
            "channels": CHANNELS,
        },
    ),
    "cyx-8": (image((2, 5, 7), "u1"), {"channels": CHANNELS}),
    "cyx-32": (image((2, 5, 7), "f4"), {"axes": "cyx", "channels": ["one", "two"]}),
    "zyx": (image((4, 5, 7), "u2"), {"scale": {"z": 3, "x": 0.5, "y": 0.5}, "units": "nm"}),
    "tyx": (image((4, 5, 7), "u2"), {"axes": "TYX", "contrast_limits": (3, 99)}),
    "yx": (image((5, 7), "u2"), {"channels": [CHANNELS[1]], "units": "nm"}),
    "yx-8": (image((5, 7), "u1"), {"channels": [CHANNELS[1]]}),
    "yx-32": (image((5, 7), "f4") / 8, {"contrast_limits": (-0.5, 0.5)}),
    "units": (
        image((3, 5, 7), "u2"),
        {"axes": "ZYX", "scale": (2, 500, 250), "units": {"z": "um", "y": "nm", "x": "nm"}},
    ),
    "signed": (image((3, 5, 7), "i2") - 100, {"axes": "ZYX"}),
    "big": (image((3, 5, 7), ">u2"), {"axes": "ZYX", "scale": (1, 0.1, 0.1), "units": "mm"}),
    "rgb": (image((5, 7, 3), "u1"), {"axes": "YXS", "scale": (0.5, 0.5, 1), "units": "um"}),
    "rgb-stack": (image((2, 5, 7, 3), "u1"), {"axes": "ZYXS"}),
    "no-options": (image((2, 3, 2, 5, 7), "u1"), {}),
    "resolution": (
        image((3, 5, 7), "u2"),
        {
            "axes": "ZYX",
            "resolution": (4, 2),
            "resolution_unit": "um",
            "metadata": {"spacing": 2},
        },
    ),
}


@pytest.fixture(scope="module")
def shown(
    imagej: Callable[[str, Path], list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """What ImageJ says of each of ``CASES``; and of an image with a ROI on it."""
    folder, fm = tmp_path_factory.mktemp("ours"), FileManager()
    for name, (array, options) in CASES.items():
        fm.save(array, folder / f"{name}.tif", backend="disk", imagej=True, **options)
    overlay = {"Overlays": [encode_roi(ROI(Rectangle((2, 2), (3, 3)), "nucleus"))]}
    array = image((5, 7), "u1")
    fm.save(array, folder / "overlay.tif", backend="disk", imagej=True, metadata=overlay)
    return {line["file"].removesuffix(".tif"): line for line in imagej("images", folder)}


@pytest.mark.parametrize("name", CASES)
def test_imagej_has_the_same_pixels(shown: dict[str, dict[str, Any]], name: str) -> None:
    array = CASES[name][0]
    found = np.array(shown[name]["pixels"])
    if "rgb" in name:
        array = array.astype(int) @ (1 << 16, 1 << 8, 1)
    np.testing.assert_array_equal(found, array.ravel())
    assert shown[name]["bits"] == (24 if "rgb" in name else 8 * array.itemsize)
    assert shown[name]["signed"] is (array.dtype == np.int16)


@pytest.mark.parametrize("name", CASES)
def test_imagej_has_the_same_axes(shown: dict[str, dict[str, Any]], name: str) -> None:
    array, options = CASES[name]
    default = {"cyx-8": "CYX", "no-options": "TZCYX"}.get(name, "ZYX"[-array.ndim :])
    axes = options.get("axes", default).upper()
    lengths = dict(zip(axes, array.shape, strict=True))
    assert shown[name]["dimensions"] == [lengths.get(axis, 1) for axis in "TZCYX"]


def test_imagej_has_the_calibration(shown: dict[str, dict[str, Any]]) -> None:
    found = shown["tzcyx"]
    assert found["pixel"] == [1.5, 0.5, 0.25]
    assert found["unit"] == "µm"
    assert found["interval"] == 120  # seconds
    assert (shown["zyx"]["pixel"], shown["zyx"]["unit"]) == ([3, 0.5, 0.5], "nm")
    assert (shown["big"]["pixel"], shown["big"]["unit"]) == ([1, 0.1, 0.1], "mm")
    assert (shown["rgb"]["pixel"][1:], shown["rgb"]["unit"]) == ([0.5, 0.5], "µm")
    assert shown["resolution"]["pixel"] == [2, 0.5, 0.25]
    assert (shown["yx"]["pixel"], shown["yx"]["unit"]) == ([1, 1, 1], "pixel")
    assert shown["no-options"]["pixel"] == [1, 1, 1]
    assert (shown["units"]["pixel"], shown["units"]["unit"]) == ([2000, 500, 250], "nm")


def test_imagej_has_the_colours(shown: dict[str, dict[str, Any]]) -> None:
    for name in ("tzcyx", "cyx-8"):
        assert shown[name]["composite"] is True
        assert shown[name]["mode"] == 1  # all channels at once
        assert shown[name]["colors"] == [0, 0, 255, 0, 255, 0]
        assert shown[name]["ranges"] == [10, 900, 20, 1800]
    assert shown["cyx-32"]["colors"] == [255, 0, 255, 0, 255, 0]
    assert shown["yx"]["colors"] == shown["yx-8"]["colors"] == [0, 255, 0]
    assert shown["zyx"]["colors"] == [255, 255, 255]


def test_imagej_has_the_ranges(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["tyx"]["ranges"] == [3, 99]
    assert shown["yx-32"]["ranges"] == [-0.5, 0.5]
    assert shown["yx"]["ranges"] == [20, 1800]


def test_imagej_has_the_labels(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["tzcyx"]["labels"] == "DAPI|GFP|" * 6
    assert shown["cyx-32"]["labels"] == "one|two|"


def test_imagej_has_the_overlay(shown: dict[str, dict[str, Any]]) -> None:
    assert shown["overlay"]["overlay"] == 1


def test_what_it_says_comes_back(tmp_path: Path) -> None:
    fm = FileManager()
    array, options = CASES["tzcyx"]
    fm.save(array, tmp_path / "a.tif", backend="disk", imagej=True, **options)
    found = fm.info(tmp_path / "a.tif", backend="disk").metadata
    assert found["axes"] == "TZCYX"
    assert found["scale"] == [2, 1.5, 1, 0.5, 0.25]
    assert found["units"] == ["minute", "micrometer", None, "micrometer", "micrometer"]
    assert found["interval"] == 120
    assert found["channels"] == [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 10, "end": 900}},
        {"label": "GFP", "color": "00FF00", "window": {"start": 20, "end": 1800}},
    ]
    units = {axis: unit for axis, unit in zip("tzcyx", found["units"], strict=True) if unit}
    again = {"axes": found["axes"], "scale": found["scale"], "units": units}
    fm.save(
        array,
        tmp_path / "b.tif",
        backend="disk",
        imagej=True,
        channels=found["channels"],
        **again,
    )
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "a.tif").read_bytes()


# ── what ImageJ wrote ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "axes", "shape", "dtype"),
    [
        ("composite-16", "TZCYX", (2, 3, 2, 5, 7), "u2"),
        ("color-8", "TCYX", (4, 3, 5, 7), "u1"),
        ("gray-32", "ZYX", (5, 5, 7), "f4"),
        ("time-16", "TYX", (3, 5, 7), "u2"),
        ("single-8", "YX", (5, 7), "u1"),
        ("rgb", "ZYXS", (2, 5, 7, 3), "u1"),
        ("rgb-hyper", "TZYXS", (3, 2, 5, 7, 3), "u1"),
    ],
)
def test_hyperstacks_of_imagej_load(
    made_by_imagej: Path, name: str, axes: str, shape: tuple[int, ...], dtype: str
) -> None:
    fm, path = FileManager(), made_by_imagej / f"{name}.tif"
    info, array = fm.info(path, backend="disk"), fm.load(path, backend="disk")
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert info.shape == shape
    assert info.metadata["axes"] == axes
    sizes = {"T": 30, "Z": 1.5, "Y": 0.5, "X": 0.25}
    assert info.metadata["scale"] == [sizes.get(axis, 1) for axis in axes]
    units = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}
    assert info.metadata["units"] == [units.get(axis) for axis in axes]
    assert (info.metadata["resolution"], info.metadata["resolution_unit"]) == ((4, 2), "um")
    assert info.metadata["info"] == "objective: 60x\n"
    planes = np.arange(np.prod(shape[: axes.index("Y")], dtype=int))[:, None]
    pixels = np.arange(35)[None]
    if "S" in axes:
        expected = np.stack(np.broadcast_arrays(planes, pixels, 9), axis=-1)
    else:
        expected = (
            planes * 100 + pixels + 0.25 if dtype == "f4" else (planes * 20 + pixels) % 256
        )
    np.testing.assert_array_equal(array, expected.reshape(shape))


@pytest.mark.parametrize("name", ["green-8", "green-16", "green-32"])
def test_the_colour_of_one_channel_is_described(made_by_imagej: Path, name: str) -> None:
    found = FileManager().info(made_by_imagej / f"{name}.tif", backend="disk").metadata
    assert [channel["color"] for channel in found["channels"]] == ["00FF00"]


def test_channels_of_imagej_are_described(made_by_imagej: Path) -> None:
    fm = FileManager()
    found = fm.info(made_by_imagej / "composite-16.tif", backend="disk").metadata
    assert found["mode"] == "composite"
    assert found["channels"] == [
        {"color": "00FF00", "window": {"start": 10, "end": 100}},
        {"color": "FF00FF", "window": {"start": 20, "end": 200}},
    ]
    assert found["plane_labels"] == [f"slice {i + 1}" for i in range(12)]
    found = fm.info(made_by_imagej / "gray-32.tif", backend="disk").metadata
    assert found["channels"] == [{"window": {"start": 5, "end": 50}}]


def test_overlays_of_imagej_are_described(made_by_imagej: Path) -> None:
    found = FileManager().info(made_by_imagej / "time-16.tif", backend="disk").metadata
    (content,) = found["overlays"]
    roi = decode_roi(base64.b64decode(content))
    assert (roi.name, roi.shape) == ("overlaid", Rectangle((2.5, 2), (2, 3)))


# ── what cannot be ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        ("i8", "float32"),
        ("u4", "float32"),
        ("f8", "float32"),
        ("f2", "float32"),
        ("i1", "int16"),
        ("?", "uint8"),
        ("c8", "value.real.astype"),
    ],
)
def test_types_that_imagej_lacks(tmp_path: Path, dtype: str, remedy: str) -> None:
    with pytest.raises(UnsupportedDataError, match=remedy):
        FileManager().save(
            np.ones((5, 7), dtype), tmp_path / "a.tif", backend="disk", imagej=True
        )
    assert not (tmp_path / "a.tif").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": False, "contrast_limits": (0, 1)},
        {"axes": "CTYX"},
        {"axes": "TCZ"},
        {"axes": "ZYX", "scale": (1, 1, 1), "resolution": (1, 1)},
        {"axes": "ZYX", "units": "um", "resolution": (1, 1)},
        {"axes": "ZYX", "scale": (1, 1)},
        {"axes": "ZYX", "scale": (1, 1, 0)},
        {"axes": "ZYX", "scale": (1, 1, 1), "units": {"z": "um", "y": "s", "x": "nm"}},
        {"axes": "ZYX", "channels": ["a", "b"]},
        {"axes": "CYX", "channels": ["a", "b"]},
        {"axes": "ZYX", "channels": [{"label": "a", "color": "beige?"}]},
        {"contrast_limits": (1, 0)},
        {"contrast_limits": 3},
    ],
    ids=str,
)
def test_impossible_options(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        FileManager().save(
            image((3, 5, 7), "u2"),
            tmp_path / "a.tif",
            backend="disk",
            **{"imagej": True, **options},
        )
    assert not (tmp_path / "a.tif").exists()
