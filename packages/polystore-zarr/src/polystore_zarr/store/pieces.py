"""Decode and encode documents of large plates in pieces, because most wells do not change.

The document of a plate has a list of all its wells, and each new well changes it. Decoding 1,536
wells takes 2 ms, and encoding takes 1 ms. Here only new wells and the rest of the document are
decoded and encoded. The result is that of ``decode_document`` and ``encode_document``.
"""

from __future__ import annotations

import os
from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

from polystore_core import decode_json
from polystore_core.errors import DamagedDataError

from .documents import decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .base import StorePath

__all__ = ["Known", "Pieces", "Splice", "decode_again", "encode_again"]

_FIRST, _BETWEEN, _LAST = b"[{", b"}, {", b"}]"
# With the spaces of Python's json. A document that has others is decoded as a whole.
_WELLS = b'"wells": ' + _FIRST
_MARK = os.urandom(8).hex()
"""Written in place of the wells. It is random, so no document has it by chance."""
_MARKED = encode_document([_MARK]).strip()
_FEWEST, _MOST_NEW = 64, 64
"""Plates with fewer wells are written whole. Plates with more new wells are read whole."""


class Pieces(NamedTuple):
    """The wells of a document, and their text."""

    wells: list[Any]
    texts: list[bytes]
    """The text of each well, without the braces. None of them contains ``_BETWEEN``."""
    start: int
    stop: int
    """The position of the wells in the text of the document, without the outer braces."""


class Known(NamedTuple):
    """A document that was read or written before."""

    text: bytes
    fields: dict[str, Any]
    pieces: Pieces

    def has_ends(self, head: bytes, tail: bytes) -> bool:
        """Return whether these are the texts before and after the wells."""
        _, _, start, stop = self.pieces
        return head == self.text[:start] and tail == self.text[stop:]


class Splice(NamedTuple):
    """A change of a document that is only in its wells: ``wells[start:stop]`` became ``new``."""

    start: int
    stop: int
    new: list[Any]


def decode_again(
    text: bytes, path: StorePath, known: Known
) -> tuple[dict[str, Any], Pieces, Splice | None] | None:
    """Return the object in a document, its pieces, and the change of its wells.

    The change is ``None`` if other parts have changed too. Returns ``None`` if many wells are new,
    or the text has another form than ours.
    """
    found = _find_wells(text, known)
    if found is None:
        return None
    (start, stop), old = found, known.pieces
    before, body = known.text[old.start : old.stop], text[start:stop]
    head, tail = _same_ends(before, body)
    first, stays = _find_changed(before, head, tail, len(old.wells))
    texts = body[head : len(body) - tail].split(_BETWEEN)
    by_text = dict(zip(old.texts[first:stays], old.wells[first:stays], strict=True))
    new: list[Any] = list(map(by_text.get, texts))
    if new.count(None) > _MOST_NEW:
        return None
    try:
        # If the text between two separators is a valid object, it is a whole entry of the list,
        # and no separator was inside a string.
        for at, well in enumerate(new):
            if well is None:
                new[at] = decode_json(b"{%b}" % texts[at])
        frame = _decode_frame(text[:start], text[stop:], path, known)
    except DamagedDataError:
        return None
    if frame is None:
        return None
    wells = [*old.wells[:first], *new, *old.wells[stays:]]
    texts = [*old.texts[:first], *texts, *old.texts[stays:]]
    splice = Splice(first, stays, new) if frame is known.fields else None
    return _with_wells(frame, wells), Pieces(wells, texts, start, stop), splice


def _find_wells(text: bytes, known: Known) -> tuple[int, int] | None:
    """Return the start and end of the wells in a document, or ``None`` if they are not found."""
    _, _, start, stop = known.pieces
    end = len(text) - len(known.text) + stop
    if end >= start and known.has_ends(text[:start], text[end:]):
        return start, end
    start = text.find(_WELLS) + len(_WELLS)
    end = text.find(_LAST, start)
    return None if start < len(_WELLS) or end < 0 else (start, end)


