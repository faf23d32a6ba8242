"""The addresses that a command works on: of the command line, and of standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .address import Address, AddressError, complete_address, parse_address
from .globbing import expand_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_core import FileManager

__all__ = ["read_addresses"]


def read_addresses(
    files: FileManager,
    texts: Sequence[str],
    *,
    null: bool = False,
    backend_is_optional: bool = False,
) -> list[Address]:
    """Return the addresses: wildcards are expanded, and ``-`` is replaced by standard input.

    Addresses on standard input have no wildcards. They are lines, or end with NUL bytes if
    ``null``. With ``backend_is_optional``, the usual backend is used if a text names none.

    Raises ``AddressError``, and ``NotFoundError`` for wildcards that match nothing.
    """
    if null and "-" not in texts:
        raise AddressError("-0 needs -: it says how the addresses on standard input end")
    known = files.registry.names()
    parse = complete_address if backend_is_optional else parse_address
    found: list[Address] = []
    for text in texts:
        if text == "-":
            # They are names of files, in which "*" and "[" are just characters.
            found += [parse(line, known) for line in _read_lines(null)]
        else:
            found += expand_address(files, parse(text, known))
    return found


def _read_lines(null: bool) -> Iterator[str]:
    # File names that are not UTF-8 keep their bytes. Editors of Windows write a mark first.
    given = b"" if sys.stdin is None else sys.stdin.buffer.read()
    text = given.decode("utf-8-sig", "surrogateescape")
    if null:
        lines = [line for line in text.split("\0") if line]
    else:
        lines = [line.removesuffix("\r") for line in text.split("\n") if line.strip()]
    if not lines:
        from polystore_core.errors import InvalidOptionError

        how = "end each with a NUL byte" if null else "write one in each line"
        fault = f"standard input has no addresses: {how}"
        raise InvalidOptionError("PATH", "-", "addresses", fault)
    yield from lines
