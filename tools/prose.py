"""Measure and check how the project is written: python tools/prose.py [--check] [--list] [PATH...]

Without options it prints a table for sources and pages, and one for tests and benchmarks: how often
each habit occurs per 10,000 words of docstrings, comments, messages and pages, how many public
functions have a docstring, and how many lines have a comment. ``--list`` prints each place of a
habit that we avoid. ``--check`` fails for a phrase that is never right, and for a figure of the
whole repository that is beyond its limit. PATH is a file or folder.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {"results", "build", "dist", "site"}
"""Folders without prose for readers: result files are measurements."""

INDIRECT = re.compile(
    r"\b(?:says?|said|sees?|shows?|knows?|decides?|asks?|tells?|finds? out|checks?|explains?|"
    r"describes?|understand|learn|prints?|lists?|guess|depends on|matters|choose) $",
    re.IGNORECASE,
)
"""Verbs before an ordinary indirect question: "the error says what is wrong"."""
CLAUSE = re.compile(
    r"\b(?:whoever|whatever|whichever|that which|what(?! (?:to|if|happens|kind)\b))\b",
    re.IGNORECASE,
)
HABITS = {
    "stand(s)": re.compile(r"\bstands?\b", re.IGNORECASE),
    "is no X": re.compile(r"\b(?:is|are|was|were) no (?!longer\b|more\b)", re.IGNORECASE),
    "semicolons": re.compile(r";"),
    "beside, anew, meanwhile": re.compile(r"\b(?:beside|anew|meanwhile)\b", re.IGNORECASE),
    "nobody, somebody": re.compile(r"\b(?:no|some)body\b", re.IGNORECASE),
    "you": re.compile(r"\byou(?:r|rs|rself)?\b", re.IGNORECASE),
    "for example": re.compile(r"\bfor example\b|\be\.g\.", re.IGNORECASE),
}
AVOIDED = ("odd clauses", "stand(s)", "is no X", "beside, anew, meanwhile", "nobody, somebody")
NEVER = {
    re.compile(pattern, re.IGNORECASE): advice
    for pattern, advice in {
        r"\b(?:whoever|whatever|whichever|that which)\b": "name the thing",
        r"\banew\b": "again",
        r"\bmeanwhile\b": "while",
        r"\bbeside\b": "next to",
        r"\bis not possible: expected\b": "say what is wrong, what was expected, what to do",
        r"\bit speaks (?:neither|no)\b": "expected an array, got list",
        r"\b(?:is|are) (?:told|said) of\b": "say who does it",
        r"\btakes? (?:its|their) place\b": "replaces",
        r"\bstands? (?:there|in the way|at|for nothing)\b": "is, has, exists",
    }.items()
}
"""Phrases that are never right, each with the words to use instead."""
Limits: TypeAlias = dict[str, tuple[float | None, float | None]]
"""The least and the most that a figure may be."""
LIMITS: Limits = {
    "odd clauses": (None, 10.0),
    "stand(s)": (None, 3.0),
    "you": (25.0, None),
    "public docstrings, %": (90.0, None),
    "comments per 100 lines of code": (5.0, None),
}


@dataclass(frozen=True)
class Prose:
    """A piece of prose, and where it starts."""

    path: Path
    line: int
    kind: str
    text: str


@dataclass
class Code:
    """Counts of one set of source files."""

    lines: int = 0
    comments: int = 0
    public: int = 0
    described: int = 0
    missing: list[str] = field(default_factory=list)


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the sources and pages below ``paths``."""
    for path in paths:
        if path.is_file():
            yield path
            continue
        for found in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
            left_out = hidden or LEFT_OUT & set(found.relative_to(path).parts)
            if found.suffix in (".py", ".md") and not left_out:
                yield found


