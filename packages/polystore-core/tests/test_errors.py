import builtins
import copy as copying
import errno
import inspect
import io
import pickle
import re
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from polystore_core import errors
from polystore_core.errors import PolystoreError, StorageError, storage_error

Python = Callable[..., subprocess.CompletedProcess[str]]


def read_tree() -> dict[str, tuple[type, ...]]:
    """Read the tree in the docstring, as a mapping of names to base classes."""
    bases: dict[str, tuple[type, ...]] = {}
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([ │├└─]*)(\w+Error)(?:\(([\w.]+)\))?(?: |$)", line)
        if found:
            branches, name, builtin = found.groups()
            branch[len(branches) // 4 :] = [name]
            parents = [getattr(errors, parent) for parent in branch[-2:-1]] or [Exception]
            bases[name] = (*parents, *([_builtin(builtin)] if builtin else []))
    return bases


def _builtin(name: str) -> type:
    module, _, plain = name.rpartition(".")
    found: type = getattr({"": builtins, "io": io}[module], plain)
    return found


TREE = read_tree()


@pytest.mark.parametrize("name", TREE)
def test_bases_match_tree(name: str) -> None:
    assert getattr(errors, name).__bases__ == TREE[name]


def test_tree_is_complete() -> None:
    defined = {
        name
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, PolystoreError)
    }
    assert defined == set(TREE)


def test_public_names_complete() -> None:
    assert set(errors.__all__) == {*TREE, "storage_error", "with_context"}


