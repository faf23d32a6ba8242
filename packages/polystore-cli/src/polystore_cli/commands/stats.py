"""``polystore stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from polystore_cli.inputs import read_addresses
from polystore_cli.options import addresses_argument, json_option, null_option
from polystore_cli.output import (
    describe_error,
    dtype_in_words,
    print_columns,
    print_json,
    warn,
)
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_cli.address import Address
    from polystore_core import FileManager

__all__ = ["stats"]

_HEADER = ("shape", "dtype", "min", "max", "mean", "std", "nan", "name")
_NUMBERS = ("min", "max", "mean", "std", "nan")


@click.command()
@addresses_argument
@null_option
@json_option("one JSON array")
@pass_files
def stats(files: FileManager, addresses: tuple[str, ...], null: bool, json: bool) -> None:
    """Print minimum, maximum, mean, standard deviation and number of NaN of arrays.

    ADDRESS is disk:a.tif, a pattern such as 'disk:plate/*.tif', or - for addresses on standard
    input. An array is read in parts, so it may be larger than memory. The other numbers leave
    NaN out. The standard deviation is that of all elements, as numpy.std gives it.
    """
    from polystore_core import PolystoreError

    found = []
    is_failed = False
    for address in read_addresses(files, addresses, null=null):
        # One damaged file must not hide the others.
        try:
            found.append(_measure(files, address))
        except PolystoreError as error:
            text = describe_error(error)
            warn(f"error: {text}")
            found.append({"address": str(address), "error": text})
            is_failed = True
    if json:
        print_json(found)
    else:
        rows = [_row(one) for one in found if "error" not in one]
        if rows:
            print_columns(_HEADER, rows, right=_NUMBERS)
    if is_failed:
        raise click.exceptions.Exit(1)


def _measure(files: FileManager, address: Address) -> dict[str, Any]:
    from polystore_cli.summing import measure
    from polystore_core import LazyArray, dtype_name, is_array, is_extended, to_numpy
    from polystore_core.errors import InvalidOptionError, UnsupportedOperationError

    try:
        array = files.open(address.path, address.backend)
    except UnsupportedOperationError:  # its format is only loaded whole
        array = files.load(address.path, address.backend)
        if is_array(array):
            array = to_numpy(array)
    if not isinstance(array, LazyArray) and not is_array(array):
        fault = f"stats needs an array, but {address} holds a {type(array).__name__}"
        raise InvalidOptionError("ADDRESS", str(address), "an array", fault)
    # NumPy gives bfloat16 the kind "V", which is also that of tables.
    if array.dtype.kind not in "biufc" and not is_extended(array.dtype.name):
        held = "a table" if array.dtype.names else f"elements of type {array.dtype}"
        fault = f"stats needs numbers, but {address} holds {held}"
        raise InvalidOptionError("ADDRESS", str(address), "numbers", fault)
    try:
        found = measure(array)
    finally:
        if isinstance(array, LazyArray):
            array.close()
    return {
        "address": str(address),
        "shape": array.shape,
        "dtype": dtype_name(array.dtype),
        "min": found.minimum,
        "max": found.maximum,
        "mean": found.mean,
        "std": found.std,
        "nan": found.nan,
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    numbers = ["-" if one[name] is None else _text(one[name]) for name in _NUMBERS]
    shape = "x".join(map(str, one["shape"])) or "scalar"
    return shape, dtype_in_words(one["dtype"]), *numbers, one["address"]


def _text(number: Any) -> str:
    """Return integers with all digits, and other numbers with 6."""
    value = number.item() if hasattr(number, "item") else number
    return f"{value:.6g}" if isinstance(value, float | complex) else str(value)
