"""Read the test vectors of ``docs/protocol``: steps with the results that viewers must show."""

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
    """One action of a viewer, and the expected result."""

    deed: str
    """In plans: "message", "find", "forget", "forget_window", "clear" or "sorted". In looks:
    "message" or "user"."""
    value: Any
    """For example the header of a message or the number of a picture. See
    docs/protocol/README.md."""
    outcome: Any
    """In plans: the pictures of a message. In looks: the shown values. ``None``: not checked."""
    pixels: Any = None
    """In looks: the pixels of a message. See ``make_pixels``."""

    @property
    def is_refused(self) -> bool:
        """Whether a message must be refused."""
        return "refused" in (self.outcome or {})

    @property
    def pictures(self) -> list[int]:
        """The numbers of the pictures that show a message. Empty if it is refused."""
        return list((self.outcome or {}).get("pictures", []))

    def missing_words(self, reason: str) -> list[str]:
        """Return the words of the refusal that are missing in ``reason``."""
        return [word for word in self.outcome["words"] if word not in reason]


@dataclass(frozen=True, slots=True)
class Vector:
    """Steps for a new viewer without pictures."""

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return self.name


def read_plan_vectors(protocol: Path, arrangement: str, *viewers: str) -> list[Vector]:
    """Return the plan vectors of the folder docs/protocol for one way to arrange channels.

    ``arrangement`` is "layers" or "hyperstack". A vector with ``only`` is left out, unless ``only``
    is the arrangement or one of ``viewers``, such as "imagej".

    Raises ``ValueError`` for a step that does not have the form in docs/protocol/README.md.
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
    """Return the look vectors of the folder docs/protocol. See ``read_plan_vectors``."""
    return _read(protocol / "looks", _LOOKS, "shows", arrangement, ())


def make_pixels(message: Document, pixels: Any) -> Pixels:
    """Return the pixels for the ``message`` of a look vector, as an array of its shape and type.

    ``pixels`` is a list of pixels, row by row, or a mapping. With a mapping, the pixel number i is
    start + step * (i mod period), and ``other`` lists numbers with other pixels.
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
    # Check the form strictly: a misspelt key would be a vector that tests nothing.
    found = step.keys() & deeds
    outcomes = step.keys() - deeds - {"pixels"}
    if len(found) != 1 or outcomes not in (set(), {outcome}, {"layers", "hyperstack"}):
        raise ValueError(
            f"not a step of a vector: {step}. Expected one of {', '.join(sorted(deeds))}, "
            f"with {outcome!r}, or with 'layers' and 'hyperstack'"
        )
    (deed,) = found
    expected = step.get(outcome, step.get(arrangement))
    return Step(deed, step[deed], expected, step.get("pixels"))


@dataclass(slots=True)
class Pictures:
    """The picture of a viewer for each number in a vector."""

    _known: dict[int, Hashable] = field(default_factory=dict)

    def __getitem__(self, number: int) -> Any:
        return self._known[number]

    def match(self, numbers: Sequence[int], keys: Sequence[Hashable]) -> None:
        """Check that equal numbers are the same picture, and different numbers different ones.

        ``keys`` are the viewer's own names of the pictures ``numbers``.
        """
        assert len(numbers) == len(keys), f"expected pictures {numbers}, got {keys}"
        for number, key in zip(numbers, keys, strict=True):
            others = {n for n, known in self._known.items() if known == key and n != number}
            assert not others, (
                f"pictures {number} and {others} must differ, but all are {key!r}"
            )
            known = self._known.setdefault(number, key)
            assert known == key, f"picture {number} was {known!r}, but is {key!r} now"
