"""Copy values between addresses, for ``polystore cp`` and ``polystore mv``."""

from __future__ import annotations

import posixpath
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from polystore_core import PolystoreError, progress_reporter
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    InvalidOptionError,
    UnknownOptionError,
)

from .address import Address, AddressError, is_directory
from .output import is_terminal, print_json, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from polystore_core import FileManager

__all__ = [
    "Job",
    "Outcome",
    "check_targets",
    "converts",
    "copy_job",
    "files_below",
    "goals",
    "plan_jobs",
    "print_outcome",
    "reason_to_skip",
    "run_jobs",
]


class Job(NamedTuple):
    """One value to copy."""

    source: Address
    target: Address


class Outcome(NamedTuple):
    """A job that did not fail."""

    job: Job
    lost: tuple[str, ...] = ()
    """Words of the image that the target does not hold."""
    skipped: str = ""
    """Why nothing was copied, if so."""


def plan_jobs(
    files: FileManager,
    sources: Sequence[Address],
    target: Address,
    recursive: bool,
    pattern: str | None,
) -> list[Job]:
    """Pair each source file with its target, before anything is read or written."""
    jobs = []
    for source, goal in goals(files, sources, target, folders_go_in=False):
        is_folder = is_directory(files, source)
        if is_folder and not recursive:
            raise AddressError(f"{source} is a folder: copy it with -r")
        if pattern is not None and not is_folder:
            raise AddressError(f"--pattern needs folders, and {source} is not one")
        jobs += files_below(files, source, goal, pattern) if is_folder else [Job(source, goal)]
    check_targets(jobs)
    return jobs


def goals(
    files: FileManager, sources: Sequence[Address], target: Address, *, folders_go_in: bool
) -> Iterator[tuple[Address, Address]]:
    """Yield each source with the address that it gets.

    A folder that exists takes files in. With ``folders_go_in``, it takes in folders too. If not, a
    folder that is copied to a name becomes that folder, whether it exists or not, so that an
    interrupted copy can be repeated.
    """
    exists = is_directory(files, target)
    if len(sources) > 1 and not (exists or target.is_folder):
        raise AddressError(f"several sources need a folder as target: {target}/")
    for source in sources:
        into = target.is_folder or len(sources) > 1
        if exists and not into:
            into = folders_go_in or not is_directory(files, source)
        yield source, target / source.name if into else target


def files_below(
    files: FileManager, source: Address, target: Address, pattern: str | None = None
) -> list[Job]:
    """Pair each file below the folder ``source`` with its target below ``target``."""
    paths = files.list_files(
        source.path, backend=source.backend, pattern=pattern, recursive=True
    )
    return [
        Job(source.at(path), target / posixpath.relpath(path, source.path)) for path in paths
    ]


def check_targets(jobs: Iterable[Job]) -> None:
    """Raise ``AddressError`` if one source would be written over another."""
    firsts: dict[Address, Job] = {}
    for job in jobs:
        first = firsts.setdefault(job.target, job)
        if first is not job:
            raise AddressError(
                f"{first.source} and {job.source} have the same target {job.target}"
            )


def run_jobs(
    jobs: Sequence[Job], run: Callable[[Job], Outcome], name: str
) -> tuple[list[Outcome], dict[int, Exception]]:
    """Run all jobs, also if some fail. Return the outcomes, and the errors by index of the job.

    On a terminal, a bar called ``name`` shows how many jobs are done.
    """
    failed: dict[int, Exception] = {}
    done: list[Outcome] = []
    is_long = len(jobs) > 1 and is_terminal(sys.stderr)
    with progress_reporter(is_long, len(jobs), name) as report:
        for index, job in enumerate(jobs):
            try:
                done.append(run(job))
            except (UnknownOptionError, InvalidOptionError):
                raise  # the option is wrong for every file: do not load them all to find out
            except Exception as error:  # print_outcome names all of them at the end
                failed[index] = error
            report()
    return done, failed


def copy_job(
    files: FileManager, job: Job, options: dict[str, Any], chosen: dict[str, Any]
) -> Outcome:
    """Copy one value. ``options`` are those of ``save``, ``chosen`` those of ``transfer``."""
    source, target = job
    if (
        source.backend == target.backend
        and options.keys() <= {"if_exists"}
        and chosen["verify"] is None
        and not converts(files, job)
    ):
        return _copy_stored(files, job, options, dry_run=chosen["dry_run"])
    # Another backend or format needs the value itself, with its axes and channels.
    done = files.transfer(
        source.path,
        target.path,
        source_backend=source.backend,
        target_backend=target.backend,
        **chosen,
        **options,
    )
    lost = next(iter(done.lost.values()), ())
    return Outcome(job, lost, next(iter(done.skipped.values()), ""))


