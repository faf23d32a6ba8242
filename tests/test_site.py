"""Generated pages of the site are current, and a wrong link is found."""

import re
import runpy
from pathlib import Path

import pytest

import polystore
import polystore_core
import polystore_stream
import polystore_testing
from polystore_core import errors, rois

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_generated_pages_are_current():
    pages = runpy.run_path(str(ROOT / "tools/pages.py"))
    for path, text in pages["find_pages"]().items():
        assert path.read_text("utf-8") == text, f"{path.name}: run nox -s generate"


def test_each_error_has_a_section():
    page = (DOCS / "errors.md").read_text("utf-8")
    classes = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    headings = re.findall(r"^## (\w+Error)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(classes)


def test_each_public_name_has_an_entry():
    pages = [
        (DOCS / f"reference/{name}.md").read_text("utf-8") for name in ("index", "authors")
    ]
    listed = {
        tuple(found.rsplit(".", 1))
        for found in re.findall("^::: (.+)$", "\n".join(pages), re.M)
    }
    users = {("polystore", name) for name in polystore.__all__}
    core = {("polystore_core", name) for name in polystore_core.__all__}
    core -= {("polystore_core", name) for name in polystore.__all__}
    # These modules have pages and sections of their own.
    modules = {
        ("polystore", "errors"),
        ("polystore", "rois"),
    }
    inner = {
        (f"polystore_core.{m.__name__.rpartition('.')[2]}", n)
        for m in (errors, rois)
        for n in m.__all__
    }
    others = {
        (package.__name__, name)
        for package in (polystore_stream, polystore_testing)
        for name in package.__all__
    }
    # Its import needs PyTorch, which is not installed everywhere.
    others.add(("polystore_torch", "Images"))
    assert listed == (users - modules) | core | inner | others


def test_each_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    pages = set(re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    linked = {name for name in there if re.match(r"decisions/\d|protocol/", name)}
    # tools/links.py finds pages that are missing in the navigation.
    assert there - linked <= pages


HEAD = '<h1 id="top">A</h1><a href="#top"></a><a href="../b/#there"></a><img src="../a.png">'


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("../c/", "no such file"),
        ("../b/#nowhere", "the page has no such anchor"),
        ("#nowhere", "the page has no such anchor"),
        ("../missing.png", "no such file"),
        ("../../outside.md", "leads out of the site"),
        ("https://polystore.readthedocs.io/c/", "no such file"),
        ("https://polystore.readthedocs.io/b/#nowhere", "the page has no such anchor"),
        ("https://github.com/OpenHCSDev/PolyStore/blob/main/missing.py", "no such file"),
        ("https://example", "not a URL"),
        ("http://[::1", "not a URL"),
        ("javascript:alert(1)", "unknown scheme"),
    ],
)
def test_wrong_link_is_found(tmp_path, link, fault):
    links = runpy.run_path(str(ROOT / "tools/links.py"))
    site = tmp_path / "site"
    for name, body in {"a": f'{HEAD}\n<a href="{link}">', "b": '<h2 id="there">'}.items():
        (site / name).mkdir(parents=True)
        (site / name / "index.html").write_text(body)
    (site / "a.png").touch()
    [found] = links["check_site"](site)
    assert found.startswith(f"site/a/index.html:2: {link}: ")
    assert fault in found
