"""Put and delete trees key by key, in a store without trees.

Readers find a tree by its documents. These are put last and deleted first, so that a reader never
finds a part of a tree.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from polystore_core import Folders
from polystore_core.errors import UnsupportedOperationError

from .base import DOCUMENTS, NODES
from .claims import CLAIM, hold_claim, is_exclusive, refuse_claims
from .uploads import Upload, documents_last, is_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from polystore_core import ByteStore

    from .base import StorePath
    from .claims import Claim

__all__ = ["delete_keys", "delete_tree", "keys_below", "lacks", "put_tree", "refuse_members"]


def lacks(store: ByteStore, operation: str, *features: str) -> UnsupportedOperationError:
    """Return the error for an operation that needs one of ``features``."""
    values = [(name, getattr(store.features, name)) for name in features]
    found = " and ".join(
        f"features.{name} = {value}"
        if isinstance(value, bool)
        else f'features.{name} = "{value}"'
        for name, value in values
    )
    return UnsupportedOperationError("", operation, f"the store {store!r} has {found}")


def keys_below(store: ByteStore, folder: str) -> Iterator[str]:
    """Yield the keys below a folder, which may not exist."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for found in store.scan(folder):
            yield found.key


def put_tree(
    store: ByteStore, tree: StorePath, place: str, *, replace: bool, durable: bool | None
) -> None:
    """Put a tree at ``place``, which must be free.

    Raises:
        FileExistsError: A tree is there.
        UnsupportedOperationError: A tree is there, and ``replace``: the store cannot.
        OSError: (``EBUSY``) Another process deletes a group around the place. (``ENOTEMPTY``) A
            killed save has left chunks.
    """

    def check(own: Iterable[str]) -> None:
        _make_room(store, place, {*own}, replace=replace)

    if store.features.delete == "none":  # claims and parts of a tree could not be removed
        check(())
        Upload(store, tree, place, durable=durable).put_together(check)
        return
    with hold_claim(store, place) as claim:
        check((claim.key,))
        _put_keys(Upload(store, tree, place, durable=durable), claim)


def _put_keys(upload: Upload, claim: Claim) -> None:
    # From here on an error must leave the claim, because chunks without a document may stay.
    claim.is_unfinished = True
    try:
        upload.put_chunks()
        claim.check()  # another process may have deleted the place, chunks and claim
        upload.put_documents()
    except BaseException:
        with suppress(OSError):  # if undoing fails, the claim stays, and readers find nothing
            if claim.is_held:
                upload.undo()
            claim.is_unfinished = False
        raise
    claim.is_unfinished = False


def _make_room(store: ByteStore, place: str, own: set[str], *, replace: bool) -> None:
    """Delete the chunks of a killed save. Raise an error if a whole tree is there."""
    left = [key for key in keys_below(store, place) if key not in own]
    # Only a document makes chunks an array, so that without one they are leftovers.
    if any(f"{place}/{name}" in left for name in NODES):
        if replace:
            raise lacks(store, "replacing an array", "trees")
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
    if left and store.features.delete == "none":
        reason = (
            "a part of another array is here, and the store deletes nothing: use another path"
        )
        raise OSError(errno.ENOTEMPTY, reason, place)
    if left and is_exclusive(store):
        reason = "a save that was killed has left chunks here: delete the path first"
        raise OSError(errno.ENOTEMPTY, reason, place)
    delete_keys(store, left)


def delete_tree(store: ByteStore, tree: str, *, only_empty: bool = False) -> None:
    """Delete a tree.

    Raises:
        OSError: (``EBUSY``) A running process is saving there. (``ENOTEMPTY``) With
            ``only_empty``, the group has members.
    """
    with hold_claim(store, tree, take_over=True) as claim:
        keys = [key for key in keys_below(store, tree) if key != claim.key]
        if is_exclusive(store):
            claims = (key for key in keys if key.rpartition("/")[2] == CLAIM)
            # Claims of killed processes do not count, because only a deletion removes these.
            refuse_claims(store, claims, running=True)
        if only_empty:
            refuse_members(tree, keys)
        claim.is_unfinished = True
        delete_keys(store, keys)
        # A folder that was made by its path outlives its keys.
        if store.claims(Folders):
            store.require(Folders, "delete").remove_folder(tree, recursive=True)
        claim.is_unfinished = False


def delete_keys(store: ByteStore, keys: Iterable[str]) -> None:
    """Delete keys, outer documents first, so that readers do not find the rest."""
    for key in sorted(keys, key=documents_last, reverse=True):
        store.delete(key)


def refuse_members(group: str, keys: Iterable[str]) -> None:
    """Raise ``OSError`` (``ENOTEMPTY``) if an array or group is below ``group``."""
    own = {f"{group}/{name}" for name in DOCUMENTS}
    if any(is_document(key) and key not in own for key in keys):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), group)
