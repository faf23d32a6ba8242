"""The command starts fast because it imports few modules."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Process = Callable[..., subprocess.CompletedProcess[str]]

REPORT = "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))"


@pytest.fixture
def list_imports(process: Process, tmp_path: Path) -> Callable[..., set[str]]:
    """Run a command, and return the modules that it has imported."""
    (tmp_path / "site").mkdir()
    # Python runs this module at start-up. It reports the imports at the end.
    (tmp_path / "site" / "sitecustomize.py").write_text(REPORT)

    def call(*arguments: str) -> set[str]:
        done = process(*arguments)
        assert done.returncode == 0
        return set(done.stderr.split())

    return call


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "bash"]])
def test_help_needs_no_core(
    list_imports: Callable[..., set[str]], arguments: list[str]
) -> None:
    found = list_imports(*arguments)
    assert "click" in found
    assert not found & {"numpy", "pydantic", "rich", "pluggy", "polystore_core.filemanager"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "disk:data"],
        ["ls", "--full", "-r", "disk:**/*.txt"],
        ["rm", "--dry-run", "disk:data/a.txt"],
        ["cat", "disk:data/a.txt"],
        ["info", "disk:data"],
    ],
)
def test_files_need_no_numpy(
    list_imports: Callable[..., set[str]], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("hello")
    found = list_imports(*arguments)
    assert "polystore_disk.backend" in found
    assert not found & {"numpy", "pydantic", "rich", "tqdm", "polystore_memory.backend"}
    others = {name for name in found if name.startswith("polystore_cli.commands.")}
    assert others == {f"polystore_cli.commands.{arguments[0]}"}
