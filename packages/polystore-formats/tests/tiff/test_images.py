"""Images keep their metadata in each kind of TIFF, and other programs read standard fields."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import (
    Axis,
    Channel,
    FileManager,
    Image,
    ImageMetadata,
    Opener,
    Position,
    formats,
)
from polystore_core.errors import DataError, InvalidOptionError, UnsupportedMetadataError

from .files import (
    REAL,
    SHAPES,
    TIFF,
    assert_same,
    encode_tiff,
    foreign,
    image,
    require,
    special,
    tifffile,
)

ome_types = require("ome_types")
OME: Any = formats().of("x.ome.tif")
KINDS = {"plain": (TIFF, {}), "ome": (OME, {}), "imagej": (TIFF, {"imagej": True})}
STACK = image((2, 3, 2, 8, 9))
RICH = ImageMetadata(
    axes=(
        Axis("t", "time", "minute", 2.0),
        Axis("z", "space", "nanometer", 300.0, -5.5),
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.325, 12.0),
        Axis("x", "space", "micrometer", 0.3251),
    ),
    channels=(
        Channel(
            name="DAPI",
            color="0000FF",
            limits=(3.0, 400.5),
            data_range=(0.0, 4095.0),
            gamma=0.7,
            excitation_nm=405.0,
            emission_nm=461.5,
            fluorophore="DAPI",
        ),
        Channel(name='G<&">FP', visible=False, inverted=True),
    ),
    name="scan µ 1",
    bits=12,
    position=Position(name="A", x=1.5, y=2.5, z=-3.25, unit="millimeter", row="A", column="1"),
    acquired=datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
)


def encode_image(value: Any, kind: str = "plain", **options: Any) -> bytes:
    file = io.BytesIO()
    chosen, of_kind = KINDS[kind]
    chosen.save(value, file, **of_kind, **options)
    return file.getvalue()


def load_image(data: bytes, **options: Any) -> Image:
    found: Image = TIFF.load_image(io.BytesIO(data), **options)
    return found


# ── saved and loaded ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_all_metadata_comes_back(kind: str) -> None:
    data = encode_image(Image(STACK, RICH), kind)
    found = load_image(data)
    assert_same(found.data, STACK)
    assert found.metadata == RICH
    assert TIFF.info(io.BytesIO(data))["image"] == RICH
    with TIFF.open(Opener(lambda _: io.BytesIO(data), "a.tif")) as handle:
        assert handle.image == RICH
    part = load_image(data, region=np.s_[1, 1:, 0])
    assert_same(part.data, STACK[1, 1:, 0])
    assert part.metadata == RICH.select(np.s_[1, 1:, 0], STACK.shape)
    assert load_image(encode_image(found, kind)).metadata == RICH


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=9)
NUMBER = st.floats(-1e6, 1e6)
SIZE = st.floats(1e-6, 1e6)
RANGE = st.tuples(st.floats(-1e6, 0), st.floats(0, 1e6))
SPACE = st.sampled_from(["micrometer", "nanometer", "angstrom", "inch", "yottameter"])
TIME = st.sampled_from(["second", "minute", "day", "yoctosecond"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def axes(draw: st.DrawFn, name: str, length: int, kind: str, unit: Any) -> Axis:
    found = Axis(name, kind, draw(maybe(unit)), draw(maybe(SIZE)), draw(maybe(NUMBER)))
    if found.scale == 1 and found.unit is None:
        found = replace(found, scale=None)
    coords = st.lists(NUMBER, min_size=length, max_size=length).map(tuple)
    return replace(found, coords=draw(maybe(coords))) if name in "tz" else found


CHANNELS = st.builds(
    Channel,
    name=TEXT,
    color=maybe(st.from_regex("[0-9A-F]{6}", fullmatch=True)),
    limits=maybe(RANGE),
    data_range=maybe(RANGE),
    visible=st.booleans(),
    gamma=SIZE,
    inverted=st.booleans(),
    excitation_nm=maybe(SIZE),
    emission_nm=maybe(SIZE),
    fluorophore=maybe(TEXT.filter(bool)),
)
POSITIONS = st.builds(
    Position,
    name=TEXT,
    x=maybe(NUMBER),
    y=maybe(NUMBER),
    z=maybe(NUMBER),
    unit=maybe(SPACE),
    row=maybe(TEXT),
    column=maybe(TEXT),
    field=maybe(TEXT),
)
WORDS = st.builds(
    ImageMetadata,
    axes=st.tuples(
        axes("t", 2, "time", TIME),
        axes("z", 3, "space", SPACE),
        st.just(Axis("c", "channel")),
        axes("y", 8, "space", SPACE),
        axes("x", 9, "space", SPACE),
    ),
    channels=st.just(()) | st.tuples(CHANNELS, CHANNELS),
    name=TEXT,
    kind=st.sampled_from(["intensity", "labels"]),
    bits=maybe(st.integers(1, 16)),
    position=maybe(POSITIONS),
    acquired=maybe(st.datetimes(timezones=st.sampled_from([None, UTC]))),
)


@pytest.mark.parametrize("kind", KINDS)
@given(words=WORDS)
def test_any_metadata_comes_back(kind: str, words: ImageMetadata) -> None:
    assert load_image(encode_image(Image(STACK, words), kind)).metadata == words


@pytest.mark.parametrize(("shape", "names"), [((8, 9), "yx"), ((8, 9, 3), "yxs")])
@pytest.mark.parametrize("kind", KINDS)
def test_one_channel_comes_back(kind: str, shape: tuple[int, ...], names: str) -> None:
    channels = [{"name": "H&E", "color": "red", "limits": (3, 9)}]
    scale = {"y": 0.5, "x": 0.25}
    value = Image.of(image(shape, "u1"), axes=names, scale=scale, units="um", channels=channels)
    found = load_image(encode_image(value, kind))
    assert_same(found.data, value.data)
    assert found.metadata == value.metadata


@pytest.mark.parametrize("kind", KINDS)
def test_options_replace_metadata(kind: str) -> None:
    options = {"scale": {"z": 7}, "units": {"z": "um"}, "channels": ["a", "b"]}
    found = load_image(encode_image(Image(STACK, RICH), kind, **options)).metadata
    assert found.channels == (Channel(name="a"), Channel(name="b"))
    assert found.axes[1] == Axis("z", "space", "micrometer", 7.0, -5.5)
    assert (found.axes[3], found.name, found.bits) == (RICH.axes[3], RICH.name, RICH.bits)


def test_dataarray_comes_back(tmp_path: Any) -> None:
    xarray = require("xarray")
    coords = {"z": 0.5 * np.arange(3), "c": ["DAPI", "GFP"]}
    value = xarray.DataArray(STACK[0], coords, ("z", "c", "y", "x"), name="n")
    value.z.attrs["units"] = "micrometer"
    fm = FileManager()
    for name in ("a.tif", "a.ome.tif"):
        fm.save(value, tmp_path / name, "disk")
        found = fm.load(tmp_path / name, "disk", as_="image")
        assert (found.axes, found.name) == (("z", "c", "y", "x"), "n")
        assert found.metadata.axes[0] == Axis("z", "space", "micrometer", 0.5, 0.0)
        assert [channel.name for channel in found.channels] == ["DAPI", "GFP"]
        again = fm.load(tmp_path / name, "disk", as_="xarray")
        xarray.testing.assert_identical(again.z, value.z)


# ── orders of axes ────────────────────────────────────────────────────────────────────────


def test_order_that_a_kind_lacks_is_refused() -> None:
    value = Image(STACK[0], RICH.select(0, STACK.shape))
    with pytest.raises(DataError, match=r"image.transpose\('czyx'\)"):
        encode_image(value.transpose("cyzx"), "ome")
    turned = value.transpose("cyzx")
    assert load_image(encode_image(turned)).metadata == turned.metadata
    assert_same(load_image(encode_image(turned)).data, turned.data)


def test_imagej_has_its_own_order() -> None:
    """The axes of an image have names, so it is transposed. An array without them is refused."""
    value = Image(STACK[0], RICH.select(0, STACK.shape)).transpose("czyx")
    found = load_image(encode_image(value, "imagej"))
    assert found.axes == ("z", "c", "y", "x")
    assert found.transpose("czyx").metadata == value.metadata
    assert_same(np.ascontiguousarray(found.transpose("czyx").data), value.data.copy())
    with pytest.raises(InvalidOptionError, match=r"image.transpose\('zcyx'\)"):
        encode_image(value.data, "imagej", axes="czyx")


def test_arrays_get_default_axes() -> None:
    for shape in SHAPES:
        found = load_image(encode_tiff(image(shape, "f4")))
        again = load_image(encode_image(found))
        assert_same(again.data, found.data)
        assert again.metadata == found.metadata
        assert TIFF.info(io.BytesIO(encode_tiff(image(shape, "f4"))))["image"] == found.metadata


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (encode_tiff(image((5, 9, 8))), "qyx"),
        (encode_tiff(image((9, 8))), "yx"),
        (encode_tiff(image((9, 8, 3), "u1")), "yxs"),
        (encode_tiff(image((9, 8, 3), "f4")), "yxc"),
        (encode_tiff(image((3, 9, 8), "u1"), photometric="rgb"), "syx"),
        (encode_tiff(image((5, 9, 8)), axes="TYX"), "tyx"),
        (foreign(image((5, 9, 8)), metadata=None), "iyx"),
        (foreign(image((9, 8, 3), "u1"), metadata=None, photometric="rgb"), "yxs"),
        (foreign(image((9, 8, 2), "u1"), metadata=None, planarconfig="contig"), "yxc"),
        (foreign(image((5, 9, 8)), imagej=True, metadata={"axes": "TYX"}), "tyx"),
    ],
)
def test_axes_are_those_of_the_file(data: bytes, names: str) -> None:
    found = load_image(data)
    assert "".join(found.axes) == names
    assert not found.metadata.words()
    assert TIFF.info(io.BytesIO(data))["image"] == found.metadata
    kinds = {"q": None, "i": None}
    assert [axis.type for axis in found.metadata.axes if axis.name in kinds] == [None] * len(
        set(names) & kinds.keys()
    )


# ── other readers ─────────────────────────────────────────────────────────────────────────


def test_ome_has_standard_fields() -> None:
    with tifffile.TiffFile(io.BytesIO(encode_image(Image(STACK, RICH), "ome"))) as tif:
        found = ome_types.from_xml(tif.ome_metadata, validate=True).images[0]
    pixels, (dapi, gfp) = found.pixels, found.pixels.channels
    assert (found.name, found.acquisition_date) == (RICH.name, RICH.acquired)
    assert (pixels.significant_bits, pixels.time_increment) == (12, 2.0)
    assert (pixels.time_increment_unit.value, pixels.physical_size_z_unit.value) == (
        "min",
        "nm",
    )
    assert (pixels.physical_size_z, pixels.physical_size_y) == (300.0, 0.325)
    assert (dapi.name, gfp.name, dapi.fluor) == ("DAPI", 'G<&">FP', "DAPI")
    assert (dapi.excitation_wavelength, dapi.emission_wavelength) == (405.0, 461.5)
    assert dapi.color.as_rgb_tuple(alpha=False) == (0, 0, 255)
    assert (pixels.planes[0].position_x, pixels.planes[0].position_z) == (1.5, -3.25)
    assert pixels.planes[0].position_x_unit.value == "mm"
    assert {plane.position_z for plane in pixels.planes if plane.the_z} == {None}


def test_tifffile_reads_fields_of_imagej() -> None:
    with tifffile.TiffFile(io.BytesIO(encode_image(Image(STACK, RICH), "imagej"))) as tif:
        found = tif.imagej_metadata
        x, y = tif.pages[0].resolution
    assert (1 / x, 1 / y) == pytest.approx((0.3251, 0.325), rel=1e-9)
    assert (found["unit"], found["spacing"], found["finterval"]) == ("um", 0.3, 120.0)
    assert found["yorigin"] == pytest.approx(-12 / 0.325)
    assert found["zorigin"] == pytest.approx(5.5 / 300)
    assert found["Labels"][:2] == ["DAPI", 'G<&">FP']
    assert found["Ranges"][:2] == (3.0, 400.5)
    assert [lut[:, -1].tolist() for lut in found["LUTs"]] == [[0, 0, 255], [0, 255, 0]]


def test_uneven_times_are_those_of_planes() -> None:
    axes = (replace(RICH.axes[0], coords=(0.5, 3.0), scale=None), *RICH.axes[1:])
    three = (Axis("t", "time", "second", coords=(0.5, 3.0, 4.0)), *RICH.axes[3:])
    data = encode_image(Image(STACK[0, :, 0], ImageMetadata(axes=three)), "ome")
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        planes = ome_types.from_xml(tif.ome_metadata, validate=True).images[0].pixels.planes
    assert [plane.delta_t for plane in planes] == [0.5, 3.0, 4.0]
    assert load_image(data).metadata.axes == three
    words = ImageMetadata(axes=axes)
    assert load_image(encode_image(Image(STACK, words), "ome")).metadata == words


# ── files of other programs ───────────────────────────────────────────────────────────────


def test_changes_of_other_programs_win() -> None:
    with tifffile.TiffFile(io.BytesIO(encode_image(Image(STACK, RICH), "ome"))) as tif:
        xml = tif.ome_metadata
    for old, new in (('Name="DAPI"', 'Name="Hoechst"'), ('SizeY="0.325"', 'SizeY="7"')):
        assert old in xml
        xml = xml.replace(old, new)
    found = load_image(foreign(STACK, description=xml.encode(), metadata=None)).metadata
    assert found.channels[0].name == "Hoechst"
    assert found.channels[0].limits == RICH.channels[0].limits
    assert found.axes[3] == Axis("y", "space", "micrometer", 7.0)
    assert found.axes[4] == RICH.axes[4]


def xml_image(pixels: str = "", channel: str = "", planes: str = "") -> ImageMetadata:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="9" SizeY="8" '
        f'SizeZ="1" SizeC="1" SizeT="3" {pixels}><Channel ID="Channel:0:0" {channel}/>'
        f'<TiffData IFD="0" PlaneCount="3"/>{planes}</Pixels></Image></OME>'
    )
    data = foreign(STACK[0, :, 0], description=xml.encode(), metadata=None)
    found = load_image(data).metadata
    assert found.source == {"ome-xml": xml}
    return found


def times(*values: float, unit: str = "s") -> str:
    return "".join(
        f'<Plane TheC="0" TheZ="0" TheT="{t}" DeltaT="{value}" DeltaTUnit="{unit}"/>'
        for t, value in enumerate(values)
    )


@pytest.mark.parametrize(
    ("parts", "t"),
    [
        ({"pixels": 'TimeIncrement="5"'}, Axis("t", "time", "second", 5.0)),
        ({"planes": times(0, 2, 4)}, Axis("t", "time", "second", 2.0)),
        ({"planes": times(1, 3, 5, unit="ms")}, Axis("t", "time", "millisecond", 2.0, 1.0)),
        ({"planes": times(0, 2, 7)}, Axis("t", "time", "second", coords=(0.0, 2.0, 7.0))),
        ({"planes": times(0, 2)}, Axis("t", "time")),
        (
            {"pixels": 'TimeIncrement="2" TimeIncrementUnit="ms"', "planes": times(0, 2, 7)},
            Axis("t", "time", "millisecond", 2.0, coords=(0.0, 2000.0, 7000.0)),
        ),
    ],
)
def test_times_of_other_programs_load(parts: dict[str, str], t: Axis) -> None:
    assert xml_image(**parts).axes[0] == t


def test_other_metadata_of_other_programs_loads() -> None:
    found = xml_image(
        'SignificantBits="12"',
        'Color="16711680" EmissionWavelength="0.52" EmissionWavelengthUnit="\u03bcm" Fluor="F"',
        '<Plane TheC="0" TheZ="0" TheT="0" PositionX="2" PositionXUnit="mm" PositionY="500" '
        'PositionYUnit="µm" PositionZ="nan"/>',
    )
    assert found.bits == 12
    assert found.channels == (Channel(color="00FF00", emission_nm=520.0, fluorophore="F"),)
    assert found.position == Position(x=2.0, y=0.5, unit="millimeter")
    assert xml_image('SignificantBits="0"', "", '<Plane PositionX="1"/>').position == Position(
        x=1.0
    )


def test_image_of_imagej_loads() -> None:
    fields = {
        "unit": "\\u00B5m",
        "xorigin": 4.0,
        "spacing": -2.0,
        "zunit": "nm",
        "finterval": 3,
    }
    data = foreign(STACK, imagej=True, resolution=(2, 4), metadata={"axes": "TZCYX", **fields})
    found = load_image(data).metadata
    assert found.axes == (
        Axis("t", "time", "second", 3.0),
        Axis("z", "space", "nanometer", 2.0),
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.25),
        Axis("x", "space", "micrometer", 0.5, -2.0),
    )
    assert found.source["imagej"].startswith("ImageJ=")


@pytest.mark.parametrize(
    ("dtype", "limits", "expected"),
    [
        ("u2", (0, 65535), None),
        ("i2", (-32768, 32767), None),
        ("u1", (0, 255), (0.0, 255.0)),
        ("u2", (0, 4095), (0.0, 4095.0)),
        ("f4", (0, 65535), (0.0, 65535.0)),
    ],
)
def test_limits_of_the_whole_type_are_none(dtype: str, limits: Any, expected: Any) -> None:
    value = Image.of(image((8, 9), dtype), channels=[{"name": "a", "limits": limits}])
    for kind in KINDS:
        assert load_image(encode_image(value, kind)).channels[0].limits == expected


@pytest.mark.parametrize(
    "noted", ["[]", '{"axes": 3, "channels": [1], "chosen": [2]}', "{", "9" * 5000]
)
def test_wrong_document_is_ignored(noted: str) -> None:
    data = foreign(STACK[0, :, 0], imagej=True, metadata={"axes": "ZYX", "polystore": noted})
    assert not load_image(data).metadata.words()
    data = foreign(STACK[0, :, 0], metadata={"axes": "ZYX", "polystore": noted})
    assert not load_image(data).metadata.words()
    note = {"Namespace": "polystore", "Value": {"image": noted}}
    data = foreign(STACK[0, :, 0], ome=True, metadata={"axes": "ZYX", "MapAnnotation": note})
    assert load_image(data).metadata.words() == {"name"}


# ── levels and series ────────────────────────────────────────────────────────────────────


def test_levels_and_series_load() -> None:
    def write(writer: Any) -> None:
        words = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "nm", "Name": "one"}
        plain = {"photometric": "minisblack"}
        writer.write(image((3, 64, 33)), subifds=1, metadata=words, **plain)
        writer.write(image((3, 32, 16)), subfiletype=1, **plain)
        writer.write(image((9, 8)), metadata={"axes": "YX", "Name": "two"}, **plain)

    data = special(write, ome=True)
    whole, half = load_image(data), load_image(data, level=-1)
    assert (whole.name, half.name) == ("one", "one")
    assert (whole.scale, half.scale) == ((None, None, 0.5), (None, None, 1.0))
    assert half.shape == (3, 32, 16)
    other = load_image(data, series=1)
    assert (other.axes, other.name, other.shape) == (("y", "x"), "two", (9, 8))
    with TIFF.open(Opener(lambda _: io.BytesIO(data), "a.tif"), level=1) as handle:
        assert handle.image == half.metadata


def test_real_images_have_only_axes() -> None:
    path = REAL / "fly-3channel" / "01_POS002_D.TIF"
    if not path.is_file():
        pytest.skip(f"data: the real images of fly-3channel are not in {REAL}")
    found = FileManager().load(path, "disk", as_="image")
    assert found.axes[-2:] == ("y", "x") or found.axes[-1] == "s"
    assert not {"scale", "unit"} & found.metadata.words()


# ── formats without metadata ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 2), (8, 9, 3), (8, 9, 4)])
def test_axes_of_pictures_are_known(tmp_path: Any, shape: tuple[int, ...]) -> None:
    fm = FileManager()
    fm.save(image(shape, "u1"), tmp_path / "a.png", "disk")
    found = fm.load(tmp_path / "a.png", "disk", as_="image")
    assert found.axes == {2: ("y", "x", "c")}.get(shape[-1], ("y", "x", "s")[: len(shape)])
    for name in ("b.png", "b.tif"):
        fm.save(found, tmp_path / name, "disk")
        again = fm.load(tmp_path / name, "disk", as_="image")
        assert again.metadata == found.metadata
        assert_same(again.data, found.data)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.npy"])
def test_metadata_is_refused_without_a_place(tmp_path: Any, name: str) -> None:
    scaled = Image.of(image((8, 9), "u1"), scale=(2, 2), units="um")
    for value in (scaled, Image.of(image((3, 8, 9), "u1"), axes="zyx")):
        with pytest.raises(UnsupportedMetadataError, match="axes"):
            FileManager().save(value, tmp_path / name, "disk")
    assert not list(tmp_path.iterdir())
