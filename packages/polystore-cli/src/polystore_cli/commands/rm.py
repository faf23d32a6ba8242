"""``polystore rm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polystore_cli.address import Address, AddressError, is_directory
from polystore_cli.inputs import read_addresses
from polystore_cli.options import addresses_argument, dry_run_option, json_option, null_option
from polystore_cli.output import print_json, warn
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import FileManager

__all__ = ["rm"]


@click.command()
@addresses_argument
@click.option("-r", "--recursive", is_flag=True, help="Delete folders with all that they hold.")
@null_option
@dry_run_option("Delete nothing. Print each file that would be deleted.")
@json_option("one JSON object")
@pass_files
def rm(
    files: FileManager,
    addresses: tuple[str, ...],
    recursive: bool,
    null: bool,
    dry_run: bool,
    json: bool,
) -> None:
    """Delete files, and folders with -r. It asks nothing.

    ADDRESS is disk:a.tif, a pattern such as 'disk:plate/*.tif', or - for addresses on standard
    input. Nothing is deleted if a folder is named without -r.
    """
    from polystore_core import PolystoreError

    # A file that two patterns match would be missing when it is deleted again.
    found = list(dict.fromkeys(read_addresses(files, addresses, null=null)))
    _check(files, found, recursive)
    deleted, failed = [], []
    for address in found:
        try:
            deleted += _delete(files, address, recursive, dry_run=dry_run)
        except PolystoreError as error:
            warn(f"error: {error}")
            failed.append({"address": str(address), "error": str(error)})
    if json:
        print_json({"deleted": list(map(str, deleted)), "failed": failed})
    elif dry_run:
        click.echo("".join(f"{one}\n" for one in deleted), nl=False)
    if failed:
        raise click.exceptions.Exit(1)


def _check(files: FileManager, addresses: Sequence[Address], recursive: bool) -> None:
    """Check all addresses before anything is deleted.

    Raises:
        AddressError: One is a folder, or the top of a backend.
    """
    for address in addresses:
        # One wrong space in "rm -r disk: plate" must not delete everything.
        last = address.path.rstrip("/").rpartition("/")[2]
        if last in ("", ".", ".."):
            raise AddressError(
                f"{address} is not deleted: name a folder in it, or all that it holds with "
                f"'{address / '*'}'"
            )
        if not recursive and _is_real_folder(files, address):
            raise AddressError(f"{address} is a folder: delete it with -r")


def _is_real_folder(files: FileManager, address: Address) -> bool:
    """Whether a folder is there, and not a link to one: ``rm`` deletes the link."""
    able = "is_symlink" in files.registry[address.backend].capabilities
    is_link = able and files.is_symlink(address.path, backend=address.backend)
    return not is_link and is_directory(files, address)


def _delete(
    files: FileManager, address: Address, recursive: bool, *, dry_run: bool
) -> list[Address]:
    """Delete, and return the addresses. If ``dry_run``, return each file of a folder."""
    backend = address.backend
    if not dry_run:
        files.delete(address.path, backend, recursive=recursive)
        return [address]
    if _is_real_folder(files, address):
        paths = files.list_files(address.path, backend, recursive=True)
        return [address.at(path) for path in paths]
    files.info(address.path, backend)  # raises if nothing is there
    return [address]
