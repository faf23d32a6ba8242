"""Each promise of SECURITY.md names a test that exists, and its example runs."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/.-]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_promise_has_its_test(file, name):
    tree = ast.parse((ROOT / "packages" / file).read_text("utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in tests


def test_each_promise_names_a_test():
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and "promise |" not in line
    ]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"::test_\w+` \|$", row)] == []


def test_example_runs(tmp_path):
    """The blocks are in a list of the page, so they are indented."""
    (tmp_path / "page.md").write_text(re.sub(r"^  ", "", PAGE, flags=re.MULTILINE), "utf-8")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/run_snippets.py", tmp_path / "page.md"],
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "page.md: 1 blocks ran\n"
