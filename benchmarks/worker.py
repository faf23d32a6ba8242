"""One library in an interpreter of its own: reads a request per line, answers a line.

Run as ``python worker.py CONTENDER [--quick]``. The first line that it writes names its
versions; every further one holds the figures of a round, or the error that ended it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cases import cases
from contenders import CONTENDERS
from contenders_zarr import ZARR_CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["versions"]

LIBRARIES = (
    "numpy",
    "tifffile",
    "zarr",
    "numcodecs",
    "zarrs",
    "tensorstore",
    "polystore-core",
    "polystore",
)


def main() -> None:
    # Text that a library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contender = {**CONTENDERS, **ZARR_CONTENDERS}[sys.argv[1]]()
    workloads = {case.title: case.workload for case in cases(quick="--quick" in sys.argv)}
    print(json.dumps(versions()), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_round(contender, workloads[request["case"]], request)), file=answers)


def _round(contender: Any, workload: Any, request: dict[str, str]) -> dict[str, Any]:
    try:
        figures = workload.run(contender, Path(request["prepared"]), Path(request["fresh"]))
    except Exception as error:  # any failure of a library is a result, and appears in the table
        return {"error": " ← ".join(_chain(error))}
    return {"figures": figures}


def _chain(error: BaseException | None) -> Iterator[str]:
    """Name the error and its cause, without the traceback that a process pool adds."""
    while error is not None and type(error).__name__ != "_RemoteTraceback":
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
