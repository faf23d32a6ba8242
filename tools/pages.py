"""Write the pages of the site that follow from code: python tools/pages.py, or nox -s generate.

- docs/promises.md: the tests of the conformance kit, by the first sentence of each docstring
- docs/reference/: one entry for each public name, in the groups of docs/stability.md
- docs/decisions/index.md: the titles of the decisions
- docs/changes.md: the changelogs, one section for each distribution

The first three are committed, so that you can read them in the repository, and a test says that
they are up to date. The changelogs are already there, so git ignores the page that joins them.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/OpenHCSDev/PolyStore"
KIT = ROOT / "packages/polystore-testing/src/polystore_testing"
SUBJECTS = {
    "StoreTests": "Stores of bytes",
    "SourceTests": "Loading and listing",
    "SinkTests": "Saving",
    "StorageTests": "Saving and loading",
    "ImageTests": "Images and their words",
    "LinkTests": "Symbolic links",
    "SiblingTests": "Formats that read the files next to theirs",
    "FormatTests": "Formats",
    "StreamTests": "Live viewers and receivers",
}
"""The classes of the kit and their titles, in the order of the page."""
FIRST = ("tools", "images", "values", "names", "arrays", "files", "locks and leftovers")
"""The groups of docs/stability.md with which the page for users starts."""


def find_pages() -> dict[Path, str]:
    """Return the text that each committed page must have."""
    return {
        DOCS / "promises.md": write_promises(),
        DOCS / "reference/index.md": write_users(),
        DOCS / "reference/authors.md": write_authors(),
        DOCS / "decisions/index.md": write_decisions(),
    }


def write_promises() -> str:
    """Return the page that lists what the kit tests."""
    lines = [
        "# What is promised",
        "",
        "Each sentence on this page is a test of the conformance kit, `polystore-testing`. The",
        "kit runs against every backend, store and format of polystore, and authors run it",
        "against theirs. If a backend does not make a promise, the kit checks that it refuses the",
        "operation with an error that names the missing feature.",
        "",
        "A word in brackets is the feature that a promise needs, such as `delete`.",
        "[Where data can go](backends.md) says what each backend refuses.",
        f"[SECURITY.md]({REPOSITORY}/blob/main/SECURITY.md) has the promises about hostile input.",
        "",
    ]
    for name, title in SUBJECTS.items():
        lines += [f"## {title}", ""]
        for law in find_laws(name):
            tests = list(find_tests(law))
            if law.name == name:
                lines += [f"*`{name}`.* {summarize(law)}", ""]
            elif tests:
                lines += [f"### {summarize(law).rstrip('.')}", ""]
            lines += [*tests, ""] if tests else []
    return "\n".join(lines).rstrip() + "\n"


@cache
def read_kit() -> dict[str, ast.ClassDef]:
    """Return the classes of the kit by their names."""
    nodes = (node for path in sorted(KIT.rglob("*.py")) for node in parse(path).body)
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def find_laws(name: str) -> Iterator[ast.ClassDef]:
    """Yield a class of the kit, and its bases that have no subject of their own."""
    law = read_kit()[name]
    yield law
    for base in law.bases:
        if isinstance(base, ast.Name) and base.id in read_kit() and base.id not in SUBJECTS:
            yield from find_laws(base.id)


def find_tests(law: ast.ClassDef) -> Iterator[str]:
    """Yield one line for each test of a class: its promise, and the feature that it needs."""
    for node in law.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            features = [
                f" [`{ast.literal_eval(decorator.args[0])}`]"
                for decorator in node.decorator_list
                if isinstance(decorator, ast.Call)
                and ast.unparse(decorator.func) == "needs"
                and isinstance(decorator.args[0], ast.Constant)
            ]
            yield f"- {summarize(node)}{''.join(features)}"


def summarize(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return the first paragraph of the docstring of a class or test, as Markdown."""
    text = ast.get_docstring(node)
    if not text:
        raise SystemExit(f"{node.name} needs a docstring: it is a promise on the site")
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def write_users() -> str:
    """Return the reference of ``polystore``."""
    # These two are modules, and have sections of their own.
    public = set(read_names("polystore")) - {"errors", "rois"}
    lines = [
        "# API",
        "",
        "The names that you import from `polystore` in a script, pipeline or notebook.",
        "[When something goes wrong](../errors.md) says what to do about each error.",
        "[Stability](../stability.md) says what may change.",
        "",
    ]
    groups = read_groups()
    for group in [*FIRST, *(group for group in groups if group not in FIRST)]:
        lines += list_names(group, "polystore", [n for n in groups[group] if n in public])
    for title, module in {"regions of interest": "rois", "errors": "errors"}.items():
        lines += list_names(title, f"polystore_core.{module}", read_names(module))
    return "\n".join(lines).rstrip() + "\n"


