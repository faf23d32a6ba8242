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


def find_imports(python: Python, code: str) -> set[str]:
    """Return the top-level modules that ``code`` imports."""
    done = python(MODULES.format(code=code))
    assert done.stderr == ""
    return set(done.stdout.split())


def test_import_is_nearly_free(python: Python) -> None:
    assert find_imports(python, "import polystore_core") <= {"polystore_core", "__future__"}


@pytest.mark.parametrize(
    "code",
    [
        "from polystore_core import atomic_write, atomic_update_json, file_lock",
        "from polystore_core import FileManager; FileManager().registry.names()",
        "from polystore_core import Format, LazyArray, StorageBackend, BackendSpec, errors",
    ],
)
def test_light_names_import_little(python: Python, code: str) -> None:
    found = find_imports(python, code)
    assert not found & {"numpy", "pluggy", "torch", "jax", "tensorflow"}
    assert not {name for name in found if name.startswith("polystore_")} - {"polystore_core"}


def test_arrays_import_only_numpy(python: Python) -> None:
    found = find_imports(python, "from polystore_core import is_array; is_array([1])")
    assert "numpy" in found
    assert not found & {"torch", "jax", "tensorflow", "cupy"}


def read_declarations() -> dict[str, str]:
    """Return the names that type checkers see, each with its module under TYPE_CHECKING."""
    tree = ast.parse(Path(polystore_core.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: node.module or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


def test_checkers_see_public_names() -> None:
    assert set(read_declarations()) == set(polystore_core.__all__)
    assert sorted(set(polystore_core.__all__)) == sorted(polystore_core.__all__)


def test_each_name_has_one_module() -> None:
    homes = {
        name: home for home, names in polystore_core._HOME.items() for name in names.split()
    }
    assert read_declarations() == homes | {"errors": "errors", "rois": "rois"}


@pytest.mark.parametrize("name", polystore_core.__all__)
def test_public_name_resolves(name: str) -> None:
    module = read_declarations()[name]
    home = importlib.import_module(f"polystore_core.{module}")
    assert getattr(polystore_core, name) is (home if module == name else getattr(home, name))
    assert name in dir(polystore_core)


def test_version_is_that_of_the_distribution() -> None:
    assert polystore_core.__version__ == importlib.metadata.version("polystore-core")
    assert "__version__" in dir(polystore_core)


def test_version_is_imported_on_demand(python: Python) -> None:
    assert "importlib" not in find_imports(python, "import polystore_core")
    assert "importlib" in find_imports(
        python, "import polystore_core; polystore_core.__version__"
    )


def test_unknown_name_is_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'polystore_core' has no attribute 'FileManger'"):
        polystore_core.FileManger  # noqa: B018  # type: ignore[attr-defined]


PAGE = Path(__file__).parents[3] / "docs" / "stability.md"


def test_stability_page_lists_public_names() -> None:
    table = PAGE.read_text().partition("## What authors build on")[2].partition("\n## ")[0]
    names = re.findall(r"`(\w+)`", table)
    assert sorted(names) == sorted({*polystore_core.__all__} - {"errors", "rois"})