EXAMPLES = [
    (
        errors.BackendRequiredError("load", ("disk", "memory"), "as backend="),
        "load() needs the name of a backend as backend=. Available: 'disk', 'memory'",
    ),
    (
        errors.BackendRequiredError("registry.add", got="7"),
        "registry.add() expected the name of a backend, got 7. Available: none",
    ),
    (errors.UnknownPluginError("backend", "dsik", ("disk",)), "did you mean 'disk'?"),
    (errors.UnknownPluginError("format", "?", ()), "no format is called '?'. Available: none"),
    (
        errors.UnknownPluginError("backend", "a.npy", ("disk",)),
        "'a.npy', which looks like a path. The path is first, as in load('a.npy', 'disk'). Avail",
    ),
    (errors.PluginNotInstalledError("backend", "s3", "acme-s3"), "pip install acme-s3"),
    (
        errors.PluginDisabledError("backend", "s3", "acme-s3", "POLYSTORE_DISABLE"),
        "POLYSTORE_DISABLE=''",
    ),
    (errors.UnknownPluginError("backend", "DISK", ("disk",)), "did you mean 'disk'?"),
    (
        errors.PluginNotInstalledError("backend", "disk", "polystore-disk", ("acme-disk",)),
        "acme-disk also declares that name. To use it instead: BackendRegistry(prefer=",
    ),
    (errors.BrokenPluginError("backend", "s3", "acme-s3", "2.5", "it fell"), "acme-s3 2.5"),
    (
        errors.BrokenPluginError("backend", "s3", "acme-s3", "2.5", "it fell", "a.py:7"),
        "broken: it fell (a.py:7). Reinstall or upgrade acme-s3",
    ),
    (
        errors.BrokenPluginError("backend", "s3", "__main__.S3", "", "it fell", "a.py:7"),
        "backend 's3' (__main__.S3) is broken: it fell (a.py:7)",
    ),
    (
        errors.MissingOptionError("backend", "s3", "acme-s3", ("bucket",)),
        "needs bucket=…. Add it under a name of your choice: registry.add('my_s3', 's3', bucket=…)",
    ),
    (
        errors.PluginConflictError("format", "raw", ("acme-raw", "raw-more", "zeta-raw")),
        "POLYSTORE_DISABLE=raw-more,zeta-raw",
    ),
    (
        errors.MissingDependencyError("format", "tif", ("tifffile",), "acme[tiff]"),
        "needs tifffile, which is not installed: pip install 'acme[tiff]'",
    ),
    (
        errors.MissingDependencyError(
            "format", "tif", ("tifffile", "imagecodecs"), "acme[tiff]"
        ),
        "needs tifffile and imagecodecs, which are not installed: pip install",
    ),
    (
        errors.IncompatiblePluginError(
            "backend", "s3", "acme-s3", "0.1", "plugin API 0", "core has 1", "acme-s3"
        ),
        "acme-s3 0.1 needs plugin API 0, but core has 1: pip install -U acme-s3",
    ),
    (
        errors.PluginConflictError("backend", "s3", ("acme-s3", "s3-more")),
        "'acme-s3:s3', or choose one with BackendRegistry(prefer={'s3': 'acme-s3'})",
    ),
    (errors.UnknownOptionError("colour", "save()", ("color",)), "did you mean 'color'?"),
    (
        errors.RejectedError("it has 3 axes", path="a.tif", backend="napari_stream"),
        "backend 'napari_stream': 'a.tif' was rejected: it has 3 axes",
    ),
    (
        errors.ReceiverUnavailableError("s", "viewer 'left'", "does not run", "start it"),
        "backend 's': viewer 'left' does not run; start it",
    ),
    (errors.ReceiverTimeoutError("s", "viewer 'left'", "is busy"), "viewer 'left' is busy"),
    (errors.ReceiverError("s", "viewer", "is odd"), "backend 's': viewer is odd"),
    (errors.IncompatibleReceiverError("s", "viewer", "speaks 2"), "viewer speaks 2"),
    (
        errors.InvalidOptionError("copy", "no", "'always' or 'never'"),
        "copy='no' is not valid: expected 'always' or 'never'",
    ),
    (errors.InvalidOptionError("x", "y" * 300, "less"), f"x='{'y' * 199}… is not valid"),
    (errors.NotAPathError("numpy.ndarray", "Swap them"), "got numpy.ndarray. Swap them"),
    (errors.BatchLengthError(3, 2), "3 values for 2 paths"),
    (errors.DuplicatePathError("a.npy", 0, 3), "two values, [0] and [3]"),
    (errors.UnsupportedFormatError("a/b", ("npy",)), "has no suffix"),
    (errors.UnsupportedFormatError("a/b.nyp", ("npy",)), "did you mean 'npy'?"),
    (errors.UnsupportedOperationError("viewer", "load", "it only writes"), "it only writes"),
    (errors.PathOutsideRootError("disk", "../a", "/data"), "outside root '/data'"),
    (errors.UnsupportedDataError("an object array", "npy", "a.npy", "disk"), "cannot hold"),
    (
        errors.UnsupportedFileError("a pickle", "npy", "a.npy", "disk"),
        "is whole, but cannot be",
    ),
    (errors.UnsupportedMetadataError("no axes", "npy", words=("scale",)), "cannot hold"),
    (errors.CopyRequiredError("negative strides"), "copy='never' forbids one: negative"),
    (errors.DamagedDataError("cut", "npy", "a.npy", "disk"), "'a.npy' (npy) is damaged: cut"),
    (
        errors.StorageError("disk", "a", "save", errno.ENOSPC),
        "free space on the disk and try again",
    ),
    (
        errors.StorageError("disk", "a", "load", errno.EINVAL, reason="it is a pipe"),
        "it is a pipe",
    ),
    (errors.NotFoundError("disk", "a", "load", hint="ask"), "cannot load); ask"),
    (errors.AlreadyExistsError("disk", "a", "save"), 'if_exists="replace"'),
    (errors.NotAFileError("disk", "a", "save"), "load the files in it"),
    (errors.NotADirectoryInPathError("disk", "a/b", "save"), "is a file"),
    (errors.DirectoryNotEmptyError("disk", "a", "delete"), "recursive=True"),
    (errors.AccessDeniedError("disk", "a", "load"), "check the owner"),
    (errors.LockTimeoutError("", "a", "lock", seconds=3, holder="process 7"), "by process 7"),
    (errors.DurabilityUnknownError("", "a", "save", errno.EIO), "new version is in place"),
    (errors.VersionConflictError("", "a", "save", current="2"), "load it again"),
    (
        errors.VersionConflictError("sql", "a", "save", current="7"),
        "its version is 7 now",
    ),
    (
        errors.BatchError(
            "disk",
            "save",
            {1: ("b", errors.AlreadyExistsError("disk", "b", "save"))},
            done=("a",),
            not_attempted=("c",),
        ),
        "save failed for 1 of 3 (1 done, 1 not attempted):\n  [1] 'b': AlreadyExistsError",
    ),
    (
        errors.SecretNotFoundError("env:KEY", "the variable KEY is not set", "Set it"),
        "secret 'env:KEY' cannot be found: the variable KEY is not set. Set it",
    ),
]
LEAVES = set(TREE) - {"PolystoreError", "PluginError", "RequestError", "DataError"}


def test_every_error_has_example() -> None:
    assert {type(error).__name__ for error, _ in EXAMPLES} == LEAVES


@pytest.mark.parametrize(("error", "text"), EXAMPLES)
def test_message_is_complete(error: PolystoreError, text: str) -> None:
    assert text in str(error)


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES])
def test_error_pickles_whole(error: PolystoreError) -> None:
    error.add_note("while saving plate 7")
    copy = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__notes__ == ["while saving plate 7", f"See {error.page}"]
    for field in fields(error):
        assert repr(getattr(copy, field.name)) == repr(getattr(error, field.name))


