"""``polystore ls``."""

from __future__ import annotations

import posixpath
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.address import Address, AddressError, is_directory, parse_address
from polystore_cli.globbing import expand_address, has_wildcards
from polystore_cli.options import ADDRESS, json_option, pattern_option
from polystore_cli.output import (
    dtype_in_words,
    info_document,
    local_time,
    print_columns,
    print_json,
    warn,
)
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polystore_core import FileManager, Info, PolystoreError

__all__ = ["ls"]

_HEADER = ("size", "modified", "shape", "dtype", "name")


@click.command()
@click.argument("address", type=ADDRESS)
@click.option("-l", "--long", is_flag=True, help="Add size, modified, shape and dtype.")
@click.option("-r", "--recursive", is_flag=True, help="List the files of all folders below.")
@pattern_option
@click.option("--full", is_flag=True, help="Print whole addresses, for polystore cp - disk:e/")
@click.option(
    "null", "-0", "--null", is_flag=True, help="End each name with a NUL byte, not a line."
)
@click.option("--sizes", is_flag=True, help="With -l, add up the files in each folder.")
@json_option("one JSON array")
@pass_files
def ls(
    files: FileManager,
    address: str,
    long: bool,
    recursive: bool,
    pattern: str | None,
    full: bool,
    null: bool,
    sizes: bool,
    json: bool,
) -> None:
    """List a folder, or the names that match, in natural order: z2 before z10.

    ADDRESS is a folder such as disk:plate, a file, or a pattern such as 'disk:plate/*.tif'. The
    pattern ** matches any number of folders: 'disk:plate/**/*.tif'.
    """
    if sizes and not long:
        raise AddressError("--sizes needs -l: write ls -l --sizes")
    if null and (long or json):
        raise AddressError("-0 prints names alone: leave -l and --json out")
    place = parse_address(address, files.registry.names())
    found = _find(files, place, pattern or "*", recursive)
    rows = {str(one) if full else name: one for name, one in found}
    described = (
        {name: _describe(files, one, sizes) for name, one in rows.items()} if long else {}
    )
    if json:
        print_json([_document(*item) for item in described.items()] if long else list(rows))
    elif long:
        print_columns(_HEADER, [_row(*item) for item in described.items()], right=("size",))
    else:
        end = "\0" if null else "\n"
        click.echo("".join(f"{name}{end}" for name in rows), nl=False)
    if any(isinstance(one, Exception) for one in described.values()):
        raise click.exceptions.Exit(1)


def _find(
    files: FileManager, place: Address, pattern: str, recursive: bool
) -> Iterable[tuple[str, Address]]:
    """Yield each name that is printed, with its address."""
    if has_wildcards(place.path):
        matches = expand_address(files, place)
        if matches != [place]:
            for one in matches:
                if recursive and is_directory(files, one):
                    for name in _names(files, one, pattern, recursive):
                        yield (one / name).path, one / name
                elif fnmatchcase(one.name, pattern):
                    yield one.path, one
            return
    if _is_file(files, place):
        yield place.path, place
        return
    for name in _names(files, place, pattern, recursive):
        yield name, place / name


def _is_file(files: FileManager, place: Address) -> bool:
    able = "is_file" in files.registry[place.backend].capabilities
    return able and files.is_file(place.path, backend=place.backend)


def _names(files: FileManager, folder: Address, pattern: str, recursive: bool) -> list[str]:
    if recursive:
        found = files.list_files(
            folder.path, backend=folder.backend, pattern=pattern, recursive=True
        )
        return [posixpath.relpath(path, folder.path) for path in found]
    names = files.list_dir(folder.path, backend=folder.backend)
    return [name for name in names if fnmatchcase(name, pattern)]


def _describe(files: FileManager, address: Address, sizes: bool) -> Info | PolystoreError:
    """Find out about one name. A damaged file must not hide the others."""
    from dataclasses import replace

    from polystore_core import PolystoreError

    try:
        found = files.info(address.path, backend=address.backend)
        if sizes and found.size is None and is_directory(files, address):
            from polystore_cli.folders import measure_folder

            # Only on request: it lists every file below.
            found = replace(found, size=measure_folder(files, address).size)
    except PolystoreError as error:
        warn(f"error: {error}")
        return error
    return found


def _document(name: str, found: Info | PolystoreError) -> dict[str, Any]:
    if isinstance(found, Exception):
        return {"name": name, "error": str(found)}
    return {"name": name, **info_document(found)}


def _row(name: str, found: Info | PolystoreError) -> tuple[str, ...]:
    if isinstance(found, Exception):
        return "?", "?", "?", "?", name
    if found.target is not None:
        name = f"{name} -> {found.target}"
    elif found.kind == "directory":
        name = f"{name}/"
    return (
        "-" if found.size is None else str(found.size),
        local_time(found.modified),
        "-" if found.shape is None else "x".join(map(str, found.shape)) or "scalar",
        dtype_in_words(found.dtype or "-"),
        name,
    )
