"""Everything that CONTRIBUTING.md, CHANGELOG.md and the README name exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.helpers.readme import PAGES, ROOT

PACKAGE = ROOT / "signal_miner"
CONTRIBUTING, CHANGELOG, MAKEFILE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md", "Makefile")
)
SUFFIXES = {".py", ".md", ".toml", ".in", ".txt", ".yaml", ".yml", ".ipynb", ".jinja", ".pyi"}
WORKSPACE = {"data", "studies", "submissions"}
"""Folders that are written at run time."""


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))


def names(text: str) -> Iterator[str]:
    """Yield the words that could name a file, a module or an object in one."""
    for code in inline_code(text):
        for word in code.split():
            if re.fullmatch(r"\.?\w[\w./-]*", word) and "NAME" not in word:
                yield word


def found(dotted: str) -> bool:
    """Return whether a dotted name is a module of the project, or a class, function or constant in one."""
    parts = dotted.removeprefix("signal_miner.").split(".")
    for length in range(len(parts), 0, -1):
        for base in (PACKAGE, ROOT):
            path = base.joinpath(*parts[:length])
            source = next((each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()), None)
            if source is not None:
                text = source.read_text(encoding="utf-8")
                return all(
                    re.search(rf"(?m)^\s*(?:(?:def|class) {name}\b|{name}\b[^=\n]*=)", text) for name in parts[length:]
                )
    return False


def test_every_make_target_that_is_named_exists():
    text = "\n".join([CONTRIBUTING, *(page.read_text(encoding="utf-8") for page in PAGES)])
    named = set(re.findall(r"`make (\w+)", text) + re.findall(r"(?m)^make (\w+)", text))
    assert named
    assert named <= set(re.findall(r"(?m)^(\w+): ;", MAKEFILE))


@pytest.mark.parametrize("text", [CONTRIBUTING, CHANGELOG], ids=["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_path_that_is_named_exists(text):
    paths = {word for word in names(text) if "/" in word or "." + word.rpartition(".")[2] in SUFFIXES}
    paths = {path for path in paths if path.split("/")[0] not in WORKSPACE}
    assert paths
    assert {path for path in paths if not any((base / path).exists() for base in (ROOT, PACKAGE))} == set()


@pytest.mark.parametrize("text", [CONTRIBUTING, CHANGELOG], ids=["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_dotted_name_exists(text):
    dotted = {word for word in names(text) if re.fullmatch(r"[a-z]\w*(\.\w+)+", word)}
    dotted = {name for name in dotted if "." + name.rpartition(".")[2] not in SUFFIXES | {".pkl", ".db", ".json"}}
    dotted = {name for name in dotted if not name.startswith("lightgbm.")}
    assert dotted
    assert {name for name in dotted if not found(name)} == set()


def test_every_package_is_on_the_map_in_the_order_of_the_contract():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    packages = [name for name in layers if (PACKAGE / name).is_dir()]
    assert re.findall(r"(?m)^\| `(\w+)/` \|", CONTRIBUTING) == packages


def test_every_benchmark_is_listed():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "setting", "common"}
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"python -m benchmarks\.(\w+)", table)) == modules


def test_the_changelog_has_the_newest_study_format():
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "experiment").glob("*.py")]
    (number,) = re.findall(r"(?m)^STUDY_FORMAT = (\d+)$", "\n".join(sources))
    assert f"**Study format {number}**" in CHANGELOG


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-cluster.txt", "requirements-dev.txt"])
def test_the_documented_command_refreshes_the_lock(lock):
    command = (ROOT / lock).read_text(encoding="utf-8").splitlines()[1].removeprefix("#").strip()
    assert f"\n{command}\n" in CONTRIBUTING
