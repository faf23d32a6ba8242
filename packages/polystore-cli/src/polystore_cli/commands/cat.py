"""``polystore cat``."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.inputs import read_addresses
from polystore_cli.options import addresses_argument, json_option, null_option
from polystore_cli.output import print_json
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_cli.address import Address
    from polystore_core import FileBackend, FileManager

__all__ = ["cat"]


@click.command()
@addresses_argument
@null_option
@json_option("the values as one JSON array")
@pass_files
def cat(files: FileManager, addresses: tuple[str, ...], null: bool, json: bool) -> None:
    """Write the bytes of files to standard output.

    ADDRESS is disk:a.json, a pattern such as 'disk:plate/*.txt', or - for addresses on standard
    input. A backend that stores no files prints texts and JSON documents.
    """
    found = read_addresses(files, addresses, null=null)
    if json:
        values = [
            {"address": str(one), "value": files.load(one.path, one.backend)} for one in found
        ]
        print_json(values)
        return
    from polystore_core import FileBackend

    for address in found:
        backend = files.registry[address.backend]
        if isinstance(backend, FileBackend):
            _write_bytes(backend, address)
        else:
            _print_value(files, address)


def _write_bytes(backend: FileBackend, address: Address) -> None:
    from polystore_core.errors import storage_error

    try:
        file = backend.store.open(backend.store.key(address.path))
    except OSError as error:
        # A store raises Python's errors, and does not know the name of its backend.
        raise storage_error(error, address.backend, address.path, "read") from error
    # In parts: the file may be larger than memory.
    with file:
        shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    # Flush now, so that a full disk is an error of this command, with its exit code.
    sys.stdout.buffer.flush()


def _print_value(files: FileManager, address: Address) -> None:
    value: Any = files.load(address.path, address.backend)
    if isinstance(value, str):
        click.echo(value, nl=False)
    elif value is None or isinstance(value, dict | list | int | float):
        print_json(value)
    else:
        from polystore_core.errors import InvalidOptionError

        fault = (
            f"cat prints texts and JSON documents, but {address} holds a {type(value).__name__}: "
            "see polystore stats, or write it to a file with polystore cp"
        )
        raise InvalidOptionError("ADDRESS", str(address), "a text or JSON document", fault)