@pytest.mark.parametrize("name", TREE)
def test_traceback_names_page(name: str) -> None:
    page = getattr(errors, name).page
    assert page == f"https://polystore.readthedocs.io/errors/#{name.lower()}"


def test_page_of_derived_class() -> None:
    class Lost(errors.NotFoundError):
        pass

    error = Lost("acme", "a", "load")
    error.add_note("ask Acme")
    assert str(error) == "backend 'acme': 'a' does not exist (cannot load)"
    lines = traceback.format_exception(ExceptionGroup("two", [error, error]))
    assert "".join(lines).count("ask Acme\n    | See " + errors.NotFoundError.page) == 2
    with pytest.raises(TypeError, match="note must be a str"):
        error.add_note(7)  # type: ignore[arg-type]


def test_copied_notes_have_page_once() -> None:
    error = errors.CopyRequiredError("it is on a GPU")
    error.add_note("of plate 7")
    other = copying.copy(error)
    other.__notes__ = [*error.__notes__, "moved"]
    assert other.__notes__ == ["of plate 7", "moved", f"See {error.page}"]


def test_disabled_names_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSTORE_DISABLE", "s3,raw")
    error = errors.PluginDisabledError("backend", "s3", "acme-s3", "POLYSTORE_DISABLE")
    assert "POLYSTORE_DISABLE='s3,raw'" in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, errors.NotFoundError),
        (errno.EEXIST, errors.AlreadyExistsError),
        (errno.EISDIR, errors.NotAFileError),
        (errno.ENOTDIR, errors.NotADirectoryInPathError),
        (errno.ENOTEMPTY, errors.DirectoryNotEmptyError),
        (errno.EACCES, errors.AccessDeniedError),
        (errno.EPERM, errors.AccessDeniedError),
        (errno.ENOSPC, StorageError),
        (errno.EIO, StorageError),
    ],
)
def test_errno_chooses_class(code: int, kind: type[StorageError]) -> None:
    error = storage_error(OSError(code, "why", "ignored"), "disk", "a/b", "save")
    assert type(error) is kind
    assert (error.errno, error.filename, error.backend) == (code, "a/b", "disk")
    assert isinstance(error, type(OSError(code, "")))


def test_missing_errno_is_eio() -> None:
    assert storage_error(OSError("strange"), "disk", "a", "save").errno == errno.EIO


@pytest.mark.parametrize(
    ("error", "kind", "code", "text"),
    [
        (FileNotFoundError("a"), errors.NotFoundError, errno.ENOENT, "'a' does not exist"),
        (FileExistsError("a"), errors.AlreadyExistsError, errno.EEXIST, "File exists"),
        (IsADirectoryError("a"), errors.NotAFileError, errno.EISDIR, "Is a directory"),
        (
            NotADirectoryError(),
            errors.NotADirectoryInPathError,
            errno.ENOTDIR,
            "Not a directory",
        ),
        (PermissionError(), errors.AccessDeniedError, errno.EACCES, "Permission denied"),
        (PermissionError("expired"), errors.AccessDeniedError, errno.EACCES, "Error: expired"),
        (TimeoutError("after 5 s"), StorageError, errno.ETIMEDOUT, "TimeoutError: after 5 s"),
        (ConnectionError("gone"), StorageError, errno.EIO, "ConnectionError: gone"),
        (OSError("server gone"), StorageError, errno.EIO, "OSError: server gone"),
        (OSError(), StorageError, errno.EIO, "OSError"),
    ],
)
def test_class_replaces_missing_errno(
    error: OSError, kind: type[StorageError], code: int, text: str
) -> None:
    """Stores raise ``FileNotFoundError(key)``, which has no errno."""
    translated = storage_error(error, "disk", "a", "save")
    assert type(translated) is kind
    assert (translated.errno, translated.path) == (code, "a")
    assert text in str(translated)


def test_own_error_is_kept() -> None:
    error = errors.LockTimeoutError("", "a", "lock", seconds=3)
    assert storage_error(error, "disk", "b", "save") is error


@pytest.mark.parametrize(
    ("count", "end"),
    [
        (20, "[19] 'f19': KeyError: 19"),
        (21, "and 1 more: see .failed"),
        (3020, "and 3,000 more: see .failed"),
    ],
)
def test_batch_names_first_twenty(count: int, end: str) -> None:
    failed: dict[int, tuple[str, Exception]] = {
        i: (f"f{i}", KeyError(i)) for i in reversed(range(count))
    }
    error = errors.BatchError("disk", "load", failed, done=("a",) * 9999)
    first, *lines = str(error).splitlines()
    assert f"load failed for {count} of {count + 9999} (9999 done, 0 not attempted):" in first
    assert lines[:20] == [f"  [{i}] 'f{i}': KeyError: {i}" for i in range(20)]
    assert lines[-1] == f"  {end}"
    assert repr(error) == f"<BatchError: {first[:-1]}>"
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert len(copy.failed) == count


