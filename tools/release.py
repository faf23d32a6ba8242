"""Build the files of a release: python tools/release.py FOLDER

Nothing is published. The last commit is built: a wheel and a source distribution of each package,
and CHANGES.md with the notes in changes/. The notes also go into the changelogs of the source
distributions. Each wheel is built again from its source distribution and must be the same file.
Dates come from the commit, so that two runs make the same bytes. ``--sums`` instead writes
SHA256SUMS of all files that are in FOLDER.
"""

from __future__ import annotations

import hashlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUMS = "SHA256SUMS"


def call_git(*words: str) -> bytes:
    """Return the output of a git command in the checkout."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def export_commit(target: Path) -> str:
    """Write the files of the last commit to ``target``, and return its time (since 1970, in s)."""
    with tarfile.open(fileobj=io.BytesIO(call_git("archive", "HEAD"))) as archive:
        archive.extractall(target, filter="data")
    return call_git("log", "-1", "--format=%ct").decode().strip()


def build(package: Path, target: Path, epoch: str) -> None:
    """Build the wheel and the source distribution of ``package`` into ``target``.

    Raises:
        SystemExit: a wheel that is built from the source distribution is another file.
    """
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    command = [sys.executable, "-m", "hatchling", "build", "--directory"]
    with tempfile.TemporaryDirectory() as name:
        made, again, unpacked = (Path(name, word) for word in ("made", "again", "unpacked"))
        run([*command, str(made)], package, environment)
        [source], [wheel] = made.glob("*.tar.gz"), made.glob("*.whl")
        with tarfile.open(source) as archive:
            archive.extractall(unpacked, filter="data")
        [tree] = unpacked.iterdir()
        # In the unpacked archive, so that a file that the archive lacks is also missing here.
        run([*command, str(again), "--target", "wheel"], tree, environment)
        if (again / wheel.name).read_bytes() != wheel.read_bytes():
            raise SystemExit(f"error: {source.name} does not build the same {wheel.name}")
        # Copied last, so that a package that fails leaves none of its files in the folder.
        for path in (source, wheel):
            shutil.copy(path, target)


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    """Run a command in ``folder``, and end with its output if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}\n{done.stdout}{done.stderr}")


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file in ``folder`` as ``sha256sum --check`` reads it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    # sha256sum would take a line break of Windows as the end of a file's name.
    (folder / SUMS).write_text("".join(lines), "utf-8", newline="\n")


def main(target: Path) -> None:
    """Build all packages into ``target``, which is emptied first."""
    # Only the last commit is built, so a change that is not in it would be missing without a
    # word.
    if changed := call_git("status", "--porcelain").decode():
        raise SystemExit(f"error: commit these changes first, or remove them:\n{changed}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        epoch = export_commit(tree)
        # Before the builds, so that each source distribution has the changelog with its notes.
        notes = runpy.run_path(str(ROOT / "tools/changes.py"))["apply"](tree)
        (target / "CHANGES.md").write_text(notes, "utf-8", newline="\n")
        for package in sorted((tree / "packages").iterdir()):
            build(package, target, epoch)
            print("built", package.name)


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:] if not word.startswith("--")]
    for folder in folders:
        if "--sums" in sys.argv:
            write_sums(folder)
        else:
            main(folder)
