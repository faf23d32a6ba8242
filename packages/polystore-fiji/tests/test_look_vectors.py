"""The look vectors of docs/protocol in ImageJ without windows: colours, limits and titles."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polystore_fiji.encoding import FijiEncoding
from polystore_testing.vectors import Step, Vector, make_pixels, read_look_vectors

from .java_vectors import run_vectors
from .machine import needs_imagej

if TYPE_CHECKING:
    from polystore_core import Document

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol"
VECTORS = read_look_vectors(PROTOCOL, "hyperstack")

pytestmark = [
    pytest.mark.skipif(not PROTOCOL.exists(), reason="system: the documents are not here"),
    pytest.mark.screen,
    needs_imagej,
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The looks of all channels in ImageJ after each step of each vector."""
    steps = [[encode_step(step) for step in vector.steps] for vector in VECTORS]
    found = run_vectors(steps, tmp_path_factory.mktemp("vectors"))
    return dict(zip(map(str, VECTORS), found, strict=True))


def encode_step(step: Step) -> Document:
    """Return a step as a pipeline sends it. ImageJ has fewer types than the vectors."""
    if step.deed == "user":
        return {"user": step.value}
    message = step.value
    labels = message.get("labels", False)
    given = make_pixels(message, step.pixels)
    pixels, original = FijiEncoding().pixels(given, message["axes"], labels)
    sent = {"dtype": pixels.dtype.str, "nbytes": pixels.nbytes, "original": original}
    return {"message": message | sent, "pixels": base64.b64encode(pixels).decode()}


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_looks_match_the_vectors(vector: Vector, outcomes: dict[str, list[Any]]) -> None:
    """After each step all channels have the colours, limits and titles of the vector."""
    brightest = 1
    pairs = zip(vector.steps, outcomes[str(vector)], strict=True)
    for number, (step, shown) in enumerate(pairs, 1):
        if step.deed == "message":
            brightest = 255 if step.value["dtype"] == "|b1" else 1  # True is 255 in ImageJ
        assert "refused" not in shown, shown
        assert len(shown) == len(step.outcome), f"step {number}: {shown}"
        for look, expected in zip(shown, step.outcome, strict=True):
            # ImageJ's sliders do not have a range. Labels and RGB have limits there, too.
            asked = {w: v for w, v in expected.items() if w != "range" and v is not None}
            made = {word: convert_look(word, look[word], brightest) for word in asked}
            assert made == asked, f"step {number}"


def convert_look(word: str, made: Any, brightest: int) -> Any:
    """Return a value of ImageJ's look in the words of the vectors."""
    if word == "limits":
        return [limit / brightest for limit in made]
    return made.upper() if word == "color" else made
