"""The plan vectors of ``docs/protocol``: steps to which all viewers of a kind answer alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from polystore_core import Document

__all__ = ["Pictures", "Step", "Vector", "read_plan_vectors"]

_DEEDS = {"message", "find", "forget", "forget_window", "clear", "sorted"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a viewer does, and the outcome that is expected."""

    deed: str
    """"message", "find", "forget", "forget_window", "clear" or "sorted"."""
    value: Any
    """The header of a message, the number of a picture, …: see docs/protocol/README.md."""
    outcome: Document | None
    """``None``: nothing is expected."""

    @property
    def is_refused(self) -> bool:
        """Whether a message must be refused."""
        return "refused" in (self.outcome or {})

    @property
    def pictures(self) -> list[int]:
        """The numbers of the pictures that a message is shown in; none if it is refused."""
        return list((self.outcome or {}).get("pictures", []))

    def missing_words(self, reason: str) -> list[str]:
        """Return the words that a refusal must have and ``reason`` has not."""
        return [word for word in (self.outcome or {})["words"] if word not in reason]


@dataclass(frozen=True, slots=True)
class Vector:
    """Steps for a viewer that has shown nothing yet."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.name


def read_plan_vectors(protocol: Path, arrangement: str, *viewers: str) -> list[Vector]:
    """Return the vectors of the folder docs/protocol for one way to arrange channels.

    ``arrangement`` is "layers" or "hyperstack". Vectors with ``only`` are left out, unless that
    is the arrangement or one of ``viewers``, such as "imagej".

    Raises ``ValueError`` for a step that is not of the form that docs/protocol/README.md tells.
    """
    found = []
    for path in sorted((protocol / "plans").glob("*.json")):
        refusals = _read(protocol / "refusals.json")
        for vector in _read(path)["vectors"]:
            if vector.get("only", arrangement) in (arrangement, *viewers):
                steps = (_read_step(step, arrangement, refusals) for step in vector["steps"])
                found.append(Vector(f"{path.stem}: {vector['name']}", tuple(steps)))
    return found


def _read(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def _read_step(step: Document, arrangement: str, refusals: Document) -> Step:
    deeds = step.keys() & _DEEDS
    outcomes = step.keys() - _DEEDS
    if len(deeds) != 1 or outcomes not in (set(), {"outcome"}, {"layers", "hyperstack"}):
        raise ValueError(f"not a step of a vector: {step}")
    (deed,) = deeds
    outcome = step.get("outcome", step.get(arrangement))
    if outcome is not None and "refused" in outcome:
        words = refusals[outcome["refused"]]["words"]
        outcome = {**outcome, "words": [*words, *outcome.get("words", [])]}
    return Step(deed, step[deed], outcome)


@dataclass(slots=True)
class Pictures:
    """Which picture of a viewer each number of a vector means."""

    _known: dict[int, Hashable] = field(default_factory=dict)

    def __getitem__(self, number: int) -> Any:
        return self._known[number]

    def match(self, numbers: Sequence[int], keys: Sequence[Hashable]) -> None:
        """Check that equal numbers are the same picture, and other numbers others.

        ``keys`` are the viewer's own names of its pictures.
        """
        assert len(numbers) == len(keys), f"expected pictures {numbers}, got {keys}"
        for number, key in zip(numbers, keys, strict=True):
            others = {n for n, known in self._known.items() if known == key and n != number}
            assert not others, f"picture {number} is another than {others}, but all are {key!r}"
            assert self._known.setdefault(number, key) == key, f"picture {number} is {key!r}"
