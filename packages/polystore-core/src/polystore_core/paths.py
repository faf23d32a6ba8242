"""What a path is, for every backend that keeps values under names of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import InvalidOptionError, NotAPathError

__all__ = [
    "HIDDEN_PREFIX",
    "check_local",
    "check_new",
    "check_path",
    "check_pattern",
    "check_text",
    "full_path",
    "is_litter",
    "join",
    "relative_to",
    "require_local",
    "working_folder",
]

_start: ContextVar[str] = ContextVar("start", default="")

HIDDEN_PREFIX = ".~ps-"
"""Names that start so are polystore's own (lock and temporary files); listings hide them."""

# RFC 3986. Two characters at least, because "C:/" is a drive. One slash, because pathlib makes
# "s3:/bucket" of "s3://bucket". fsspec puts names such as "simplecache::" before the scheme.
_URL = re.compile(r"(?:[\w.+-]+::)*([A-Za-z][A-Za-z0-9+.-]+):/")

_LITTER = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))


def check_path(path: object, data: object = None) -> None:
    """Raise ``NotAPathError`` for an array or an open file in the place of a path.

    ``data`` is the value that a call would save there: it may be the path.
    """
    if isinstance(path, str | bytes | os.PathLike):
        return
    advice = ""
    if isinstance(data, str | os.PathLike):
        advice = "The arguments are swapped: pass the value first, as in save(image, 'a.npy')"
    elif hasattr(path, "read") or hasattr(path, "write"):
        advice = (
            "polystore opens files itself: pass the path of the file. To load bytes, write them "
            "to a file first. To keep values in this process, use backend='memory'"
        )
    kind = type(path)
    got = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    raise NotAPathError(got, advice)


def check_text(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as text. Names that polystore keeps for itself are refused.

    Raises ``InvalidOptionError``, and ``NotAPathError`` for anything but a path.
    """
    if path.__class__ is not str:
        check_path(path)
    text = os.fspath(path)
    if not (
        isinstance(text, str)
        and text
        and "\0" not in text
        and (text.isascii() or _is_encodable(text))
    ):
        raise InvalidOptionError("path", path, "a non-empty str without NUL, or a PathLike")
    # In any case: on some file systems .~PS-x is .~ps-x.
    if ".~" in text and f"/{HIDDEN_PREFIX}" in f"/{text}".lower():
        expected = (
            f"a path without {HIDDEN_PREFIX!r}, the start of names that polystore reserves"
        )
        raise InvalidOptionError("path", text, expected)
    while text.endswith(("/", "/.")) and len(text) > 1:
        text = text[: text.rindex("/")] or "/"  # "link/" means the folder, not the link
    return text


def require_local(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as text, for a backend that keeps values on this machine.

    Raises ``InvalidOptionError``, also for a URL and for "~" (``check_local``).
    """
    text = check_text(path)
    if ":/" in (whole := os.fspath(path)) or whole[0] == "~":
        check_local(whole)
    return text


def check_local(path: str | os.PathLike[str]) -> None:
    """Refuse a URL ("s3://bucket/a.npy") and the folder of a user ("~/a.npy").

    Both would become local folders, called "s3:" and "~". "./~" is a name like any other.

    Raises ``InvalidOptionError``.
    """
    text = os.fspath(path)
    if ":/" in text:
        _refuse_url(text, "path")
    if text.startswith("~") and (home := os.path.expanduser(text)) != text:
        expected = f"a path without ~, which only shells expand: write {home!r}"
        raise InvalidOptionError(
            "path", text, f"{expected}, or './{text}' for a name that starts with ~"
        )


def check_new(path: str | os.PathLike[str]) -> str:
    """Return ``require_local(path)`` for a path at which a value or a link will be.

    Raises ``InvalidOptionError``, also for a name that listings leave out (``is_litter``).
    """
    text = require_local(path)
    name = text.rpartition("/")[2]
    if is_litter(name):
        expected = f"another name, because listings leave out {name!r}, a file of file browsers"
        raise InvalidOptionError("path", text, expected)
    return text


def full_path(path: str | os.PathLike[str], option: str = "root") -> str:
    """Return the absolute path that the configuration of a backend means, with ``~`` expanded.

    A relative path starts at the folder of ``relative_to``, or else at the working directory.

    Raises ``InvalidOptionError`` for a URL.
    """
    text = os.fspath(path)
    _refuse_url(text, option)
    return os.path.abspath(os.path.join(_start.get(), os.path.expanduser(text)))


@contextmanager
def relative_to(folder: str) -> Iterator[None]:
    """Let relative paths in ``full_path`` start at ``folder``, within a ``with`` block."""
    token = _start.set(folder)
    try:
        yield
    finally:
        _start.reset(token)


def working_folder() -> str:
    """Return the working directory, or "" if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def is_litter(name: str) -> bool:
    """Whether a file of this name comes from a file browser, and is never content.

    macOS writes "._NAME" next to each file on SMB and exFAT drives, ".DS_Store" and "Icon\\r".
    Windows writes "Thumbs.db" and "desktop.ini". Case does not matter. Folders are content.

    >>> is_litter("._a.tif"), is_litter(".DS_Store"), is_litter("a.tif")
    (True, True, False)
    """
    return name.startswith("._") or name.lower() in _LITTER


def _refuse_url(text: str, option: str) -> None:
    if (found := _URL.match(text)) is None:
        return
    scheme = found[1].lower()
    expected = "a local path, not a URL"
    if scheme == "file" and (path := _path_of_url(text)):
        expected += f": write {path!r}"
    else:
        expected += f": this backend does not read or write {scheme}://"
    raise InvalidOptionError(option, text, expected)


def _path_of_url(text: str) -> str:
    """Return the path in "file:///a%20b"; "" for a file of another machine."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(text)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else ""


def _is_encodable(text: str) -> bool:
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def check_pattern(pattern: str | None) -> None:
    if pattern is not None and ("/" in pattern or "**" in pattern):
        name = pattern.rpartition("/")[2].replace("**", "*") or "*"
        expected = (
            f"a pattern for the name alone: write {name!r}, with recursive=True to descend"
        )
        raise InvalidOptionError("pattern", pattern, expected)


def join(directory: str | os.PathLike[str], name: str) -> str:
    """Join as paths are written in results: ``"."`` and ``""`` add nothing.

    Except to "~" and to "s3:": alone, ``paths.require_local`` would take them for a home folder
    and, with a name behind it, for a URL.
    """
    folder = os.fspath(directory)
    if folder in ("", "."):
        plain = not name.endswith(":") and os.path.expanduser(name) == name
        return name if plain else f"./{name}"
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"
