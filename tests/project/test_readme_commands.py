"""Every command and every Python snippet of the README runs: `pytest -m docs`, three to six minutes on two cores.

Each runs as a reader would have it, one after the other, in one folder: a fresh copy of the project, with this
environment first on the path. Numerai is a server on loopback. What is not run as written is in `readme_case.RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.helpers.readme import (
    PYTHON_RULES,
    README,
    RULES,
    Command,
    Outcome,
    Reader,
    blocks,
    commands,
    settled,
)
from tests.helpers.readme_project import reader_of_readme

pytestmark = [pytest.mark.docs, pytest.mark.timeout(1000)]

COMMANDS = commands()
SNIPPETS = [each for each in blocks() if each.language == "python"]
SHOWN = {"", "text", "toml"}
"""Languages of blocks that are shown and not run; an experiment file has its own test in ``test_readme``."""

IN_ONE_PROCESS = """
import time
if __name__ == "__main__":
    names = {{"__name__": "__main__"}}
    for line, source in {snippets!r}:
        started = time.monotonic()
        exec(compile("\\n" * (line - 1) + source, "README.md", "exec"), names)
        print(f"README.md:{{line}} ran in {{time.monotonic() - started:.1f}} s", flush=True)
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with reader_of_readme(tmp_path_factory.mktemp("readme")) as made:
        yield made


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Say it where a reader of CI sees it, whether the test passes or fails."""
    with capsys.disabled():
        print(f"\n{text}", end=" ", flush=True)  # noqa: T201


def right(outcome: Outcome, codes: tuple[int, ...], what: str) -> None:
    said = f"{what}\n{outcome.output[-6000:]}"
    assert outcome.code in codes, f"exit code {outcome.code}: {said}"
    assert "Traceback" not in outcome.output, said


def test_every_block_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    fences = re.findall(r"(?m)^\s*(?:```|~~~).*$", README)
    assert len(fences) == 2 * len(blocks()), "a fence is not closed, is indented otherwise than its end, or is no ```"
    run = {"sh", "python"}
    assert {each.language for each in blocks()} <= run | SHOWN, "what is to be run is called sh or python"
    lines = [line for each in blocks() if each.language == "sh" for line in each.text.splitlines()]
    written = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(written) == len(COMMANDS) + sum(line.endswith("\\") for line in written)
    assert COMMANDS
    show(capsys, f"README.md: {len(COMMANDS)} commands and {len(SNIPPETS)} Python snippets")
    texts = [each.text for each in COMMANDS], [each.text for each in SNIPPETS]
    for rules, among in zip((RULES, PYTHON_RULES), texts, strict=True):
        idle = [rule.pattern for rule in rules if not any(re.search(rule.pattern, text) for text in among)]
        show(capsys, f"    {len(rules) - len(idle)} rules apply, {len(idle)} are idle: {' | '.join(idle)}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"line {command.line}")
def test_a_command_runs(reader: Reader, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    text, used = settled(command.text, RULES, reader.directory)
    assert "…" not in text, f"{text}\nhas a placeholder; add a rule that fills it in to readme_case.RULES"
    outcome = reader.run(text, used)
    show(capsys, f"README.md:{command.line}  {outcome.seconds:.1f} s  {command.text}")
    if text != command.text:
        show(capsys, f"    run as  {text}")
    codes = next((rule.codes for rule in used if rule.codes), (0,))
    right(outcome, codes, text)


def test_the_python_snippets_run_in_one_process(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = [(each.line, settled(each.text, PYTHON_RULES, reader.directory)[0]) for each in SNIPPETS]
    (reader.directory / "readme.py").write_text(IN_ONE_PROCESS.format(snippets=snippets), encoding="utf-8")
    outcome = reader.run("python readme.py")
    for line in re.findall(r"(?m)^README\.md:\d+ ran in .*$", outcome.output):
        show(capsys, line)
    right(outcome, (0,), "the Python snippets")
    assert outcome.output.count(" ran in ") >= len(SNIPPETS)
