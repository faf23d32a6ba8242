"""The plan vectors of docs/protocol with ImageJ's planner, in which channels are an axis."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polystore_testing.vectors import Pictures, Step, Vector, read_plan_vectors

from .java_vectors import run_vectors
from .machine import needs_imagej

if TYPE_CHECKING:
    from polystore_core import Document

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol"
VECTORS = read_plan_vectors(PROTOCOL, "hyperstack", "imagej")

pytestmark = [
    pytest.mark.skipif(not PROTOCOL.exists(), reason="system: the documents are not here"),
    pytest.mark.screen,
    needs_imagej,
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The outcomes of ImageJ's planner in each step of each vector."""
    steps = [[encode_step(step) for step in vector.steps] for vector in VECTORS]
    found = run_vectors(steps, tmp_path_factory.mktemp("vectors"))
    return dict(zip(map(str, VECTORS), found, strict=True))


def encode_step(step: Step) -> Document:
    return {step.deed: step.value, "picture": next(iter(step.pictures), None)}


def planes(message: Document, outcome: Document) -> list[list[list[str]]]:
    """Return the coordinates on C, Z and T of each plane, in the order of the payload.

    ImageJ has three axes next to y and x. A slider "z" and an axis z are Z. All other sliders and
    an axis t share T. RGB has no channels, so its channels share T, too.
    """
    if message["type"] == "rois":
        return []
    axes = dict(zip(message["axes"], message["shape"], strict=True))
    channel = [outcome["channel"]] if outcome.get("channel") else []
    at = outcome.get("at", [])
    z = [value for name, value in at if name == "z"]
    t = [value for name, value in at if name != "z"]
    c = [] if "s" in axes else channel
    t = [*channel, *t] if "s" in axes else t

    def along(name: str, start: list[str]) -> list[list[str]]:
        return [[*start, str(i)] for i in range(axes[name])] if name in axes else [start]

    whole = product(along("t", t), along("c", c), along("z", z))
    return [[c, z, t] for t, c, z in whole]


def check(step: Step, made: Any, pictures: Pictures) -> None:
    outcome = step.outcome
    if step.deed == "sorted":
        assert made == step.value
    elif outcome is None:
        assert made is None
    elif step.is_refused:
        assert step.missing_words(made["refused"]) == []
    else:
        assert "refused" not in made, made
        pictures.match(outcome["pictures"], [made["key"]])
        assert made["title"] == outcome["title"]
        assert made["channel"] == outcome.get("channel", "")
        assert made["at"] == outcome.get("at", [])
        if step.deed == "message":
            assert made["restarts"] == bool(outcome.get("restarts"))
            assert made["planes"] == planes(step.value, outcome)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_plans_match_the_vectors(vector: Vector, outcomes: dict[str, list[Any]]) -> None:
    """Each message goes to the picture of the vector, or is refused in its words."""
    pictures = Pictures()
    for number, (step, made) in enumerate(
        zip(vector.steps, outcomes[str(vector)], strict=True), 1
    ):
        try:
            check(step, made, pictures)
        except AssertionError as error:
            error.add_note(f"in step {number} of {vector}: {step.deed} {step.value}")
            raise
