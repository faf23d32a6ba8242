"""From rounds to a table: the best round, the median, and what they are compared with."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cases import Aim, Case, Figure, Role

__all__ = ["Cell", "Row", "machine", "rows", "table"]


@dataclass(frozen=True)
class Cell:
    """The figures of one library in one row, in the unit of the row; or why there are none."""

    first: float = 0.0
    median: float = 0.0
    rounds: tuple[float, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        if self.error or self.first == self.median:
            return self.error or _number(self.median)
        return f"{_number(self.first)} ({_number(self.median)})"


@dataclass(frozen=True)
class Row:
    """One figure of one case for each role that took part."""

    case: Case
    figure: Figure
    cells: Mapping[Role, Cell]

    @property
    def title(self) -> str:
        return ": ".join(filter(None, (self.case.title, self.figure.label)))

    def ratio(self, role: Role) -> Cell | None:
        """Return polystore's figure over that of ``role``."""
        ours, other = self.cells["polystore"], self.cells.get(role)
        if other is None or not ours.rounds or not other.rounds or 0 in other.rounds:
            return None
        return Cell(ours.first / other.first, ours.median / other.median)

    def met(self) -> bool | None:
        """Whether the first number of the cell is within the aim; ``None`` without one."""
        aim, ours = self.figure.aim, self.cells["polystore"]
        judged = ours if aim is None or aim.of is None else self.ratio(aim.of)
        if aim is None or judged is None or not ours.rounds:
            return None
        high = aim.at_most is None or judged.first <= aim.at_most
        return high and (aim.at_least is None or judged.first >= aim.at_least)

    def as_json(self) -> dict[str, Any]:
        """Return all rounds, in the unit of the row."""
        return {
            "row": self.title,
            "unit": self.figure.unit,
            "reference": self.case.reference,
            "met": self.met(),
            **{
                role: {"error": cell.error} if cell.error else {"rounds": cell.rounds}
                for role, cell in self.cells.items()
            },
        }


def rows(case: Case, results: Mapping[Role, Sequence[Sequence[float]] | str]) -> list[Row]:
    """Arrange what each role returned round by round, or its error, figure by figure."""

    def cell(index: int, figure: Figure, result: Sequence[Sequence[float]] | str) -> Cell:
        if isinstance(result, str):
            return Cell(error=result)
        values = tuple(values[index] * figure.scale for values in result)
        return Cell(figure.first(values), median(values), values)

    return [
        Row(case, figure, {role: cell(i, figure, result) for role, result in results.items()})
        for i, figure in enumerate(case.figures)
    ]


def table(found: Sequence[Row], incumbent: str) -> str:
    """Return the table in Markdown; ``incumbent`` is the heading of its column."""
    heading = (
        "", "unit", "reference", "polystore", incumbent,
        "÷ reference", f"÷ {incumbent}", "aim", "met",
    )  # fmt: skip
    lines = [heading, ("---",) * 2 + ("--:",) * 5 + ("---",) * 2]
    lines += [
        (
            row.title,
            row.figure.unit,
            f"{row.case.reference or ''} {_shown(row.cells.get('reference'))}".strip(),
            _shown(row.cells.get("polystore")),
            _shown(row.cells.get("incumbent")),
            _shown(row.ratio("reference")),
            _shown(row.ratio("incumbent")),
            _aim(row.figure.aim, row.figure.unit, incumbent),
            {True: "yes", False: "**no**", None: ""}[row.met()],
        )
        for row in found
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(cell: Cell | None) -> str:
    return "—" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ")


def _aim(aim: Aim | None, unit: str, incumbent: str) -> str:
    if aim is None:
        return ""
    sign, bound = ("≤", aim.at_most) if aim.at_most is not None else ("≥", aim.at_least)
    names = {None: unit, "reference": "× reference", "incumbent": f"× {incumbent}"}
    return f"{sign} {_number(bound or 0)} {names[aim.of]}".strip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(versions: Mapping[str, Mapping[str, str]], places: Mapping[str, Path]) -> str:
    """Describe where the figures come from: processor, versions, file systems, load, date."""
    libraries = "; ".join(
        f"{name}: " + ", ".join(f"{library} {number}" for library, number in found.items())
        for name, found in versions.items()
    )
    file_systems = ", ".join(f"{what} on {_file_system(path)}" for what, path in places.items())
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{_processor()}, {os.cpu_count()} cores{load}, {platform.system()} "
        f"{platform.release()}, {file_systems}. {libraries}. {datetime.now(UTC):%Y-%m-%d}."
    )


def _processor() -> str:
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in described.splitlines() if ":" in line)
    names = {key.strip(): value.strip() for key, value in fields.items()}
    return names.get("model name", platform.machine())


def _file_system(path: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:  # not Linux
        return "an unknown file system"
    above = [mount for mount in mounts if path.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "an unknown file system"
