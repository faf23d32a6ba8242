"""The tables of docs/images.md are right about places, metadata and other programs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager, Image

from .image_places import TO, irregular, labels, scan

PAGE = Path(__file__).parent.parent / "docs/images.md"
PLACES = {
    "tiff": "TIFF",
    "imagej": "ImageJ TIFF",
    "ome-tiff": "OME-TIFF",
    "ome-zarr": "OME-Zarr 0.5",
    "ome-zarr-0.4": "OME-Zarr 0.4",
    "zarr": "Zarr array",
}
"""Names of the places that are files."""
WORDS = {
    "axes": "names of axes",
    "scale": "scale",
    "unit": "unit",
    "origin": "origin",
    "coords": "coords (irregular)",
    "channels.name": "channel: name",
    "channels.color": "channel: color",
    "channels.limits": "channel: limits",
    "channels.data_range": "channel: data_range",
    "channels.visible": "channel: visible",
    "channels.gamma": "channel: gamma",
    "channels.inverted": "channel: inverted",
    "channels.excitation_nm": "channel: excitation_nm",
    "channels.emission_nm": "channel: emission_nm",
    "channels.fluorophore": "channel: fluorophore",
    "name": "name",
    "kind": "kind (labels)",
    "bits": "bits",
    "position": "position",
    "acquired": "acquired",
}


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileManager]:
    monkeypatch.chdir(tmp_path)
    with BackendRegistry() as registry:
        yield FileManager(registry)


def table(name: str) -> str:
    """Return the table of the page that is called ``name``."""
    found = re.search(rf"<!-- table: {name} -->\n(.*?)\n\n", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, f"the page has no table {name}"
    return found[1]


def rows(header: list[str], cells: dict[str, list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([name, *row] for name, row in cells.items())]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


# ── metadata and places ───────────────────────────────────────────────────────────────────


def read_field(image: Image, word: str) -> Any:
    """Return the values of a field, for each axis or channel."""
    image = image.transpose(sorted(image.axes, key="tczyxs".index))
    owner, _, name = word.rpartition(".")
    if owner:
        return [getattr(channel, name) for channel in image.channels]
    if word in ("scale", "unit", "origin", "coords"):
        values = [getattr(a, word) for a in image.metadata.axes if a.type != "channel"]
        return [pytest.approx(v) if isinstance(v, float) else v for v in values]
    return image.axes if word == "axes" else getattr(image.metadata, word)


def hide_own_fields(folder: Path) -> None:
    """Rename the fields that only polystore reads, in every file, without changing sizes."""
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            path.write_bytes(content.replace(b"polystore", b"somebody_"))


def test_table_of_metadata_is_right(fm: FileManager, tmp_path: Path) -> None:
    """● marks places that other programs read, ○ those that only polystore reads."""
    cells: dict[str, list[str]] = {name: [] for name in WORDS.values()}
    made = {"coords": irregular(), "kind": labels()}
    for place in PLACES:
        backend, path, options = TO[place]
        held = {}
        for image in (irregular(), labels(), scan()):
            fm.save(image, path, backend, **options)
            whole = fm.load(path, backend, as_="image")
            hide_own_fields(tmp_path)
            standard = fm.load(path, backend, as_="image")
            for word in WORDS:
                source = made.get(word, scan())
                if source.metadata == image.metadata:
                    expected = read_field(source, word)
                    is_held = [
                        expected == read_field(found, word) for found in (whole, standard)
                    ]
                    held[word] = {(True, True): "●", (True, False): "○"}.get(
                        tuple(is_held), "–"
                    )
            fm.delete(path, backend)
        for word, name in WORDS.items():
            cells[name].append(held[word])
    assert rows(["", *PLACES.values()], cells) == table("words")


# ── writers and readers ──────────────────────────────────────────────────────────────────

SHAPE, AXES = (3, 2, 4, 32, 48), "tczyx"
SCALE = {"t": 30.0, "z": 2.0, "y": 0.325, "x": 0.325}
UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
NAMES = ["DAPI", "GFP"]
SHORT = {"µm": "micrometer", "um": "micrometer", "\\u00B5m": "micrometer", "s": "second"}
PIXELS = (np.arange(np.prod(SHAPE)) % 4096).reshape(SHAPE).astype(np.uint16)


def make_writer(place: str) -> Callable[[FileManager], str]:
    def write(fm: FileManager) -> str:
        backend, path, options = TO[place]
        fm.save(
            Image.of(PIXELS, axes=AXES, scale=SCALE, units=UNITS, channels=NAMES),
            path,
            backend,
            **options,
        )
        return path

    return write


def tifffile_imagej(fm: FileManager) -> str:
    import tifffile

    tifffile.imwrite(
        "scan.tif",
        PIXELS.transpose(0, 2, 1, 3, 4),
        imagej=True,
        resolution=(1 / 0.325, 1 / 0.325),
        metadata={"axes": "TZCYX", "spacing": 2.0, "unit": "um", "finterval": 30.0},
    )
    return "scan.tif"


def tifffile_ome(fm: FileManager) -> str:
    import tifffile

    sizes = {f"PhysicalSize{axis.upper()}": SCALE[axis] for axis in "zyx"}
    units = {f"PhysicalSize{axis.upper()}Unit": "µm" for axis in "zyx"}
    time = {"TimeIncrement": 30.0, "TimeIncrementUnit": "s"}
    metadata = {"axes": "TCZYX", "Channel": {"Name": NAMES}, **sizes, **units, **time}
    tifffile.imwrite("scan.ome.tif", PIXELS, metadata=metadata)
    return "scan.ome.tif"


def ome_types_ome(fm: FileManager) -> str:
    """Save pixels and the XML of ome-types, which omits units that are the default."""
    import tifffile
    from ome_types import OME, model

    t, c, z, y, x = SHAPE
    pixels = model.Pixels(
        dimension_order="XYZCT",
        type="uint16",
        size_t=t,
        size_c=c,
        size_z=z,
        size_y=y,
        size_x=x,
        physical_size_x=0.325,
        physical_size_y=0.325,
        physical_size_z=2.0,
        time_increment=30.0,
        channels=[model.Channel(name=name, samples_per_pixel=1) for name in NAMES],
        tiff_data_blocks=[model.TiffData(plane_count=t * c * z)],
    )
    xml = OME(images=[model.Image(pixels=pixels)]).to_xml().encode()
    tifffile.imwrite(
        "scan.ome.tif", PIXELS, description=xml, metadata=None, photometric="minisblack"
    )
    return "scan.ome.tif"


def ome_zarr_py(fm: FileManager) -> str:
    import zarr
    from ome_zarr.writer import write_image

    group = zarr.open_group("scan.ome.zarr", mode="w")
    write_image(
        PIXELS,
        group,
        axes=list(AXES),
        scale_factors=[2],
        scale=SCALE | {"c": 1.0},
        axes_units=UNITS,
    )
    window = {"min": 0, "max": 4095, "start": 0, "end": 4095}
    channels = [{"label": name, "color": "FFFFFF", "window": window} for name in NAMES]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": channels}}
    return "scan.ome.zarr"


WRITERS: dict[str, Callable[[FileManager], str]] = {
    **{f"polystore, {name}": make_writer(place) for place, name in PLACES.items()},
    "tifffile, ImageJ TIFF": tifffile_imagej,
    "tifffile, OME-TIFF": tifffile_ome,
    "ome-types, OME-TIFF": ome_types_ome,
    "ome-zarr-py, OME-Zarr 0.5": ome_zarr_py,
}


def read_with_polystore(path: str, fm: FileManager) -> dict[str, Any]:
    backend = "zarr" if ".zarr" in path else "disk"
    image = fm.load(path, backend, as_="image")
    assert np.array_equal(image.transpose(AXES), PIXELS)
    return {
        "axes": image.axes,
        "scale": dict(zip(image.axes, image.scale, strict=True)),
        "units": dict(zip(image.axes, image.units, strict=True)),
        "channels": [channel.name for channel in image.channels],
    }


def read_with_tifffile(path: str, fm: FileManager) -> dict[str, Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        found: dict[str, Any] = {"axes": file.series[0].axes.lower()}
        if (said := file.imagej_metadata) is not None:
            tags = file.pages[0].tags
            x, y = (tags[name].value for name in ("XResolution", "YResolution"))
            sizes = {"x": x[1] / x[0], "y": y[1] / y[0]}
            found["scale"] = sizes | {"z": said.get("spacing"), "t": said.get("finterval")}
            found["units"] = dict.fromkeys("zyx", said.get("unit")) | {"t": "s"}
            found["channels"] = [str(label) for label in said.get("Labels", [])]
    return found


def read_with_ome_types(path: str, fm: FileManager) -> dict[str, Any]:
    import ome_types

    pixels = ome_types.from_tiff(path).images[0].pixels
    return {
        "axes": [axis for axis in AXES if getattr(pixels, f"size_{axis}") > 1],
        "scale": {axis: getattr(pixels, f"physical_size_{axis}") for axis in "zyx"}
        | {"t": pixels.time_increment},
        "units": {axis: getattr(pixels, f"physical_size_{axis}_unit").value for axis in "zyx"}
        | {"t": pixels.time_increment_unit.value},
        "channels": [channel.name for channel in pixels.channels],
    }


def read_with_ome_zarr_models(path: str, fm: FileManager) -> dict[str, Any]:
    import ome_zarr_models
    import zarr

    attributes = ome_zarr_models.open_ome_zarr(zarr.open_group(path, mode="r")).ome_attributes
    first = attributes.multiscales[0]
    names = [axis.name for axis in first.axes]
    omero = attributes.omero
    omero = omero if isinstance(omero, dict) else omero.model_dump()
    scale = first.datasets[0].coordinateTransformations[0].scale
    return {
        "axes": names,
        "scale": dict(zip(names, scale, strict=True)),
        "units": {axis.name: axis.unit for axis in first.axes},
        "channels": [channel["label"] for channel in omero["channels"]],
    }


def read_with_bioio(path: str, fm: FileManager) -> dict[str, Any]:
    """Read with the plugin that bioio itself uses for the name of the file."""
    ends = {".ome.zarr": "bioio_ome_zarr", ".ome.tif": "bioio_ome_tiff", "": "bioio_tifffile"}
    plugin = next(plugin for end, plugin in ends.items() if path.endswith(end))
    reader = importlib.import_module(plugin).Reader(path)
    assert np.array_equal(reader.get_image_data(AXES.upper()), PIXELS)
    sizes = reader.scale
    properties = reader.dimension_properties
    return {
        "axes": reader.dims.order.lower(),
        "scale": {axis: getattr(sizes, axis.upper()) for axis in "tzyx"},
        "units": {axis: getattr(properties, axis.upper()).unit for axis in "tzyx"},
        # bioio calls channels without a name Channel:0:0, Channel:0:1.
        "channels": [name for name in reader.channel_names if not name.startswith("Channel:")],
    }


def read_with_xarray(path: str, fm: FileManager) -> dict[str, Any]:
    import xarray as xr

    store = path.partition("/")[0]
    # A dataset cannot hold arrays of several sizes, such as the levels of a pyramid. The fill
    # value of Zarr 2 is not a mask.
    options: dict[str, Any] = {"drop_variables": ["s1"], "mask_and_scale": False}
    [found] = xr.open_zarr(store, consolidated=False, **options).values()
    assert np.array_equal(found.transpose(*AXES), PIXELS)
    return {"axes": found.dims}


TIFF, OME, NGFF, ZARR = "TIFF", "OME-TIFF", "OME-Zarr", ("OME-Zarr", "Zarr array")
READERS: dict[str, tuple[Any, Callable[..., dict[str, Any]]]] = {
    "polystore": ("", read_with_polystore),
    "tifffile": (TIFF, read_with_tifffile),
    "ome-types": (OME, read_with_ome_types),
    "ome-zarr-models": (NGFF, read_with_ome_zarr_models),
    "bioio": ((TIFF, NGFF), read_with_bioio),
    "xarray": (ZARR, read_with_xarray),
}
"""The suffixes that each program reads, and its reader."""


def cell(found: dict[str, Any]) -> str:
    """List the fields that are right. A wrong field is an error."""
    right = []
    if "axes" in found:
        assert set(found["axes"]) == set(AXES)
        right.append("axes")
    for word, truth in (("scale", SCALE), ("units", UNITS)):
        said = {axis: v for axis, v in found.get(word, {}).items() if axis in truth and v}
        said = {axis: SHORT.get(v, v) if isinstance(v, str) else v for axis, v in said.items()}
        for axis, value in said.items():
            assert value == (pytest.approx(truth[axis]) if word == "scale" else truth[axis])  # type: ignore[index]
        if said:
            right.append(word if said.keys() == truth.keys() else f"{word} of {''.join(said)}")
    if found.get("channels"):
        assert list(dict.fromkeys(found["channels"])) == NAMES  # ImageJ names each plane
        right.append("channels")
    return ", ".join(right)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*the parser argument is ignored:DeprecationWarning")
def test_table_of_tools_is_right(fm: FileManager, tmp_path: Path) -> None:
    """Other programs read the files of polystore, and polystore reads theirs."""
    readers = ("bioio_ome_tiff", "bioio_ome_zarr", "bioio_tifffile")
    for module in ("ome_types", "ome_zarr_models", "ome_zarr", "xarray", *readers):
        pytest.importorskip(module, reason=f"{module} is not installed")
    cells = {}
    for writer, write in WRITERS.items():
        path = write(fm)
        kind = writer.partition(", ")[2]
        cells[writer] = [
            cell(read(path, fm)) if kind.endswith(ends) or kind.startswith(ends) else "–"
            for ends, read in READERS.values()
        ]
    assert rows(["", *READERS], cells) == table("tools")
