"""``polystore mv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polystore_cli.address import AddressError, is_directory, parse_address
from polystore_cli.inputs import read_addresses
from polystore_cli.options import ADDRESS, IF_EXISTS, dry_run_option, json_option, null_option
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_cli.copying import Job, Outcome
    from polystore_core import FileManager

__all__ = ["mv"]


@click.command()
@click.argument("sources", metavar="SOURCE...", type=ADDRESS, nargs=-1)
@click.argument("target", type=ADDRESS)
@null_option
@click.option("--if-exists", type=IF_EXISTS, help="What to do if the target exists.")
@dry_run_option("Move nothing. Print each source and target.")
@json_option("one JSON object")
@pass_files
def mv(
    files: FileManager,
    sources: tuple[str, ...],
    target: str,
    null: bool,
    if_exists: str | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Move or rename files and folders, also to another backend.

    SOURCE is disk:a.tif, a pattern such as 'disk:plate/*.tif', or - for addresses on standard
    input. To another backend or format, each value is copied, compared and then deleted. A
    source is kept if its target cannot hold all of its axes, pixel sizes, units and channels.
    """
    from polystore_cli.copying import (
        Job,
        check_targets,
        files_below,
        goals,
        print_outcome,
        run_jobs,
    )

    if not sources:  # click would miss the source, but it gave the only address to the target
        raise click.UsageError(f"name a source and a target, and not only {target!r}")
    goal = parse_address(target, files.registry.names())
    # The source would be deleted, and the copy would end with this process.
    if goal.backend.rpartition(":")[2] == "memory":
        raise AddressError("values in memory are lost when this process ends: use cp, not mv")
    options = {} if if_exists is None else {"if_exists": if_exists}
    jobs: list[Job] = []
    folders = []
    found = read_addresses(files, sources, null=null)
    for source, place in goals(files, found, goal, folders_go_in=True):
        if source.backend != place.backend and is_directory(files, source):
            jobs += files_below(files, source, place)
            folders.append(source)
        else:
            jobs.append(Job(source, place))
    check_targets(jobs)
    done, failed = run_jobs(jobs, lambda job: _move(files, job, options, dry_run=dry_run), "mv")
    if not dry_run:
        # The files of these folders have moved to another backend, and the folders are left.
        for folder in folders:
            # A file that failed, or one that was written since, keeps its folder.
            if not files.list_files(folder.path, folder.backend, recursive=True):
                files.delete(folder.path, folder.backend, recursive=True)
    print_outcome("moved", jobs, done, failed, json=json, dry_run=dry_run)


def _move(files: FileManager, job: Job, options: dict[str, str], *, dry_run: bool) -> Outcome:
    from polystore_cli.copying import Outcome, converts, copy_job
    from polystore_core.errors import UnsupportedMetadataError

    source, target = job
    is_one = source.backend == target.backend
    if is_one and (is_directory(files, source) or not converts(files, job)):
        return _rename(files, job, options, dry_run=dry_run)
    # Values alone would not show that metadata is lost, which `load` may leave out. Other
    # formats have other bytes.
    verify = "bytes" if _is_same_file(files, job) else "values"
    # The source is deleted below, so the copy is compared with it first. The other files of an
    # OME-TIFF set stay, so their planes are not copied.
    chosen = {"verify": verify, "on_unknown": "error", "dry_run": dry_run, "alone": True}
    done = copy_job(files, job, dict(options), chosen)
    if done.lost:
        fault = (
            f"it is written without {', '.join(done.lost)}, so {source} is kept. To delete that: "
            f"polystore rm {source}"
        )
        raise UnsupportedMetadataError(
            fault, path=target.path, backend=target.backend, words=done.lost
        )
    if not dry_run and not done.skipped:
        files.delete(source.path, source.backend)
    return Outcome(job, skipped=done.skipped)


def _is_same_file(files: FileManager, job: Job) -> bool:
    """Whether both backends store a file, in the same format: then its bytes are copied."""
    from polystore_cli.copying import converts
    from polystore_core import FileBackend

    backends = (files.registry[address.backend] for address in job)
    return all(isinstance(one, FileBackend) for one in backends) and not converts(files, job)


def _rename(files: FileManager, job: Job, options: dict[str, str], *, dry_run: bool) -> Outcome:
    from polystore_cli.copying import Outcome, reason_to_skip

    source, target = job
    skipped = reason_to_skip(files, target, options.get("if_exists"), "move to")
    if not skipped and not dry_run:
        files.move(source.path, target.path, source.backend, **options)
    elif dry_run and "info" in files.registry[source.backend].capabilities:
        files.info(source.path, source.backend)  # raises if nothing is there
    return Outcome(job, skipped=skipped)
