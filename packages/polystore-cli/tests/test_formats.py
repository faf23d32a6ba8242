import json
from collections.abc import Callable

import pytest
from click.testing import Result

from polystore_cli.explaining import explain_options
from polystore_core import DataSource, StorageBackend

Run = Callable[..., Result]


def test_formats_are_listed(run: Run) -> None:
    lines = [line.split(maxsplit=3) for line in run("formats").stdout.splitlines()]
    assert lines[0] == ["suffix", "distribution", "state", "about"]
    assert [".npy", "polystore-formats", "ok", "NumPy array"] in lines
    found = {one["suffix"]: one for one in json.loads(run("formats", "--json").stdout)}
    assert found[".npy"] == {
        "suffix": ".npy",
        "distribution": "polystore-formats",
        "state": "ok",
        "why": "",
        "summary": "NumPy array",
    }


@pytest.mark.parametrize("name", ["tif", ".tif", "TIF", "ome.tif"])
def test_options_of_a_format(run: Run, name: str) -> None:
    pytest.importorskip("tifffile", reason="tifffile not installed")
    lines = run("options", name).stdout.splitlines()
    assert lines[0] == f"format {name}"
    rows = [line.split(maxsplit=3) for line in lines[2:]]
    named = {(row[0], row[1]): row[2] for row in rows}
    assert named["save", "compression"] == "None"
    assert named["save", "predictor"] == "False"
    assert named["load", "level"] == "0"
    (about,) = (row[3] for row in rows if row[1] == "compression")
    assert about.startswith("lzma, lzw, packbits, zlib, zstd")


def test_options_of_a_backend(run: Run) -> None:
    document = json.loads(run("options", "disk", "--json").stdout)
    assert list(document) == ["backend"]
    found = {(one["operation"], one["name"]): one for one in document["backend"]}
    assert found["save", "if_exists"]["default"] == "replace"
    assert found["save", "if_exists"]["about"].endswith(': "replace", "error" or "skip"')
    assert found["save", "durable"]["about"].startswith("Whether values survive a power cut")
    assert ("config", "root") in found


def test_options_of_a_format_and_a_backend(run: Run) -> None:
    """A backend that needs options lists them."""
    pytest.importorskip("polystore_zip", reason="polystore_zip not installed")
    pytest.importorskip("roifile", reason="roifile not installed")
    result = run("options", "zip")
    assert "format zip\n" in result.stdout
    assert "backend zip\n" in result.stdout
    assert ["config", "file", "required"] in [
        line.split()[:3] for line in result.stdout.splitlines()
    ]
    document = json.loads(run("options", "zip", "--json").stdout)
    assert list(document) == ["format", "backend"]


def test_unknown_name_suggests_one(run: Run) -> None:
    result = run("options", "tiff5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: no format is called 'tiff5'; did you mean ")


class Shelf(StorageBackend):
    """Keeps values. ``depth`` is in metres.

    - ``color``: of the wood
    """

    def __init__(self, *, depth: float = 0.3, color: str) -> None: ...

    def save(
        self,
        data: object,
        path: object,
        /,
        *,
        level: int = 1,
        glue: "str | None" = None,
        nails: int = 3,
    ) -> None:
        """Put it there. Use ``level=2`` for the
        second board; ``glue`` holds it. See :func:`x` for ``glue``.

        Args:
            nails: How many
                there are. At most 3.
        """

    def load(self, path: object, /, *, region: object = None) -> None: ...


def test_first_sentence_with_the_name_explains_it() -> None:
    also = "The ``region`` is a part."
    found = {(one.operation, one.name): one for one in explain_options(Shelf, also)}
    about = {key: one.about for key, one in found.items()}
    assert about["save", "level"] == "Use level=2 for the second board"
    assert about["save", "glue"] == "glue holds it"
    assert about["save", "nails"] == "How many there are"
    assert about["config", "depth"] == "depth is in metres"
    assert about["config", "color"] == "of the wood"
    assert found["save", "glue"].type.strip("'") == "str | None"
    assert about["load", "region"] == "The region is a part"


class Bare(DataSource):
    def load(self, path: object, /) -> None: ...


def test_no_options_give_an_empty_list() -> None:
    assert list(explain_options(Bare)) == []


def test_format_without_options_says_so(run: Run) -> None:
    pytest.importorskip("roifile", reason="roifile not installed")
    assert run("options", "roi").stdout == "format roi: save and load have no options\n"
