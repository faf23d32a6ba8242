"""What is a path, for every backend that keeps names on a disk."""

from __future__ import annotations

import os

from .errors import InvalidOptionError
from .locking import HIDDEN_PREFIX

__all__ = ["checked"]


def checked(path: str | os.PathLike[str]) -> str:
    """Return ``path`` as text; refuse what is no path, and names reserved for polystore."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text or not _is_encodable(text):
        raise InvalidOptionError("path", path, "a non-empty str without NUL, or a PathLike")
    # In any case: on some file systems .~PS-x is .~ps-x.
    if ".~" in text and f"/{HIDDEN_PREFIX}" in f"/{text}".lower():
        raise InvalidOptionError("path", text, f"no name that starts with {HIDDEN_PREFIX}")
    while text.endswith(("/", "/.")) and len(text) > 1:
        text = text[: text.rindex("/")] or "/"  # "link/" means the folder, not the link
    return text


def _is_encodable(text: str) -> bool:
    try:
        return text.isascii() or bool(os.fsencode(text))
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
