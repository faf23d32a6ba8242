"""From rounds to a table: the best round, the median, and the ratio to the other libraries."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from case import Aim, Case, Figure, Role

__all__ = ["Cell", "Row", "machine", "markdown", "number", "processor", "rows", "tables"]


@dataclass(frozen=True)
class Cell:
    """The figures of one library in one row, in the unit of the row; or why there are none."""

    first: float = 0.0
    median: float = 0.0
    rounds: tuple[float, ...] = ()
    error: str = ""

    def __str__(self) -> str:
        if self.error or self.first == self.median:
            return self.error or number(self.median)
        return f"{number(self.first)} ({number(self.median)})"


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

    def met(self, aim: Aim) -> bool | None:
        """Whether the first number of the cell is within an aim; ``None`` if nothing says."""
        ours = self.cells["polystore"]
        judged = ours if aim.of is None else self.ratio(aim.of)
        if judged is None or not ours.rounds:
            return None
        high = aim.at_most is None or judged.first <= aim.at_most
        return high and (aim.at_least is None or judged.first >= aim.at_least)

    def as_json(self) -> dict[str, Any]:
        """Return all rounds, in the unit of the row."""
        return {
            "row": self.title,
            "unit": self.figure.unit,
            "reference": self.case.reference,
            "met": [self.met(aim) for aim in self.figure.aims],
            **{
                role: {"error": cell.error} if cell.error else {"rounds": cell.rounds}
                for role, cell in self.cells.items()
            },
        }


def rows(case: Case, results: Mapping[Role, Sequence[Sequence[float]] | str]) -> list[Row]:
    """Arrange the results of each role by figure instead of by round. A result may be an error."""

    def cell(index: int, figure: Figure, result: Sequence[Sequence[float]] | str) -> Cell:
        if isinstance(result, str):
            return Cell(error=result)
        values = tuple(values[index] * figure.scale for values in result)
        return Cell(figure.first(values), median(values), values)

    return [
        Row(case, figure, {role: cell(i, figure, result) for role, result in results.items()})
        for i, figure in enumerate(case.figures)
    ]


def tables(found: Sequence[Row], incumbent: str) -> str:
    """Return the tables in Markdown; ``incumbent`` is the name of the published version."""
    files = [row for row in found if row.case.table == "files"]
    chunked = [row for row in found if row.case.table == "zarr"]
    made = [_wide(files, incumbent)] if files else []
    return "\n\n".join([*made, *([_long(chunked, incumbent)] if chunked else [])])


def _wide(found: Sequence[Row], incumbent: str) -> str:
    """One line for each row, the libraries side by side."""
    heading = (
        "",
        "unit",
        "reference",
        "polystore",
        incumbent,
        "÷ reference",
        f"÷ {incumbent}",
        "aim",
        "met",
    )
    names = {"reference": "reference", "incumbent": incumbent}
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
            ", ".join(_aim(aim, row.figure.unit, names) for aim in row.figure.aims),
            ", ".join(_met(row, aim) for aim in row.figure.aims),
        )
        for row in found
    ]
    return markdown(lines)


def _long(found: Sequence[Row], incumbent: str) -> str:
    """One line for each library in a row, polystore first."""
    lines = [("", "library", "unit", "figure", "polystore ÷ it", "aim", "met")]
    lines += [("---",) * 3 + ("--:",) * 2 + ("---",) * 2]
    for row in found:
        roles = ["polystore", *(role for role in row.cells if role != "polystore")]
        names = {"reference": row.case.reference or "reference", "incumbent": incumbent}
        for role in roles:
            of = None if role == "polystore" else role
            aims = [aim for aim in row.figure.aims if aim.of == of]
            lines.append(
                (
                    "" if of else row.title,
                    names.get(role, role),
                    row.figure.unit,
                    _shown(row.cells[role]),
                    _shown(row.ratio(role)) if of else "",
                    ", ".join(_aim(aim, row.figure.unit) for aim in aims),
                    ", ".join(_met(row, aim) for aim in aims),
                )
            )
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _met(row: Row, aim: Aim) -> str:
    return {True: "yes", False: "**no**", None: ""}[row.met(aim)]


def _shown(cell: Cell | None) -> str:
    return "—" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ")


def _aim(aim: Aim, unit: str, names: Mapping[Role, str] | None = None) -> str:
    sign, bound = ("≤", aim.at_most) if aim.at_most is not None else ("≥", aim.at_least)
    if aim.of is None:
        return f"{sign} {number(bound or 0)} {unit}".strip()
    of = f" {names[aim.of]}" if names else ""
    return f"{sign} {number(bound or 0)} ×{of}"


def number(value: float) -> str:
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
        f"{processor()}, {os.cpu_count()} cores{load}, {platform.system()} "
        f"{platform.release()}, {file_systems}. {libraries}. {datetime.now(UTC):%Y-%m-%d}."
    )


def processor() -> str:
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
