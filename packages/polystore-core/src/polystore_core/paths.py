"""Checks of paths, the same for all backends."""

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
"""The start of names of lock files and temporary files of polystore. Listings hide them."""

# RFC 3986. Two characters at least, because "C:/" is a drive. One slash, because pathlib makes
# "s3:/bucket" of "s3://bucket". fsspec puts names such as "simplecache::" before the scheme.
_URL = re.compile(r"(?:[\w.+-]+::)*([A-Za-z][A-Za-z0-9+.-]+):/")

_LITTER = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))


def check_path(path: object, data: object = None) -> None:
    """Raise ``NotAPathError`` if an argument is not a path but, for example, an array.

    ``data`` is the value to save. If it is a path, the error says that the two are swapped.
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
    """Return ``path`` as text, after checks that every backend needs.

    Raises:
        InvalidOptionError: The path is empty, has NUL, or has a name that polystore reserves.
        NotAPathError: It is not a path.
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
    # Case is ignored, because on some file systems .~PS-x is .~ps-x.
    if ".~" in text and f"/{HIDDEN_PREFIX}" in f"/{text}".lower():
        expected = (
            f"a path without {HIDDEN_PREFIX!r}, the start of names that polystore reserves"
        )
        raise InvalidOptionError("path", text, expected)
    while text.endswith(("/", "/.")) and len(text) > 1:
        text = text[: text.rindex("/")] or "/"  # "link/" means the folder, not the link
    return text


def require_local(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as text, for a backend that stores values on this machine.

    Raises:
        InvalidOptionError: ``check_text`` raises it, or the path is a URL or starts with "~".
        NotAPathError: It is not a path.
    """
    text = check_text(path)
    if ":/" in (whole := os.fspath(path)) or whole[0] == "~":
        check_local(whole)
    return text


def check_local(path: str | os.PathLike[str]) -> None:
    """Raise ``InvalidOptionError`` for a URL ("s3://bucket/a.npy") and for "~/a.npy".

    They would become local folders with the names "s3:" and "~". You can use the name "./~".
    """
    text = os.fspath(path)
    if ":/" in text:
        _refuse_url(text, "path")
    # Only if Python expands it: "~x" is a plain name if there is no user x.
    if text.startswith("~") and (home := os.path.expanduser(text)) != text:
        expected = f"a path without ~, which only shells expand: write {home!r}"
        raise InvalidOptionError(
            "path", text, f"{expected}, or './{text}' for a name that starts with ~"
        )


def check_new(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as text, for a new value or link.

    Raises:
        InvalidOptionError: ``require_local`` raises it, or listings would leave out the name
            (``is_litter``).
        NotAPathError: It is not a path.
    """
    text = require_local(path)
    name = text.rpartition("/")[2]
    if is_litter(name):
        expected = f"another name, because listings leave out {name!r}, a file of file browsers"
        raise InvalidOptionError("path", text, expected)
    return text


def full_path(path: str | os.PathLike[str], option: str = "root") -> str:
    """Return the absolute path for an option of a backend, with "~" expanded.

    A relative path starts at the folder in which the backend was configured, or else at the working
    folder. Raises ``InvalidOptionError`` for a URL. For example:

        def __init__(self, *, root: str) -> None:
            self._root = full_path(root)
    """
    text = os.fspath(path)
    _refuse_url(text, option)
    return os.path.abspath(os.path.join(_start.get(), os.path.expanduser(text)))


@contextmanager
def relative_to(folder: str) -> Iterator[None]:
    """Make relative paths of ``full_path`` start at ``folder`` during a ``with`` block."""
    token = _start.set(folder)
    try:
        yield
    finally:
        _start.reset(token)


def working_folder() -> str:
    """Return the working folder, or "" if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def is_litter(name: str) -> bool:
    """Return whether a name is that of a file that a file browser creates.

    macOS creates "._NAME" next to each file on SMB and exFAT drives, ".DS_Store" and "Icon\\r".
    Windows creates "Thumbs.db" and "desktop.ini". Case does not matter. Folders with such names are
    not litter.

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
    """Return the path in "file:///a%20b", or "" for a file of another machine."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(text)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else ""


def _is_encodable(text: str) -> bool:
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def check_pattern(pattern: str | None) -> None:
    """Raise ``InvalidOptionError`` for a pattern with "/" or "**"."""
    if pattern is not None and ("/" in pattern or "**" in pattern):
        name = pattern.rpartition("/")[2].replace("**", "*") or "*"
        expected = (
            f"a pattern for the name alone: write {name!r}, with recursive=True to descend"
        )
        raise InvalidOptionError("pattern", pattern, expected)


def join(directory: str | os.PathLike[str], name: str) -> str:
    """Join a folder and a name. The folders "." and "" add nothing.

    For example:

        join("plate", "a.tif")  # "plate/a.tif"
        join(".", "a.tif")  # "a.tif"
    """
    folder = os.fspath(directory)
    if folder in ("", "."):
        # Alone, "~" would mean a home folder, and "s3:" with a name behind it a URL.
        plain = not name.endswith(":") and os.path.expanduser(name) == name
        return name if plain else f"./{name}"
    return f"{folder}{name}" if folder.endswith("/") else f"{folder}/{name}"
