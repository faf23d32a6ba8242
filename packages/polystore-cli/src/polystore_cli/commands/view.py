"""``polystore view``."""

from collections.abc import Collection
from typing import Annotated

import typer

from polystore_cli.address import (
    Address,
    AddressError,
    is_directory,
    parse_address,
    usual_backend,
)
from polystore_cli.options import SaveOptions, parse_options
from polystore_cli.output import print_json
from polystore_core import FileManager, StorageBackend, owner

__all__ = ["view"]


def view(
    context: typer.Context,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="What to show: a.tif, zarr:a.zarr/x")
    ],
    viewer: Annotated[
        str, typer.Option(metavar="VIEWER", help="napari, or the backend of another viewer.")
    ] = "napari",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the viewer, if there are several."),
    ] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Show all paths as one stack, with a slider.")
    ] = False,
    names: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Show one stack, arranged by names: '{well}_z{z}_w{channel}.tif'",
        ),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Show label images.")] = False,
    options: SaveOptions = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print what was sent as one JSON array.")
    ] = False,
) -> None:
    """Show images in a viewer, with the axes, pixel size and channels that are known.

    A path without a backend is on disk, or in zarr if a part of it ends in .zarr.
    """
    from polystore_cli.showing import Show  # with NumPy, which no other verb needs to start

    files: FileManager = context.obj
    known = files.registry.names()
    addresses = [_address(text, known) for text in paths]
    given = parse_options(options) | ({"labels": True} if labels else {})
    show = Show(files, _viewer(files, viewer, name), given)
    for address in addresses:
        if is_directory(files, address):
            raise AddressError(f"{address} is a folder: name one or more images in it")
    if stack or names is not None:
        sent = show.series(addresses, names)
    else:
        sent = list(show.each(addresses))
    if json:
        print_json(sent)
    if any("error" in document for document in sent):
        raise typer.Exit(1)


def _address(text: str, names: Collection[str]) -> Address:
    try:
        return parse_address(text, names)
    except AddressError:
        return Address(usual_backend(text), text)


def _viewer(files: FileManager, viewer: str, name: str | None) -> str:
    """Return the name of the backend: ``napari`` is ``napari_stream``, installed or not."""
    viewer = viewer.removesuffix(":")
    stream = f"{viewer}_stream"
    is_known = stream in files.registry or owner("backend", stream) is not None
    backend = stream if is_known else viewer
    if isinstance(files.registry[backend], StorageBackend):
        raise AddressError(f"{backend!r} is not a viewer: it stores data, see polystore cp")
    if name is None:
        return backend
    named = f"{backend} {name!r}"
    files.registry.add(named, backend, viewer=name)
    return named
