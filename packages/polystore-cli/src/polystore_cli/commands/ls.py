"""``polystore ls``."""

import posixpath
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from polystore_cli.address import Address, parse_address
from polystore_cli.output import info_document, local_time, print_columns, print_json, warn
from polystore_core import FileManager, Info, PolystoreError

__all__ = ["ls"]

_HEADER = ("size", "modified", "shape", "dtype", "name")


def ls(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="A folder: disk:plate")],
    long: Annotated[
        bool, typer.Option("-l", "--long", help="Add size, modified, shape and dtype.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="List the files of all folders below.")
    ] = False,
    pattern: Annotated[str, typer.Option(help="Only names like '*.tif'.")] = "*",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List a folder in natural order: z2 before z10."""
    files: FileManager = context.obj
    folder = parse_address(address, files.registry.names())
    names = _names(files, folder, pattern, recursive)
    described = {name: _describe(files, folder / name) for name in names} if long else {}
    if json:
        print_json([_document(*item) for item in described.items()] if long else names)
    elif long:
        print_columns(_HEADER, [_row(*item) for item in described.items()], right=("size",))
    else:
        typer.echo("".join(f"{name}\n" for name in names), nl=False)
    if any(isinstance(found, PolystoreError) for found in described.values()):
        raise typer.Exit(1)


def _names(files: FileManager, folder: Address, pattern: str, recursive: bool) -> list[str]:
    if recursive:
        found = files.list_files(
            folder.path, backend=folder.backend, pattern=pattern, recursive=True
        )
        return [posixpath.relpath(path, folder.path) for path in found]
    names = files.list_dir(folder.path, backend=folder.backend)
    return [name for name in names if fnmatchcase(name, pattern)]


def _describe(files: FileManager, address: Address) -> Info | PolystoreError:
    """Find out about one name; a damaged file must not hide the others."""
    try:
        return files.info(address.path, backend=address.backend)
    except PolystoreError as error:
        warn(f"error: {error}")
        return error


def _document(name: str, found: Info | PolystoreError) -> dict[str, object]:
    if isinstance(found, PolystoreError):
        return {"name": name, "error": str(found)}
    return {"name": name, **info_document(found)}


def _row(name: str, found: Info | PolystoreError) -> tuple[str, ...]:
    if isinstance(found, PolystoreError):
        return "?", "?", "?", "?", name
    if found.target is not None:
        name = f"{name} -> {found.target}"
    elif found.kind == "directory":
        name = f"{name}/"
    return (
        "-" if found.size is None else str(found.size),
        local_time(found.modified),
        "-" if found.shape is None else "x".join(map(str, found.shape)) or "scalar",
        found.dtype or "-",
        name,
    )
