"""``polystore cp``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from polystore_cli.address import parse_address
from polystore_cli.inputs import read_addresses
from polystore_cli.options import (
    ADDRESS,
    IF_EXISTS,
    dry_run_option,
    json_option,
    null_option,
    parse_options,
    save_option,
)
from polystore_cli.output import warn
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_core import FileManager

__all__ = ["cp"]


@click.command()
@click.argument("sources", metavar="SOURCE...", type=ADDRESS, nargs=-1)
@click.argument("target", type=ADDRESS)
@click.option("-r", "--recursive", is_flag=True, help="Copy folders with all their files.")
@null_option
@click.option("--if-exists", type=IF_EXISTS, help="What to do if the target exists.")
@click.option("--pattern", metavar="PATTERN", help="Of folders, only names like '*.tif'.")
@click.option(
    "--on-unknown",
    type=click.Choice(("error", "skip", "copy")),
    default="error",
    help="What to do with a file whose suffix no format has: copy keeps its bytes.",
)
@click.option(
    "--verify",
    type=click.Choice(("values", "bytes")),
    help="Compare each target with its source.",
)
@dry_run_option("Write nothing. Print each source and target.")
@json_option("one JSON object")
@save_option
@pass_files
def cp(
    files: FileManager,
    sources: tuple[str, ...],
    target: str,
    recursive: bool,
    null: bool,
    if_exists: str | None,
    pattern: str | None,
    on_unknown: str,
    verify: str | None,
    dry_run: bool,
    json: bool,
    options: tuple[str, ...],
) -> None:
    """Copy between backends. Another suffix converts, and a target that ends in / is a folder.

    SOURCE is disk:a.tif, a pattern such as 'disk:plate/*.tif', or - for addresses on standard
    input. TARGET is an address such as disk:b.png or zarr:plate.zarr/.
    """
    from polystore_cli.copying import copy_job, plan_jobs, print_outcome, run_jobs

    if not sources:  # click would miss the source, but it gave the only address to the target
        raise click.UsageError(f"name a source and a target, and not only {target!r}")
    goal = parse_address(target, files.registry.names())
    save_options = parse_options(options)
    if if_exists is not None:
        save_options["if_exists"] = if_exists
    chosen: dict[str, Any] = {"verify": verify, "on_unknown": on_unknown, "dry_run": dry_run}
    jobs = plan_jobs(files, read_addresses(files, sources, null=null), goal, recursive, pattern)
    # Several files of one OME-TIFF set would each be copied with all of its planes.
    chosen["alone"] = len(jobs) > 1
    # The name may have its distribution before it: "polystore-memory:memory".
    if goal.backend.rpartition(":")[2] == "memory":
        warn("note: values copied to memory are lost when this process ends")
    done, failed = run_jobs(jobs, lambda job: copy_job(files, job, save_options, chosen), "cp")
    print_outcome("copied", jobs, done, failed, json=json, dry_run=dry_run)
