"""Find the receivers of this machine: each one announces itself with a private file.

The files are in ``$POLYSTORE_RUNTIME_DIR``, else in ``$XDG_RUNTIME_DIR/polystore``, else in a
folder of this user in the temporary directory. Other users cannot read the folder. A search also
removes the files of receivers that were killed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import stat
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from polystore_core.errors import (
    AccessDeniedError,
    DamagedDataError,
    InvalidOptionError,
    StorageError,
    storage_error,
)

from .descriptors import FULL, NONE_LEFT

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Endpoint",
    "announce",
    "check_name",
    "find",
    "host_identity",
    "process_runs",
    "process_start",
    "read_connection",
    "remove_socket",
    "runtime_directory",
    "socket_address",
    "withdraw",
]

_NAME = re.compile(r"[\w. -]{1,64}")
_LONGEST_FOLDER = 80  # bytes. The kernel accepts 107 for the whole name of a socket.
_SOCKET_FOLDER = "polystore-socket-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address and the keys of a receiver."""

    kind: str
    """"napari", "fiji", or "script" for one that :func:`polystore_stream.receive` makes."""
    name: str
    address: str
    """Address of ZeroMQ: "ipc://…" or "tcp://…"."""
    token: str = field(repr=False)
    pid: int
    started: str = ""
    """Start of the process, in the system's own count. A later process may get the same pid."""
    since: float = 0.0
    """Time of the announcement, in seconds since 1970."""
    server_key: str = ""
    """Public key of CURVE (Z85). It is set for tcp."""
    host: str = ""
    """The result of :func:`host_identity` in the receiver's process."""

    @property
    def title(self) -> str:
        """Name for messages, such as "napari 'default' (process 4711)"."""
        return f"{self.kind} {self.name!r} (process {self.pid})"

    @property
    def is_local(self) -> bool:
        """Whether the receiver runs on this machine, in the same process namespace."""
        return self.host == host_identity()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the endpoint of {self.title} holds a secret and cannot be pickled: pass the path "
            "of its connection file instead"
        )


