"""The vectors of ``docs/protocol``: steps to which all viewers of a kind answer alike."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence
    from pathlib import Path

    from polystore_core import Document, Pixels

__all__ = [
    "Pictures",
    "Step",
    "Vector",
    "make_pixels",
    "read_look_vectors",
    "read_plan_vectors",
]

_PLANS = {"message", "find", "forget", "forget_window", "clear", "sorted"}
_LOOKS = {"message", "user"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a viewer does, and the outcome that is expected."""

    deed: str
    """Of plans: "message", "find", "forget", "forget_window", "clear" or "sorted". Of looks:
    "message" or "user"."""
    value: Any
    """The header of a message, the number of a picture, …: see docs/protocol/README.md."""
    outcome: Any
    """Of plans: where a message goes. Of looks: what is shown. ``None``: nothing is expected."""
    pixels: Any = None
    """Of looks: how the pixels of a message are made, see ``make_pixels``."""

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
        return [word for word in self.outcome["words"] if word not in reason]


@dataclass(frozen=True, slots=True)
class Vector:
    """Steps for a viewer that has shown nothing yet."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.name


def read_plan_vectors(protocol: Path, arrangement: str, *viewers: str) -> list[Vector]:
    """Return the plan vectors of the folder docs/protocol for one way to arrange channels.

    ``arrangement`` is "layers" or "hyperstack". Vectors with ``only`` are left out, unless that
    is the arrangement or one of ``viewers``, such as "imagej".

    Raises ``ValueError`` for a step that is not of the form that docs/protocol/README.md tells.
    """
    found = _read(protocol / "plans", _PLANS, "outcome", arrangement, viewers)
    refusals = _load(protocol / "refusals.json") if found else {}
    for vector in found:
        for step in vector.steps:
            if step.is_refused:
                words = refusals[step.outcome["refused"]]["words"]
                step.outcome["words"] = [*words, *step.outcome.get("words", [])]
    return found


def read_look_vectors(protocol: Path, arrangement: str) -> list[Vector]:
    """Return the look vectors of the folder docs/protocol: see ``read_plan_vectors``."""
    return _read(protocol / "looks", _LOOKS, "shows", arrangement, ())


def make_pixels(message: Document, pixels: Any) -> Pixels:
    """Return the pixels of the look vector's ``message``: an array of its shape and type.

    ``pixels`` is a list of them, row by row, or ``start``, ``step``, ``period`` and ``other``: the
    pixel number i is start + step * (i mod period), and ``other`` has numbers and their pixels.
    """
    shape, dtype = message["shape"], np.dtype(message["dtype"])
    if isinstance(pixels, list):
        return np.array([_number(value) for value in pixels]).astype(dtype).reshape(shape)
    count = math.prod(shape)
    at = np.arange(count) % pixels.get("period", count)
    found: Pixels = (pixels["start"] + pixels["step"] * at).astype(dtype)
    for index, value in pixels.get("other", []):
        found[index] = _number(value)
    return found.reshape(shape)


def _number(value: float | str) -> float:
    return float(value) if isinstance(value, str) else value  # "nan", "inf", "-inf"


def _read(
    folder: Path, deeds: set[str], outcome: str, arrangement: str, viewers: Iterable[str]
) -> list[Vector]:
    found = []
    for path in sorted(folder.glob("*.json")):
        for vector in _load(path)["vectors"]:
            if vector.get("only", arrangement) in (arrangement, *viewers):
                steps = [
                    _read_step(step, deeds, outcome, arrangement) for step in vector["steps"]
                ]
                found.append(Vector(f"{path.stem}: {vector['name']}", tuple(steps)))
    return found


def _load(path: Path) -> Document:
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def _read_step(step: Document, deeds: set[str], outcome: str, arrangement: str) -> Step:
    found = step.keys() & deeds
    outcomes = step.keys() - deeds - {"pixels"}
    if len(found) != 1 or outcomes not in (set(), {outcome}, {"layers", "hyperstack"}):
        raise ValueError(f"not a step of a vector: {step}")
    (deed,) = found
    expected = step.get(outcome, step.get(arrangement))
    return Step(deed, step[deed], expected, step.get("pixels"))


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
