"""The tools of a release apply notes of changes, and build the same files each time."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHANGES = runpy.run_path(str(ROOT / "tools/changes.py"))
RELEASE = runpy.run_path(str(ROOT / "tools/release.py"))
EPOCH = "1700000000"
BUILD = """
import os, runpy, sys
from pathlib import Path

tool, package, target, epoch, umask = sys.argv[1:]
os.umask(int(umask, 8))
runpy.run_path(tool)["build"](Path(package), Path(target), epoch)
"""


@pytest.fixture
def project(tmp_path):
    """Make a project with two distributions, one of them without a list of changes."""
    (tmp_path / "packages.toml").write_text(
        'version = "1.1.0"\n[packages.polystore]\n[packages.polystore-zarr]\n'
    )
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes/README.md").write_text("how to")
    for name, text in (
        (
            "polystore",
            "# Changelog of polystore\n\n## 1.1.0\n\nIntro.\n\n- Old.\n\n## 1.0.0\n\n- First.\n",
        ),
        ("polystore-zarr", "# Changelog of polystore-zarr\n\n## 1.0.0\n\nFirst.\n"),
    ):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "CHANGELOG.md").write_text(text)
    return tmp_path


def test_notes_of_this_project_are_well_formed():
    CHANGES["find_fragments"](ROOT)


def test_notes_move_into_changelogs(project):
    (project / "changes/polystore.b.md").write_text("A second one\nof two lines.\n")
    (project / "changes/polystore.a-1.md").write_text("`save` is new.\n")
    (project / "changes/zarr.plates.md").write_text("Plates grow.")
    notes = CHANGES["apply"](project)
    assert notes == (
        "## polystore\n\n- `save` is new.\n- A second one\n  of two lines.\n\n"
        "## polystore-zarr\n\n- Plates grow.\n"
    )
    assert (project / "packages/polystore/CHANGELOG.md").read_text() == (
        "# Changelog of polystore\n\n## 1.1.0\n\nIntro.\n\n"
        "- `save` is new.\n- A second one\n  of two lines.\n- Old.\n\n## 1.0.0\n\n- First.\n"
    )
    assert (project / "packages/polystore-zarr/CHANGELOG.md").read_text() == (
        "# Changelog of polystore-zarr\n\n## 1.1.0\n\n- Plates grow.\n\n## 1.0.0\n\nFirst.\n"
    )
    assert [path.name for path in (project / "changes").iterdir()] == ["README.md"]
    assert CHANGES["apply"](project) == ""


def test_notes_of_a_version_without_a_list(project):
    (project / "packages/polystore/CHANGELOG.md").write_text(
        "# C\n\n## 1.1.0\n\n## 1.0.0\n\n- Old.\n"
    )
    (project / "changes/polystore.a.md").write_text("New.")
    CHANGES["apply"](project)
    changed = (project / "packages/polystore/CHANGELOG.md").read_text()
    assert changed == "# C\n\n## 1.1.0\n\n- New.\n\n## 1.0.0\n\n- Old.\n"


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("zar.plates.md", "Good.", "The distributions are polystore, zarr"),
        ("zarr.Plates.md", "Good.", "not named"),
        ("zarr.md", "Good.", "not named"),
        ("zarr.plates.txt", "Good.", "not named"),
        ("zarr.plates.md", "", "full stop"),
        ("zarr.plates.md", "Plates grow", "full stop"),
        ("zarr.plates.md", "- Plates grow.", "bullet"),
        ("zarr.plates.md", "## Plates grow.", "bullet or a heading"),
        ("zarr.plates.md", "x" * 110 + ".", "more than 110"),
    ],
)
def test_other_notes_are_refused(project, name, text, fault):
    (project / "changes" / name).write_text(text)
    with pytest.raises(CHANGES["FragmentError"], match=fault) as caught:
        CHANGES["apply"](project)
    assert f"changes/{name}" in str(caught.value)
    assert (project / "changes" / name).exists()


@pytest.fixture
def package(tmp_path):
    """Copy a distribution, so that its files are younger than the commit."""
    return shutil.copytree(
        ROOT / "packages/polystore-zip",
        tmp_path / "tree/polystore-zip",
        copy_function=shutil.copyfile,
        ignore=shutil.ignore_patterns("__pycache__"),
    )


def build(package, target, **variables):
    """Build in another process, because the mask for new files belongs to all threads."""
    target.mkdir()
    command = [sys.executable, "-c", BUILD, ROOT / "tools/release.py", package, target, EPOCH]
    return subprocess.run(
        [*command, variables.pop("umask", "022")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_builds_are_the_same_each_time(package, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    assert build(package, one).returncode == 0
    for path in package.rglob("*"):
        os.utime(path, (1_800_000_000, 1_800_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    moved = package.rename(tmp_path / "elsewhere")
    done = build(moved, other, umask="077", TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="3")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in one.iterdir())
    assert [name.split("-", 1)[1] for name in names] == [
        "1.0.0-py3-none-any.whl",
        "1.0.0.tar.gz",
    ]
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_incomplete_source_is_refused(package, tmp_path):
    """An installation from the source distribution would be another package."""
    project = package / "pyproject.toml"
    more = '\n[tool.hatch.build.targets.sdist]\nexclude = ["src/polystore_zip/plugin.py"]\n'
    project.write_text(project.read_text() + more)
    done = build(package, tmp_path / "out")
    assert done.returncode == 1
    assert "does not build the same polystore_zip-1.0.0-py3-none-any.whl" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_failed_build_is_shown(package, tmp_path):
    (package / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    done = build(package, tmp_path / "out")
    assert done.returncode == 1
    assert "version" in done.stderr


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="system: sha256sum is not installed")
def test_sums_are_those_of_coreutils(tmp_path):
    (tmp_path / "sbom").mkdir()
    (tmp_path / "sbom/a.json").write_text("{}")
    (tmp_path / "a.whl").write_bytes(bytes(range(256)))
    RELEASE["write_sums"](tmp_path)
    RELEASE["write_sums"](tmp_path)  # the file of sums is not in it
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "a.whl: OK\nsbom/a.json: OK\n")
    (tmp_path / "a.whl").write_bytes(b"changed")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 1
