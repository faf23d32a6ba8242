"""Every block of the READMEs and of the documentation runs, in a fresh process."""

import os
import re
import runpy
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_testing.display import private_display

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


RUNNER = runpy.run_path(str(SNIPPETS))
NOT_RUN = Counter(
    {
        "it is for polystore 0.6.3": 2,
        "it needs two machines": 3,
        "it needs a SLURM cluster": 1,
    }
)
"""Why blocks are left out. Each reason is a thing that one machine without a GPU does not have."""
INSTALLS = (
    "pip install",
    "python -m pip install",
    "python -m nox -s",
    "uvx",
    "polystore doctor",
    "polystore-fiji",
)
"""How the commands of ``bash`` blocks start. They are not run: each would change this machine."""
SETTINGS = """
application:
  window_size: [640, 420]
  confirm_close_window: false
"""


def blocks_of(document):
    return list(RUNNER["BLOCK"].finditer(document.read_text("utf-8")))


def needs_of(document):
    """Return the viewers and libraries that a document needs, such as napari."""
    marks = map(RUNNER["marks_of"], blocks_of(document))
    return sorted({need for one in marks for need in RUNNER["needs_of"](one)})


def run(document, folder, *needs, **variables):
    inherited = {**os.environ}
    # No block may open a window on the screen of the person who runs the tests.
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "QT_QPA_PLATFORM"):
        inherited.pop(name, None)
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            SNIPPETS,
            *(["--with", ",".join(needs)] if needs else []),
            document,
        ],
        cwd=folder,
        env={
            **inherited,
            "DASK_TEMPORARY_DIRECTORY": str(folder),  # Dask leaves an empty folder there
            **variables,
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


@pytest.fixture(scope="module")
def display():
    try:
        with private_display() as display:
            yield display
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb libgl1-mesa-dri libglx-mesa0")


@pytest.fixture
def desktop(display, tmp_path):
    """The variables with which viewers open on the private screen."""
    settings = tmp_path / "napari.yaml"
    settings.write_text(SETTINGS)
    # Without -UsePerfData a Java that is killed leaves a file in /tmp.
    java = f"-Duser.home={tmp_path} -Djava.io.tmpdir={tmp_path} -XX:-UsePerfData"
    with tempfile.TemporaryDirectory() as folder:
        yield {
            "DISPLAY": display.name,
            "XDG_RUNTIME_DIR": folder,
            "NAPARI_CONFIG": str(settings),
            "JAVA_TOOL_OPTIONS": java,
        }


def require(needs):
    """Skip, with the reason, if a program or library that a document needs is missing."""
    for library in {"napari", "torch", "jax"} & {*needs}:
        pytest.importorskip(library)
    if "fiji" in needs:
        from polystore_fiji.imagej import find_imagej
        from polystore_fiji.jars import find_own_jar
        from polystore_fiji.java import find_java

        try:
            find_imagej(), find_java(), find_own_jar()
        except ReceiverUnavailableError as error:
            pytest.skip(str(error))


@pytest.mark.timeout(600)
@pytest.mark.frameworks
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if needs_of(path)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_snippets_run_with_viewers(document, desktop, tmp_path):
    """The whole document runs on a screen, with real viewers and frameworks."""
    needs = needs_of(document)
    require(needs)
    done = run(document, tmp_path, *needs, **desktop)
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_blocks_are_not_run():
    reasons = Counter(
        RUNNER["marks_of"](block)["not run"]
        for document in DOCUMENTS
        for block in blocks_of(document)
        if "not run" in RUNNER["marks_of"](block)
    )
    assert reasons == NOT_RUN


def test_each_mark_is_above_a_block():
    """A mark that is misspelt, or not right above its block, would have no effect."""
    for document in DOCUMENTS:
        marks = re.findall(r"<!-- (?:not )?run\b.*-->", document.read_text("utf-8"))
        seen = [line for block in blocks_of(document) for line in block["marks"].splitlines()]
        assert marks == [line.strip() for line in seen if line.strip()], document


def test_blocks_of_bash_install():
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        for code in re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            for line in code.splitlines():
                for command in line.split(" && "):
                    assert command.strip().startswith(INSTALLS), (document, line)


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
@pytest.mark.parametrize("mark", ["not run: it needs a GPU", "run with: torch, napari"])
def test_blocks_are_left_out(tmp_path, mark, indent):
    shown = f"<!-- {mark} -->\n```python\nraise SystemExit(3)\n```\n"
    (tmp_path / "page.md").write_text(textwrap.indent(shown, indent))
    for needs in ([], ["torch"]):
        done = run(tmp_path / "page.md", tmp_path, *needs)
        assert (done.returncode, done.stdout) == (0, "page.md: 0 blocks ran\n")


TERMINAL = """
```python
# receiver.py
from polystore_stream import receive

for item in receive():
    print(item.path)
```
<!-- run in another terminal -->
```console
$ python receiver.py
a.npy
```
```python
import numpy as np
from polystore import FileManager

FileManager().save(np.zeros((2, 2)), "b.npy", "streaming")
```
"""


def test_another_terminal_prints_what_is_shown(tmp_path):
    """The command runs while the next block does, and then it has ended."""
    (tmp_path / "page.md").write_text(TERMINAL.replace("b.npy", "a.npy"))
    done = run(tmp_path / "page.md", tmp_path)
    assert (done.returncode, done.stdout) == (0, "page.md: 3 blocks ran\n"), done.stderr


def test_another_terminal_that_ends_fails(tmp_path):
    (tmp_path / "page.md").write_text(TERMINAL.replace("receive():", "1 / 0:"))
    done = run(tmp_path / "page.md", tmp_path)
    assert done.returncode == 1
    assert "AssertionError: python receiver.py has ended" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("while True: found = 1", ""),
        ("found = 1", ""),
        ("found = 0", "bool(found) has not become true"),
        ("found = 0 / 0", "ZeroDivisionError"),
    ],
)
def test_ctrl_c_ends_a_block_that_waits(tmp_path, block, said):
    mark = "<!-- run until: bool(found) -->\n```python"
    (tmp_path / "page.md").write_text(
        f"```python\nfound = 0\n```\n{mark}\n{block}\n```\n```python\nassert found\n```"
    )
    done = run(tmp_path / "page.md", tmp_path)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (
        (1, "") if said else (0, "page.md: 3 blocks ran\n")
    )


