"""How documents are stored, validated with ome-zarr-models, and changed at one place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polystore_core.image import image_metadata
from polystore_zarr.ome import image_document, read_image, read_labels, read_plate, read_well

VERSIONS = ("0.5", "0.4")
AXES = ["yx", "zyx", "cyx", "tyx", "tzyx", "czyx", "tcyx", "tczyx"]
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
READERS = (read_image, read_plate, read_well, read_labels)


def round_trip(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is read from a file. This also proves that it can be stored."""
    stored: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return stored


def validate(document: dict[str, Any], kind: str, version: str) -> None:
    """Validate the attributes of a group with ome-zarr-models."""
    pytest.importorskip("ome_zarr_models")
    from ome_zarr_models import v04, v05
    from ome_zarr_models.common.omero import Omero
    from ome_zarr_models.v04.hcs import HCSAttrs as Plate4
    from ome_zarr_models.v04.image_label import ImageLabelAttrs as Label4
    from ome_zarr_models.v04.labels import LabelsAttrs as Labels4
    from ome_zarr_models.v04.well import WellAttrs as Well4
    from ome_zarr_models.v05.hcs import HCSAttrs as Plate5
    from ome_zarr_models.v05.image_label import ImageLabelAttrs as Label5
    from ome_zarr_models.v05.labels import LabelsAttrs as Labels5
    from ome_zarr_models.v05.well import WellAttrs as Well5

    models: dict[str, tuple[Any, Any]] = {
        "image": (v05.image.ImageAttrs, v04.image.ImageAttrs),
        "label": (Label5, Label4),
        "labels": (Labels5, Labels4),
        "plate": (Plate5, Plate4),
        "well": (Well5, Well4),
    }
    stored = round_trip(document)
    inner = stored["ome"] if version == "0.5" else stored
    models[kind][version == "0.4"].model_validate(inner)
    if "omero" in inner:  # the 0.5 model leaves it out
        Omero.model_validate(inner["omero"])


def levels_of(axes: str, count: int) -> list[tuple[str, tuple[float, ...]]]:
    return [
        (str(k), tuple(2.0**k if axis in "yx" else 1.0 for axis in axes)) for k in range(count)
    ]


def change_document(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return the document of an image of two axes, with one value replaced."""
    document = round_trip(
        image_document(image_metadata((4, 4), "u2", scale=(2, 3)), [("0", (1, 1))])
    )
    node: Any = document["ome"]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return document
