"""Run the plan vectors of docs/protocol with the planner for viewers of channel layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polystore_core import natural_order
from polystore_core.errors import UnsupportedDataError
from polystore_stream.viewers.planning import Plan, Planner
from polystore_stream.wire.messages import Image, Rois, read_header
from polystore_testing.vectors import Pictures, Step, Vector, read_plan_vectors

if TYPE_CHECKING:
    from polystore_core import Document

PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol"
VECTORS = read_plan_vectors(PROTOCOL, "layers")

pytestmark = pytest.mark.skipif(
    not PROTOCOL.exists(), reason="system: the documents are not here"
)


class Run:
    """One vector: a planner, and the layer of each number in the vector."""

    def __init__(self) -> None:
        self.planner, self.pictures = Planner(), Pictures()
        self.windows: set[str] = set()

    def do(self, step: Step) -> None:
        match step.deed:
            case "message":
                self.plan(step)
            case "find":
                self.find(step)
            case "forget":
                self.planner.forget(self.pictures[step.value])
            case "forget_window":
                self.planner.forget_window(step.value)
            case "clear":
                for window in self.windows:
                    self.planner.forget_window(window)
            case "sorted":
                assert natural_order(reversed(step.value)) == step.value
            case _:
                raise ValueError(f"not a step: {step}")

    def plan(self, step: Step) -> None:
        item = read_header(json.dumps(step.value).encode())
        assert isinstance(item, Image | Rois)
        self.windows.add(item.window)
        kind = "rois" if isinstance(item, Rois) else "labels" if item.labels else "image"
        if step.is_refused:
            with pytest.raises(UnsupportedDataError) as caught:
                self.planner.plan(item, kind)
            assert step.missing_words(caught.value.reason) == []
            return
        assert step.outcome is not None
        plan = self.planner.plan(item, kind)
        self.compare(plan, item, step.outcome)
        pairs = zip(step.pictures, plan.targets, strict=True)
        restarts = [number for number, target in pairs if target.restarts]
        assert restarts == step.outcome.get("restarts", [])

    def find(self, step: Step) -> None:
        found = self.planner.place(*step.value)
        assert (found is None) == (step.outcome is None)
        if found is not None and step.outcome is not None:
            self.compare(*found, step.outcome)

    def compare(self, plan: Plan, item: Image | Rois, outcome: Document) -> None:
        self.pictures.match(outcome["pictures"], [target.key for target in plan.targets])
        assert {target.key[0] for target in plan.targets} == {item.window}
        assert plan.title == outcome["title"]
        for target in plan.targets:
            at = [list(pair) for pair in zip(plan.sliders, target.at, strict=True)]
            assert at == outcome.get("at", [])
        if isinstance(item, Image):
            assert plan.axes == outcome.get("axes", item.axes)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_plans_match_the_vectors(vector: Vector) -> None:
    """Each message goes to the picture that the vector names, or raises its error."""
    run = Run()
    for number, step in enumerate(vector.steps, 1):
        try:
            run.do(step)
        except AssertionError as error:
            error.add_note(f"in step {number} of {vector}: {step.deed} {step.value}")
            raise


def test_vectors_are_found() -> None:
    """Without vectors, the test above would pass."""
    assert len(VECTORS) > 30