@pytest.mark.parametrize("below", ["a = 1\nb = 2", "b = 2"])
def test_previews_are_lines_of_later_blocks(tmp_path, below):
    preview = "<!-- run below -->\n```python\na = 1  # so far\n```"
    (tmp_path / "page.md").write_text(f"{preview}\n```python\n{below}\n```")
    done = run(tmp_path / "page.md", tmp_path)
    assert (done.returncode == 0) == ("a = 1" in below)
    assert ("no block below has the lines ['a = 1']" in done.stderr) == ("a = 1" not in below)


def test_commands_bring_files_or_replace_a_block(tmp_path):
    (tmp_path / "page.md").write_text(
        "<!-- run here as: echo 1 > a.txt -->\n```console\n$ false\n```\n"
        '<!-- run after: cat a.txt "$CHECKOUT/LICENSE" > b.txt -->\n'
        '```python\nfrom pathlib import Path\nprint(Path("b.txt").read_text()[0])\n```\n'
        "```text\n1\n```"
    )
    done = run(tmp_path / "page.md", tmp_path)
    assert (done.returncode, done.stdout) == (0, "page.md: 2 blocks ran\n"), done.stderr


def test_unknown_marks_fail(tmp_path):
    (tmp_path / "page.md").write_text("<!-- run wiht: napari -->\n```python\n1\n```")
    done = run(tmp_path / "page.md", tmp_path)
    assert done.returncode == 1
    assert "run wiht: napari" in done.stderr


@pytest.mark.parametrize("printed", ["3 passed in 9.87s", "12 passed in 61.90s (0:01:01)"])
def test_numbers_of_tests_and_seconds_vary(printed):
    compare = RUNNER["compare"]
    compare("...\n7 passed in 1.25s", f"....\n{printed}", "pytest")
    with pytest.raises(AssertionError):
        compare("...\n7 passed in 1.25s", f"....\n1 failed, {printed} too", "pytest")


@pytest.mark.parametrize(("page", "example"), TUTORIALS.items())
def test_tutorial_ends_with_the_example(page, example):
    """A reader who copies every block has the files of the example."""
    folder = ROOT / "examples" / example
    shown = RUNNER["files_of"]((ROOT / "docs" / page).read_text("utf-8"))
    files = {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for kind in ("py", "toml")
        for path in folder.rglob(f"*.{kind}")
        if path.stat().st_size
    }
    assert files == {name: text for name, text in shown.items() if name in files}
    assert not [name for name in shown.keys() - files.keys() if "/" in name]