def read_page(path: Path) -> Iterator[Prose]:
    """Yield the paragraphs of a Markdown page, without code, link targets and comments."""
    text = re.sub(r"^```.*?^```", _blank, path.read_text("utf-8"), flags=re.DOTALL | re.M)
    text = re.sub(r"<!--.*?-->|`[^`\n]*`", _blank, text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for found in re.finditer(r"(?:[^\n]*\S[^\n]*\n?)+", text):
        yield Prose(path, text.count("\n", 0, found.start()) + 1, "page", found.group())


def read_source(path: Path, overridden: set[str], code: Code) -> Iterator[Prose]:
    """Yield docstrings, comments and messages of a source file, and count into ``code``."""
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and _is_text(node):
            docstrings.add(node.lineno)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_doc = node.lineno in docstrings
            if is_doc or len(node.value.split()) > 2:
                kind = "docstring" if is_doc else "message"
                yield Prose(path, node.lineno, kind, re.sub(r"``[^`]*``", "x", node.value))
    previous = 0
    code.lines += _count_code_lines(text, tree)
    block: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if re.match(r"#\s*(noqa|type:|pragma|!|fmt)", token.string):
                continue
            code.comments += 1
            if token.start[0] != previous + 1 and block:
                yield Prose(path, previous, "comment", " ".join(block))
                block = []
            previous = token.start[0]
            block.append(token.string.lstrip("# "))
    if block:
        yield Prose(path, previous, "comment", " ".join(block))
    if "src" in path.parts:
        _count_docstrings(path, tree, overridden, code)


def _count_code_lines(text: str, tree: ast.Module) -> int:
    """Return the number of lines that are neither empty, a comment nor text alone."""
    words = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and _is_text(node)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in words
        for number, line in lines
    )


