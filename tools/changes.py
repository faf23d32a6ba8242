"""Collect the notes of changes: python tools/changes.py [--apply]

Each change that users notice has a file ``changes/<distribution>.<change>.md``, for example
``changes/zarr.growing-plates.md``: one paragraph, without a bullet. Two branches never write the
same file, so they never conflict. Without ``--apply`` the notes are printed. With it, they move
into the CHANGELOG.md of their distributions, under the version of packages.toml, and the files are
removed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
NAME = re.compile(r"(?P<distribution>[a-z]+)\.[a-z0-9]+(?:-[a-z0-9]+)*\.md")
WIDTH = 110


class FragmentError(ValueError):
    """A file in changes/ is not a note."""


def find_fragments(root: Path) -> dict[str, dict[Path, str]]:
    """Return the notes of each distribution that has some, by their files.

    Raises:
        FragmentError: the name or the text of a file is wrong.
    """
    packages = tomllib.loads((root / "packages.toml").read_text("utf-8"))["packages"]
    short = {name.removeprefix("polystore-"): name for name in packages}
    found: dict[str, dict[Path, str]] = {}
    for path in sorted((root / "changes").iterdir()):
        if path.name == "README.md":
            continue
        named = NAME.fullmatch(path.name)
        if named is None or named["distribution"] not in short:
            known = ", ".join(short)
            raise FragmentError(
                f"changes/{path.name} is not named <distribution>.<change>.md, with small "
                f"letters, digits and hyphens. The distributions are {known}"
            )
        text = path.read_text("utf-8").strip()
        if fault := find_fault(text):
            raise FragmentError(f"changes/{path.name} {fault}")
        found.setdefault(short[named["distribution"]], {})[path] = text
    return found


def find_fault(text: str) -> str:
    """Return why ``text`` is not a note, or ""."""
    if not text.endswith((".", "```")):
        return "does not end with a full stop"
    if re.match(r"[-*#+>]|\d+\.", text):
        return "starts with a bullet or a heading: write a plain paragraph"
    if any(len(line) > WIDTH for line in text.splitlines()):
        return f"has a line of more than {WIDTH} characters"
    return ""


def write_notes(fragments: Mapping[str, Mapping[Path, str]]) -> str:
    """Return all notes as one Markdown text, with a heading for each distribution."""
    parts = [f"## {name}\n\n{list_notes(notes)}" for name, notes in sorted(fragments.items())]
    return "\n".join(parts)


def list_notes(notes: Mapping[Path, str]) -> str:
    """Return the notes of one distribution as a list in Markdown."""
    # In Markdown, further lines belong to a bullet only if they are indented.
    return "".join("- " + text.replace("\n", "\n  ") + "\n" for text in notes.values())


def add_notes(changelog: str, version: str, notes: Mapping[Path, str]) -> str:
    """Return a changelog with notes at the start of the list of ``version``.

    A version that the changelog does not have gets a heading above the others.
    """
    added = list_notes(notes)
    lines = changelog.splitlines(keepends=True)
    headings = [place for place, line in enumerate(lines) if line.startswith("## ")]
    of_version = [place for place in headings if lines[place].split()[1] == version]
    if not of_version:
        first = headings[0] if headings else len(lines)
        return "".join([*lines[:first], f"## {version}\n\n{added}\n", *lines[first:]])
    place = of_version[0] + 1
    # Text between the heading and its list stays above the new notes.
    while place < len(lines) and not lines[place].startswith(("- ", "## ")):
        place += 1
    is_last = place == len(lines) or lines[place].startswith("## ")
    return "".join([*lines[:place], added, *(["\n"] if is_last else []), *lines[place:]])


def apply(root: Path) -> str:
    """Move all notes into the changelogs below ``root``, and return them as one text."""
    # All notes are read before the first changelog is written, so that a wrong one leaves
    # everything as it was.
    fragments = find_fragments(root)
    version = tomllib.loads((root / "packages.toml").read_text("utf-8"))["version"]
    for name, notes in fragments.items():
        path = root / "packages" / name / "CHANGELOG.md"
        path.write_text(add_notes(path.read_text("utf-8"), version, notes), "utf-8")
        # Notes are removed last: after a crash, one may be there twice, but none is lost.
        for fragment in notes:
            fragment.unlink()
    return write_notes(fragments)


def main() -> None:
    try:
        notes = apply(ROOT) if "--apply" in sys.argv else write_notes(find_fragments(ROOT))
    except FragmentError as error:
        raise SystemExit(f"error: {error}") from None
    print(notes, end="")


if __name__ == "__main__":
    main()
