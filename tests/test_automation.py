"""Workflows and hooks call sessions and scripts that exist."""

import os
import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
HOOKS = ROOT / ".pre-commit-config.yaml"


def list_commands(workflow):
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_sessions_that_exist(workflow):
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M))
    called = [
        name
        for command in list_commands(workflow)
        for words in re.findall(r"nox --session ([\w ]+)", command)
        for name in words.split()
    ]
    assert called
    assert set(called) <= sessions
    scripts = {
        word
        for text in list_commands(workflow)
        for word in re.findall(r"[\w./]+\.py|\.ci/run", text)
    }
    assert [name for name in scripts if not (ROOT / name).is_file()] == []


def test_workflows_exist():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


@pytest.mark.skipif(os.name == "nt", reason="system: the workflow runs on Linux")
def test_release_refuses_another_tag():
    project = tomllib.loads((ROOT / "packages.toml").read_text("utf-8"))
    [step] = [
        text for text in list_commands(ROOT / ".github/workflows/release.yml") if "TAG" in text
    ]
    for tag, code in ((f"v{project['version']}", 0), ("v0.9.9", 1), ("v1", 1)):
        done = subprocess.run(step, shell=True, cwd=ROOT, env={**os.environ, "TAG": tag})
        assert done.returncode == code, tag


def test_hooks_call_scripts_that_exist():
    ruff, local = yaml.safe_load(HOOKS.read_text("utf-8"))["repos"]
    noxfile = (ROOT / "noxfile.py").read_text()
    assert f'"ruff=={ruff["rev"].removeprefix("v")}"' in noxfile
    for hook in local["hooks"]:
        python, script, *_ = hook["entry"].split()
        assert python == "python"
        assert (ROOT / script).is_file()
    [generate] = [hook for hook in local["hooks"] if hook["id"] == "generate"]
    made = runpy.run_path(str(ROOT / "generate.py"))["render_files"]()
    names = [path.relative_to(ROOT).as_posix() for path in made]
    assert [name for name in names if not re.search(generate["files"], name)] == []
