"""Every command and every Python snippet of the README and the docs pages runs: `pytest -m docs`, three to six minutes.

Each runs as a reader would run it, one after the other, in one folder: a fresh copy of the project, with this
environment first on the path. Numerai is a server on loopback. What is not run as written is in
`tests.helpers.readme.RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.readme import (
    PAGES,
    PYTHON_RULES,
    RULES,
    Command,
    Outcome,
    Reader,
    all_blocks,
    blocks,
    commands,
    commands_of,
    runnable,
)
from tests.helpers.readme_project import documentation_reader

pytestmark = [pytest.mark.docs, pytest.mark.timeout(1000)]

COMMANDS = commands()
SNIPPETS = all_blocks("python")
SHOWN = {"", "text", "toml", "ini", "yaml"}
"""Languages of blocks that are not run; `test_readme` parses them."""

ON_SEVERAL_MACHINES = {"bash", "py"}
"""Those of the page on clusters, whose commands `tests/cluster` runs in its own way."""

IN_ONE_PROCESS = """
import time
if __name__ == "__main__":
    names = {{"__name__": "__main__"}}
    for page, line, source in {snippets!r}:
        started = time.monotonic()
        exec(compile("\\n" * (line - 1) + source, page, "exec"), names)
        print(f"{{page}}:{{line}} ran in {{time.monotonic() - started:.1f}} s", flush=True)
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with documentation_reader(tmp_path_factory.mktemp("documentation")) as made:
        yield made


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print past pytest's capture, for a reader of CI's log."""
    with capsys.disabled():
        print(f"\n{text}", end=" ", flush=True)  # noqa: T201


def check(outcome: Outcome, codes: tuple[int, ...], what: str) -> None:
    output = f"{what}\n{outcome.output[-6000:]}"
    assert outcome.code in codes, f"exit code {outcome.code}: {output}"
    assert "Traceback" not in outcome.output, output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_read(page: Path) -> None:
    fences = re.findall(r"(?m)^\s*(?:```|~~~).*$", page.read_text(encoding="utf-8"))
    assert len(fences) == 2 * len(blocks(page)), "a fence is not closed, or ends at another indent"
    shown = SHOWN | ON_SEVERAL_MACHINES if page.name == "cluster.md" else SHOWN
    assert {each.language for each in blocks(page)} <= {"sh", "python"} | shown, "blocks to run are called sh or python"
    for block in (each for each in blocks(page) if each.language == "sh"):
        lines = block.text.splitlines()
        written = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        assert len(written) == len(commands_of(block)) + sum(line.endswith("\\") for line in written)


def test_there_are_commands_snippets_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMANDS
    assert SNIPPETS
    show(capsys, f"{len(COMMANDS)} commands and {len(SNIPPETS)} Python snippets on {len(PAGES)} pages")
    texts = [each.text for each in COMMANDS], [each.text for each in SNIPPETS]
    for rules, among in zip((RULES, PYTHON_RULES), texts, strict=True):
        idle = [rule.pattern for rule in rules if not any(re.search(rule.pattern, text) for text in among)]
        show(capsys, f"    {len(rules) - len(idle)} rules apply, {len(idle)} are idle: {' | '.join(idle)}")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_a_command_runs(reader: Reader, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    text, used = runnable(command.text, RULES, reader.directory)
    assert "…" not in text, f"{text}\nhas a placeholder; add a rule that fills it in to tests.helpers.readme.RULES"
    outcome = reader.run(text, used)
    show(capsys, f"{command.place}  {outcome.seconds:.1f} s  {command.text}")
    if text != command.text:
        show(capsys, f"    run as  {text}")
    codes = next((rule.codes for rule in used if rule.codes), (0,))
    check(outcome, codes, text)


def test_the_python_snippets_run_in_one_process(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = [
        (each.page.name, each.line, runnable(each.text, PYTHON_RULES, reader.directory)[0]) for each in SNIPPETS
    ]
    (reader.directory / "snippets.py").write_text(IN_ONE_PROCESS.format(snippets=snippets), encoding="utf-8")
    outcome = reader.run("python snippets.py")
    for line in re.findall(r"(?m)^\S+\.md:\d+ ran in .*$", outcome.output):
        show(capsys, line)
    check(outcome, (0,), "the Python snippets")
    assert outcome.output.count(" ran in ") >= len(SNIPPETS)
