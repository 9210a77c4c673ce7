"""The lock files, the projects' own files and the commands agree."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-cluster.txt", "requirements-dev.txt")


def entries(name: str) -> list[str]:
    """Return the lines of a requirements file without its comments and options."""
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in (ROOT / name).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-")]


def pins(lines: list[str]) -> dict[str, str]:
    """Return each package's version and marker, such as ``==1.2`` or ``==1.2 ; sys_platform == "win32"``."""
    found: dict[str, str] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name in found:
            raise ValueError(f"{name} appears twice; lock with --fork-strategy fewest")
        found[name] = f"{requirement.specifier} ; {requirement.marker}"
    return found


def installed(lock: str, environment: dict[str, str]) -> dict[str, str]:
    """Return the version of each package that a lock installs in an environment."""
    requirements = [Requirement(line) for line in entries(lock)]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def project_file(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / name).read_text())
    return dict(loaded)


def conda_pins() -> list[str]:
    (under_pip,) = [entry["pip"] for entry in project_file("conda.yaml")["dependencies"] if isinstance(entry, dict)]
    return list(under_pip)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_package_to_one_version(name: str) -> None:
    for line in entries(name):
        specifiers = list(Requirement(line).specifier)
        assert [part.operator for part in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version, line


@pytest.mark.parametrize("name", [*LOCKS, *(lock.replace(".txt", ".in") for lock in LOCKS), "conda.yaml"])
def test_requirements_files_contain_no_address_and_no_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|\s@\s", text)
    assert not re.search(r"(^|[\s=\"'])[/~]\w", text)


@pytest.mark.parametrize(
    ("source", "lock"),
    [(lock.replace(".txt", ".in"), lock) for lock in LOCKS],
)
def test_every_direct_dependency_is_locked_within_its_bounds(source: str, lock: str) -> None:
    locked = {canonicalize_name(r.name): next(iter(r.specifier)).version for r in map(Requirement, entries(lock))}
    for requirement in map(Requirement, entries(source)):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in {lock}; refresh it as its first lines describe"
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_every_library_that_the_package_imports_is_a_direct_dependency() -> None:
    imported: set[str] = set()
    for path in (ROOT / "signal_miner").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    listed = [*entries("requirements.in"), *entries("requirements-cluster.in")]
    direct = {canonicalize_name(requirement.name) for requirement in map(Requirement, listed)}
    providers = packages_distributions()
    undeclared = {
        name
        for name in imported - set(sys.stdlib_module_names) - {"signal_miner"}
        if not direct & {canonicalize_name(provider) for provider in providers.get(name, [])}
    }
    assert undeclared == set(), "add them to requirements.in and refresh the locks"


@pytest.mark.parametrize("implementation", ["CPython", "PyPy"])
@pytest.mark.parametrize(("system", "os_name"), [("linux", "posix"), ("darwin", "posix"), ("win32", "nt")])
def test_further_locks_install_the_whole_runtime_lock(implementation: str, system: str, os_name: str) -> None:
    # Compare what is installed, not the markers: a tool may need a package on more systems than mining does.
    environment = {
        "sys_platform": system,
        "os_name": os_name,
        "platform_python_implementation": implementation,
        "implementation_name": implementation.lower(),
    }
    runtime, cluster, development = (installed(name, environment) for name in LOCKS)
    assert {name: cluster.get(name) for name in runtime} == runtime
    assert {name: development.get(name) for name in cluster} == cluster


def test_conda_installs_the_runtime_lock() -> None:
    lock = entries("requirements.txt")
    assert pins(conda_pins()) == pins(lock), "replace the entries under pip: in conda.yaml with\n" + "\n".join(
        f"      - {line}" for line in lock
    )


def test_the_package_depends_on_what_requirements_in_lists() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert declared == entries("requirements.in")


def test_the_extra_for_a_cluster_is_what_its_requirements_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["cluster"] == entries("requirements-cluster.in")


def test_conda_has_nothing_but_python_and_pip_from_its_channel() -> None:
    conda = project_file("conda.yaml")
    assert conda["channels"] == ["conda-forge"]
    assert [entry for entry in conda["dependencies"] if isinstance(entry, str)] == ["python=3.11", "pip"]


@pytest.mark.parametrize("entry_point", sorted(project_file("MLproject")["entry_points"]))
def test_entry_points_pass_their_parameters_to_options_of_their_command(entry_point: str) -> None:
    specification = project_file("MLproject")["entry_points"][entry_point]
    words = shlex.split(specification["command"])
    assert words[:4] == ["python", "-m", "signal_miner", entry_point]
    passed = dict(zip(words[4::2], words[5::2], strict=True))
    assert passed == {f"--{name.replace('_', '-')}": f"{{{name}}}" for name in specification["parameters"]}

    shown = subprocess.run(
        [sys.executable, *words[1:4], "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown.stdout))
    assert set(passed) <= known
