"""The look vectors of docs/protocol in napari: names, colours and display limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polystore_stream.wire.messages import read_header
from polystore_testing.vectors import Step, Vector, make_pixels, read_look_vectors

if TYPE_CHECKING:
    from polystore_core import Document

    from .windows import Window

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol"
VECTORS = read_look_vectors(PROTOCOL, "layers")

pytestmark = [
    pytest.mark.skipif(not PROTOCOL.exists(), reason="system: the documents are not here"),
    pytest.mark.screen,
]


def do(window: Window, step: Step) -> None:
    if step.deed == "message":
        item: Any = read_header(json.dumps(step.value).encode())
        window.show((item, make_pixels(step.value, step.pixels)))
    else:
        layer = window.model.layers[step.value["channel"]]
        layer.contrast_limits = step.value["limits"]


def describe(layer: Any) -> Document:
    """Return the look of a layer in the words of the vectors."""
    if not hasattr(layer, "contrast_limits") or layer.rgb:
        return {"name": layer.name, "color": None, "limits": None}
    red, green, blue, _ = (round(255 * part) for part in layer.colormap.map([1.0])[0])
    return {
        "name": layer.name,
        "color": f"{red:02X}{green:02X}{blue:02X}",
        "limits": [float(limit) for limit in layer.contrast_limits],
        "range": [float(limit) for limit in layer.contrast_limits_range],
    }


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_looks_match_the_vectors(window: Window, vector: Vector) -> None:
    """After each step all layers have the names, colours and limits of the vector."""
    for number, step in enumerate(vector.steps, 1):
        do(window, step)
        shown = [describe(layer) for layer in window.model.layers]
        assert len(shown) == len(step.outcome), f"step {number}: {shown}"
        for look, expected in zip(shown, step.outcome, strict=True):
            assert {word: look[word] for word in expected} == expected, f"step {number}"


def test_vectors_exist() -> None:
    """Without vectors the test above would pass."""
    assert len(VECTORS) > 80
