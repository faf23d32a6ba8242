import ast
import importlib
import importlib.metadata
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import polystore_core

Python = Callable[..., subprocess.CompletedProcess[str]]

MODULES = """
import sys
before = set(sys.modules)
{code}
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""


def imported(python: Python, code: str) -> set[str]:
    """The top-level modules that code imports."""
    done = python(MODULES.format(code=code))
    assert done.stderr == ""
    return set(done.stdout.split())


def test_import_is_nearly_free(python: Python) -> None:
    assert imported(python, "import polystore_core") <= {"polystore_core", "__future__"}


@pytest.mark.parametrize(
    "code",
    [
        "from polystore_core import atomic_write, atomic_update_json, file_lock",
        "from polystore_core import FileManager; FileManager().registry.names()",
        "from polystore_core import Format, LazyArray, StorageBackend, BackendSpec, errors",
    ],
)
def test_light_names_stay_light(python: Python, code: str) -> None:
    found = imported(python, code)
    assert not found & {"numpy", "pluggy", "torch", "jax", "tensorflow"}
    assert not {name for name in found if name.startswith("polystore_")} - {"polystore_core"}


def test_arrays_import_only_numpy(python: Python) -> None:
    found = imported(python, "from polystore_core import is_array; is_array([1])")
    assert "numpy" in found
    assert not found & {"torch", "jax", "tensorflow", "cupy"}


def declared() -> dict[str, str]:
    """What type checkers see: name → module of the block under TYPE_CHECKING."""
    tree = ast.parse(Path(polystore_core.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def test_checkers_see_public_names() -> None:
    assert set(declared()) == set(polystore_core.__all__)
    assert sorted(set(polystore_core.__all__)) == sorted(polystore_core.__all__)


def test_names_have_one_home() -> None:
    homes = {
        name: home for home, names in polystore_core._HOME.items() for name in names.split()
    }
    assert declared() == homes | {"errors": "errors", "rois": "rois"}


@pytest.mark.parametrize("name", polystore_core.__all__)
def test_public_name_resolves(name: str) -> None:
    module = declared()[name]
    home = importlib.import_module(f"polystore_core.{module}")
    assert getattr(polystore_core, name) is (home if module == name else getattr(home, name))
    assert name in dir(polystore_core)


def test_version_is_told() -> None:
    assert polystore_core.__version__ == importlib.metadata.version("polystore-core")
    assert "__version__" in dir(polystore_core)


def test_version_costs_nothing_unasked(python: Python) -> None:
    assert "importlib" not in imported(python, "import polystore_core")
    assert "importlib" in imported(python, "import polystore_core; polystore_core.__version__")


def test_unknown_name_is_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'polystore_core' has no attribute 'FileManger'"):
        polystore_core.FileManger  # noqa: B018  # type: ignore[attr-defined]


PAGE = Path(__file__).parents[3] / "docs" / "stability.md"


def test_stability_page_lists_the_face() -> None:
    table = PAGE.read_text().partition("## What authors build on")[2].partition("\n## ")[0]
    listed = re.findall(r"`(\w+)`", table)
    assert sorted(listed) == sorted({*polystore_core.__all__} - {"errors", "rois"})
