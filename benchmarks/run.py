"""Time polystore next to NumPy, tifffile and the published polystore: one run, one table.

Every library runs in an interpreter of its own. Rounds interleave, A B C A B C …, so that a
drift of the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cases import cases
from report import Row, machine, rows, tables
from workloads import places

if TYPE_CHECKING:
    from types import TracebackType

    from case import Case, Role

__all__: list[str] = []

HERE = Path(__file__).parent


class Worker:
    """A library in another interpreter, which times a round when it is asked to."""

    def __init__(self, python: str, contender: str, *, quick: bool) -> None:
        command = [python, str(HERE / "worker.py"), contender, *(["--quick"] if quick else [])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.versions: dict[str, str] = self._answer()

    def round(self, case: Case, prepared: Path, fresh: Path) -> dict[str, Any]:
        """Return the figures of one round, or its error."""
        assert self._process.stdin is not None
        request = {"case": case.title, "prepared": str(prepared), "fresh": str(fresh)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # the end of its requests is the end of the worker
        self._process.wait()


@dataclass(frozen=True)
class Bench:
    """The workers of a run and where they write."""

    workers: dict[str, Worker]
    memory: Path
    disk: Path
    rounds: int | None

    def measure(self, case: Case) -> list[Row]:
        """Time all rounds of a case, one library after the other in each."""
        roles = {r: name for r, name in case.roles.items() if name in self.workers}
        results: dict[Role, list[list[float]] | str] = {role: [] for role in roles}
        directory = self.disk if case.on_disk else self.memory
        with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as scratch:
            case.workload.prepare(_made(scratch, "prepared"))
            for number in range((self.rounds or case.rounds) + case.warm_ups):
                for role, contender in roles.items():
                    so_far = results[role]
                    if isinstance(so_far, str):  # an error ends the case for this library
                        continue
                    answer = self._round(case, self.workers[contender], scratch)
                    if "error" in answer:
                        results[role] = answer["error"]
                    elif number >= case.warm_ups:
                        so_far.append(answer["figures"])
        return rows(case, results)

    def _round(self, case: Case, worker: Worker, scratch: str) -> dict[str, Any]:
        fresh = _made(scratch, "fresh")
        if case.on_disk:
            os.sync()  # one library's unwritten pages are not the next one's bill
        try:
            return worker.round(case, Path(scratch, "prepared"), fresh)
        finally:
            shutil.rmtree(fresh)


def _made(scratch: str, name: str) -> Path:
    directory = Path(scratch, name)
    directory.mkdir()
    return directory


def main() -> int:
    options = _options()
    memory, disk = places(options.directory)
    chosen = [case for case in cases(quick=options.quick) if options.only in case.title]
    pythons = {
        name: options.incumbent_python if name.startswith("incumbent") else sys.executable
        for case in chosen
        for name in case.roles.values()
    }
    found: list[Row] = []
    with ExitStack() as stack:
        workers = {
            contender: stack.enter_context(Worker(python, contender, quick=options.quick))
            for contender, python in pythons.items()
            if python is not None
        }
        versions = {
            "polystore" if python == sys.executable else "incumbent": workers[name].versions
            for name, python in pythons.items()
            if python is not None
        }
        described = machine(versions, {"files": memory, "metadata and durable saves": disk})
        bench = Bench(workers, memory, disk, 2 if options.quick else options.rounds)
        for case in chosen:
            print(case.title, file=sys.stderr, flush=True)
            found += bench.measure(case)
    incumbent = "polystore " + versions.get("incumbent", {}).get("polystore", "published")
    text = f"{described}\n\n{tables(found, incumbent)}\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    if options.json:
        document = {"machine": described, "rows": [row.as_json() for row in found]}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return int(any(row.cells["polystore"].error for row in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--incumbent-python", help="an interpreter with the published polystore installed")
    add("--output", type=Path, help="write the table to this file as well")
    add("--json", type=Path, help="write every round to this file")
    add(
        "--directory",
        type=Path,
        help="where to write (default: /dev/shm, and the temporary "
        "directory for flushed files)",
    )
    add("--only", default="", help="run the cases whose title contains this")
    add("--rounds", type=int, help="rounds of every case (default: 7 to 31)")
    add("--quick", action="store_true", help="two short rounds, to see that it runs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
