"""Every error that polystore raises, grouped by what a caller would do about it.

::

    PolystoreError
    ├── PluginError(LookupError)            the name is wrong, or what provides it is unusable
    │   ├── BackendRequiredError(TypeError)     no backend was named
    │   ├── UnknownPluginError                  nobody provides that name
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
    │   ├── NotAPathError(TypeError)            an array, a file object, … where a path belongs
    │   ├── BatchLengthError(ValueError)        values and paths do not pair up
    │   ├── DuplicatePathError(ValueError)      two values of a batch have one path
    │   ├── UnsupportedFormatError(ValueError)  no suffix, or one that no format claims
    │   ├── UnsupportedOperationError(io.UnsupportedOperation)
    │   └── PathOutsideRootError(ValueError)
    ├── DataError                           the value or the stored bytes are wrong
    │   ├── UnsupportedDataError(TypeError)     the format or backend cannot hold this value
    │   │   ├── RejectedError                       the viewer has looked at it, and refuses it
    │   │   ├── UnsupportedFileError                the file is whole, but is not read here
    │   │   └── UnsupportedMetadataError            the pixels fit, but not all words of the image
    │   ├── CopyRequiredError(ValueError)       copy="never" cannot be honoured
    │   └── DamagedDataError(ValueError)        the bytes are not what they claim to be
    ├── StorageError(OSError)               the storage refused: look at ``errno``
    │   ├── NotFoundError(FileNotFoundError)
    │   ├── AlreadyExistsError(FileExistsError)
    │   ├── NotAFileError(IsADirectoryError)
    │   ├── NotADirectoryInPathError(NotADirectoryError)
    │   ├── DirectoryNotEmptyError
    │   ├── AccessDeniedError(PermissionError)
    │   ├── LockTimeoutError(TimeoutError)
    │   ├── VersionConflictError                somebody has replaced the value since
    │   └── DurabilityUnknownError
    ├── ReceiverError                       a viewer, or another receiver, did not take it
    │   ├── ReceiverUnavailableError(ConnectionError)  it does not run, has died or was closed
    │   ├── ReceiverTimeoutError(TimeoutError)  it is there, but does not answer
    │   └── IncompatibleReceiverError           it speaks another protocol
    ├── SecretNotFoundError(LookupError)    a secret is not where its reference says
    └── BatchError                          some items of a batch failed

An error is built from its fields: raise sites stay one line, and it pickles, so a worker in
another process raises the real thing.
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

for (
    _name
) in __all__:  # tracebacks and pickles name the public module, wherever a class is defined
    globals()[_name].__module__ = __name__
