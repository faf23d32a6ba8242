"""A row of the table: a workload, the libraries that take part, and the aim."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from workloads import Workload

__all__ = ["Aim", "Case", "Figure", "Role"]

Role: TypeAlias = str
"""A column of the table: "polystore", "reference", "incumbent", or one that a case names."""


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A bound on polystore's figure, or on its ratio to that of another column."""

    at_most: float | None = None
    at_least: float | None = None
    of: Role | None = None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row: how a number that the workload returns is shown and judged."""

    label: str = ""
    unit: str = "ms"
    scale: float = 1e3
    first: Callable[[Iterable[float]], float] = min
    """The round that is printed before the median: the best one. For waits and losses, the worst.

    The smallest of several differences is noise: those have only a median.
    """
    aims: tuple[Aim, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload, timed side by side."""

    title: str
    workload: Workload
    table: Literal["files", "zarr"] = "files"
    """Which of the two tables: few columns, or one line for each library."""
    figures: tuple[Figure, ...] = (Figure(),)
    reference: str | None = None
    """How the column "reference" is called in this row; ``None`` leaves it empty."""
    reference_contender: str = "raw"
    contender: str = "polystore"
    others: Mapping[Role, str] = field(default_factory=dict)
    """More columns, and the contender of each."""
    incumbent: str | None = "incumbent"
    on_disk: bool = False
    """On a real disk rather than in memory: this times the flush."""
    rounds: int = 25
    warm_ups: int = 1
    """Rounds that come first and are thrown away."""

    @property
    def roles(self) -> dict[Role, str]:
        """Return the contender of each column, in the order in which they take turns."""
        reference = {} if self.reference is None else {"reference": self.reference_contender}
        incumbent = {} if self.incumbent is None else {"incumbent": self.incumbent}
        return {**reference, "polystore": self.contender, **self.others, **incumbent}
