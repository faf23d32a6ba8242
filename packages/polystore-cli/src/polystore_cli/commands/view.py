"""``polystore view``."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polystore_cli.address import Address, AddressError, complete_address
from polystore_cli.options import SaveOptions, parse_options
from polystore_cli.output import is_terminal, print_json, printable, warn
from polystore_core import FileManager, NameTemplate, StorageBackend, owner
from polystore_core.errors import InvalidOptionError, PluginError, UnknownPluginError

if TYPE_CHECKING:
    from polystore_cli.arranging import Arrangement
    from polystore_cli.showing import Show
    from polystore_cli.sources import Source

__all__ = ["view"]


def view(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="An image, a folder, a plate or a store, or - for paths on standard input.",
        ),
    ],
    viewer: Annotated[
        str, typer.Option(metavar="VIEWER", help="napari, or the backend of another viewer.")
    ] = "napari",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the viewer, if there are several."),
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Show all images as one stack, with sliders.")
    ] = False,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Show one stack, arranged by names: '{well}_z{z}_w{channel}.tif', or auto.",
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Show each new file of a folder, or frame of an array."),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="End --follow after this time without a new image."
        ),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Show label images.")] = False,
    options: SaveOptions = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show nothing. Print what would be shown.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Show nothing. Print it as one JSON object.")
    ] = False,
) -> None:
    """Show images in a viewer, with the axes, pixel size and channels that are known.

    A path without a backend is on disk, or in zarr if a part of it ends in .zarr, .zarr.zip or
    .ozx. A folder is one stack, and a plate is one picture.
    """
    from polystore_cli.arranging import Arrangement  # with NumPy, which no other verb needs
    from polystore_cli.showing import Show

    files: FileManager = context.obj
    given = parse_options(options) | ({"labels": True} if labels else {})
    is_shown = not (json or dry_run)
    show = Show(files, _backend_of(files, viewer), given)
    try:
        show = replace(show, viewer=_viewer(files, show.viewer, name))
        show.check_options(
            *(["names"] if names is not None else []), *(["at"] if follow else [])
        )
    except PluginError as error:
        if is_shown or isinstance(error, UnknownPluginError):
            raise
        warn(f"note: {error}")  # nothing is sent to it
    _check_names(names)
    known = files.registry.names()
    if follow:
        _check_follow(paths, is_shown=is_shown, stack=stack, names=names)
        _follow(show, complete_address(paths[0], known), names, timeout)
        return
    addresses = [complete_address(text, known) for text in _texts(paths)]
    sources, failed = _find(files, addresses)
    if failed and (stack or names is not None):
        sources = []  # a stack without some of its images would look whole
    is_quiet = not is_shown or "-" in paths
    ask = _ask if not is_quiet and is_terminal(sys.stdin) and is_terminal(sys.stderr) else None
    found = Arrangement(stack, names, ask)
    found.add(files, sources)
    failed += _tell(found)
    if json:
        print_json(_document(show, found, failed))
    elif dry_run:
        _print_views(show, found)
    else:
        failed += show.send(found.views)
    if failed:
        raise typer.Exit(1)


def _texts(paths: Iterable[str]) -> Iterator[str]:
    """Yield the addresses of the command line, and those of standard input at "-"."""
    for text in paths:
        if text != "-":
            yield text
            continue
        # Names of files that are not UTF-8 stay what they are. Editors of Windows add a mark.
        given = b"" if sys.stdin is None else sys.stdin.buffer.read()
        lines = given.decode("utf-8-sig", "surrogateescape").split("\n")
        found = [line.removesuffix("\r") for line in lines if line.strip()]
        if not found:
            fault = "standard input has no addresses: write one in each line"
            raise InvalidOptionError("PATH", "-", "addresses", fault)
        yield from found


def _find(
    files: FileManager, addresses: Iterable[Address]
) -> tuple[list["Source"], list[dict[str, str]]]:
    """Return what is at each address, and the addresses that cannot be shown."""
    from polystore_cli.sources import TROUBLE, find_images

    sources, failed = [], []
    for address in addresses:
        try:
            sources.append(find_images(files, address))
        except TROUBLE as error:
            warn(f"error: {printable(str(error))}")
            failed.append({"source": str(address), "error": str(error)})
    return sources, failed


def _ask(question: str) -> bool:
    """Ask on the terminal. Enter is yes, and the end of the input is no."""
    typer.echo(f"{printable(question)} [Y/n] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        typer.echo(err=True)  # the terminal is still on the line of the question
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")


def _tell(found: "Arrangement") -> list[dict[str, str]]:
    """Print what was skipped, and return the images that cannot be shown."""
    from polystore_cli.sources import told

    for line in (*found.notes, *told([one for one in found.skipped if not one.failed])):
        warn(f"note: {printable(line)}")
    failed = [one for one in found.skipped if one.failed]
    for one in failed:
        warn(f"error: {printable(one.reason)}")
    return [{"source": one.source, "error": one.reason} for one in failed]


def _document(
    show: "Show", found: "Arrangement", failed: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "shown": [show.document(one) for one in found.views],
        "skipped": [
            {"source": one.source, "reason": one.reason}
            for one in found.skipped
            if not one.failed
        ],
        "failed": failed,
    }


def _print_views(show: "Show", found: "Arrangement") -> None:
    for view in found.views:
        document = show.document(view)
        count = len(view.pictures)
        shape = " x ".join(map(str, document["shape"] or ())) or "unknown"
        many = f" of {count:,} images" if view.how == "stack" else ""
        by = f", arranged by {view.names!r}" if view.names else ""
        values = ", ".join(f"{name}: {number:,}" for name, number in view.fields.items())
        told = f"{view.how}{many} {view.address}: {shape} {document['dtype'] or ''}".rstrip()
        typer.echo(printable(told + by + (f" ({values})" if values else "")))


def _check_names(names: str | None) -> None:
    """Raise ``InvalidOptionError`` for a template that tells no images apart."""
    if names not in (None, "auto") and not NameTemplate(names).fields:
        fault = (
            f"--names {names!r} has no field: write a template such as '{{well}}.tif', or auto"
        )
        raise InvalidOptionError("names", names, "a template with fields", fault)


def _check_follow(paths: list[str], *, is_shown: bool, stack: bool, names: str | None) -> None:
    """Raise ``InvalidOptionError`` for options that need all images at once."""
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


def _follow(show: "Show", address: Address, names: str | None, timeout: float | None) -> None:
    from polystore_cli.following import follow

    if follow(show, address, names=names, timeout=timeout):
        raise typer.Exit(1)


def _backend_of(files: FileManager, viewer: str) -> str:
    """Return the name of the backend: ``napari`` is ``napari_stream``, installed or not."""
    viewer = viewer.removesuffix(":")
    stream = f"{viewer}_stream"
    is_known = stream in files.registry or owner("backend", stream) is not None
    return stream if is_known else viewer


def _viewer(files: FileManager, backend: str, name: str | None) -> str:
    """Return the backend of the viewer with this name.

    Raises ``PluginError`` if it cannot be used, ``AddressError`` if it is not a viewer.
    """
    if isinstance(files.registry[backend], StorageBackend):
        raise AddressError(f"{backend!r} is not a viewer: it stores data, see polystore cp")
    if name is None:
        return backend
    named = f"{backend} {name!r}"
    files.registry.add(named, backend, viewer=name)
    return named
