"""``polystore view``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.address import Address, AddressError, complete_address
from polystore_cli.inputs import read_addresses
from polystore_cli.options import (
    PATH,
    dry_run_option,
    null_option,
    parse_options,
    save_option,
)
from polystore_cli.output import dtype_in_words, is_terminal, print_json, printable, warn
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from polystore_cli.arranging import Arrangement
    from polystore_cli.showing import Show
    from polystore_cli.sources import Source
    from polystore_core import FileManager

__all__ = ["view"]


@click.command()
@click.argument("paths", metavar="PATH...", type=PATH, nargs=-1, required=True)
@click.option(
    "--viewer",
    default="napari",
    metavar="VIEWER",
    help="napari, or the backend of another viewer.",
)
@click.option("--name", metavar="NAME", help="Name of the viewer, if there are several.")
@click.option("--stack", is_flag=True, help="Show all images as one stack, with sliders.")
@click.option(
    "--names",
    metavar="TEMPLATE",
    help="Show one stack, arranged by names: '{well}_z{z}_w{channel}.tif', or auto.",
)
@click.option(
    "--follow", is_flag=True, help="Show each new file of a folder, or frame of an array."
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="End --follow after this time without a new image.",
)
@click.option("--labels", is_flag=True, help="Show label images.")
@null_option
@save_option
@dry_run_option("Show nothing. Print what would be shown.")
@click.option("--json", is_flag=True, help="Show nothing. Print it as one JSON object.")
@pass_files
def view(
    files: FileManager,
    paths: tuple[str, ...],
    viewer: str,
    name: str | None,
    stack: bool,
    names: str | None,
    follow: bool,
    timeout: float | None,
    labels: bool,
    null: bool,
    options: tuple[str, ...],
    dry_run: bool,
    json: bool,
) -> None:
    """Show images in a viewer, with the axes, pixel size and channels that are known.

    A path without a backend is on disk, or in zarr if a part of it ends in .zarr, .zarr.zip or
    .ozx. A folder is one stack, and a plate is one picture.
    """
    from polystore_cli.arranging import Arrangement  # imports NumPy
    from polystore_cli.showing import Show
    from polystore_core.errors import PluginError, UnknownPluginError

    given = parse_options(options) | ({"labels": True} if labels else {})
    is_shown = not (json or dry_run)
    show = Show(files, _backend_of(files, viewer), given)
    try:
        # Before the images are found: a misspelt option must not cost a search in a large plate.
        show = replace(show, viewer=_viewer(files, show.viewer, name))
        show.check_options(
            *(["names"] if names is not None else []), *(["at"] if follow else [])
        )
    except PluginError as error:
        # A dry run works without the viewer, but not if its name is misspelt.
        if is_shown or isinstance(error, UnknownPluginError):
            raise
        warn(f"note: {error}")  # nothing is sent to it
    _check_names(names)
    known = files.registry.names()
    if follow:
        _check_follow(paths, is_shown=is_shown, stack=stack, names=names)
        _follow(show, complete_address(paths[0], known), names, timeout)
        return
    addresses = read_addresses(files, paths, null=null, backend_is_optional=True)
    sources, failed = _find(files, addresses)
    if failed and (stack or names is not None):
        sources = []  # a stack without some of its images would look whole
    # If "-" is a path, standard input has addresses and no answers.
    is_quiet = not is_shown or "-" in paths
    ask = _ask if not is_quiet and is_terminal(sys.stdin) and is_terminal(sys.stderr) else None
    found = Arrangement(stack, names, ask)
    found.add(files, sources)
    failed += _print_skipped(found)
    if json:
        print_json(_document(show, found, failed))
    elif dry_run:
        _print_views(show, found)
    else:
        failed += show.send(found.views)
    if failed:
        raise click.exceptions.Exit(1)


def _find(
    files: FileManager, addresses: Iterable[Address]
) -> tuple[list[Source], list[dict[str, str]]]:
    """Return the images at each address, and the addresses that cannot be shown."""
    from polystore_cli.sources import TROUBLE, find_images

    sources, failed = [], []
    addresses = list(addresses)
    for address in addresses:
        try:
            sources.append(find_images(files, address, alone=len(addresses) > 1))
        except TROUBLE as error:
            warn(f"error: {printable(str(error))}")
            failed.append({"source": str(address), "error": str(error)})
    return sources, failed


def _ask(question: str) -> bool:
    """Ask on the terminal. Enter is yes, and the end of the input is no."""
    click.echo(f"{printable(question)} [Y/n] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)  # the terminal is still on the line of the question
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")


def _print_skipped(found: Arrangement) -> list[dict[str, str]]:
    """Print the sources that were skipped, and return the images that cannot be shown."""
    from polystore_cli.sources import describe_skipped

    for line in (
        *found.notes,
        *describe_skipped([one for one in found.skipped if not one.failed]),
    ):
        warn(f"note: {printable(line)}")
    failed = [one for one in found.skipped if one.failed]
    for one in failed:
        warn(f"error: {printable(one.reason)}")
    return [{"source": one.source, "error": one.reason} for one in failed]


def _document(show: Show, found: Arrangement, failed: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "shown": [show.document(one) for one in found.views],
        "skipped": [
            {"source": one.source, "reason": one.reason}
            for one in found.skipped
            if not one.failed
        ],
        "failed": failed,
    }


def _print_views(show: Show, found: Arrangement) -> None:
    for view in found.views:
        document = show.document(view)
        count = len(view.pictures)
        shape = " x ".join(map(str, document["shape"] or ())) or "unknown"
        many = f" of {count:,} images" if view.how == "stack" else ""
        by = f", arranged by {view.names!r}" if view.names else ""
        values = ", ".join(f"{name}: {number:,}" for name, number in view.fields.items())
        dtype = dtype_in_words(document["dtype"] or "")
        told = f"{view.how}{many} {view.address}: {shape} {dtype}".rstrip()
        click.echo(printable(told + by + (f" ({values})" if values else "")))


def _check_names(names: str | None) -> None:
    """Check the template.

    Raises:
        InvalidOptionError: It has no fields, so it cannot tell images apart.
    """
    from polystore_core import NameTemplate
    from polystore_core.errors import InvalidOptionError

    if names not in (None, "auto") and not NameTemplate(names).fields:
        fault = (
            f"--names {names!r} has no field: write a template such as '{{well}}.tif', or auto"
        )
        raise InvalidOptionError("names", names, "a template with fields", fault)


def _check_follow(
    paths: Sequence[str], *, is_shown: bool, stack: bool, names: str | None
) -> None:
    """Check that ``--follow`` can be used with the other options.

    Raises:
        InvalidOptionError: An option needs all images at once.
    """
    from polystore_core.errors import InvalidOptionError

    for is_given, other in (
        (len(paths) > 1, "several paths"),
        ("-" in paths, "-"),
        (not is_shown, "--dry-run and --json"),
        (stack, "--stack"),
        (names == "auto", "--names auto: write the template"),
    ):
        if is_given:
            fault = f"--follow shows images before all of them are there, so it refuses {other}"
            raise InvalidOptionError("follow", True, "one path", fault)


def _follow(show: Show, address: Address, names: str | None, timeout: float | None) -> None:
    from polystore_cli.following import follow

    if follow(show, address, names=names, timeout=timeout):
        raise click.exceptions.Exit(1)


def _backend_of(files: FileManager, viewer: str) -> str:
    """Return the name of the backend. ``napari`` is ``napari_stream``, installed or not."""
    from polystore_core import owner

    viewer = viewer.removesuffix(":")
    stream = f"{viewer}_stream"
    is_known = stream in files.registry or owner("backend", stream) is not None
    return stream if is_known else viewer


def _viewer(files: FileManager, backend: str, name: str | None) -> str:
    """Return the backend of the viewer with this name.

    Raises:
        PluginError: The backend cannot be used.
        AddressError: It stores data, so it is not a viewer.
    """
    from polystore_core import StorageBackend

    if isinstance(files.registry[backend], StorageBackend):
        raise AddressError(f"{backend!r} is not a viewer: it stores data, see polystore cp")
    if name is None:
        return backend
    named = f"{backend} {name!r}"
    files.registry.add(named, backend, viewer=name)
    return named
