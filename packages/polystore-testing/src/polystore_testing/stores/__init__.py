"""Promises of stores of bytes: a test for each law of ``polystore_core.ByteStore``."""

from __future__ import annotations

from .links import LinkLaws
from .names import FolderLaws, RenameLaws
from .races import LockLaws, RaceLaws, VersionLaws
from .sinks import SinkLaws
from .trees import ReplacingTreeLaws, TreeLaws
from .values import ValueLaws

__all__ = ["StoreTests"]


class StoreTests(
    ValueLaws,
    SinkLaws,
    RaceLaws,
    VersionLaws,
    LockLaws,
    RenameLaws,
    FolderLaws,
    LinkLaws,
    TreeLaws,
    ReplacingTreeLaws,
):
    """A store keeps the promises of its ``features``, and refuses all others.

    Supply ``bytes_store``: an empty store with a root, into which values can be put.
    """