def write_authors() -> str:
    """Return the reference for authors of backends, formats, viewers and tools."""
    lines = [
        "# API for authors",
        "",
        "You import these names if you write a backend, a format, a viewer or a tool.",
        "`polystore_core` has all names of [`polystore`](index.md) as well: they are not repeated",
        "here. Start with [Write a store](../write-a-store.md).",
        "",
    ]
    users = set(read_names("polystore"))  # two entries of one name would share an anchor
    for group, names in read_groups().items():
        lines += list_names(group, "polystore_core", [n for n in names if n not in users])
    for package, title in {
        "polystore_stream": "Streams to viewers and receivers",
        "polystore_testing": "The conformance kit",
        "polystore_torch": "Training with PyTorch",
    }.items():
        lines += list_names(title, package, read_names(package))
    return "\n".join(lines).rstrip() + "\n"


INHERITING = {"FileManager"}
"""Classes of which readers need the methods of a private base class as well."""


def list_names(title: str, module: str, names: Iterable[str]) -> list[str]:
    """Return a section of the reference: a heading, and an entry for each name."""
    entries = []
    for name in names:
        entries.append(f"::: {module}.{name}")
        if name in INHERITING:
            entries += ["    options:", "      inherited_members: true"]
        entries.append("")
    return [f"## {title[0].upper()}{title[1:]}", "", *entries] if entries else []


def read_groups() -> dict[str, list[str]]:
    """Return the groups of public names in the table of docs/stability.md."""
    page = (DOCS / "stability.md").read_text("utf-8")
    _, _, table = page.partition("## What authors build on\n")
    rows = re.findall(r"^\| ([\w ]+) \| (`.*`) \|$", table.partition("\n## ")[0], re.MULTILINE)
    return {group: re.findall(r"`(\w+)`", names) for group, names in rows}


def read_names(module: str) -> list[str]:
    """Return ``__all__`` of one of our packages, or of a public module of ``polystore_core``."""
    inner = module in ("rois", "errors")
    package = "polystore_core" if inner else module
    folder = ROOT / "packages" / package.replace("_", "-") / "src" / package
    path = folder / (f"{module}/__init__.py" if inner else "__init__.py")
    # Sources are parsed and not imported, because polystore_torch would import PyTorch.
    for node in parse(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    raise SystemExit(f"{path} has no __all__")


def write_decisions() -> str:
    """Return the list of decisions."""
    lines = [
        "# Decisions",
        "",
        "Each page says what was decided, why, and which alternatives lost.",
        "",
    ]
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        number, title = read_title(path)
        lines.append(f"{number}. [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def read_title(path: Path) -> tuple[str, str]:
    """Return the number and the title of a decision."""
    first, _, _ = path.read_text("utf-8").partition("\n")
    found = re.fullmatch(r"# (\d+)\. (.+)", first)
    if found is None:
        raise SystemExit(f"{path} must start with '# NUMBER. TITLE', but starts with {first!r}")
    return found[1], found[2]


def write_changes() -> str:
    """Return the page that joins the changelogs, each a section of its own."""
    packages = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))["packages"]
    lines = ["# Changes", "", "Each distribution has its own changelog.", ""]
    for name in packages:
        text = (ROOT / f"packages/{name}/CHANGELOG.md").read_text("utf-8")
        _, _, versions = text.partition("\n")  # without its title
        # One level deeper, because the name of the distribution is the heading here.
        versions = re.sub(r"^##", "###", versions, flags=re.MULTILINE)
        # Links in a changelog start at its package, but the joined page is in docs/.
        lines += [f"## {name}", versions.replace("](../../docs/", "](")]
    return "\n".join(lines).rstrip() + "\n"


def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a source file."""
    return ast.parse(path.read_text("utf-8"), str(path))


if __name__ == "__main__":
    for page, text in {**find_pages(), DOCS / "changes.md": write_changes()}.items():
        if not page.exists() or page.read_text("utf-8") != text:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, "utf-8")
            print("wrote", page.relative_to(ROOT))
