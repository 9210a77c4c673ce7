"""The GitHub workflows and the pre-commit hooks run existing make targets, files, and tools of the lock."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from tests.helpers.mining import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"(?m)^(\w+): ;", (ROOT / "Makefile").read_text(encoding="utf-8")))
LOCKED = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")))
RUNNERS = {"pip", "python", "make", "brew"}


def loaded(path: Any) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


COMMANDS = [
    pytest.param(line, id=f"{path.stem}: {line.strip()}")
    for path in WORKFLOWS
    for job in loaded(path)["jobs"].values()
    for step in job.get("steps", [])
    for line in step.get("run", "").splitlines()
]


@pytest.mark.parametrize("line", COMMANDS)
def test_workflows_run_existing_commands(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] in RUNNERS, line
    if words[0] == "make":
        assert set(words[1:]) <= TARGETS
    if words[0] == "python":
        assert words[1] == "-m"
        assert words[2] in LOCKED
    if words[0] == "pip":
        files = [word for word, option in zip(words[1:], words, strict=False) if option == "-r"]
        assert all((ROOT / name).is_file() for name in files)
        assert files or set(words[2:]) <= LOCKED


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_uses_files_and_jobs_that_exist(path: Any) -> None:
    jobs = loaded(path)["jobs"]
    for job in jobs.values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()
        assert {job["needs"]} <= set(jobs) if "needs" in job else True
        for step in job.get("steps", []):
            cached = step.get("with", {}).get("cache-dependency-path")
            assert cached is None or (ROOT / cached).is_file()


def test_workflows_use_the_python_versions_of_the_readme() -> None:
    matrix = loaded(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_hooks_run_tools_of_the_lock() -> None:
    (repository,) = loaded(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        tool = hook["entry"].split()[0]
        assert {"lint-imports": "import-linter"}.get(tool, tool) in LOCKED