def _find_changed(text: bytes, head: int, tail: int, count: int) -> tuple[int, int]:
    """Return the numbers of the wells that are not in the equal head or tail of their text."""
    end = len(text) - tail
    changed = text.count(_BETWEEN, head, end) + 1
    if head < tail:  # count the shorter one
        first = text.count(_BETWEEN, 0, head)
    else:
        first = count - changed - text.count(_BETWEEN, end)
    return first, first + changed


def _decode_frame(
    head: bytes, tail: bytes, path: StorePath, known: Known
) -> dict[str, Any] | None:
    """Return the object around a list of wells, or ``None`` if the list is not a plate's."""
    if known.has_ends(head, tail):
        return known.fields
    text = b"".join((head.removesuffix(_FIRST), _MARKED, tail.removeprefix(_LAST)))
    frame = decode_document(text, path)
    return frame if _holder(frame).get("wells") == [_MARK] else None


def encode_again(
    fields: dict[str, Any], known: Known | None
) -> tuple[bytes, Pieces | None, Splice | None]:
    """Return the text of a document, its pieces, and the change of its wells.

    Pieces are ``None`` for few wells, or if some wells are not plain objects.
    """
    wells = _holder(fields).get("wells")
    if not isinstance(wells, list) or len(wells) < _FEWEST:
        return encode_document(fields), None, None
    old, old_texts = ([], []) if known is None else known.pieces[:2]
    # By identity, because known wells are the same objects, and comparing fields takes longer.
    first = _same(wells, old)
    # The equal end must not overlap the equal start, as it could if a well is there twice.
    last = min(_same(reversed(wells), reversed(old)), len(old) - first, len(wells) - first)
    stays = len(old) - last
    new = wells[first : len(wells) - last]
    texts = encode_document(new).strip()[2:-2].split(_BETWEEN) if new else []
    # The separator in a string, or in a list of a well, would cut this well into two.
    if not all(type(well) is dict for well in new) or len(texts) != len(new):
        return encode_document(fields), None, None
    texts = [*old_texts[:first], *texts, *old_texts[stays:]]
    head, _, tail = encode_document(_with_wells(fields, [_MARK])).partition(_MARKED)
    head, body, tail = head + _FIRST, _BETWEEN.join(texts), _LAST + tail
    has_frame = known is not None and known.has_ends(head, tail)
    return (
        b"".join((head, body, tail)),
        Pieces(wells, texts, len(head), len(head) + len(body)),
        Splice(first, stays, new) if has_frame else None,
    )


def _same_ends(one: bytes, other: bytes) -> tuple[int, int]:
    """Return the lengths of the text of the first, and of the last, wells that are equal."""
    size, full, most = len(one), len(other), min(len(one), len(other))
    same = _common(most, lambda low, high: one[low:high] == other[low:high])
    head = one.rfind(_BETWEEN, 0, same)
    head = 0 if head < 0 else head + len(_BETWEEN)
    same = _common(
        most - head,
        lambda low, high: one[size - high : size - low] == other[full - high : full - low],
    )
    tail = one.find(_BETWEEN, size - same)
    return head, 0 if tail < 0 else size - tail


def _common(most: int, is_same: Callable[[int, int], bool]) -> int:
    """Return how many bytes are the same, by a binary search with a few comparisons in C."""
    low = 0
    while low < most:
        middle = (low + most + 1) // 2
        if is_same(low, middle):
            low = middle
        else:
            most = middle - 1
    return low


def _same(one: Iterable[Any], other: Iterable[Any]) -> int:
    """Return the number of objects at the start that are the same."""
    same = list(map(is_, one, other))
    return same.index(False) if False in same else len(same)


_LEADS = ("attributes", "ome", "plate")


def _holder(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the object that has the wells, if there is one."""
    for key in _LEADS:
        if isinstance(inner := fields.get(key), dict):
            fields = inner
    return fields


def _with_wells(
    fields: dict[str, Any], wells: list[Any], leads: tuple[str, ...] = _LEADS
) -> dict[str, Any]:
    """Return a document with other wells."""
    for at, key in enumerate(leads, 1):
        if isinstance(inner := fields.get(key), dict):
            return {**fields, key: _with_wells(inner, wells, leads[at:])}
    return {**fields, "wells": wells}