def find_overrides(files: Iterable[Path]) -> set[str]:
    """Return "Class.method" for the methods that a base class of these files already has."""
    bases: dict[str, set[str]] = {}
    methods: dict[str, set[str]] = {}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                # By the bare name: two classes of one name, in two packages, count as one.
                names = (ast.unparse(base).partition("[")[0] for base in node.bases)
                bases.setdefault(node.name, set()).update(name.split(".")[-1] for name in names)
                methods.setdefault(node.name, set()).update(
                    child.name for child in node.body if isinstance(child, ast.FunctionDef)
                )

    def names_above(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        found: set[str] = set()
        for base in bases.get(name, set()) - seen:
            found |= methods.get(base, set()) | names_above(base, seen | {base})
        return found

    return {
        f"{name}.{method}" for name in methods for method in methods[name] & names_above(name)
    }


def _count_docstrings(path: Path, tree: ast.Module, overridden: set[str], code: Code) -> None:
    def visit(body: list[ast.stmt], owner: str) -> None:
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            name = f"{owner}{node.name}"
            decorators = " ".join(ast.unparse(one) for one in node.decorator_list)
            public = not node.name.startswith("_") and name not in overridden
            if public and not re.search(r"overload|\.setter|\.register", decorators):
                code.public += 1
                if ast.get_docstring(node):
                    code.described += 1
                else:
                    code.missing.append(f"{path}:{node.lineno}: {name} has no docstring")
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{node.name}.")

    visit(tree.body, "")


def _is_text(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(
        getattr(statement.value, "value", None), str
    )


def _blank(found: re.Match[str]) -> str:
    """Return as many lines as ``found`` has, so that later line numbers stay right."""
    return "x" + "\n" * found.group().count("\n")


def find_habits(prose: Prose) -> Iterator[tuple[str, int, str]]:
    """Yield the habit, line and surroundings of each place in a piece of prose."""
    text = re.sub(
        r"^\s*[|#].*$", lambda row: row.group().replace("\n", " "), prose.text, flags=re.M
    )
    for found in CLAUSE.finditer(text):
        before, after = text[: found.start()], text[found.end() :]
        sentence = re.split(r"[.!?]\s", after, maxsplit=1)[0]
        is_question = "?" in after[: len(sentence) + 1]
        is_heading = before.rpartition("\n")[2].lstrip().startswith(("#", "|"))
        plain = found.group().lower() == "what" and (
            is_question or is_heading or INDIRECT.search(re.sub(r"\s+", " ", before))
        )
        if not plain:
            yield "odd clauses", _line(prose, found.start()), _around(text, found)
    for name, pattern in HABITS.items():
        for found in pattern.finditer(text):
            yield name, _line(prose, found.start()), _around(text, found)


def _line(prose: Prose, start: int) -> int:
    return prose.line + (prose.text.count("\n", 0, start) if prose.kind != "comment" else 0)


def _around(text: str, found: re.Match[str]) -> str:
    start = max(0, found.start() - 40)
    return " ".join(text[start : found.end() + 40].split())


def measure(
    title: str, files: list[Path], overridden: set[str], limits: Limits, *, listed: bool
) -> tuple[list[str], list[str]]:
    """Print the table of ``files``. Return their wrong phrases, and the figures beyond limits."""
    code = Code()
    counts = dict.fromkeys(["odd clauses", *HABITS], 0)
    words: dict[str, int] = {}
    phrases, figures = [], []
    for path in files:
        pieces = (
            read_page(path) if path.suffix == ".md" else read_source(path, overridden, code)
        )
        for prose in pieces:
            words[prose.kind] = words.get(prose.kind, 0) + len(prose.text.split())
            for name, line, text in find_habits(prose):
                counts[name] += 1
                if listed and name in AVOIDED:
                    print(f"{path}:{line}: {name}: … {text} …")
            for pattern, advice in NEVER.items():
                for found in pattern.finditer(prose.text):
                    line = _line(prose, found.start())
                    phrases.append(f"{path}:{line}: {found.group()!r}: write: {advice}")
    if listed:
        print("\n".join(code.missing))
    total = max(1, sum(words.values()))
    table: dict[str, float] = {name: n * 10_000 / total for name, n in counts.items()}
    if code.public:
        table["public docstrings, %"] = 100 * code.described / code.public
        table["comments per 100 lines of code"] = 100 * code.comments / max(1, code.lines)
    print(
        f"{title}: {total:,} words:",
        ", ".join(f"{n:,} in {kind}s" for kind, n in words.items()),
    )
    for name, value in table.items():
        least, most = limits.get(name, (None, None))
        bad = (least is not None and value < least) or (most is not None and value > most)
        wanted = f"  (at least {least:g})" if least else f"  (at most {most:g})" if most else ""
        print(f"{name:32} {value:8.1f}{wanted}{'  MISSED' if bad else ''}")
        if bad:
            figures.append(f"{title}: {name}: {value:.1f}{wanted}")
    return phrases, figures


def main() -> int:
    """Print the tables, the places or the faults. Return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail for phrases and figures")
    parser.add_argument("--list", action="store_true", help="print each place")
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders")
    given = parser.parse_args()
    default = [
        ROOT / name for name in ("packages", "examples", "docs", "tools", "tests", "benchmarks")
    ]
    files = list(find_files(given.paths or [*default, *ROOT.glob("*.md"), *ROOT.glob("*.py")]))
    # This file and its test spell out the phrases that it looks for.
    ours = {Path(__file__).resolve(), ROOT / "tests/test_prose.py"}
    files = [path for path in files if path.resolve() not in ours]
    # Base classes may be outside the given paths.
    sources = {path for path in files if path.suffix == ".py"}
    overridden = find_overrides(sources | set(ROOT.glob("packages/*/src/**/*.py")))
    # Contributors read these: they never say "you", and a test has its name for a docstring.
    folders = [*ROOT.glob("*/*/tests"), ROOT / "tests", ROOT / "benchmarks"]
    tests = [path for path in files if any(map(path.resolve().is_relative_to, folders))]
    rest = sorted(set(files) - set(tests))
    limits_of_tests = {name: LIMITS[name] for name in ("odd clauses", "stand(s)")}
    faults: list[str] = []
    for title, group, limits in (
        ("sources and pages", rest, LIMITS),
        ("tests and benchmarks", tests, limits_of_tests),
    ):
        if group:
            phrases, figures = measure(title, group, overridden, limits, listed=given.list)
            # A figure of a few files says little.
            faults += phrases if given.paths else phrases + figures
    if given.check and faults:
        print("\n".join(faults))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
