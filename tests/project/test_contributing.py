"""What CONTRIBUTING.md, CHANGELOG.md, the Makefile and the licence say is there, is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "signal_miner"
CONTRIBUTING, CHANGELOG, README, MAKEFILE, MAIN = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "README.md", "Makefile", "signal_miner/__main__.py")
)
ENTRY_POINTS = set(yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"])
TARGETS = set(re.findall(r"(?m)^(\w+): ;", MAKEFILE))
SUFFIXES = {".py", ".md", ".toml", ".in", ".txt", ".yaml", ".ipynb", ".jinja"}
WRITTEN = {"data", "studies", "submissions"}
"""Folders that the tool makes."""


def inline_code(text: str) -> list[str]:
    """Return what stands between backticks, outside blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", text))


def words(text: str) -> Iterator[str]:
    """Yield the words of inline code that could name a file, a module or something in one."""
    for code in inline_code(text):
        for word in code.split():
            if re.fullmatch(r"\.?\w[\w./-]*", word) and "NAME" not in word:
                yield word


def found(dotted: str) -> bool:
    """Tell whether a dotted name is a module of the project, or a class, function or constant in one."""
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


def benchmark_modules() -> set[str]:
    return {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "setting"}


@pytest.mark.parametrize("text", [CONTRIBUTING, README], ids=["CONTRIBUTING.md", "README.md"])
def test_every_target_that_is_named_is_one(text):
    named = re.findall(r"`make (\w+)", text) + re.findall(r"(?m)^make (\w+)", text)
    assert set(named) <= TARGETS


def test_every_target_is_run_even_where_a_file_has_its_name():
    (phony,) = re.findall(r"(?m)^\.PHONY: (.*)$", MAKEFILE)
    assert set(phony.split()) == TARGETS


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_the_targets():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"(?m)^make (\w+) ", said)) == TARGETS - {"help"}


@pytest.mark.parametrize("text", [CONTRIBUTING, CHANGELOG], ids=["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_path_that_is_named_exists(text):
    paths = {word for word in words(text) if "/" in word or Path(word).suffix in SUFFIXES}
    paths = {path for path in paths if path.split("/")[0] not in WRITTEN}
    assert paths
    assert {path for path in paths if not any((base / path).exists() for base in (ROOT, PACKAGE))} == set()


@pytest.mark.parametrize("text", [CONTRIBUTING, CHANGELOG], ids=["CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_name_in_a_module_exists(text):
    names = {word for word in words(text) if re.fullmatch(r"[a-z]\w*(\.\w+)+", word)}
    names = {name for name in names if Path(name).suffix not in SUFFIXES | {".pkl"}}
    names = {name for name in names if not name.startswith("lightgbm.")}
    assert names
    assert {name for name in names if not found(name)} == set()


def test_every_benchmark_is_listed_and_every_listed_one_exists():
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"python -m benchmarks\.(\w+)", table))
    assert listed == benchmark_modules()
    (named,) = re.findall(r"for name in ([\w ]+);", MAKEFILE)
    by_hand = set(re.findall(r"`benchmarks\.(\w+)`", CONTRIBUTING))
    assert set(named.split()) | by_hand == benchmark_modules()


def test_the_licence_is_mits_and_named():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    title, _, rest = text.partition("\n\n")
    assert title == "MIT License"
    assert re.match(r"Copyright \(c\) \d{4} Signal Miner contributors\n\n", rest)
    said = " ".join(rest.split())
    for clause in (
        "Permission is hereby granted, free of charge, to any person obtaining a copy",
        "to deal in the Software without restriction",
        "use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software",
        "The above copyright notice and this permission notice shall be included in all copies",
        'THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED',
        "IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE",
    ):
        assert clause in said
    assert re.search(r"\bMIT\b", README)


def test_every_entry_point_is_in_the_readme_or_the_changelog():
    for name in ENTRY_POINTS:
        assert f"-e {name}" in README or f"`{name}`" in README + CHANGELOG, name


def test_every_command_is_an_entry_point_and_a_module():
    commands = set(re.findall(r'(?m)^    "(\w+)": \w+,$', MAIN))
    assert commands == ENTRY_POINTS
    modules = {path.stem: path.read_text(encoding="utf-8") for path in (PACKAGE / "cli").glob("*.py")}
    assert commands == {name for name, text in modules.items() if "\ndef add_options(" in text}
    for name in commands:
        assert modules[name].startswith(f'"""``{name}``: '), name


def test_the_changelog_tells_of_the_newest_study_format():
    (number,) = re.findall(
        r"(?m)^STUDY_FORMAT = (\d+)$", (PACKAGE / "experiment" / "plan.py").read_text(encoding="utf-8")
    )
    assert f"**Study format {number}**" in CHANGELOG
    assert "## Unreleased" in CHANGELOG


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_is_refreshed_as_it_was_made(lock):
    made = (ROOT / lock).read_text(encoding="utf-8").splitlines()[1].removeprefix("#").strip()
    assert f"\n{made}\n" in CONTRIBUTING
