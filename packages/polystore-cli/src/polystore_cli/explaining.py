"""Explain the options of a format or backend, from its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Explained", "explain_options"]

_SENTENCE = re.compile(
    r"(?<=[.;])\s+(?=[A-Z`])|\n\s*\n\s*|\n\s*(?=[-*] )|^[-*] |\n {4,}(?=\**\w+: )", re.MULTILINE
)
"""Where one ends: at a full stop, an empty line, an item of a list, or "name: " below "Args:"."""
_MARKUP = re.compile(r":\w+:(?=`)|`")
_LITERAL = re.compile(r"Literal\[('.*?')\]")


class Explained(NamedTuple):
    """One option."""

    operation: str
    """"save", "load", or "config": the section of a backend in the file for ``--config``."""
    name: str
    default: Any
    type: str
    about: str
    """The sentence of the documentation that names it, or an empty string."""


def explain_options(owner: type, *also: str) -> Iterator[Explained]:
    """Yield the options of ``save`` and ``load`` of a class, and those of its constructor.

    The explanation of an option is the first sentence that names it, in the docstrings of the
    method and of the class, or in the texts ``also``.
    """
    for operation in ("save", "load", "__init__"):
        method = getattr(owner, operation, None)
        if method is None or method is object.__init__:
            continue
        # An override often has no docstring, so those of its base classes count too.
        classes = owner.__mro__[:-1]
        written = [method, *(cls.__dict__.get(operation) for cls in classes), *classes]
        documents = [one.__doc__ or "" for one in written if one is not None]
        sentences = [one for text in (*documents, *also) for one in _sentences(text)]
        for parameter in inspect.signature(method).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                name, type_ = parameter.name, _type_of(parameter.annotation)
                about = _describe(name, type_, sentences)
                where = "config" if operation == "__init__" else operation
                yield Explained(where, name, parameter.default, type_, about)


def _type_of(annotation: object) -> str:
    return "" if annotation is inspect.Parameter.empty else str(annotation)


def _sentences(text: str) -> list[str]:
    return [" ".join(one.split()) for one in _SENTENCE.split(inspect.cleandoc(text))]


def _describe(name: str, type_: str, sentences: list[str]) -> str:
    # A sentence that starts with the name explains it. Another one may only mention it.
    starting = (one for one in sentences if re.match(rf"``{name}\b|{name}: ", one))
    naming = (one for one in sentences if re.search(rf"``{name}\b", one))
    found = _MARKUP.sub("", next(starting, None) or next(naming, ""))
    found = re.sub(rf"^(\*\*\w+|{name}): |[.:;]$", "", found)
    choices = _LITERAL.search(type_)
    if choices is None:
        return found
    listed = ", ".join(part.strip().strip("'\"") for part in choices[1].split(","))
    return f"{listed}. {found}".rstrip(". ")