def converts(files: FileManager, job: Job) -> bool:
    """Whether the suffixes name two formats, in a backend that goes by suffixes."""
    try:
        old, new = (files.registry.formats.of(address.path) for address in job)
    except PolystoreError:
        return False
    if new.includes(old):  # a .tif file is a .tiff file too
        return False
    # A Zarr array called "a.tif" has no format, although its name ends like a file.
    return files.info(job.source.path, backend=job.source.backend).format == old.name


def _copy_stored(
    files: FileManager, job: Job, options: dict[str, Any], *, dry_run: bool
) -> Outcome:
    """Let the backend copy the bytes that it stores: metadata that load() drops stays."""
    source, target = job
    skipped = reason_to_skip(files, target, options.get("if_exists"), "copy to")
    # Otherwise a dry run would promise to copy a file that is missing.
    if dry_run and "info" in files.registry[source.backend].capabilities:
        files.info(source.path, backend=source.backend)
    if not dry_run:
        files.copy(source.path, target.path, backend=target.backend, **options)
    return Outcome(job, skipped=skipped)


def reason_to_skip(
    files: FileManager, target: Address, if_exists: str | None, operation: str
) -> str:
    """Return why ``target`` is left as it is, or an empty string.

    Raises ``AlreadyExistsError`` if ``if_exists`` is "error" and something is there.
    """
    # copy() and move() check it too, but they cannot say whether they have skipped anything.
    if if_exists not in ("skip", "error") or not _exists(files, target):
        return ""
    if if_exists == "error":
        raise AlreadyExistsError(target.backend, target.path, operation)
    return "the target exists"


def _exists(files: FileManager, address: Address) -> bool:
    able = "exists" in files.registry[address.backend].capabilities
    return able and files.exists(address.path, backend=address.backend)


# ── printing ──────────────────────────────────────────────────────────────────────────────


def print_outcome(
    verb: str,
    jobs: Sequence[Job],
    done: Sequence[Outcome],
    failed: Mapping[int, Exception],
    *,
    json: bool,
    dry_run: bool,
) -> None:
    """Print what a command has done, as ``--json`` and ``--dry-run`` ask for.

    ``verb`` is "copied" or "moved". Raises the error of the only job, or a ``BatchError``.
    """
    if json:
        print_json(_document(verb, jobs, done, failed))
    elif dry_run:
        made = (f"{one.job.source} -> {one.job.target}\n" for one in done if not one.skipped)
        click.echo("".join(made), nl=False)
    # Notes come before errors, because an error ends the command.
    _print_notes(verb, done)
    if failed and len(jobs) == 1:
        # The error of one file says more in its own words than in those of a batch.
        raise failed[0]
    if failed:
        named = {index: (str(jobs[index].source), error) for index, error in failed.items()}
        targets = tuple(str(one.job.target) for one in done)
        operation = {"copied": "cp", "moved": "mv"}[verb]
        raise BatchError(jobs[0].target.backend, operation, named, done=targets)


def _document(
    verb: str,
    jobs: Sequence[Job],
    done: Sequence[Outcome],
    failed: Mapping[int, Exception],
) -> dict[str, Any]:
    return {
        verb: [
            {"source": str(one.job.source), "target": str(one.job.target), "lost": one.lost}
            for one in done
            if not one.skipped
        ],
        "skipped": [
            {"source": str(one.job.source), "reason": one.skipped}
            for one in done
            if one.skipped
        ],
        "failed": [
            {"source": str(jobs[index].source), "error": str(error)}
            for index, error in failed.items()
        ],
    }


def _print_notes(verb: str, done: Iterable[Outcome]) -> None:
    """Print one line for all files that have the same note."""
    notes: dict[str, list[Address]] = {}
    for one in done:
        if one.skipped:
            notes.setdefault(f"not {verb}, because {one.skipped}", []).append(one.job.source)
        if one.lost:
            words = f"written without {', '.join(one.lost)}, for which it has no place"
            notes.setdefault(words, []).append(one.job.target)
    for text, places in notes.items():
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        warn(f"note: {places[0]}{more}: {text}")
