"""The rules between packages, which no single package can test."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

import polystore
import polystore_core
from polystore_core.plugins import discovery

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if (path / "src").is_dir())
DECLARED = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))["packages"]
# Distributions with another name than their import.
DISTRIBUTION = {"_pytest": "pytest", "zmq": "pyzmq"}
# A caller's own array or file may need these libraries. They are never a dependency.
CALLER_BRINGS = {"polystore-core": {"torch", "jax", "tensorflow"}}


def read_project(package):
    return tomllib.loads((package / "pyproject.toml").read_text())["project"]


def find_imports(package):
    for file in (package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module.partition(".")[0]


def list_declared(package):
    content = read_project(package)
    extras = content.get("optional-dependencies", {}).values()
    texts = [*content["dependencies"], *(text for extra in extras for text in extra)]
    return {re.match(r"[\w-]+", text).group().lower() for text in texts}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_imports_are_declared(package):
    own = package.name.replace("-", "_")
    imported = {
        DISTRIBUTION.get(name, name.replace("_", "-"))
        for name in find_imports(package)
        if name not in sys.stdlib_module_names and name != own
    }
    through_extras = {"rich"} if package.name == "polystore-cli" else set()
    assert imported - CALLER_BRINGS.get(package.name, set()) <= list_declared(package)
    # Its dependencies make `pip install polystore` useful.
    if package.name == "polystore":
        return
    unused = list_declared(package) - imported - through_extras
    # disk finds its formats through the registry, so it needs them installed without an import.
    chosen_by_name = {"torch", "tifffile", "imagecodecs", "zarrs", "ml_dtypes"}
    through_marks = {"pytest-timeout"}
    expected = {"polystore-formats", "pandas", "tqdm", *chosen_by_name, *through_marks}
    assert unused <= expected


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_packages_use_public_modules_of_core(package):
    """Our packages import only the modules of core that other packages may import."""
    if package.name == "polystore-core":
        return
    for file in (package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.Import):
                core = [name for name in names if name.partition(".")[0] == "polystore_core"]
                assert set(core) <= {"polystore_core"}, file
                own = package.name == "polystore"
                assert own or not {n for n in names if n.partition(".")[0] == "polystore"}, file
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                home = node.module.partition(".")[0]
                assert home != "polystore", file
                if node.module == "polystore_core":
                    assert set(names) <= set(polystore_core.__all__), file
                elif home == "polystore_core":
                    assert node.module in ("polystore_core.errors", "polystore_core.rois"), file


def test_disk_leaves_files_to_core():
    """``LocalStore`` opens files below a root, and has the locks. disk only makes a store."""
    files = sorted((ROOT / "packages/polystore-disk/src").rglob("*.py"))
    assert [file.name for file in files] == ["__init__.py", "backend.py", "plugin.py"]
    for file in files:
        found = re.findall(r"\bopen\(|\bos\.|\bimport os\b", file.read_text("utf-8"))
        assert not found, f"{file.name}: {found}"


def test_zarr_opens_files_in_one_package():
    """import-linter forbids ``os`` elsewhere, but ``open`` needs no import."""
    package = ROOT / "packages/polystore-zarr/src/polystore_zarr"
    for file in package.rglob("*.py"):
        if file.parent.name != "store":
            calls = [
                node
                for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.Call)
            ]
            names = {node.func.id for node in calls if isinstance(node.func, ast.Name)}
            assert "open" not in names, file


@pytest.mark.parametrize("folder", ["packages", "examples", "tests", "benchmarks"])
def test_files_have_500_lines_at_most(folder):
    files = [path for suffix in ("py", "java") for path in (ROOT / folder).rglob(f"*.{suffix}")]
    results = ROOT / "benchmarks/results"
    counts = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in files
        if not path.is_relative_to(results)
    }
    assert counts
    too_long = {name: count for name, count in counts.items() if count > 500}
    assert not too_long, f"split these files by subject, they have over 500 lines: {too_long}"


def test_core_depends_on_two():
    texts = read_project(ROOT / "packages/polystore-core")["dependencies"]
    assert [re.match(r"\w+", text).group() for text in texts] == [
        "numpy",
        "pluggy",
        "portalocker",
    ]
    assert "sys_platform == 'win32'" in texts[2]


@pytest.mark.parametrize("name", DECLARED)
def test_package_page_is_a_page_of_the_site(name):
    page = DECLARED[name].get("page", "index/").removesuffix("/")
    assert re.search(
        rf"[ /]{page}(/index)?\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE
    )


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_links_of_package_pages_have_addresses(package):
    """A package index shows the README without its folder, so a relative link is broken."""
    links = re.findall(r"\]\((?!#)([^)]+)\)", (package / "README.md").read_text("utf-8"))
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_generated_files_are_current():
    generate = runpy.run_path(str(ROOT / "generate.py"))
    for path, text in generate["render_files"]().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run nox -s generate"


def test_every_folder_is_a_distribution():
    names = [read_project(package)["name"] for package in PACKAGES]
    assert names == sorted(DECLARED)
    assert names == [package.name for package in PACKAGES]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_every_plugin_is_in_the_catalogue(package):
    groups = read_project(package).get("entry-points", {})
    for kind in ("backends", "formats"):
        names = DECLARED[package.name].get(kind, [])
        assert list(groups.get(f"polystore.{kind}", [])) == names


def test_changelogs_have_the_version():
    for package in PACKAGES:
        heading = f"# Changelog of {package.name}\n\n## {read_project(package)['version']}\n"
        assert (package / "CHANGELOG.md").read_text("utf-8").startswith(heading)


def test_packages_are_typed():
    for package in PACKAGES:
        assert list((package / "src").glob("*/py.typed")), package.name


def test_meta_extras_exist():
    """No extra of the meta distribution needs a missing distribution."""
    names = {package.name for package in PACKAGES}
    meta = read_project(ROOT / "packages/polystore")
    for extra, texts in meta["optional-dependencies"].items():
        for text in texts:
            base, inner = re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", text).groups()
            if base == "polystore":
                assert set(inner.split(",")) == set(meta["optional-dependencies"]) - {
                    "all",
                    "cupy",
                }
            elif base.startswith("polystore-"):
                assert base in names
                target = read_project(ROOT / "packages" / base).get("optional-dependencies", {})
                assert inner is None or inner in target, extra


def test_manifests_are_cheap():
    """Loading every manifest imports no library and no other code of a plugin."""
    code = (
        "import sys; from polystore_core import survey; rows = list(survey());"
        "print(*sorted(n for n in sys.modules if n.partition('.')[0].startswith("
        "('polystore', 'numpy', 'tifffile', 'torch', 'pandas', 'imagecodecs', 'zmq', 'napari'))))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    manifests = {d.manifest for found in discovery._scan().values() for d in found}
    packages = {name.partition(".")[0] for name in manifests}
    others = (
        {n for n in found if n.partition(".")[0] != "polystore_core"} - manifests - packages
    )
    assert others == set()


def test_hooks_are_described():
    from polystore_core.plugins.hooks import Hooks

    tests = "".join(path.read_text() for path in (ROOT / "packages").glob("*/tests/**/*.py"))
    for name in vars(Hooks):
        if name.startswith("polystore_"):
            assert name in tests, f"no test mentions the hook {name}"


def test_public_names_resolve():
    for name in polystore.__all__:
        assert getattr(polystore, name) is not None
    for package in PACKAGES:
        module = package.name.replace("-", "_")
        # polystore_torch derives from a class of PyTorch.
        if module != "polystore_torch" or find_spec("torch"):
            assert importlib.import_module(module).__doc__


def test_installed_versions_match():
    for package in PACKAGES:
        found = metadata.version(package.name)
        assert found == read_project(package)["version"], (
            "run nox without -R to renew this environment"
        )
