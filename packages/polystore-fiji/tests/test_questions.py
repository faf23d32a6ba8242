"""Questions to a real ImageJ without windows, and their answers."""

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


def test_unknown_questions_are_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """What ImageJ cannot answer is told, with what it can."""
    with pytest.raises(RejectedError, match=r"expected one of .*layers, .*screenshot"):
        hidden.query("colour")
    with pytest.raises(RejectedError, match=r"'nothing\.npy' is not shown: no path is shown"):
        hidden.pixels("nothing.npy")
    with pytest.raises(RejectedError, match="no image is shown"):
        hidden.screenshot()
    there.save(plane(1), "a.npy", backend="screen")
    with pytest.raises(RejectedError, match="image 'b' is not open: expected 'a'"):
        hidden.screenshot(window="b")


def test_unknown_names_are_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """A name that nothing has is an error with the names that there are, never an empty answer."""
    there.save(plane(1), "cells.npy", backend="screen")
    there.save(
        plane(1),
        "B03_s1.npy",
        backend="screen",
        names="{well}_s{site}.npy",
        layout=Layout(window=("well",)),
    )
    there.save(
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
            hidden.query(name, **{option: value})
        assert caught.value.reason.endswith(expected)
    assert len(hidden.layers()) == 2, "clear has taken nothing away"
    assert [roi.name for roi in hidden.rois(layer="spot")] == ["spot"]
    assert [roi.name for roi in hidden.rois(layer="")] == [""]


def test_layers_are_json(there: FileManager, hidden: RemoteFiji) -> None:
    """The list of images is plain data."""
    there.save(np.zeros((2, 3, 4, *SIZE), "u2"), "a.npy", backend="screen")
    there.save(np.zeros((*SIZE, 3), "u1"), "b.npy", backend="screen")
    assert json.loads(json.dumps(hidden.layers())) == hidden.layers()


def test_pictures_without_windows(there: FileManager, hidden: RemoteFiji) -> None:
    """Without a window the picture of an image is its plane, in its colours."""
    there.save(
        plane(200, "u1"), "a.npy", backend="screen", colormap="ff8000", contrast_limits=(0, 200)
    )
    picture = hidden.screenshot()
    assert picture.shape == (*SIZE, 4)
    assert (picture == (255, 128, 0, 255)).all()


def test_cleared_series_begins_anew(there: FileManager, hidden: RemoteFiji) -> None:
    """Once all is taken away, a path that stood in a series is an image of its own."""
    paths = [f"gone/gone_{index}.npy" for index in range(3)]
    there.save_batch([plane(n) for n in range(3)], paths, backend="screen")
    hidden.clear()
    assert hidden.layers() == []
    there.save(plane(1, "f4"), paths[1], backend="screen")
    assert (only(hidden)["name"], only(hidden)["shape"]) == ("gone_1", [1, 1, 1, *SIZE])


def test_one_window_is_cleared(there: FileManager, hidden: RemoteFiji) -> None:
    """clear() of a window takes that image alone; of none, all, and paths stand nowhere then."""
    for name in ("a", "b"):
        there.save(plane(1), f"{name}.npy", backend="screen")
    hidden.clear(window="a")
    assert [layer["name"] for layer in hidden.layers()] == ["b"]
    with pytest.raises(RejectedError, match="image 'a' is not open"):
        hidden.clear(window="a")
    there.save_batch([plane(1), plane(2)], ["s_1.npy", "s_2.npy"], backend="screen")
    hidden.clear()
    there.save(plane(3), "s_2.npy", backend="screen")
    assert only(hidden)["name"] == "s_2"
