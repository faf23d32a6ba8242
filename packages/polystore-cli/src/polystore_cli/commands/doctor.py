"""``polystore doctor``."""

import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from polystore.atomic import find_leftovers
from polystore.errors import storage_error
from polystore_cli.output import local_time, print_columns, warn

__all__ = ["doctor"]

_HEADER = ("size", "modified", "path")


def doctor(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", exists=True, file_okay=False, help="A folder of the file system."
        ),
    ],
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is found.")] = False,
    older_than: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Leave younger files to their writers."),
    ] = 3600.0,
) -> None:
    """Find the temporary files that killed writers left behind."""
    try:
        found = {
            path: os.stat(path, follow_symlinks=False)
            for path in find_leftovers(directory, older_than=older_than)
        }
        if remove:
            for path, status in found.items():
                if stat.S_ISDIR(status.st_mode):  # a copy of a folder that was not finished
                    shutil.rmtree(path)
                else:
                    Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, "", error.filename, "clean up") from error
    if found:
        print_columns(_HEADER, [_row(*item) for item in found.items()], right=("size",))
    count = f"{len(found)} leftover{'' if len(found) == 1 else 's'}"
    total = f"{count}, {sum(status.st_size for status in found.values())} bytes"
    warn(f"{total}: {'removed' if remove else 'remove them with --remove'}" if found else count)


def _row(path: str, status: os.stat_result) -> tuple[str, ...]:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return str(status.st_size), local_time(modified), path
