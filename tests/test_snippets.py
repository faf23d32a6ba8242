"""Every block of the READMEs and of the documentation runs, in a fresh process."""

import os
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
]
TUTORIALS = {
    "write-a-store.md": "polystore-sqlite",
    "write-a-format.md": "polystore-nrrd",
    "write-a-viewer.md": "polystore-gallery",
}
MARKS = {
    ROOT / "docs/training.md": pytest.mark.frameworks,
    ROOT / "packages/polystore-torch/README.md": pytest.mark.frameworks,
    ROOT / "docs/write-a-store.md": pytest.mark.slow,  # they run tests of the kit
    ROOT / "docs/write-a-viewer.md": pytest.mark.slow,
}
SNIPPETS = ROOT / "tests/run_snippets.py"


def run(document, folder):
    return subprocess.run(
        [sys.executable, SNIPPETS, document],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONWARNINGS": "error",
            "DASK_TEMPORARY_DIRECTORY": str(folder),  # Dask leaves an empty folder there
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "document",
    [pytest.param(path, marks=MARKS.get(path, ())) for path in DOCUMENTS],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_snippets_run(document, tmp_path):
    done = run(document, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "shown",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```",
        "```console\n$ echo 1\n2\n```",
        '=== "tab"\n\n    ```console\n    $ echo 1\n    2\n    ```',
        '=== "tab"\n\n    ```python\n    print(1)\n    ```\n\n    ```text\n2\n    ```',
    ],
)
def test_wrong_output_fails(tmp_path, shown):
    (tmp_path / "page.md").write_text(shown)
    done = run(tmp_path / "page.md", tmp_path)
    assert "printed\n1\n\nbut the document shows\n2\n" in done.stderr


def test_commands_print_on_build_machines_what_readers_see(tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "true")  # pytest does not cut its lines there
    (tmp_path / "page.md").write_text("```console\n$ echo ${CI-unset}\nunset\n```")
    done = run(tmp_path / "page.md", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("indent", ["", "    "])
def test_blocks_that_need_a_window_are_left_out(tmp_path, indent):
    shown = "<!-- not run: it opens a window -->\n```python\nraise SystemExit(3)\n```\n"
    (tmp_path / "page.md").write_text(textwrap.indent(shown, indent))
    done = run(tmp_path / "page.md", tmp_path)
    assert (done.returncode, done.stdout) == (0, "page.md: 0 blocks ran\n")


@pytest.mark.parametrize("printed", ["3 passed in 9.87s", "12 passed in 61.90s (0:01:01)"])
def test_numbers_of_tests_and_seconds_vary(printed):
    compare = runpy.run_path(str(SNIPPETS))["compare"]
    compare("...\n7 passed in 1.25s", f"....\n{printed}", "pytest")
    with pytest.raises(AssertionError):
        compare("...\n7 passed in 1.25s", f"....\n1 failed, {printed} too", "pytest")


@pytest.mark.parametrize(("page", "example"), TUTORIALS.items())
def test_tutorial_ends_with_the_example(page, example):
    """A reader who copies every block has the files of the example."""
    folder = ROOT / "examples" / example
    shown = runpy.run_path(str(SNIPPETS))["files_of"]((ROOT / "docs" / page).read_text("utf-8"))
    files = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for kind in ("py", "toml")
        for path in folder.rglob(f"*.{kind}")
        if path.stat().st_size
    }
    assert files == {name: text for name, text in shown.items() if name in files}
    assert not [name for name in shown.keys() - files.keys() if "/" in name]
