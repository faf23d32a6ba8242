"""``polystore cp``."""

import posixpath
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import typer

from polystore_cli.address import Address, AddressError, is_directory, parse_address
from polystore_cli.options import SaveOptions, parse_options
from polystore_cli.output import is_terminal, print_json, warn
from polystore_core import FileManager, IfExists, PolystoreError, progress_reporter
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    InvalidOptionError,
    UnknownOptionError,
)

__all__ = ["cp"]

Verify: TypeAlias = Literal["values", "bytes"]
OnUnknown: TypeAlias = Literal["error", "skip"]


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


def cp(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="What to copy: disk:a.tif")
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Where to: disk:b.png, or a folder: raw:plate/"),
    ],
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Copy folders with all their files.")
    ] = False,
    if_exists: Annotated[
        IfExists | None, typer.Option(help="What to do if the target exists.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Of folders, only names like '*.tif'.")
    ] = None,
    on_unknown: Annotated[
        OnUnknown, typer.Option(help="What to do with a file whose suffix no format has.")
    ] = "error",
    verify: Annotated[
        Verify | None, typer.Option(help="Compare each target with its source.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing. Print each source and target.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    options: SaveOptions = None,
) -> None:
    """Copy between backends. Another suffix converts; a target that ends in / is a folder."""
    files: FileManager = context.obj
    names = files.registry.names()
    goal = parse_address(target, names)
    save_options = parse_options(options)
    if if_exists is not None:
        save_options["if_exists"] = if_exists
    chosen = {"verify": verify, "on_unknown": on_unknown, "dry_run": dry_run}
    jobs = _plan(
        files, [parse_address(text, names) for text in sources], goal, recursive, pattern
    )
    if goal.backend.rpartition(":")[2] == "memory":
        warn("note: values copied to memory are lost when this process ends")
    done, failed = _copy_all(files, jobs, save_options, chosen)
    if json:
        print_json(_document(done, jobs, failed))
    elif dry_run:
        copied = (f"{one.job.source} -> {one.job.target}\n" for one in done if not one.skipped)
        typer.echo("".join(copied), nl=False)
    _print_notes(done)
    if failed and len(jobs) == 1:
        raise failed[0]
    if failed:
        named = {index: (str(jobs[index].source), error) for index, error in failed.items()}
        targets = tuple(str(one.job.target) for one in done)
        raise BatchError(goal.backend, "cp", named, done=targets)


def _plan(
    files: FileManager,
    sources: list[Address],
    target: Address,
    recursive: bool,
    pattern: str | None,
) -> list[Job]:
    """Pair each source file with its target, before anything is read or written."""
    exists = is_directory(files, target)
    if len(sources) > 1 and not (exists or target.is_folder):
        raise AddressError(f"several sources need a folder as target: {target}/")
    jobs: dict[Address, Job] = {}
    for source in sources:
        folder = is_directory(files, source)
        if folder and not recursive:
            raise AddressError(f"{source} is a folder: copy it with -r")
        if pattern is not None and not folder:
            raise AddressError(f"--pattern needs folders, and {source} is not one")
        # An existing folder takes files in. A folder copied to a name becomes that folder
        # whether it exists or not, so a copy that was interrupted can be repeated.
        into = target.is_folder or len(sources) > 1 or (exists and not folder)
        goal = target / source.name if into else target
        found = _files_below(files, source, goal, pattern) if folder else [Job(source, goal)]
        for job in found:
            earlier = jobs.setdefault(job.target, job)
            if earlier is not job:
                raise AddressError(
                    f"{earlier.source} and {job.source} have the same target {job.target}"
                )
    return list(jobs.values())


def _files_below(
    files: FileManager, source: Address, target: Address, pattern: str | None
) -> list[Job]:
    paths = files.list_files(
        source.path, backend=source.backend, pattern=pattern, recursive=True
    )
    return [
        Job(source.at(path), target / posixpath.relpath(path, source.path)) for path in paths
    ]


def _copy_all(
    files: FileManager, jobs: list[Job], options: dict[str, Any], chosen: dict[str, Any]
) -> tuple[list[Outcome], dict[int, Exception]]:
    """Copy what can be copied. Return the outcomes, and the errors by the index of the job."""
    failed: dict[int, Exception] = {}
    done: list[Outcome] = []
    with progress_reporter(
        len(jobs) > 1 and is_terminal(sys.stderr), len(jobs), "cp"
    ) as report:
        for index, job in enumerate(jobs):
            try:
                done.append(_copy(files, job, options, chosen))
            except (UnknownOptionError, InvalidOptionError):
                raise  # as wrong for every other file: do not load them all to find out
            except Exception as error:  # collected: all are named at the end
                failed[index] = error
            report()
    return done, failed


def _copy(
    files: FileManager, job: Job, options: dict[str, Any], chosen: dict[str, Any]
) -> Outcome:
    source, target = job
    if (
        source.backend == target.backend
        and options.keys() <= {"if_exists"}
        and chosen["verify"] is None
        and not _converts(files, job)
    ):
        return _copy_stored(files, job, options, dry_run=chosen["dry_run"])
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


def _converts(files: FileManager, job: Job) -> bool:
    """Whether the suffixes name two formats, in a backend that goes by suffixes."""
    try:
        old, new = (files.registry.formats.of(address.path) for address in job)
    except PolystoreError:
        return False
    if new.includes(old):
        return False
    return files.info(job.source.path, backend=job.source.backend).format == old.name


def _copy_stored(
    files: FileManager, job: Job, options: dict[str, Any], *, dry_run: bool
) -> Outcome:
    """Let the backend copy the bytes that it stores: metadata that load() drops stays."""
    source, target = job
    skipped = ""
    if options.get("if_exists") in ("skip", "error") and _exists(files, target):
        if options["if_exists"] == "error":
            raise AlreadyExistsError(target.backend, target.path, "copy to")
        skipped = "the target exists"
    if dry_run and "info" in files.registry[source.backend].capabilities:
        files.info(source.path, backend=source.backend)
    if not dry_run:
        files.copy(source.path, target.path, backend=target.backend, **options)
    return Outcome(job, skipped=skipped)


def _exists(files: FileManager, address: Address) -> bool:
    able = "exists" in files.registry[address.backend].capabilities
    return able and files.exists(address.path, backend=address.backend)


# ── what is printed ──────────────────────────────────────────────────────────────────────


def _document(
    done: Iterable[Outcome], jobs: list[Job], failed: Mapping[int, Exception]
) -> dict[str, Any]:
    return {
        "copied": [
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


def _print_notes(done: Iterable[Outcome]) -> None:
    """Print one line for all files of which the same is to be said."""
    notes: dict[str, list[Address]] = {}
    for one in done:
        if one.skipped:
            notes.setdefault(f"not copied, because {one.skipped}", []).append(one.job.source)
        if one.lost:
            words = f"written without {', '.join(one.lost)}, for which it has no place"
            notes.setdefault(words, []).append(one.job.target)
    for text, places in notes.items():
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        warn(f"note: {places[0]}{more}: {text}")
