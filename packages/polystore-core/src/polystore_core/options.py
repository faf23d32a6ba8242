"""Checks of options. The options of a function are its parameters with a default."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from .errors import InvalidOptionError, UnknownOptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .values import Option, Value

__all__ = [
    "Copy",
    "IfExists",
    "check_copy",
    "check_if_exists",
    "check_options",
    "known_options",
]

IfExists: TypeAlias = Literal["replace", "error", "skip"]
_IF_EXISTS = get_args(IfExists)
Copy: TypeAlias = Literal["auto", "always", "never"]
_COPY = get_args(Copy)


def check_if_exists(if_exists: IfExists) -> None:
    """Raise ``InvalidOptionError`` for anything but "replace", "error" and "skip"."""
    if if_exists not in _IF_EXISTS:
        raise InvalidOptionError("if_exists", if_exists, f"one of {', '.join(_IF_EXISTS)}")


def check_copy(copy: Copy) -> None:
    """Raise ``InvalidOptionError`` for anything but "auto", "always" and "never"."""
    if copy not in _COPY:
        raise InvalidOptionError("copy", copy, f"one of {', '.join(_COPY)}")


# Cached, because inspect.signature takes longer than a save into memory.
@functools.lru_cache(maxsize=1024)
def known_options(function: Callable[..., Value]) -> tuple[tuple[str, ...], bool]:
    """Return the names of the options of a function, and whether it accepts any others.

    Options are the keyword-only parameters, and the others that have a default. For example:

        def save(data, path, /, *, indent=None): ...

        known_options(save)  # (("indent",), False)
    """
    parameters = inspect.signature(function).parameters.values()
    named = tuple(
        p.name
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
        or (p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty)
    )
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def check_options(
    function: Callable[..., Value], options: Mapping[str, Option], owner: str, *known: str
) -> None:
    """Raise ``UnknownOptionError`` for an option that ``function`` does not have.

    Args:
        function: The function that will get the options.
        options: The options of a call.
        owner: The owner of the options for the error, such as "save() of backend 'disk'".
        *known: Other options that the caller handles itself.
    """
    named, open_ended = known_options(function)
    if not open_ended:
        for option in options:
            if option not in named and option not in known:
                # as_ exists, but this format has no kinds of its own: it is not an unknown option.
                if option == "as_" and function.__name__ in ("load", "load_batch"):
                    expected = "'image' or 'xarray'. framework='torch' loads a tensor"
                    raise InvalidOptionError("as_", options["as_"], expected)
                raise UnknownOptionError(option, owner, tuple(sorted({*named, *known})))
