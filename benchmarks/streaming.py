"""Time images on their way into another process: polystore, pyzmq, the published polystore.

Sender and receiver of each run in interpreters of their own. Rounds interleave, A B C A B C …,
so that a drift of the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from report import Cell, machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__: list[str] = []

HERE = Path(__file__).parent
SIDES = {512: 400, 2048: 50, 4096: 16}
"""Pixels along each side of an image, and images in a round."""
WAITS = 300
"""Images that are sent one by one, in all rounds together."""
SLOW = 5
"""Images in a round of a sender that sleeps after each image."""

NOTES = """\
Columns: best round and, in brackets, median. "÷ memcpy" and "polystore ÷ it" of images/s: more is
faster; of waits (50th percentile): less is faster. A round ends when the last image is
acknowledged; the receiver then holds a copy of each of its own. Waits: one image at a time, sent
and acknowledged, over all rounds together.

- memcpy: `np.copyto` between two arrays, one thread, in one process. An array that fits
  into the cache of the processor stays there.
- pyzmq: DEALER to ROUTER over ipc, zero-copy send, 8 images on their way.
- polystore 0.6.3: `napari_stream` over ipc, into a receiver that copies each image out of its
  shared memory and replies, and so shows nothing. It sleeps 0.1 s in each call, and waits
  30 s where nothing answers."""


@dataclass(frozen=True)
class Entry:
    """A line of the table: a contender, and how it is used."""

    title: str
    contender: str
    batch: bool = True
    slow: bool = False


THROUGHPUT = (
    Entry("memcpy", "copy"),
    Entry("pyzmq", "raw"),
    Entry("polystore 0.6.3, save", "incumbent", batch=False, slow=True),
    Entry("polystore 0.6.3, save_batch", "incumbent"),
    Entry("polystore", "polystore"),
)
ONE_BY_ONE = (
    Entry("pyzmq", "raw", batch=False),
    Entry("polystore 0.6.3", "incumbent", batch=False, slow=True),
    Entry("polystore", "polystore", batch=False),
)


@dataclass(frozen=True)
class Case:
    """Some lines of the table: one size of image, and those that take turns with it."""

    side: int
    entries: Sequence[Entry]
    batch: bool

    @property
    def title(self) -> str:
        size = f"{self.side}² uint16, {self.nbytes / 2**20:.3g} MiB"
        return size if self.batch else f"{size}, one by one"

    @property
    def nbytes(self) -> int:
        return self.side**2 * 2

    def count(self, entry: Entry, rounds: int, *, quick: bool) -> int:
        """Return the number of images in a round."""
        if entry.slow:
            return SLOW
        count = SIDES[self.side] if self.batch else -(-WAITS // rounds)
        return max(count // 10, 5) if quick else count


class Child:
    """One end of a contender in another interpreter."""

    def __init__(self, python: str, role: str, contender: str, directory: Path) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "worker_streaming.py"), role, contender, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "POLYSTORE_RUNTIME_DIR": str(directory)},
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )

    def ask(self, request: object) -> Any:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and the answer says so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # the end of its requests is its own end
        for stop in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(timeout=10)
                return
            except subprocess.TimeoutExpired:
                stop()
        self._process.wait()


@dataclass(frozen=True)
class Pair:
    """Both ends of a contender."""

    sender: Child
    receiver: Child | None
    versions: Mapping[str, str]

    def round(self, side: int, count: int, *, batch: bool) -> list[float]:
        """Return seconds: of the batch, or of each image."""
        answer = self.sender.ask({"side": side, "count": count, "batch": batch})
        sent = answer["tally"]
        if self.receiver is not None:
            received = self.receiver.ask(sent["count"])
            if received != sent:
                raise SystemExit(f"sent {sent}, received {received}")
        seconds: list[float] = answer["seconds"]
        return seconds


@contextmanager
def _pair(python: str, contender: str, directory: Path) -> Iterator[Pair]:
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        receiver = None
        if contender != "copy":
            receiver = Child(python, "receive", contender, directory)
            stack.callback(receiver.end)
            receiver.answer()  # it listens
        sender = Child(python, "send", contender, directory)
        stack.callback(sender.end)
        yield Pair(sender, receiver, sender.answer())


@dataclass(frozen=True)
class Line:
    """The measurements of an entry."""

    case: Case
    entry: Entry
    count: int
    """Images in a round."""
    rounds: Sequence[Sequence[float]]
    """Seconds of each round: of the batch, or of each image."""

    @property
    def rate(self) -> Cell:
        rates = [self.count / sum(seconds) for seconds in self.rounds]
        return Cell(max(rates), median(rates))

    def wait(self, percent: float) -> Cell:
        value = float(np.percentile(np.concatenate(self.rounds), percent)) * 1e3
        return Cell(value, value)

    @property
    def figure(self) -> Cell:
        return self.rate if self.case.batch else self.wait(50)


def _measure(case: Case, pairs: Mapping[str, Pair], rounds: int, *, quick: bool) -> list[Line]:
    counts = {entry: case.count(entry, rounds, quick=quick) for entry in case.entries}
    found: dict[Entry, list[list[float]]] = {entry: [] for entry in case.entries}
    for number in range(rounds + 1):
        for entry, count in counts.items():
            pair = pairs[entry.contender]
            seconds = pair.round(case.side, count, batch=entry.batch)
            if number:  # the first round only warms up
                found[entry].append(seconds)
    return [Line(case, entry, counts[entry], found[entry]) for entry in case.entries]


def _table(lines: Sequence[Line]) -> str:
    heading = ("", "library", "images/s", "GB/s", "÷ memcpy", "ms p50", "p99", "polystore ÷ it")
    made: list[tuple[str, ...]] = [heading, ("---",) * 2 + ("--:",) * 6]
    for line in lines:
        others = {other.entry.title: other for other in lines if other.case == line.case}
        of_copy = _scaled(line.figure, others.get("memcpy")) if line.case.batch else "—"
        ours = others.get("polystore")
        ratio = _scaled(ours.figure, line) if ours not in (None, line) else "—"
        title = line.case.title if line.entry == line.case.entries[0] else ""
        made.append((title, line.entry.title, *_figures(line, of_copy), ratio))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in made)


def _figures(line: Line, of_copy: str) -> tuple[str, ...]:
    if not line.case.batch:
        return "", "", "", str(line.wait(50)), str(line.wait(99))
    rate = line.rate
    gigabytes = line.case.nbytes / 1e9
    volume = Cell(rate.first * gigabytes, rate.median * gigabytes)
    return str(rate), str(volume), of_copy, "", ""


def _scaled(cell: Cell, by: Line | None) -> str:
    if by is None:
        return "—"
    return str(Cell(cell.first / by.figure.first, cell.median / by.figure.median))


def _chosen(only: Sequence[str], *, incumbent: bool) -> list[Case]:
    """Return the cases, with those entries whose title contains one of ``only``."""

    def wanted(case: Case, entry: Entry) -> bool:
        if entry.contender == "incumbent" and not incumbent:
            return False
        title = f"{case.title}: {entry.title}"
        return not only or any(text in title for text in only)

    cases = []
    for side in SIDES:
        for case in (Case(side, THROUGHPUT, True), Case(side, ONE_BY_ONE, False)):
            entries = [entry for entry in case.entries if wanted(case, entry)]
            if entries:
                cases.append(Case(side, entries, case.batch))
    return cases


def main() -> int:
    options = _options()
    cases = _chosen(options.only, incumbent=options.incumbent_python is not None)
    rounds = 2 if options.quick else options.rounds
    names = dict.fromkeys(entry.contender for case in cases for entry in case.entries)
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, ExitStack() as stack:
        pairs = {}
        for name in names:
            python = options.incumbent_python if name == "incumbent" else sys.executable
            pairs[name] = stack.enter_context(_pair(python, name, Path(scratch, name)))
        versions = {
            "published" if name == "incumbent" else "polystore": pair.versions
            for name, pair in pairs.items()
        }
        described = machine(versions, {"sockets": Path(scratch)})
        for case in cases:
            print(case.title, file=sys.stderr, flush=True)
            lines += _measure(case, pairs, rounds, quick=options.quick)
    text = f"{described}\n\n{_table(lines)}\n\n{NOTES}\n"
    if options.napari:
        import viewers_streaming

        found = viewers_streaming.measured(quick=options.quick)
        text += f"\n## A live napari\n\n{found}\n"
    if options.fiji:
        import viewers_fiji

        text += f"\n{viewers_fiji.measured(quick=options.quick)}\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--incumbent-python", help="an interpreter with polystore[streaming] 0.6.3 installed")
    add("--output", type=Path, help="write the table to this file as well")
    add(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="run the lines whose title contains this; may be repeated",
    )
    add("--rounds", type=int, default=7, help="rounds of every case (default: 7)")
    add("--napari", action="store_true", help="time a live napari as well: it needs a screen")
    add("--fiji", action="store_true", help="time an ImageJ as well: Java and its jar")
    add("--quick", action="store_true", help="two short rounds, to see that it runs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