def test_batch_cuts_long_causes() -> None:
    failed: dict[int, tuple[str, Exception]] = {0: ("a", ValueError("x" * 10_000))}
    text = str(errors.BatchError("disk", "load", failed))
    assert text.endswith("xxx…")
    assert 2_000 < len(text) < 2_200


def test_failed_index_is_the_first() -> None:
    failed: dict[int, tuple[str, Exception]] = {4: ("e", OSError()), 2: ("c", OSError())}
    assert errors.BatchError("disk", "load", failed).failed_index == 2


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (errors.StorageError("disk", "a", "save", errno.ENOSPC), errno.ENOSPC),
        (OSError(errno.EIO, "why"), errno.EIO),
        (errors.ReceiverTimeoutError("s", "viewer", "is busy"), errno.ETIMEDOUT),
        (
            errors.BatchError("zarr", "save", {0: ("a", OSError(errno.EDQUOT, "why"))}),
            errno.EDQUOT,
        ),
        (OSError("strange"), None),
        (errors.DamagedDataError("cut"), None),
    ],
)
def test_batch_has_errno(first: Exception, expected: int | None) -> None:
    later = OSError(errno.EACCES, "why")
    error = errors.BatchError("disk", "save", {3: ("d", later), 1: ("b", first)})
    assert error.errno == expected
    assert pickle.loads(pickle.dumps(error)).errno == expected


WORKER = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from polystore_core import AtomicMetadataWriter, PolystoreError

merge = AtomicMetadataWriter().merge_subdirectory_metadata
with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
    for path in sys.argv[1:]:
        try:
            pool.submit(merge, path, {}).result()
        except PolystoreError as error:
            print(type(error).__name__, getattr(error, "errno", None), error.path)
"""


def test_workers_raise_same_error(python: Python, tmp_path: Path) -> None:
    file, damaged = tmp_path / "file", tmp_path / "damaged.json"
    for path in (file, damaged):
        path.touch()
    done = python(WORKER, file / "a.json", damaged)
    assert done.stdout.splitlines() == [
        f"NotADirectoryInPathError {errno.ENOTDIR} {file}/.~ps-a.json.lock",
        f"DamagedDataError None {damaged}",
    ]


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("save", "cannot hold this value"),
        ("load", "cannot be loaded"),
        ("open", "cannot be opened"),
    ],
)
def test_unsupported_names_operation(operation: str, text: str) -> None:
    error = errors.with_context(
        errors.UnsupportedDataError("too large", "npz"), "disk", "a", operation
    )
    assert str(error) == f"backend 'disk': 'a' (npz) {text}: too large"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_error_of_another_backend_is_kept() -> None:
    """One backend reads a value lazily while another backend saves it."""
    for error in (
        errors.DamagedDataError("it was cut", "tiff", "a.tif", "disk"),
        errors.UnsupportedDataError("no axes", "npy", "a.npy", "disk", operation="load"),
    ):
        before = str(error)
        assert errors.with_context(error, "zarr", "a.zarr", "save") is error
        assert str(error) == before


KNOWN = (
    "csv",
    "jpeg",
    "jpg",
    "npy",
    "npz",
    "png",
    "pt",
    "roi",
    "roi.zip",
    "tif",
    "tiff",
    "zip",
)


@pytest.mark.parametrize(
    "suffix",
    [
        "czi",
        "nd2",
        "lif",
        "oib",
        "lsm",
        "vsi",
        "mrc",
        "h5",
        "hdf5",
        "ims",
        "zarr",
        "parquet",
        "xlsx",
        "tsv",
        "mat",
        "jp2",
        "jsonl",
        "gif",
    ],
)
def test_other_format_is_not_misspelt(suffix: str) -> None:
    """Suffixes of other formats are not misspelt: a renamed file would look damaged."""
    assert "did you mean" not in str(errors.UnsupportedFormatError(f"a.{suffix}", KNOWN))


@pytest.mark.parametrize(
    ("suffix", "meant"),
    [("tfi", "tif"), ("TIFFF", "tif"), ("pngg", "png"), ("nyp", "npy"), ("jepg", "jpeg")],
)
def test_misspelt_suffix_is_named(suffix: str, meant: str) -> None:
    assert f"did you mean {meant!r}" in str(errors.UnsupportedFormatError(f"a.{suffix}", KNOWN))
