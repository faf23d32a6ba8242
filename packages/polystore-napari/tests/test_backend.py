"""The pipeline's side: sending imports neither napari nor Qt, and options are checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import polystore_napari
from polystore_core import BackendRegistry
from polystore_core.errors import InvalidOptionError, UnknownOptionError

IMPORTED = """
import sys
{statement}
print(*sorted({{m.partition(".")[0] for m in sys.modules}} & {{{names}}}))
"""


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("import polystore_napari", "'napari', 'qtpy', 'PyQt6', 'vispy', 'zmq', 'numpy'"),
        ("import polystore_napari.plugin", "'napari', 'qtpy', 'PyQt6', 'vispy', 'zmq'"),
        ("import polystore_napari.backend", "'napari', 'qtpy', 'PyQt6', 'vispy'"),
        ("from polystore_napari import Layout", "'napari', 'qtpy', 'PyQt6', 'vispy'"),
        (
            "from polystore_core import BackendRegistry; BackendRegistry()['napari_stream']",
            "'napari', 'qtpy', 'PyQt6', 'vispy'",
        ),
    ],
)
def test_import_is_light(statement: str, names: str) -> None:
    """Sending imports no viewer. The package itself imports none of its dependencies."""
    code = IMPORTED.format(statement=statement, names=names)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_public_names() -> None:
    """The package offers its documented names, and raises AttributeError for others."""
    assert sorted(polystore_napari.__all__) == ["Layout", "connect", "launch"]
    assert all(hasattr(polystore_napari, name) for name in polystore_napari.__all__)
    with pytest.raises(AttributeError, match="'Viewer'"):
        polystore_napari.Viewer  # noqa: B018


@pytest.mark.parametrize(
    "options",
    [{"viewer": ""}, {"viewer": "a/b"}, {"policy": "newest"}, {"timeout": 0}, {"timeout": "1"}],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    """If an option has a wrong value, making the backend raises an error with its name."""
    with BackendRegistry() as registry:
        registry.add("screen", "napari_stream", **options)
        with pytest.raises(InvalidOptionError, match=f"{next(iter(options))}="):
            registry["screen"]


def test_unknown_option_is_refused() -> None:
    """The error for a misspelt option lists the valid options."""
    with BackendRegistry() as registry, pytest.raises(UnknownOptionError, match="viewer"):
        registry.add("screen", "napari_stream", viewr="x")
