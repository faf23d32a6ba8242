"""All errors that polystore raises. Each group needs another answer.

::

    PolystoreError
    ├── PluginError(LookupError)            the name is wrong, or its plugin cannot be used
    │   ├── BackendRequiredError(TypeError)     no backend was named
    │   ├── UnknownPluginError                  no plugin has that name
    │   ├── PluginNotInstalledError             known, but its distribution is not installed
    │   ├── PluginDisabledError                 switched off by an environment variable
    │   ├── BrokenPluginError(ImportError)      its author made a mistake
    │   ├── MissingDependencyError(ImportError) installed, but a library that it needs is not
    │   ├── MissingOptionError(TypeError)       the backend cannot be made without options
    │   ├── IncompatiblePluginError             too old, or too new, for polystore-core
    │   └── PluginConflictError                 two distributions declare one name
    ├── RequestError                        the call is wrong: change the call
    │   ├── UnknownOptionError(TypeError)
    │   ├── InvalidOptionError(ValueError)
    │   ├── NotAPathError(TypeError)            an array, a file object, … instead of a path
    │   ├── BatchLengthError(ValueError)        values and paths do not pair up
    │   ├── DuplicatePathError(ValueError)      two values of a batch have one path
    │   ├── UnsupportedFormatError(ValueError)  no suffix, or one that no format claims
    │   ├── UnsupportedOperationError(io.UnsupportedOperation)
    │   └── PathOutsideRootError(ValueError)
    ├── DataError                           the value or the stored bytes are wrong
    │   ├── UnsupportedDataError(TypeError)     the format or backend cannot hold this value
    │   │   ├── RejectedError                       a viewer has received it and cannot show it
    │   │   ├── UnsupportedFileError                the file is fine, but polystore cannot read it
    │   │   └── UnsupportedMetadataError            the pixels fit, but not all of the metadata
    │   ├── CopyRequiredError(ValueError)       copy="never", but a copy is needed
    │   └── DamagedDataError(ValueError)        the stored bytes are damaged
    ├── StorageError(OSError)               the storage refused: look at ``errno``
    │   ├── NotFoundError(FileNotFoundError)
    │   ├── AlreadyExistsError(FileExistsError)
    │   ├── NotAFileError(IsADirectoryError)
    │   ├── NotADirectoryInPathError(NotADirectoryError)
    │   ├── DirectoryNotEmptyError
    │   ├── AccessDeniedError(PermissionError)
    │   ├── LockTimeoutError(TimeoutError)
    │   ├── VersionConflictError                another writer has replaced the value
    │   └── DurabilityUnknownError
    ├── ReceiverError                       a viewer, or another receiver, did not accept it
    │   ├── ReceiverUnavailableError(ConnectionError)  it is not running, or was closed
    │   ├── ReceiverTimeoutError(TimeoutError)  it is running, but does not answer
    │   └── IncompatibleReceiverError           it has another version of the protocol
    ├── SecretNotFoundError(LookupError)    a secret is not where its reference says
    └── BatchError                          some items of a batch failed

An error is built from its fields, and its text is made from them. It pickles, so that an error of
a worker process arrives whole. ``page`` of each class is the address of its documentation.
"""

from __future__ import annotations

from .base import PolystoreError
from .batches import BatchError
from .data import (
    CopyRequiredError,
    DamagedDataError,
    DataError,
    RejectedError,
    UnsupportedDataError,
    UnsupportedFileError,
    UnsupportedMetadataError,
)
from .plugins import (
    BackendRequiredError,
    BrokenPluginError,
    IncompatiblePluginError,
    MissingDependencyError,
    MissingOptionError,
    PluginConflictError,
    PluginDisabledError,
    PluginError,
    PluginNotInstalledError,
    UnknownPluginError,
)
from .receivers import (
    IncompatibleReceiverError,
    ReceiverError,
    ReceiverTimeoutError,
    ReceiverUnavailableError,
)
from .requests import (
    BatchLengthError,
    DuplicatePathError,
    InvalidOptionError,
    NotAPathError,
    PathOutsideRootError,
    RequestError,
    UnknownOptionError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)
from .secrets import SecretNotFoundError
from .storage import (
    AccessDeniedError,
    AlreadyExistsError,
    DirectoryNotEmptyError,
    DurabilityUnknownError,
    LockTimeoutError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    StorageError,
    VersionConflictError,
    storage_error,
    with_context,
)

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "BackendRequiredError",
    "BatchError",
    "BatchLengthError",
    "BrokenPluginError",
    "CopyRequiredError",
    "DamagedDataError",
    "DataError",
    "DirectoryNotEmptyError",
    "DuplicatePathError",
    "DurabilityUnknownError",
    "IncompatiblePluginError",
    "IncompatibleReceiverError",
    "InvalidOptionError",
    "LockTimeoutError",
    "MissingDependencyError",
    "MissingOptionError",
    "NotADirectoryInPathError",
    "NotAFileError",
    "NotAPathError",
    "NotFoundError",
    "PathOutsideRootError",
    "PluginConflictError",
    "PluginDisabledError",
    "PluginError",
    "PluginNotInstalledError",
    "PolystoreError",
    "ReceiverError",
    "ReceiverTimeoutError",
    "ReceiverUnavailableError",
    "RejectedError",
    "RequestError",
    "SecretNotFoundError",
    "StorageError",
    "UnknownOptionError",
    "UnknownPluginError",
    "UnsupportedDataError",
    "UnsupportedFileError",
    "UnsupportedFormatError",
    "UnsupportedMetadataError",
    "UnsupportedOperationError",
    "VersionConflictError",
    "storage_error",
    "with_context",
]

# Tracebacks and pickles name the public module. The modules below it can move.
for _name in __all__:
    globals()[_name].__module__ = __name__
