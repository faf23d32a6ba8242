"""``polystore view`` of folders, of several paths, and of addresses from standard input."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from polystore_cli.main import app
from polystore_core import FileManager

from .conftest import Inbox, Run

pytest.importorskip("polystore_stream")
pytest.importorskip("tifffile")

STREAM = ("--viewer", "streaming")
IMAGE = np.arange(20, dtype="<u2").reshape(4, 5)
DATA = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def plate(files: FileManager) -> FileManager:
    """Save two wells of two channels in the folder ``plate``."""
    for number, name in enumerate(("B03_w1", "B03_w2", "B04_w1", "B04_w2")):
        files.save(IMAGE + number, f"plate/{name}.tif", backend="disk")
    return files


def _read_places(items: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [dict(item["at"]) for item in items]


def _one_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


# ── a folder ──────────────────────────────────────────────────────────────────────────────


def test_folder_is_a_stack(run: Run, plate: FileManager, inbox: Inbox) -> None:
    """Without a terminal, the command asks no question."""
    result = run("view", "plate", *STREAM)
    assert (result.exit_code, result.stdout) == (0, "")
    assert _one_line(result.stderr) == (
        "note: disk:plate: --names '{well}_w{channel}.tif' fits all 4 names (well: 2, channel: 2)."
        " To arrange the images this way, add it, or --names auto"
    )
    items = inbox()
    assert len({item["layer"] for item in items}) == 1
    assert [next(iter(place.values())) for place in _read_places(items)] == [
        "B03_w1",
        "B03_w2",
        "B04_w1",
        "B04_w2",
    ]
    np.testing.assert_array_equal(items[3]["data"], IMAGE + 3)


def test_names_are_found(run: Run, plate: FileManager, inbox: Inbox) -> None:
    result = run("view", "plate", "--names", "auto", *STREAM)
    assert (result.exit_code, result.stdout) == (0, "")
    assert _one_line(result.stderr) == (
        "note: disk:plate: --names '{well}_w{channel}.tif' fits all 4 names (well: 2, channel: 2)"
    )
    items = inbox()
    assert len({item["layer"] for item in items}) == 2
    assert [place["well"] for place in _read_places(items)] == ["B03", "B03", "B04", "B04"]


def test_json_has_the_template(run: Run, plate: FileManager) -> None:
    (alone,) = json.loads(run("view", "plate", "--json", *STREAM).stdout)["shown"]
    assert (alone["how"], alone["template"]) == ("stack", None)
    assert alone["proposal"] == "{well}_w{channel}.tif"
    (found,) = json.loads(run("view", "plate", "--names", "auto", "--json", *STREAM).stdout)[
        "shown"
    ]
    assert (found["template"], found["fields"]) == (
        "{well}_w{channel}.tif",
        {"well": 2, "channel": 2},
    )
    assert (found["shape"], found["dtype"], len(found["sources"])) == ([4, 5], "<u2", 4)


@pytest.mark.parametrize("names", [("--names", "auto"), ()])
def test_other_files_are_skipped(
    run: Run, plate: FileManager, inbox: Inbox, names: tuple[str, ...]
) -> None:
    for name in ("._B03_w1.tif", ".DS_Store", "Thumbs.db", "a.txt", "b.txt", "a.docx", "no"):
        Path("plate", name).write_text("x")
    Path("plate/thumbs").mkdir()
    result = run("view", "plate", *names, *STREAM)
    assert result.exit_code == 0
    assert sorted(result.stderr.splitlines()[1:]) == [
        "note: skipped 2 .txt files, such as disk:plate/a.txt: not an image",
        "note: skipped disk:plate/a.docx: no format has the suffix '.docx'",
        "note: skipped disk:plate/no: it has no suffix",
        "note: skipped disk:plate/thumbs: name a folder to show its images",
    ]
    assert len(inbox()) == 4


def test_other_files_cannot_fail(run: Run, plate: FileManager) -> None:
    with zipfile.ZipFile("plate/raw.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    for name in ("RoiSet.zip", "cell.roi", "settings.json"):
        Path("plate", name).write_bytes(b"damaged \xff")
    result = run("view", "plate", "--names", "auto", "--json", *STREAM)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        "note: skipped 2 .zip files, such as disk:plate/RoiSet.zip: not an image",
        "note: skipped disk:plate/cell.roi: not an image",
        "note: skipped disk:plate/settings.json: not an image",
    ]


def test_damaged_image_fails(run: Run, plate: FileManager, inbox: Inbox) -> None:
    """The others are shown, and the exit code is 1."""
    Path("plate/B05_w1.tif").write_bytes(b"no image")
    result = run("view", "plate", "--names", "auto", *STREAM)
    assert result.exit_code == 1
    assert "error: backend 'disk': 'plate/B05_w1.tif' (tiff) is damaged" in result.stderr
    assert len(inbox()) == 4


def test_misfits_are_noted(run: Run, plate: FileManager, inbox: Inbox) -> None:
    plate.save(IMAGE, "plate/overview of all.tif", backend="disk")
    for names in ("auto", "{well}_w{channel}.tif"):
        result = run("view", "plate", "--names", names, *STREAM)
        assert result.exit_code == 0
        assert (
            "note: skipped disk:plate/overview of all.tif: '{well}_w{channel}.tif' does not fit "
            "its name, or does not tell it from another"
        ) in result.stderr.splitlines()
    assert len(inbox()) == 8


def test_hostile_names_are_escaped(run: Run, files: FileManager) -> None:
    """A printed name is one line, and sends no codes to the terminal."""
    evil = "a\nerror: all is lost \x1b[31m  t"
    for number in range(3):
        files.save(IMAGE, f"folder{evil}/{evil}{number:03}.npy", backend="disk")
    Path(f"folder{evil}/{evil}.docx").write_text("")
    for arguments in ((), ("--names", "auto")):
        result = run("view", f"folder{evil}", f"none{evil}", "--dry-run", *arguments, *STREAM)
        found = result.output.splitlines()
        assert [line.split(":")[0] for line in found if line.startswith("error")] == ["error"]
        assert "\x1b" not in result.output
        assert "\\x1b[31m  t" in result.output


def test_one_image_is_not_a_stack(run: Run, files: FileManager, inbox: Inbox) -> None:
    files.save(IMAGE, "folder/a.npy", backend="disk")
    files.save(np.zeros(3), "folder/curve.npy", backend="disk")
    result = run("view", "folder", *STREAM)
    assert (result.exit_code, _one_line(result.stderr)) == (
        0,
        "note: skipped disk:folder/curve.npy: not an image",
    )
    (item,) = inbox()
    assert (item["path"], item["at"]) == ("folder/a.npy", {})


@pytest.mark.parametrize(
    ("arguments", "trouble"),
    [
        ("empty", "disk:empty has no images: found nothing"),
        ("texts", "disk:texts has no images: found 2 .txt files, 1 folder"),
        ("nowhere", "'nowhere' does not exist"),
        ("plate --names {well}_z{z}.tif", "fits none of 4 images, such as 'B03_w1.tif'"),
        ("plate --names {well", "braces in pairs"),
        ("nowhere --names Auto", "--names 'Auto' has no field: write a template such as"),
        ("words --names auto", "--names auto finds no template in 'a.npy': write"),
    ],
)
def test_wrong_folder_is_one_line(
    run: Run, plate: FileManager, inbox: Inbox, arguments: str, trouble: str
) -> None:
    Path("empty").mkdir()
    Path("texts/below").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        Path("texts", name).write_text(name)
    plate.save(IMAGE, "words/a.npy", backend="disk")
    result = run("view", *arguments.split(), *STREAM)
    assert (result.exit_code, result.stdout) == (1, "")
    assert trouble in _one_line(result.stderr)
    assert inbox() == []


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_images_that_disagree_are_refused(
    run: Run, plate: FileManager, inbox: Inbox, json_: tuple[str, ...]
) -> None:
    plate.save(IMAGE[:3], "plate/B09_w1.tif", backend="disk")
    for names in (("--stack",), ("--names", "auto"), ("--names", "{well}_w{channel}.tif")):
        result = run("view", "plate", *names, *json_, *STREAM)
        fault = (
            "disk:plate/B09_w1.tif has shape (3, 5), but disk:plate/B03_w1.tif has (4, 5): "
            "images of one stack must be alike"
        )
        assert (result.exit_code, _one_line(result.stderr)) == (1, f"error: {fault}")
        if json_:
            failed = [{"source": "disk:plate", "error": fault}]
            assert json.loads(result.stdout) == {"shown": [], "skipped": [], "failed": failed}
    assert inbox() == []


def test_stack_that_fails_hides_no_other(run: Run, plate: FileManager, inbox: Inbox) -> None:
    plate.save(IMAGE, "single/a.npy", backend="disk")
    result = run("view", "single", "plate", "--names", "auto", *STREAM)
    assert result.exit_code == 1
    note, error = result.stderr.splitlines()
    assert note.startswith("note: disk:plate: --names '{well}_w{channel}.tif' fits all 4 names")
    assert error.startswith("error: --names auto finds no template in 'a.npy'")
    assert len(inbox()) == 4


@pytest.mark.parametrize("name", ["it's", 'a "b"', "$HOME", "back\\slash", "a`b`", "ä ö"])
def test_template_is_printed_for_a_shell(run: Run, files: FileManager, name: str) -> None:
    for number in range(3):
        files.save(IMAGE, f"folder/{name} t{number:03}.npy", backend="disk")
    result = run("view", "folder", "--dry-run", *STREAM)
    command = shlex.split(_one_line(result.stderr).partition(" fits all 3 names")[0])
    assert command[-2:] == ["--names", f"{name} t{{t}}.npy"]
    result = run("view", "folder", "--dry-run", *command[-2:], *STREAM)
    assert (result.exit_code, result.stderr) == (0, "")


def test_folder_of_folders_gets_advice(run: Run, plate: FileManager) -> None:
    """The error has the command that shows one of them."""
    shutil.copytree("plate", "my data/a b")
    result = run("view", "my data", "--json", *STREAM)
    fault, _, command = _one_line(result.stderr).partition("polystore view ")
    assert fault == "error: disk:my data has no images: found 1 folder. To show one of them: "
    (address,) = shlex.split(command)
    assert run("view", address, "--json", *STREAM).exit_code == 0


def test_different_images_are_shown_alone(run: Run, plate: FileManager, inbox: Inbox) -> None:
    """Without --stack, different images are shown one by one."""
    plate.save(IMAGE.astype("u1"), "plate/B09_w1.tif", backend="disk")
    result = run("view", "plate", *STREAM)
    assert result.exit_code == 0
    assert _one_line(result.stderr) == (
        "note: each image of disk:plate is shown alone: disk:plate/B09_w1.tif has type |u1, but "
        "disk:plate/B03_w1.tif has <u2: images of one stack must be alike"
    )
    assert [item["at"] for item in inbox()] == [{}] * 5


def test_channels_may_differ(run: Run, plate: FileManager, inbox: Inbox) -> None:
    for well in ("B03", "B04"):
        plate.save(IMAGE.astype("u1"), f"plate/{well}_w3.tif", backend="disk")
    assert run("view", "plate", "--names", "auto", *STREAM).exit_code == 0
    assert len(inbox()) == 6


# ── several paths ────────────────────────────────────────────────────────────────────────


def test_two_folders_are_two_stacks(run: Run, plate: FileManager, inbox: Inbox) -> None:
    """Each folder is a stack of its own."""
    shutil.copytree("plate", "second")
    assert run("view", "plate", "second", "plate/B03_w1.tif", *STREAM).exit_code == 0
    layers = [item["layer"] for item in inbox()]
    assert [len(set(layers[:4])), len(set(layers[4:8])), len(set(layers))] == [1, 1, 3]


def test_two_folders_have_their_templates(run: Run, plate: FileManager, inbox: Inbox) -> None:
    for t in range(3):
        plate.save(IMAGE, f"movie/frame{t:04}.npy", backend="disk")
    result = run("view", "plate", "movie", "--names", "auto", *STREAM)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "note: disk:plate: --names '{well}_w{channel}.tif' fits all 4 names (well: 2, channel: 2)",
        "note: disk:movie: --names 'frame{t}.npy' fits all 3 names (t: 3)",
    ]
    assert [set(place) for place in _read_places(inbox())] == [{"well"}] * 4 + [{"t"}] * 3
    shutil.copytree("plate", "second")
    template = "{folder}/{well}_w{channel}.tif"
    result = run("view", "plate", "second", "--names", template, *STREAM)
    assert (result.exit_code, result.stderr, len(inbox())) == (0, "", 15)


@pytest.mark.parametrize("names", ["--stack", "--names={well}_w{channel}.tif", "--names=auto"])
def test_image_named_twice_is_shown_once(
    pipe: Callable[..., Result], plate: FileManager, inbox: Inbox, names: str
) -> None:
    paths = "\ufeffplate/B03_w1.tif\r\nplate/B04_w1.tif\r\nplate/B03_w1.tif\r\n"
    assert pipe(paths, "-", names).exit_code == 0
    assert [item["path"] for item in inbox()] == ["plate/B03_w1.tif", "plate/B04_w1.tif"]
    # With auto, each folder would be a stack of its own.
    if names != "--names=auto":
        assert pipe(f"{paths}plate\n", "-", names).exit_code == 0
        assert len(inbox()) == 6


def test_images_at_one_place_are_refused(
    run: Run, plate: FileManager, inbox: Inbox, pipe: Callable[..., Result]
) -> None:
    """Without an error, one would hide the other."""
    shutil.copytree("plate", "second")
    template = "{well}_w{channel}.tif"
    fault = (
        f"error: --names '{template}' does not tell disk:second/B03_w1.tif from "
        f"disk:plate/B03_w1.tif: use more fields, such as '{{folder}}/{template}'"
    )
    paths = "".join(f"{folder}/B0{n}_w1.tif\n" for folder in ("plate", "second") for n in "34")
    for result in (
        run("view", "plate", "second", "--names", template, *STREAM),
        pipe(paths, "-", "--names", template),
    ):
        assert (result.exit_code, _one_line(result.stderr)) == (1, fault)
    result = run("view", "plate", "--names", "{well}_*.tif", *STREAM)
    assert result.exit_code == 1
    assert _one_line(result.stderr) == (
        "error: --names '{well}_*.tif' does not tell disk:plate/B03_w2.tif from "
        "disk:plate/B03_w1.tif: use more fields"
    )
    assert inbox() == []


@pytest.fixture
def pipe(files: FileManager) -> Callable[..., Result]:
    """Call ``polystore view`` with bytes on standard input."""
    return lambda text, *args: CliRunner().invoke(app, ["view", *args, *STREAM], input=text)


def test_standard_input_names_images(
    pipe: Callable[..., Result], files: FileManager, inbox: Inbox
) -> None:
    names = ["a b.npy", "ä#'\".npy", "-x.npy", "-", " c.npy", os.fsdecode(b"\xff.npy")]
    for name in names:
        np.save(Path(f"{name}.npy" if name == "-" else name), IMAGE)
    os.rename("-.npy", "x-.npy")
    text = "a b.npy\n\r\n\nä#'\".npy\r\n-x.npy\ndisk:x-.npy\n c.npy\n".encode() + b"\xff.npy"
    result = pipe(text, "-")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [item["path"] for item in inbox()] == [
        "a b.npy",
        "ä#'\".npy",
        "-x.npy",
        "x-.npy",
        " c.npy",
        "\\udcff.npy",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "trouble"),
    [
        (("-",), 1, "standard input has no addresses: write one in each line"),
        (("plate",), 0, "'{well}_w{channel}.tif' fits all 4 names"),
    ],
)
def test_closed_standard_input_is_accepted(
    plate: FileManager, arguments: tuple[str, ...], status: int, trouble: str
) -> None:
    command = [sys.executable, "-m", "polystore_cli", "view", *arguments, "--json", *STREAM]
    closed = ["sh", "-c", f"{shlex.join(command)} <&-"]
    done = subprocess.run(closed, capture_output=True, text=True, timeout=60)
    assert (done.returncode, trouble in _one_line(done.stderr)) == (status, True)


def test_standard_input_is_a_stack(
    pipe: Callable[..., Result], plate: FileManager, inbox: Inbox
) -> None:
    result = pipe("plate/B03_w1.tif\nplate/B04_w1.tif\n", "-", "--names", "{well}_w1.tif")
    assert result.exit_code == 0
    assert _read_places(inbox()) == [{"well": "B03"}, {"well": "B04"}]


def test_empty_standard_input_is_an_error(pipe: Callable[..., Result], inbox: Inbox) -> None:
    result = pipe("\n\n", "-")
    assert result.exit_code == 1
    assert _one_line(result.stderr) == (
        "error: standard input has no addresses: write one in each line"
    )


# ── a terminal ───────────────────────────────────────────────────────────────────────────


class Terminal:
    """``polystore view plate`` with standard input and standard error on a terminal."""

    def __init__(self, *arguments: str) -> None:
        self.user, ours = os.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "polystore_cli", "view", *arguments, *STREAM],
            stdin=ours,
            stderr=ours,
            stdout=subprocess.PIPE,
        )
        os.close(ours)

    def read_until(self, end: bytes) -> str:
        text = b""
        while not text.endswith(end):
            text += os.read(self.user, 1)
        return text.decode()

    def finish(self) -> tuple[int, str]:
        """Return the exit code, and the output after the last question."""
        self.process.communicate()
        text = b""
        try:
            while part := os.read(self.user, 4096):
                text += part
        except OSError:  # on Linux, a closed terminal ends this way
            pass
        os.close(self.user)
        return self.process.returncode, text.decode()


terminal = pytest.mark.skipif(not hasattr(os, "openpty"), reason="system: has no terminals")


@terminal
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("answer", "slider"), [(b"\n", "well"), (b"y\n", "well"), (b"n\n", "image")]
)
def test_template_is_proposed(
    plate: FileManager, inbox: Inbox, answer: bytes, slider: str
) -> None:
    terminal = Terminal("plate")
    question = terminal.read_until(b"[Y/n] ")
    assert "--names '{well}_w{channel}.tif' fits all 4 names" in question
    assert question.endswith("Arrange the images this way? [Y/n] ")
    os.write(terminal.user, answer)
    assert terminal.finish()[0] == 0
    assert [set(place) for place in _read_places(inbox())] == [{slider}] * 4


@terminal
@pytest.mark.timeout(60)
def test_end_of_input_means_no(plate: FileManager, inbox: Inbox) -> None:
    """Control-D means no, and the next output starts on a new line."""
    terminal = Terminal("plate", "nowhere.tif")
    assert terminal.read_until(b"[Y/n] ").startswith("error: ")
    os.write(terminal.user, b"\x04")
    status, text = terminal.finish()
    assert (status, text.partition("\r\n")[0]) == (1, "")
    assert [set(place) for place in _read_places(inbox())] == [{"image"}] * 4


@terminal
@pytest.mark.timeout(60)
def test_interrupted_question_exits_130(plate: FileManager, inbox: Inbox) -> None:
    terminal = Terminal("plate")
    terminal.read_until(b"[Y/n] ")
    terminal.process.send_signal(signal.SIGINT)
    status, text = terminal.finish()
    assert status == 130
    assert "Traceback" not in text
    assert inbox() == []


@terminal
@pytest.mark.timeout(60)
@pytest.mark.parametrize("arguments", [("--json",), ("--dry-run",), ("--names", "auto")])
def test_some_options_ask_no_question(
    plate: FileManager, inbox: Inbox, arguments: tuple[str, ...]
) -> None:
    assert Terminal("plate", *arguments).finish()[0] == 0


# ── real images ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("folder", "count", "layers"),
    [
        ("fly-3channel", 9, 3),
        ("plate-cellomics", 72, 1),
        ("timelapse", 21, 1),
        ("worms-imagexpress", 4, 2),
    ],
)
def test_real_folders_are_shown(
    run: Run, inbox: Inbox, folder: str, count: int, layers: int
) -> None:
    if not DATA.exists():
        pytest.skip(f"data: {DATA} is absent")
    result = run("view", DATA / folder, "--names", "auto", *STREAM)
    assert (result.exit_code, result.stderr.count("\n")) == (0, 1)
    items = inbox()
    assert (len(items), len({item["layer"] for item in items})) == (count, layers)
