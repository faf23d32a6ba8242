"""``polystore cp``."""

import posixpath
import sys
from typing import Annotated, Any, NamedTuple

import typer

from polystore_cli.address import Address, AddressError, is_directory, parse_address
from polystore_cli.options import SaveOptions, parse_options
from polystore_cli.output import warn
from polystore_core import FileManager, IfExists, progress_reporter
from polystore_core.errors import BatchError, InvalidOptionError, UnknownOptionError

__all__ = ["cp"]


class Job(NamedTuple):
    """One value to copy."""

    source: Address
    target: Address


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
    options: SaveOptions = None,
) -> None:
    """Copy between backends. Another suffix converts; a target that ends in / is a folder."""
    files: FileManager = context.obj
    names = files.registry.names()
    goal = parse_address(target, names)
    save_options = parse_options(options)
    if if_exists is not None:
        save_options["if_exists"] = if_exists
    jobs = _plan(files, [parse_address(text, names) for text in sources], goal, recursive)
    if goal.backend.rpartition(":")[2] == "memory":
        warn("note: values copied to memory are lost when this process ends")
    if len(jobs) == 1:
        _copy(files, jobs[0], save_options)
    else:
        _copy_all(files, jobs, save_options)


def _plan(
    files: FileManager, sources: list[Address], target: Address, recursive: bool
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
        # An existing folder takes files in. A folder copied to a name becomes that folder
        # whether it exists or not, so a copy that was interrupted can be repeated.
        into = target.is_folder or len(sources) > 1 or (exists and not folder)
        goal = target / source.name if into else target
        for job in _files_below(files, source, goal) if folder else [Job(source, goal)]:
            earlier = jobs.setdefault(job.target, job)
            if earlier is not job:
                raise AddressError(
                    f"{earlier.source} and {job.source} have the same target {job.target}"
                )
    return list(jobs.values())


def _files_below(files: FileManager, source: Address, target: Address) -> list[Job]:
    paths = files.list_files(source.path, backend=source.backend, recursive=True)
    return [
        Job(source.at(path), target / posixpath.relpath(path, source.path)) for path in paths
    ]


def _copy(files: FileManager, job: Job, options: dict[str, Any]) -> None:
    source, target = job
    if source.backend == target.backend and options.keys() <= {"if_exists"}:
        # A backend can copy the bytes that it stores: metadata that load() drops stays.
        files.copy(source.path, target.path, backend=target.backend, **options)
    else:
        value = files.load(source.path, backend=source.backend)
        files.save(value, target.path, backend=target.backend, **options)


def _copy_all(files: FileManager, jobs: list[Job], options: dict[str, Any]) -> None:
    """Copy what can be copied. Raises ``BatchError`` that names what could not."""
    failed: dict[int, tuple[str, Exception]] = {}
    done: list[str] = []
    with progress_reporter(sys.stderr.isatty(), len(jobs), "cp") as report:
        for index, job in enumerate(jobs):
            try:
                _copy(files, job, options)
                done.append(str(job.target))
            except (UnknownOptionError, InvalidOptionError):
                raise  # as wrong for every other file: do not load them all to find out
            except Exception as error:  # collected: BatchError carries every cause
                failed[index] = (str(job.source), error)
            report()
    if failed:
        raise BatchError(jobs[0].target.backend, "cp", failed, done=tuple(done))
