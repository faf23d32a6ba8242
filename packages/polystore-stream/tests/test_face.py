"""The public names of ``polystore_stream``, for scripts and viewer packages."""

from __future__ import annotations

import subprocess
import sys

import polystore_stream


def test_names_are_listed() -> None:
    """Each public name exists, and ``from polystore_stream import *`` brings no other name."""
    assert sorted(polystore_stream._MODULE_OF) == sorted(polystore_stream.__all__)
    for name in polystore_stream.__all__:
        assert getattr(polystore_stream, name) is not None


def test_import_is_cheap() -> None:
    """The package alone imports none of its modules, no NumPy and no ZeroMQ."""
    code = (
        "import sys, polystore_stream; "
        "print(*{'numpy', 'zmq', 'msgspec', 'polystore_core'} & {*sys.modules}, "
        "*(n for n in sys.modules if n.startswith('polystore_stream.')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []
