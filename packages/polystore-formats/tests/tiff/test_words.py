"""OME-TIFF, plain TIFF and ImageJ keep scale, units and channels, as other readers confirm."""

from __future__ import annotations

import io
from typing import Any

import pytest

from polystore_core import FileManager, formats
from polystore_core.errors import (
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .files import (
    TIFF,
    assert_same,
    decode_tiff,
    encode_tiff,
    foreign,
    image,
    require,
    tifffile,
)

ome_types = require("ome_types")
OME: Any = formats().of("x.ome.tif")
STACK = image((2, 3, 16, 18))
WORDS = {
    "axes": "czyx",
    "scale": (1, 2.5, 0.325, 0.325),
    "units": "um",
    "channels": ["DAPI", {"label": "GFP", "color": "green"}],
}
EXPECTED = {
    "scale": [1.0, 2.5, 0.325, 0.325],
    "units": [None, "micrometer", "micrometer", "micrometer"],
    "channels": [{"label": "DAPI"}, {"label": "GFP", "color": "00FF00"}],
}


def save(array: Any, **options: Any) -> bytes:
    """Save as ``.ome.tif``."""
    file = io.BytesIO()
    OME.save(array, file, **options)
    return file.getvalue()


def read_metadata(data: bytes) -> dict[str, Any]:
    metadata: dict[str, Any] = TIFF.info(io.BytesIO(data))["metadata"]
    return metadata


def pixels_of(data: bytes) -> Any:
    """Return the pixels that ome-types reads. It also checks the document."""
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        return ome_types.from_xml(tif.ome_metadata, validate=True).images[0].pixels


# ── OME ──────────────────────────────────────────────────────────────────────────────────


def test_suffix_selects_ome() -> None:
    data = save(STACK, **WORDS)
    assert_same(decode_tiff(data), STACK)
    found = pixels_of(data)
    assert (found.size_c, found.size_z, found.size_y, found.size_x) == STACK.shape
    assert (found.physical_size_x, found.physical_size_z) == (0.325, 2.5)
    assert found.physical_size_x_unit.value == found.physical_size_z_unit.value == "µm"
    assert [channel.name for channel in found.channels] == ["DAPI", "GFP"]
    assert found.channels[1].color.as_rgb_tuple(alpha=False) == (0, 255, 0)
    assert read_metadata(data).items() >= EXPECTED.items()


def test_missing_colour_is_not_written() -> None:
    with tifffile.TiffFile(io.BytesIO(save(STACK, **WORDS))) as tif:
        assert tif.ome_metadata.count("Color=") == 1


@pytest.mark.parametrize("unit", ["nm", "um", "mm", "angstrom", "inch", "picometer"])
def test_units_come_back_from_ome(unit: str) -> None:
    data = save(STACK[0], axes="zyx", scale=(3, 0.1, 0.1), units=unit)
    assert read_metadata(data)["scale"] == [3.0, 0.1, 0.1]
    (found,) = set(read_metadata(data)["units"])
    xml_unit = pixels_of(data).physical_size_x_unit.value
    names = {"nm": "nanometer", "um": "micrometer", "mm": "millimeter"}
    assert found == names.get(unit, unit)
    assert xml_unit == {"um": "µm", "angstrom": "Å", "inch": "in", "picometer": "pm"}.get(
        unit, unit
    )


def test_interval_of_frames_comes_back() -> None:
    scale, units = {"t": 1.5, "y": 2, "x": 2}, {"t": "min", "y": "nm", "x": "nm"}
    data = save(STACK[0], axes="tyx", scale=scale, units=units)
    found = pixels_of(data)
    assert (found.time_increment, found.time_increment_unit.value) == (1.5, "min")
    assert read_metadata(data)["scale"] == [1.5, 2.0, 2.0]
    assert read_metadata(data)["units"] == ["minute", "nanometer", "nanometer"]


def test_missing_size_stays_unknown() -> None:
    data = save(STACK[0], axes="zyx", scale={"y": 0.3, "x": 0.3}, units="um")
    assert pixels_of(data).physical_size_z is None
    assert read_metadata(data)["scale"] == [1.0, 0.3, 0.3]
    assert read_metadata(data)["units"] == [None, "micrometer", "micrometer"]
    assert "scale" not in read_metadata(save(STACK[0]))


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((9, 8), {}, "YX"),
        ((57, 9, 8), {}, "ZYX"),
        ((2, 9, 8), {"channels": ["a", "b"]}, "CYX"),
        ((9, 8, 3), {}, "YXS"),
        ((5, 9, 8, 3), {}, "ZYXS"),
        ((3, 9, 8), {"photometric": "rgb"}, "SYX"),
        ((2, 3, 9, 8), {"axes": ["t", "c", "y", "x"]}, "TCYX"),
    ],
)
def test_axes_are_written(shape: tuple[int, ...], options: dict[str, Any], axes: str) -> None:
    data = save(image(shape, "u1"), **options)
    assert_same(decode_tiff(data), image(shape, "|u1"))
    assert read_metadata(data)["axes"] == axes
    assert pixels_of(data) is not None


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 9, 8), "ZYX"),
        ((1, 1, 9, 8), "TCYX"),
        ((3, 1, 9, 8), "TCYX"),
        ((1, 2, 1, 1, 8), "TCZYX"),
        ((1, 1, 9, 8, 3), "TZYXS"),
        ((2, 1, 3, 9, 8), "CTZYX"),
    ],
)
def test_axes_of_length_1_come_back(
    shape: tuple[int, ...], axes: str, options: dict[str, Any]
) -> None:
    array = image(shape, "u1")
    data = save(array, axes=axes, scale={"y": 2, "x": 3}, units="nm", **options)
    assert_same(decode_tiff(data), array)
    assert_same(decode_tiff(data, region=(0, ..., slice(1))), array[0, ..., :1])
    assert (read_metadata(data)["axes"], read_metadata(data)["levels"]) == (axes, [shape])
    assert len(read_metadata(data)["scale"]) == len(shape)
    found = pixels_of(data)
    sizes = [getattr(found, f"size_{axis.lower()}") for axis in axes if axis != "S"]
    assert sizes == list(shape[: len(sizes)])
    assert_same(tifffile.imread(io.BytesIO(data)).reshape(shape), array)


