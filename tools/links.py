"""Check the links of the built site and of the repository's pages: python tools/links.py [SITE]

Each link must lead to a file that exists, and each ``#anchor`` to a heading or another named place
of its page. Links to our own site, or to our own files on the hosting service, are looked up here.
Nothing is fetched: of other addresses only the spelling is checked.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parent.parent
OURS = "https://polystore.readthedocs.io/"
REPOSITORY = "https://github.com/OpenHCSDev/PolyStore"
TARGETS = {"href", "src", "poster"}


@dataclass
class Page(HTMLParser):
    """A page of the site: its links, and the anchors to which others can link."""

    text: str
    links: list[tuple[int, str]] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in TARGETS and value is not None:
                self.links.append((self.getpos()[0], value))
            # Only <a name> is an anchor. Other tags, such as <meta>, use `name` for other things.
            elif name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")


@cache
def read_page(path: Path) -> Page:
    """Return a page of the site."""
    return Page(path.read_text("utf-8"))


def check_site(site: Path) -> Iterator[str]:
    """Yield a line for each wrong link of the built site."""
    for path in sorted(site.rglob("*.html")):
        for line, link in read_page(path).links:
            if fault := find_fault(link, path.parent, site, site):
                yield f"{path.relative_to(site.parent)}:{line}: {link}: {fault}"


def check_documents(site: Path) -> Iterator[str]:
    """Yield a line for each wrong link of the Markdown files outside docs/."""
    # Tracked files only: environments and builds hold the Markdown of others.
    listed = ["git", "ls-files", "*.md", ":!docs"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in map(ROOT.joinpath, names.splitlines()):
        # An index of an array, such as x[0](y), looks like a link, so code is blanked.
        text = re.sub(
            r"^```.*?^```|`[^`\n]*`", _blank, path.read_text("utf-8"), flags=re.M | re.S
        )
        for found in re.finditer(r"\]\(([^()\s]+)\)", text):
            if fault := find_fault(found[1], path.parent, ROOT, site):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{path.relative_to(ROOT)}:{line}: {found[1]}: {fault}"


def _blank(found: re.Match[str]) -> str:
    """Return as many lines as there were, so that line numbers stay."""
    return "\n" * found.group().count("\n")


def find_fault(link: str, folder: Path, root: Path, site: Path) -> str | None:
    """Return the fault of a link of a page in ``folder``, or ``None``."""
    for prefix in (f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/"):
        if link.startswith(prefix):
            name = urlsplit(link.removeprefix(prefix)).path
            return None if (ROOT / name).exists() else "the repository has no such file"
    if link.startswith(OURS):
        link, folder, root = link.removeprefix(OURS) or ".", site, site
    # An open bracket, as in "http://[x", is an error of urlsplit and not a wrong part.
    try:
        parts = urlsplit(link)
    except ValueError as error:
        return f"not a URL: {error}"
    if parts.scheme in ("http", "https"):
        return None if re.fullmatch(r"[\w.-]+\.\w+(:\d+)?", parts.netloc) else "not a URL"
    if parts.scheme:
        return (
            None if parts.scheme in ("mailto", "data") else f"unknown scheme {parts.scheme!r}"
        )
    folder = root if parts.path.startswith("/") else folder
    target = (folder / unquote(parts.path).lstrip("/")).resolve()
    if not target.is_relative_to(root.resolve()):
        return f"leads out of the site: use {REPOSITORY}/blob/main/…"
    # Servers send index.html for a folder. In the repository, a folder has a page of its own.
    if root == site and target.is_dir():
        target /= "index.html"
    if not target.exists():
        return "no such file"
    # In a source, "#L10" is a line for the hosting service. Only pages of the site have anchors.
    if parts.fragment and target.suffix == ".html":
        known = read_page(target).anchors
        return None if unquote(parts.fragment) in known else "the page has no such anchor"
    return None


def main(site: Path) -> int:
    """Print each wrong link, and return the exit status."""
    if not (site / "index.html").exists():
        print(f"{site} has no index.html: build the site first, with nox -s docs")
        return 2
    faults = [*check_site(site), *check_documents(site)]
    print(*faults, sep="\n", end="\n" if faults else "")
    count = len(list(site.rglob("*.html")))
    print(f"{count} pages, {len(faults)} wrong links")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site")))
