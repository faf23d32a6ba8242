"""Turn the errors of zarr and of its codecs into errors of polystore."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    PathOutsideRootError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
    storage_error,
    with_context,
)

if TYPE_CHECKING:
    from .store.nodes import Document

__all__ = ["Guard"]


class Guard(AbstractContextManager[None]):
    """Translate errors of zarr and its codecs. Distinguish damage from other failures."""

    def __init__(self, path: str, backend: str, operation: str, document: Document) -> None:
        self.path, self.backend, self.operation = path, backend, operation
        self.document = document

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is None or not isinstance(error, Exception):
            return
        if isinstance(error, PathOutsideRootError) and self.path:
            error.backend, error.path = self.backend, self.path
        if isinstance(error, PolystoreError | MemoryError):
            with_context(error, self.backend, self.path, self.operation)  # adds the path
            return
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            if not self.path:  # during a save, which adds the path itself
                return
            raise storage_error(error, self.backend, self.path, self.operation) from error
        text = f"zarr cannot {self.operation} it ({type(error).__name__}: {error})"
        raise self._class(error)(text, "zarr", self.path, self.backend) from error

    def _class(self, error: Exception) -> type[DataError]:
        """Return the class of the error: damage, or a codec that only another program has."""
        if self.operation == "write":
            return UnsupportedDataError
        is_unknown = type(error).__name__ == "UnknownCodecError" or isinstance(
            error, ImportError | NotImplementedError
        )
        if is_unknown or (self.operation == "open" and self.document.is_well_formed):
            return UnsupportedFileError
        return DamagedDataError