def test_samples_of_a_pixel_are_one_channel() -> None:
    rgb = image((9, 8, 3), "u1")
    data = save(rgb, scale=(0.5, 0.5), units="um", channels=["H&E"])
    assert read_metadata(data)["scale"] == [0.5, 0.5, 1.0]
    assert read_metadata(data)["channels"] == [{"label": "H&E"}]
    assert pixels_of(data).channels[0].samples_per_pixel == 3


def test_ome_can_be_switched_off() -> None:
    assert read_metadata(save(STACK, ome=False))["kind"] == "shaped"
    assert read_metadata(save(STACK, ome=False, imagej=True))["kind"] == "imagej"
    assert read_metadata(encode_tiff(STACK, ome=True, axes="czyx"))["kind"] == "ome"


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"axes": None}, "such as 'tzcyx'"),
        ({"axes": "qzyx"}, "some of t, c, z, y, x"),
        ({"scale": (1, 2)}, "scale"),
        ({"channels": ["a"]}, "1 entry, but axis c has length 2"),
        ({"contrast_limits": (0, 1)}, "imagej=True"),
        ({"imagej": True}, "ome=False"),
        ({"description": "text"}, "ome=False"),
        ({"resolution": (1, 1)}, "either resolution="),
    ],
    ids=str,
)
def test_impossible_options_of_ome_are_refused(options: dict[str, Any], advice: str) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidOptionError, match=advice):
        OME.save(STACK, file, **{**WORDS, **options})
    assert not file.getvalue()


@pytest.mark.parametrize("dtype", ["u8", "i8", "f2"])
def test_types_that_ome_lacks_are_refused(dtype: str) -> None:
    with pytest.raises(UnsupportedDataError, match="ome=False"):
        save(STACK.astype(dtype), axes="czyx")


