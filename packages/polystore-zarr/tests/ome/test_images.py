"""OME-Zarr documents of images and labels are valid, and are read back equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.errors import InvalidOptionError
from polystore_core.image import SPACE_UNITS, TIME_UNITS, Axis, image_metadata
from polystore_zarr.ome import Level, image_document, image_words, read_image, with_marks

from .documents import AXES, TYPES, VERSIONS, levels_of, round_trip, validate


@st.composite
def descriptions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw the axes of an image, and options that describe it."""
    axes = draw(st.sampled_from(AXES))
    positive = st.floats(1e-12, 1e12)
    options: dict[str, Any] = {"axes": draw(st.sampled_from([axes, tuple(axes)]))}
    options["scale"] = draw(
        st.none()
        | st.lists(positive, min_size=len(axes), max_size=len(axes))
        | st.dictionaries(st.sampled_from(axes), positive)
    )
    units = {a: SPACE_UNITS if TYPES[a] == "space" else TIME_UNITS for a in axes if a != "c"}
    options["units"] = draw(
        st.none()
        | st.sampled_from(SPACE_UNITS)
        | st.fixed_dictionaries({}, optional={a: st.sampled_from(u) for a, u in units.items()})
    )
    count = 3 if "c" in axes else 1
    options["channels"] = draw(
        st.none() | st.lists(st.text(max_size=5), min_size=count, max_size=count)
    )
    options["name"] = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
    return axes, options


@given(descriptions(), st.sampled_from(VERSIONS), st.integers(1, 5))
def test_image_documents_round_trip(descriptions: Any, version: Any, count: int) -> None:
    """Every image that can be described is valid NGFF, and its description is read back."""
    axes, options = descriptions
    shape, dtype = tuple(3 if axis == "c" else 64 for axis in axes), np.dtype("u2")
    metadata = image_metadata(shape, dtype, **options)
    shown = [replace(c, limits=(3.0, 7.0), data_range=(0.0, 9.5)) for c in metadata.channels]
    final = replace(metadata, channels=tuple(shown))  # NGFF requires a window
    found = image_document(final, levels_of(axes, count), version=version)
    image = read_image(found)
    assert image is not None
    standard = image_words(found, image, shape, dtype)
    assert standard is not None
    document = with_marks(found, metadata, standard, is_rgb=False)
    validate(document, "image", version)
    image = read_image(round_trip(document))
    assert image is not None
    assert (image.version, image.name, image.is_label) == (version, metadata.name, False)
    assert [level.path for level in image.levels] == [str(k) for k in range(count)]
    assert image_words(round_trip(document), image, shape, dtype) == metadata


def test_centre_shift_is_written() -> None:
    """A pixel of level 2 is four pixels wide, so its centre is one and a half pixels further."""
    metadata = image_metadata((5, 64, 64), "u1", scale=(2.0, 0.5, 0.25), units="um")
    image = read_image(image_document(metadata, levels_of("zyx", 3)))
    assert image is not None
    assert image.levels == (
        Level("0", (2.0, 0.5, 0.25), (0.0, 0.0, 0.0)),
        Level("1", (2.0, 1.0, 0.5), (0.0, 0.25, 0.125)),
        Level("2", (2.0, 2.0, 1.0), (0.0, 0.75, 0.375)),
    )
    assert image.axes == tuple(Axis(axis, "space", "micrometer") for axis in "zyx")


def test_unknown_version_is_refused() -> None:
    """Documents are written in two versions, and the error for another version lists them."""
    with pytest.raises(InvalidOptionError, match=r"0\.5, 0\.4"):
        image_document(image_metadata((4, 4), "u2"), [("0", (1, 1))], version="0.3")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_label_images_point_back(version: Any) -> None:
    """A label image is valid, names its image, and records how it was downsampled."""
    metadata = image_metadata((4, 64, 64), "u4", label=True)
    document = image_document(metadata, levels_of("zyx", 2), version=version, kind="label")
    validate(document, "label", version)
    validate(document, "image", version)
    image = read_image(round_trip(document))
    assert image is not None
    assert image.is_label
    assert image.source == "../../"
    inner = document.get("ome", document)
    assert inner["multiscales"][0]["type"] == "nearest"
    assert "omero" not in inner


def test_description_is_plain() -> None:
    """The description of an image has only values that any program understands."""
    metadata = image_metadata((2, 4, 4), "u2", channels=["a", "b"], units="um", name="A01")
    image = read_image(image_document(metadata, levels_of("cyx", 1)))
    assert image is not None
    assert round_trip(image.description(3, ["nuclei"])) == {
        "ome_version": "0.5",
        "axes": ["c", "y", "x"],
        "scale": [1.0, 1.0, 1.0],
        "units": [None, "micrometer", "micrometer"],
        "channels": ["a", "b"],
        "labels": ["nuclei"],
        "name": "A01",
    }
