"""The package has the names of polystore_core, and no logic."""

import ast
import importlib.metadata
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import polystore
import polystore.errors
import polystore.rois
import polystore_core

FOLDER = Path(polystore.__file__).parent


def list_imports(code: str) -> set[str]:
    """Return the top-level modules that the code imports."""
    before = "import sys; before = set(sys.modules)"
    after = "print(*sorted({n.partition('.')[0] for n in set(sys.modules) - before}))"
    command = [sys.executable, "-c", f"{before}\n{code}\n{after}"]
    return set(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize("name", sorted({*polystore.__all__} - {"errors", "rois"}))
def test_names_are_those_of_core(name: str) -> None:
    assert getattr(polystore, name) is getattr(polystore_core, name)
    assert name in dir(polystore)


@pytest.mark.parametrize("module", ["errors", "rois"])
def test_modules_are_those_of_core(module: str) -> None:
    ours = getattr(polystore, module)
    theirs = importlib.import_module(f"polystore_core.{module}")
    assert ours is importlib.import_module(f"polystore.{module}")
    assert ours.__all__ == theirs.__all__
    for name in ours.__all__:
        assert getattr(ours, name) is getattr(theirs, name)


def test_package_has_no_other_files() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.name != "__pycache__"} == {
        "__init__.py",
        "__main__.py",
        "errors.py",
        "rois.py",
        "py.typed",
    }


def test_checkers_see_public_names() -> None:
    tree = ast.parse((FOLDER / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = [a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names]
    assert sorted(set(seen) - {"Any"}) == sorted(polystore.__all__)


def test_import_is_nearly_free() -> None:
    assert list_imports("import polystore") <= {"polystore", "__future__"}
    assert "importlib" in list_imports("import polystore; polystore.__version__")


def test_version_is_that_of_the_distribution() -> None:
    assert polystore.__version__ == importlib.metadata.version("polystore")


def test_unknown_name_is_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'polystore' has no attribute 'FileManger'"):
        polystore.FileManger  # noqa: B018


def test_errors_are_pickled() -> None:
    error = polystore.errors.NotFoundError("disk", "a.npy", "load")
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found)) == (polystore.errors.NotFoundError, str(error))


def test_module_runs_command_line() -> None:
    command = [sys.executable, "-m", "polystore", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def test_command_line_is_an_extra() -> None:
    code = "import sys, runpy; sys.modules['polystore_cli'] = None; sys.path.insert(0, sys.argv[1])"
    code += "\nrunpy.run_module('polystore', run_name='__main__')"
    command = [sys.executable, "-c", code, str(FOLDER.parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith('pip install "polystore[cli]"')