def ome_xml(pixels: str, channel: str = "") -> bytes:
    """Return a file of another program with these attributes."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="18" SizeY="16" '
        f'SizeZ="1" SizeC="1" SizeT="3" {pixels}><Channel ID="Channel:0:0" {channel}/>'
        '<TiffData IFD="0" PlaneCount="3"/></Pixels></Image></OME>'
    )
    return foreign(STACK[0], description=xml.encode(), metadata=None)


@pytest.mark.parametrize(
    ("pixels", "scale", "units"),
    [
        ('PhysicalSizeX="0.3"', [1, 1, 0.3], [None, None, "micrometer"]),
        (
            'PhysicalSizeX="3" PhysicalSizeXUnit="nm" PhysicalSizeY="4" TimeIncrement="7"',
            [7, 4, 3],
            ["second", "micrometer", "nanometer"],
        ),
        (
            'PhysicalSizeX="3" PhysicalSizeXUnit="\u03bcm" PhysicalSizeY="0"',
            [1, 1, 3],
            [None, None, "micrometer"],
        ),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', None, None),
        ('PhysicalSizeX="nan" PhysicalSizeY="-1" TimeIncrement=""', None, None),
        ("", None, None),
    ],
)
def test_pixel_sizes_of_other_programs_load(pixels: str, scale: Any, units: Any) -> None:
    data = ome_xml(pixels)
    assert_same(decode_tiff(data), STACK[0])
    assert (read_metadata(data).get("scale"), read_metadata(data).get("units")) == (
        scale,
        units,
    )


@pytest.mark.parametrize(
    ("attributes", "channels"),
    [
        ('Name="DAPI" Color="-1"', [{"label": "DAPI", "color": "FFFFFF"}]),
        ('Color="65535"', [{"label": "", "color": "0000FF"}]),
        ('Color="-16776961"', [{"label": "", "color": "FF0000"}]),
        ('Color="16711935"', [{"label": "", "color": "00FF00"}]),
        (f'Color="{"9" * 5000}" Name="a"', [{"label": "a"}]),
        ('Color="red" Name="a"', [{"label": "a"}]),
        ("", None),
    ],
)
def test_channels_of_other_programs_load(attributes: str, channels: Any) -> None:
    assert read_metadata(ome_xml("", attributes)).get("channels") == channels


# ── plain and ImageJ ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("packed", [{}, {"compression": "zlib", "description": "day 3"}])
def test_plain_files_keep_metadata(packed: dict[str, Any]) -> None:
    window = {"min": 0.0, "max": 4095.0, "start": 3.0, "end": 90.0}
    channels = [{"label": "a", "window": window}, "b"]
    data = encode_tiff(STACK, **{**WORDS, "channels": channels}, **packed)
    assert_same(decode_tiff(data), STACK)
    found = read_metadata(data)
    assert found["kind"] == "shaped"
    assert (found["scale"], found["units"]) == (EXPECTED["scale"], EXPECTED["units"])
    assert found["channels"] == [{"label": "a", "window": window}, {"label": "b"}]
    assert found["resolution_unit"] == "cm"
    assert found["resolution"] == pytest.approx((1e4 / 0.325,) * 2, rel=1e-9)


def test_metadata_comes_back_from_each_kind(tmp_path: Any) -> None:
    fm, found = FileManager(), []
    for number, options in enumerate(({}, {"ome": True}, {"imagej": True, "axes": "zcyx"})):
        path = tmp_path / f"{number}.tif"
        order = options.get("axes", "czyx")
        array = STACK.transpose([WORDS["axes"].index(axis) for axis in order])
        scale = dict(zip("zyx", (2.5, 0.25, 0.25), strict=True))
        fm.save(array, path, "disk", **{**WORDS, "scale": scale, **options})
        about = fm.info(path, "disk").metadata
        pairs = zip(about["scale"], about["units"], strict=True)
        sizes = dict(zip(about["axes"], pairs, strict=True))
        found.append((sizes, [channel["label"] for channel in about["channels"]]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("unit", ["inch", "cm"])
def test_resolution_of_a_printer_is_not_a_pixel_size(unit: str) -> None:
    of_tifffile = {"inch": 2, "cm": 3}[unit]
    for options in ({}, {"metadata": None}, {"imagej": True}, {"ome": True}):
        data = foreign(STACK[0], resolution=(72, 72), resolutionunit=of_tifffile, **options)
        assert "scale" not in read_metadata(data)
        assert read_metadata(data)["resolution"] == (72, 72)
    data = foreign(
        STACK[0], resolution=(72, 72), resolutionunit=of_tifffile, imagej=True,
        metadata={"unit": unit},
    )  # fmt: skip
    assert read_metadata(data)["scale"][1:] == [1 / 72, 1 / 72]
    assert read_metadata(data)["units"][1:] == [{"cm": "centimeter"}.get(unit, unit)] * 2


@pytest.mark.parametrize(
    "metadata",
    [
        {"scale": [1, 2]},
        {"scale": "large", "axes": "ZYX"},
        {"scale": [0, 0, 0], "axes": "ZYX"},
        {"channels": 3, "axes": "ZYX"},
        {"units": {"x": "um"}, "axes": "ZYX"},
        {"scale": [1, 2, 3], "axes": "QYX"},
    ],
)
def test_wrong_metadata_in_json_is_ignored(metadata: dict[str, Any]) -> None:
    data = foreign(STACK[0], metadata=metadata)
    assert_same(decode_tiff(data), STACK[0])
    assert read_metadata(data).keys().isdisjoint(("scale", "units", "channels"))


@pytest.mark.parametrize("axes", ["zyx", "ZYX", ["z", "y", "x"]])
def test_axes_in_upper_and_lower_case(axes: Any) -> None:
    for options in ({}, {"imagej": True}, {"ome": True}):
        assert read_metadata(encode_tiff(STACK[0], axes=axes, **options))["axes"] == "ZYX"


# ── suffixes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("suffix", "kind", "version"),
    [
        ("tif", "shaped", 42),
        ("ome.tif", "ome", 42),
        ("OME.TIFF", "ome", 42),
        ("btf", "shaped", 43),
        ("tf8", "shaped", 43),
        ("ome.btf", "ome", 43),
        ("ome.tf8", "ome", 43),
    ],
)
def test_suffixes_select_a_kind_of_tiff(
    tmp_path: Any, suffix: str, kind: str, version: int
) -> None:
    fm, path = FileManager(), tmp_path / f"a.{suffix}"
    fm.save(STACK[0], path, "disk")
    assert fm.info(path, "disk").metadata["kind"] == kind
    assert path.read_bytes()[2] == version
    assert_same(fm.load(path, "disk"), STACK[0])
    assert_same(tifffile.imread(path), STACK[0])


@pytest.mark.parametrize("suffix", ["lsm", "stk", "svs", "qptiff"])
def test_suffixes_of_microscopes_are_read_only(tmp_path: Any, suffix: str) -> None:
    fm, path = FileManager(), tmp_path / f"a.{suffix}"
    path.write_bytes(foreign(STACK[0]))
    assert_same(fm.load(path, "disk"), STACK[0])
    with pytest.raises(UnsupportedOperationError, match="save it as"):
        fm.save(STACK[0], path, "disk")
    assert_same(fm.load(path, "disk"), STACK[0])
