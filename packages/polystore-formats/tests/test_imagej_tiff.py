"""Exchange TIFF files with ImageJ itself."""

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
def seen_by_imagej(
    imagej: Callable[[str, Path], list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, Any]]:
    """Return ImageJ's description of each of ``CASES``, and of an image with a ROI."""
    folder, fm = tmp_path_factory.mktemp("ours"), FileManager()
    for name, (array, options) in CASES.items():
        fm.save(array, folder / f"{name}.tif", backend="disk", imagej=True, **options)
    overlay = {"Overlays": [encode_roi(ROI(Rectangle((2, 2), (3, 3)), "nucleus"))]}
    array = image((5, 7), "u1")
    fm.save(array, folder / "overlay.tif", backend="disk", imagej=True, metadata=overlay)
    return {line["file"].removesuffix(".tif"): line for line in imagej("images", folder)}


@pytest.mark.parametrize("name", CASES)
def test_imagej_has_the_same_pixels(
    seen_by_imagej: dict[str, dict[str, Any]], name: str
) -> None:
    array = CASES[name][0]
    found = np.array(seen_by_imagej[name]["pixels"])
    if "rgb" in name:
        array = array.astype(int) @ (1 << 16, 1 << 8, 1)
    np.testing.assert_array_equal(found, array.ravel())
    assert seen_by_imagej[name]["bits"] == (24 if "rgb" in name else 8 * array.itemsize)
    assert seen_by_imagej[name]["signed"] is (array.dtype == np.int16)


@pytest.mark.parametrize("name", CASES)
def test_imagej_has_the_same_axes(seen_by_imagej: dict[str, dict[str, Any]], name: str) -> None:
    array, options = CASES[name]
    default = {"cyx-8": "CYX", "no-options": "TZCYX"}.get(name, "ZYX"[-array.ndim :])
    axes = options.get("axes", default).upper()
    lengths = dict(zip(axes, array.shape, strict=True))
    assert seen_by_imagej[name]["dimensions"] == [lengths.get(axis, 1) for axis in "TZCYX"]


def test_imagej_has_the_calibration(seen_by_imagej: dict[str, dict[str, Any]]) -> None:
    found = seen_by_imagej["tzcyx"]
    assert found["pixel"] == [1.5, 0.5, 0.25]
    assert found["unit"] == "µm"
    assert found["interval"] == 120  # seconds
    assert (seen_by_imagej["zyx"]["pixel"], seen_by_imagej["zyx"]["unit"]) == (
        [3, 0.5, 0.5],
        "nm",
    )
    assert (seen_by_imagej["big"]["pixel"], seen_by_imagej["big"]["unit"]) == (
        [1, 0.1, 0.1],
        "mm",
    )
    assert (seen_by_imagej["rgb"]["pixel"][1:], seen_by_imagej["rgb"]["unit"]) == (
        [0.5, 0.5],
        "µm",
    )
    assert seen_by_imagej["resolution"]["pixel"] == [2, 0.5, 0.25]
    assert (seen_by_imagej["yx"]["pixel"], seen_by_imagej["yx"]["unit"]) == ([1, 1, 1], "pixel")
    assert seen_by_imagej["no-options"]["pixel"] == [1, 1, 1]
    assert (seen_by_imagej["units"]["pixel"], seen_by_imagej["units"]["unit"]) == (
        [2000, 500, 250],
        "nm",
    )


def test_imagej_has_the_colours(seen_by_imagej: dict[str, dict[str, Any]]) -> None:
    for name in ("tzcyx", "cyx-8"):
        assert seen_by_imagej[name]["composite"] is True
        assert seen_by_imagej[name]["mode"] == 1  # all channels at once
        assert seen_by_imagej[name]["colors"] == [0, 0, 255, 0, 255, 0]
        assert seen_by_imagej[name]["ranges"] == [10, 900, 20, 1800]
    assert seen_by_imagej["cyx-32"]["colors"] == [255, 0, 255, 0, 255, 0]
    assert seen_by_imagej["yx"]["colors"] == seen_by_imagej["yx-8"]["colors"] == [0, 255, 0]
    assert seen_by_imagej["zyx"]["colors"] == [255, 255, 255]


def test_imagej_has_the_ranges(seen_by_imagej: dict[str, dict[str, Any]]) -> None:
    assert seen_by_imagej["tyx"]["ranges"] == [3, 99]
    assert seen_by_imagej["yx-32"]["ranges"] == [-0.5, 0.5]
    assert seen_by_imagej["yx"]["ranges"] == [20, 1800]


def test_imagej_has_the_labels(seen_by_imagej: dict[str, dict[str, Any]]) -> None:
    assert seen_by_imagej["tzcyx"]["labels"] == "DAPI|GFP|" * 6
    assert seen_by_imagej["cyx-32"]["labels"] == "one|two|"


def test_imagej_has_the_overlay(seen_by_imagej: dict[str, dict[str, Any]]) -> None:
    assert seen_by_imagej["overlay"]["overlay"] == 1


def test_described_metadata_saves_the_same_file(tmp_path: Path) -> None:
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


# ── files of ImageJ ───────────────────────────────────────────────────────────────────────


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
    imagej_files: Path, name: str, axes: str, shape: tuple[int, ...], dtype: str
) -> None:
    fm, path = FileManager(), imagej_files / f"{name}.tif"
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
def test_colour_of_one_channel_is_described(imagej_files: Path, name: str) -> None:
    found = FileManager().info(imagej_files / f"{name}.tif", backend="disk").metadata
    assert [channel["color"] for channel in found["channels"]] == ["00FF00"]


def test_channels_of_imagej_are_described(imagej_files: Path) -> None:
    fm = FileManager()
    found = fm.info(imagej_files / "composite-16.tif", backend="disk").metadata
    assert found["mode"] == "composite"
    assert found["channels"] == [
        {"color": "00FF00", "window": {"start": 10, "end": 100}},
        {"color": "FF00FF", "window": {"start": 20, "end": 200}},
    ]
    assert found["plane_labels"] == [f"slice {i + 1}" for i in range(12)]
    found = fm.info(imagej_files / "gray-32.tif", backend="disk").metadata
    assert found["channels"] == [{"window": {"start": 5, "end": 50}}]


def test_overlays_of_imagej_are_described(imagej_files: Path) -> None:
    found = FileManager().info(imagej_files / "time-16.tif", backend="disk").metadata
    (content,) = found["overlays"]
    roi = decode_roi(base64.b64decode(content))
    assert (roi.name, roi.shape) == ("overlaid", Rectangle((2.5, 2), (2, 3)))


# ── refused values ────────────────────────────────────────────────────────────────────────


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
def test_types_that_imagej_lacks_are_refused(tmp_path: Path, dtype: str, remedy: str) -> None:
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
def test_impossible_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        FileManager().save(
            image((3, 5, 7), "u2"),
            tmp_path / "a.tif",
            backend="disk",
            **{"imagej": True, **options},
        )
    assert not (tmp_path / "a.tif").exists()
