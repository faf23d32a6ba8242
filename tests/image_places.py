"""Images with every kind of metadata, and the places that hold images."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from polystore import Image
from polystore_core import Axis, Channel, ImageMetadata, Position

TO = {
    "tiff": ("disk", "scan.tif", {}),
    "ome-zarr": ("zarr", "scan.ome.zarr", {}),
    "memory": ("memory", "scan", {}),
    "ome-tiff": ("disk", "scan.ome.tif", {}),
    "imagej": ("disk", "scan-imagej.tif", {"imagej": True}),
    "ome-zarr-0.4": ("zarr", "old.ome.zarr", {"zarr_format": 2}),
    "zarr": ("zarr", "run.zarr/scan", {}),
}
"""Backend, path and options of each place that holds images."""


def scan() -> Image:
    """Return a time lapse with every kind of metadata."""
    axes = (
        Axis("t", "time", "second", 30.0, 5.0),
        Axis("c", "channel"),
        Axis("z", "space", "micrometer", 2.0, 100.0),
        Axis("y", "space", "micrometer", 0.325, -7.5),
        Axis("x", "space", "micrometer", 0.325, 12.0),
    )
    channels = (
        Channel(
            name="DAPI",
            color="0000FF",
            limits=(100.0, 3000.0),
            data_range=(0.0, 4095.0),
            excitation_nm=405.0,
            emission_nm=461.0,
            fluorophore="DAPI",
        ),
        Channel(
            name="GFP",
            color="00FF00",
            limits=(50.0, 900.5),
            data_range=(3.0, 4000.0),
            visible=False,
            gamma=0.5,
            inverted=True,
            emission_nm=509.5,
        ),
    )
    position = Position(
        name="field 3",
        x=1200.5,
        y=-80.25,
        z=3.0,
        unit="micrometer",
        row="B",
        column="3",
        field="3",
    )
    metadata = ImageMetadata(
        axes=axes,
        channels=channels,
        name="embryo µ",
        bits=12,
        position=position,
        acquired=datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC),
    )
    shape = (3, 2, 4, 32, 48)
    pixels = (np.arange(np.prod(shape)) % 4096).reshape(shape).astype(np.uint16)
    return Image(pixels, metadata)


def irregular() -> Image:
    """Return a stack that was taken at uneven times."""
    image = scan()
    t = Axis("t", "time", "second", coords=(0.0, 31.5, 64.25))
    return Image(image.data, replace(image.metadata, axes=(t, *image.metadata.axes[1:])))


def labels() -> Image:
    return Image.of(
        np.arange(6 * 8, dtype=np.uint16).reshape(6, 8),
        axes="yx",
        scale=(0.5, 0.5),
        units="um",
        label=True,
        name="nuclei",
    )


def color() -> Image:
    pixels = (np.arange(40 * 50 * 3) % 251).reshape(40, 50, 3).astype(np.uint8)
    return Image.of(pixels, axes="yxs", scale=(0.5, 0.5), units="um", name="slide")


def bare() -> Image:
    """Return an image whose only metadata is its axes."""
    return Image.of(
        np.arange(2 * 3 * 16 * 16, dtype=np.uint16).reshape(2, 3, 16, 16), axes="tcyx"
    )


def one_channel() -> Image:
    return scan().sel(c="GFP", t=0, z=slice(None, None, 2))


IMAGES = [scan, irregular, labels, color, bare, one_channel]


def assert_same(found: Image, expected: Image) -> None:
    """Assert equal pixels and metadata. ImageJ has z before c, and TIFF has rational sizes."""
    found = found.transpose(expected.axes)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    assert np.array_equal(found, expected)
    assert len(found.metadata.axes) == len(expected.metadata.axes)
    for axis, other in zip(found.metadata.axes, expected.metadata.axes, strict=True):
        assert axis.scale == (other.scale and pytest.approx(other.scale, rel=1e-9))
        assert replace(axis, scale=None) == replace(other, scale=None)
    axes = expected.metadata.axes
    assert replace(found.metadata, axes=axes) == expected.metadata
