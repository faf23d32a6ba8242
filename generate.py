"""Write the files that are made from packages.toml: python generate.py, or nox -s generate.

The results are committed, so that each folder below packages/ builds alone. A test says that they
are up to date.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
CATALOGUE = "packages/polystore-core/src/polystore_core/plugins/catalogue.json"
CONTRACT = 'name = "Plugins build on core and never import each other"\ntype = "layers"\n'

Package = dict[str, Any]
Declared = dict[str, Package]


def render_files() -> dict[Path, str]:
    """Return the text that each generated file must have."""
    project = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))
    packages: Declared = project["packages"]
    made: dict[str, Callable[[str], str]] = {
        "pyproject.toml": lambda text: render_workspace(text, packages, project["layers"]),
        CATALOGUE: lambda _: render_catalogue(packages),
        "CHANGELOG.md": lambda _: render_changelog(packages),
        "CITATION.cff": lambda text: replace_one(
            text, r"^version: .*?$", f"version: {project['version']}"
        ),
    }
    for name in packages:
        made[f"packages/{name}/pyproject.toml"] = partial(
            render_distribution, name=name, project=project
        )
    return {ROOT / path: make((ROOT / path).read_text("utf-8")) for path, make in made.items()}


def render_workspace(text: str, packages: Declared, layers: list[str]) -> str:
    """Return the root's pyproject.toml, with the paths and walls of all distributions."""
    modules = {name: name.replace("-", "_") for name in packages}
    sources = ["benchmarks", *(f"packages/{name}/src" for name in packages)]
    rows = [
        " | ".join(modules[name] for name in packages if packages[name]["layer"] == layer)
        for layer in layers
    ]
    text = replace_one(text, r"^mypy_path = \[.*?\]$", f"mypy_path = {format_array(sources)}")
    text = replace_one(
        text, r"^root_packages = \[.*?\]$", f"root_packages = {format_array(modules.values())}"
    )
    old = re.escape(CONTRACT) + r"layers = \[.*?\]$"
    return replace_one(text, old, f"{CONTRACT}layers = {format_array(rows)}")


def render_distribution(text: str, name: str, project: dict[str, Any]) -> str:
    """Return the pyproject.toml of one distribution."""
    package: Package = project["packages"][name]
    text = replace_one(text, r'^version = ".*?"$', f'version = "{project["version"]}"')
    summary = json.dumps(package["summary"], ensure_ascii=False)
    text = replace_one(text, r'^description = ".*?"$', f"description = {summary}")
    needed = r'"(polystore-\w+(?:\[[\w,]+\])?)[<>=!~][^"]*"'
    text = re.sub(needed, rf'"\1{find_span(project["version"])}"', text)
    for group in ("backends", "formats", "frameworks"):
        if names := package.get(group):
            folder = "frameworks." if group == "frameworks" else ""
            manifest = f'"{name.replace("-", "_")}.{folder}plugin"'
            lines = [f"{quote_key(entry)} = {manifest}" for entry in names]
            text = replace_table(text, f'project.entry-points."polystore.{group}"', lines)
    if name == "polystore":
        text = replace_table(text, "project.optional-dependencies", list_extras(project))
    return replace_table(text, "project.urls", list_urls(name, package, project["site"]))


def list_extras(project: dict[str, Any]) -> list[str]:
    """Return the lines of the extras of polystore: each installs distributions or a library."""
    found: dict[str, list[str]] = {}
    for name, package in project["packages"].items():
        if "extra" in package:
            found[package["extra"]] = [name + find_span(project["version"])]
        for option in package.get("options", ()):
            needed = f"{name}[{option}]{find_span(project['version'])}"
            found.setdefault(option, []).append(needed)
    found |= {extra: [text] for extra, text in project["frameworks"].items()}
    everywhere = [extra for extra in found if extra != "cupy"]  # needs an NVIDIA GPU
    found["all"] = [f"polystore[{','.join(everywhere)}]"]
    return [f"{extra} = {json.dumps(texts)}" for extra, texts in found.items()]


def list_urls(name: str, package: Package, site: dict[str, str]) -> list[str]:
    """Return the lines of the links that a package index shows."""
    source = site["source"]
    links = {
        "Documentation": site["documentation"] + package.get("page", ""),
        "Source": source,
        "Issues": f"{source}/issues",
        "Changelog": f"{source}/blob/main/packages/{name}/CHANGELOG.md",
    }
    return [f"{label} = {json.dumps(link)}" for label, link in links.items()]


def find_span(version: str) -> str:
    """Return the versions that go with one: from its minor version to the next major one."""
    major, minor, _ = version.split(".")
    return f">={major}.{minor},<{int(major) + 1}"


def render_catalogue(packages: Declared) -> str:
    """Return the names that core knows to be ours: for each, the distribution."""
    kinds = {"backend": "backends", "format": "formats", "framework": "frameworks"}
    names = {
        kind: {
            entry: name
            for name, package in packages.items()
            for entry in package.get(group, ())
        }
        for kind, group in kinds.items()
    }
    return json.dumps(names, indent=2, sort_keys=True) + "\n"


def render_changelog(packages: Declared) -> str:
    """Return the index of the changelogs."""
    lines = [f"- [{name}](packages/{name}/CHANGELOG.md)\n" for name in packages]
    return "# Changelog\n\nEach distribution has its own:\n\n" + "".join(lines)


def replace_one(text: str, pattern: str, new: str) -> str:
    """Return ``text`` with the one match of ``pattern`` replaced."""
    result, count = re.subn(pattern, lambda _: new, text, flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        raise SystemExit(f"{count} places match {pattern!r}, but there must be one")
    return result


def replace_table(text: str, header: str, lines: Iterable[str]) -> str:
    """Return a TOML text with the lines of one table, up to an empty one, replaced."""
    pattern = rf"^{re.escape(f'[{header}]')}\n(?:[^\n]+\n)*"
    return replace_one(text, pattern, "\n".join([f"[{header}]", *lines, ""]))


def format_array(items: Iterable[str]) -> str:
    """Return a TOML array, one item a line."""
    return "[\n" + "".join(f"    {json.dumps(item)},\n" for item in items) + "]"


def quote_key(name: str) -> str:
    """Return the key of a TOML table: quoted where it must be."""
    return name if re.fullmatch(r"[\w-]+", name) else json.dumps(name)


if __name__ == "__main__":
    for path, text in render_files().items():
        if path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            print("wrote", path.relative_to(ROOT))