def check_name(option: str, name: str) -> str:
    """Return ``name``. Raise ``InvalidOptionError`` if a receiver cannot have it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        expected = "1 to 64 letters, digits, spaces, '.', '_' or '-'"
        raise InvalidOptionError(option, name, expected)
    return name


def runtime_directory() -> Path:
    """Return the private folder. Create it if it is missing.

    Raises:
        AccessDeniedError: It belongs to another user, or other users may enter it.
        StorageError: It cannot be created.
    """
    given, session = os.environ.get("POLYSTORE_RUNTIME_DIR"), os.environ.get("XDG_RUNTIME_DIR")
    if given:
        folder = Path(given)
    elif session and Path(session).is_dir():
        folder = Path(session, "polystore")
    else:
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        folder = Path(tempfile.gettempdir(), f"polystore-{user}")
    purpose = "use as a private folder (mode 0700)"
    try:
        with suppress(FileExistsError):  # a file or a link: the mode below refuses it
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise storage_error(error, "", str(folder), purpose) from None
    private = not stat.S_IMODE(status.st_mode) & 0o077 and stat.S_ISDIR(status.st_mode)
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or not private):
        raise AccessDeniedError("", str(folder), purpose)
    return folder


def announce(endpoint: Endpoint) -> Path:
    """Write the file that announces a receiver, and return its path.

    Pass the path to :func:`withdraw` when the receiver ends. Raises ``StorageError``.
    """
    target = runtime_directory() / f"{endpoint.kind}-{endpoint.pid}-{secrets.token_hex(4)}.json"
    draft = target.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with open(draft, "wb", opener=lambda p, _: os.open(p, flags, 0o600)) as file:
            file.write(json.dumps(asdict(endpoint), indent=1).encode("ascii"))
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise storage_error(error, "", str(target), "announce a receiver") from None
    return target


def withdraw(announced: Path) -> None:
    """Remove the file that :func:`announce` wrote."""
    announced.unlink(missing_ok=True)


def socket_address() -> str:
    """Return a new address of a local socket.

    Where the system does not have local sockets, return a free port of this machine.
    """
    if not hasattr(socket, "AF_UNIX"):
        return "tcp://127.0.0.1:*"
    folder = runtime_directory()
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        above = tempfile.gettempdir()
        short = len(os.fsencode(above)) <= _LONGEST_FOLDER // 2
        folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER, dir=above if short else "/tmp"))
    return f"ipc://{folder}/{os.getpid()}-{secrets.token_hex(4)}.sock"


def find(kind: str, name: str | None = None) -> list[Endpoint]:
    """Return the receivers of this machine whose process runs, the newest first.

    Raises:
        StorageError: The folder cannot be read, or too few files can be opened.
    """
    found = []
    for path in _list_announced(kind):
        try:
            endpoint = read_connection(path)
        except (DamagedDataError, StorageError) as error:
            if isinstance(error, StorageError) and error.errno in NONE_LEFT:
                raise
            continue  # withdrawn since the folder was read, or of another version
        if not process_runs(endpoint.pid, endpoint.started):
            if endpoint.is_local:  # a pid of another container says nothing here
                _sweep(path, endpoint)
        elif endpoint.kind == kind and name in (None, endpoint.name):
            found.append(endpoint)
    return sorted(found, key=lambda endpoint: endpoint.since, reverse=True)


def _list_announced(kind: str) -> list[Path]:
    folder = runtime_directory()
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise storage_error(error, "", str(folder), "look for receivers") from None
    return [folder / n for n in names if n.startswith(f"{kind}-") and n.endswith(".json")]


def read_connection(path: str | os.PathLike[str]) -> Endpoint:
    """Read the connection file of a receiver. It may be a copy from another machine.

    Raises:
        StorageError: The file is missing (``NotFoundError``) or cannot be read.
        DamagedDataError: It is not a connection file.
    """
    try:
        return _decode_endpoint(Path(path).read_bytes())
    except OSError as error:
        raise storage_error(error, "", os.fspath(path), "connect to a receiver") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DamagedDataError(str(error), "connection file", os.fspath(path)) from error


_decode_endpoint = msgspec.json.Decoder(Endpoint).decode


def _sweep(path: Path, endpoint: Endpoint) -> None:
    path.unlink(missing_ok=True)
    remove_socket(endpoint)


def remove_socket(endpoint: Endpoint) -> None:
    """Remove the file of a local socket, which ZeroMQ does not remove."""
    transport, _, name = endpoint.address.partition("://")
    if transport == "ipc":
        for place in (Path(name), Path(name + FULL)):
            with suppress(OSError):  # removed already, or not our file
                if place.is_socket():
                    place.unlink()
        with suppress(OSError):  # the folder has another program's file
            if Path(name).parent.name.startswith(_SOCKET_FOLDER):
                Path(name).parent.rmdir()


# ── processes ────────────────────────────────────────────────────────────────────────────


def process_start(pid: int) -> str:
    """Return when a process started, in the system's own count, or "" if that is unknown."""
    try:
        return _status(pid)[19]
    except OSError:
        return ""


def _status(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The second field is the program's name in brackets. It may contain brackets and spaces, so
    # split only after the last bracket.
    return text.rpartition(")")[2].split()


def process_runs(pid: int, started: str = "") -> bool:
    """Whether a process runs: not a zombie, and not a later process with the same number.

    A stopped process counts as running. So does one whose state cannot be read because too many
    files are open.
    """
    if os.name != "posix":
        return True  # a dead receiver is noticed because it does not answer hello
    if pid <= 0:
        return False  # os.kill would test a whole process group
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    if not started:
        return True
    try:
        status = _status(pid)
    except OSError as error:
        return error.errno in NONE_LEFT
    return status[19] == started and status[0] not in ("Z", "X")


def host_identity() -> str:
    """Return a text that is equal in processes that can share memory by their pids.

    It consists of the host name, the boot, and the process namespace (a container has its own).
    """
    parts: Iterator[str] = (
        _read(path) for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid")
    )
    return "-".join(filter(None, (socket.gethostname(), *parts)))


def _read(path: str) -> str:
    try:
        return os.readlink(path) if os.path.islink(path) else Path(path).read_text().strip()
    except OSError:
        return ""
