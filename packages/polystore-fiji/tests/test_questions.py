"""Questions to a real ImageJ without windows, and its answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import RejectedError
from polystore_core.rois import ROI, Points
from polystore_stream import Layout

from .planes import SIZE, only, plane

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji


def test_unknown_questions_are_refused(
    headless_files: FileManager, headless: RemoteFiji
) -> None:
    """The error for an unknown question lists the known ones."""
    with pytest.raises(RejectedError, match=r"expected one of .*layers, .*screenshot"):
        headless.query("colour")
    with pytest.raises(RejectedError, match=r"'nothing\.npy' is not shown: no path is shown"):
        headless.pixels("nothing.npy")
    with pytest.raises(RejectedError, match="no image is shown"):
        headless.screenshot()
    headless_files.save(plane(1), "a.npy", backend="screen")
    with pytest.raises(RejectedError, match="image 'b' is not open: expected 'a'"):
        headless.screenshot(window="b")


def test_unknown_names_are_refused(headless_files: FileManager, headless: RemoteFiji) -> None:
    """The error for an unknown name lists the known names. The answer is never just empty."""
    headless_files.save(plane(1), "cells.npy", backend="screen")
    headless_files.save(
        plane(1),
        "B03_s1.npy",
        backend="screen",
        names="{well}_s{site}.npy",
        layout=Layout(window=("well",)),
    )
    headless_files.save(
        [ROI(Points([(1, 2)]), "spot"), ROI(Points([(3, 4)]))], "r.roi", backend="screen"
    )
    for question, expected in {
        "rois layer sport": "'' (without a name), 'spot'; did you mean 'spot'?",
        "rois window cell": "expected one of 'B03 images', 'cells'; did you mean 'cells'?",
        "screenshot window Cells": "did you mean 'cells'?",
        "clear window x": "image 'x' is not open: expected one of 'B03 images', 'cells'",
        "pixels path cell.npy": "expected 'cells.npy'; did you mean 'cells.npy'?",
        "pixels window B04": "'' (without a name), 'B03'; did you mean 'B03'?",
        "layers window x": "'window' is not valid for layers: no option is valid for layers",
        "rois path x": "'path' is not valid for rois: expected one of 'layer', 'window'",
    }.items():
        name, option, value = question.split()
        with pytest.raises(RejectedError) as caught:
            headless.query(name, **{option: value})
        assert caught.value.reason.endswith(expected)
    assert len(headless.layers()) == 2, "the refused clear removed an image"
    assert [roi.name for roi in headless.rois(layer="spot")] == ["spot"]
    assert [roi.name for roi in headless.rois(layer="")] == [""]


def test_layers_are_json(headless_files: FileManager, headless: RemoteFiji) -> None:
    """The list of images is plain JSON data."""
    headless_files.save(np.zeros((2, 3, 4, *SIZE), "u2"), "a.npy", backend="screen")
    headless_files.save(np.zeros((*SIZE, 3), "u1"), "b.npy", backend="screen")
    assert json.loads(json.dumps(headless.layers())) == headless.layers()


def test_pictures_without_windows(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Without a window the picture of an image is its plane in its colours."""
    headless_files.save(
        plane(200, "u1"), "a.npy", backend="screen", colormap="ff8000", contrast_limits=(0, 200)
    )
    picture = headless.screenshot()
    assert picture.shape == (*SIZE, 4)
    assert (picture == (255, 128, 0, 255)).all()


def test_cleared_series_is_forgotten(headless_files: FileManager, headless: RemoteFiji) -> None:
    """After clear() a path of an old series is an image of its own."""
    paths = [f"gone/gone_{index}.npy" for index in range(3)]
    headless_files.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    headless.clear()
    assert headless.layers() == []
    headless_files.save(plane(1, "f4"), paths[1], backend="screen")
    assert (only(headless)["name"], only(headless)["shape"]) == ("gone_1", [1, 1, 1, *SIZE])


def test_one_window_is_cleared(headless_files: FileManager, headless: RemoteFiji) -> None:
    """clear() of a window removes only that image.

    Without a window it removes all and forgets paths.
    """
    for name in ("a", "b"):
        headless_files.save(plane(1), f"{name}.npy", backend="screen")
    headless.clear(window="a")
    assert [layer["name"] for layer in headless.layers()] == ["b"]
    with pytest.raises(RejectedError, match="image 'a' is not open"):
        headless.clear(window="a")
    headless_files.save_batch([plane(1), plane(2)], ["s_1.npy", "s_2.npy"], backend="screen")
    headless.clear()
    headless_files.save(plane(3), "s_2.npy", backend="screen")
    assert only(headless)["name"] == "s_2"
