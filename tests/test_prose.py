"""The measure of our English finds the habits that it names, and no others."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parent.parent / "tools/prose.py"


def measure(tmp_path, page, *options, name="page.md"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")
    command = [sys.executable, str(TOOL), *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "text",
    [
        "It refuses what does not fit.",
        "What is larger travels in pieces.",
        "Whoever waits reads the socket.",
        "A lock\nstands next to the store.",
        "A list is no array.",
        "The lock is beside the store.",
        "Nobody can read it.",
    ],
)
def test_habit_is_found(tmp_path, text):
    listed = measure(tmp_path, f"First line.\n\n{text}\n", "--list").stdout.splitlines()
    places = [line for line in listed if "page.md:" in line]
    assert len(places) == 1
    assert "page.md:3:" in places[0] or "page.md:4:" in places[0]


@pytest.mark.parametrize(
    "text",
    [
        "What does it cost?",
        "The error says what is wrong and what to do.",
        "# What a store promises",
        "| option | what it does |",
        "The old file is no longer there.",
        "```python\nx = 1  # what stands beside\n```",
        "Call `what stands beside` again.",
        "A standard.",
    ],
)
def test_plain_english_passes(tmp_path, text):
    listed = measure(tmp_path, f"{text}\n", "--list").stdout
    assert "page.md:" not in listed


def test_check_names_the_place_and_the_remedy(tmp_path):
    done = measure(tmp_path, "Good.\n\nA lock is made anew.\n", "--check")
    assert done.returncode == 1
    assert "page.md:3: 'anew': write: again" in done.stdout
    assert measure(tmp_path, "A lock is made again.\n", "--check").returncode == 0


def test_sources_are_read(tmp_path):
    source = (
        '"""Whatever."""\n\n\nclass A:\n'
        '    def f(self):  # beside\n        raise E("this stands there")\n'
    )
    done = measure(tmp_path, source, "--list", name="src/a.py")
    found = [line.split(": ")[1] for line in done.stdout.splitlines() if ": … " in line]
    assert sorted(found) == ["beside, anew, meanwhile", "odd clauses", "stand(s)"]
    assert "A has no docstring" in done.stdout
    assert "A.f has no docstring" in done.stdout


def test_override_needs_no_docstring(tmp_path):
    source = (
        '"""A backend."""\n\n\nclass Mine(StorageBackend):\n    """Mine."""\n\n'
        "    def load(self, path):\n        return path\n\n    def extra(self):\n        return 1\n"
    )
    listed = measure(tmp_path, source, "--list", name="src/a.py").stdout
    assert "Mine.extra has no docstring" in listed
    assert "Mine.load has no docstring" not in listed
