"""Reads and runs the documentation: the code blocks of the README and the docs pages, and a reader's folder.

A command that matches no rule of `RULES` runs as written. Where one cannot run as written, add a rule: a pattern, its
replacement, and the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_NAVIGATION = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
PAGES = (README, *(path for name in _NAVIGATION if (path := ROOT / "docs" / name).is_file()))
"""The README, then the pages of docs/ in the order of the site's navigation."""

LONGEST_SECONDS = 900  # other work may hold the cores


@dataclass(frozen=True)
class Block:
    """The text between two fences; `line` is its first line's number in `page`."""

    page: Path
    language: str
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """A command as it is written, and where."""

    page: Path
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Rule:
    """How to replace what `pattern` matches: a template of `re.sub`, or a function of the match and the folder.

    `codes` are the expected exit codes. A command with `after` that comes before the first command matching `after`
    runs behind it. One that is `served` never ends: it is polled at ``$PORT`` until it answers, then stopped. One that
    runs `aside` has a folder of its own, in which nothing was mined before.
    """

    pattern: str
    instead: str | Callable[[re.Match[str], Path], str]
    why: str
    codes: tuple[int, ...] = ()
    after: str = ""
    served: bool = False
    aside: bool = False


def _newest_ensemble(_found: re.Match[str], directory: Path) -> str:
    return f"ensemble={tracked(directory, 'ensemble')[-1].info.run_id}"


def _live_of_champion(_found: re.Match[str], directory: Path) -> str:
    """Live data of what the champion was mined on."""
    from tests.helpers.mining import client_of

    version = client_of(directory).get_model_version_by_alias("signal-miner", "champion")
    return f"data/{version.tags['signal_miner.data']}/live.parquet"


RULES = (
    Rule(
        r"\bpip install (?=-r |jupyterlab)",
        "pip install --no-index --dry-run --quiet ",
        "pip checks that this environment is the one that the file asks for, without a network",
    ),
    Rule(
        r"\bpip install \.",
        'pip install --no-index --no-deps --no-build-isolation --quiet --target "$PACKAGES" .',
        "installed beside this environment, whose packages are shared with other tests, and without a network",
    ),
    Rule(r"(?:^|(?<=&& ))pytest\b", "pytest --collect-only --quiet", "this is pytest; it collects all tests"),
    Rule(r"\bsignal-miner mine$", r"\g<0> --trials 5", "the demo's 80 trials are mined by the README's first command"),
    Rule(
        r"\bdata=path/to/\w+",
        r"\g<0>",
        "beside the other studies: it would become the newest study, and the newest `demo`",
        aside=True,
    ),
    Rule(
        r"""\bensemble=["']?(ensemble \d+)["']?""",
        _newest_ensemble,
        "the reader's own; the page on the holdout comes before the one on ensembles",
        after=r"-e ensemble.*study=numerai",
    ),
    Rule(
        r"\bsignal-miner (live|refresh)\b",
        r"\g<0> --slot my_model",
        "the account has one model; the reader has not registered what is in the other slot",
    ),
    Rule(
        r"data/demo/live\.parquet",
        _live_of_champion,
        "the demo's live data fit a model mined on the demo; once real data are mined, the champion may be another",
    ),
    Rule(
        r"\b(mlflow ui|mlflow server|jupyter[ -]lab)\b(?:(.*?) --port[ =]\d+)?",
        r"\1 --port=$PORT\2",
        "it runs until it is stopped: its first page is requested until it answers, at a free port",
        served=True,
    ),
    Rule(r"\bjupyter[ -]lab\b", r"\g<0> --no-browser --allow-root", "there is no screen, and CI may be root"),
)

PYTHON_RULES = (Rule(r"(?<=\")(data/demo/)?live\.parquet(?=\")", _live_of_champion, "live data that fit the champion"),)


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$", text)
    return [Block(page, each[2], text[: each.start(3)].count("\n") + 1, dedent(each[3])) for each in found]


def all_blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages in one of the languages, in the pages' order."""
    return [each for page in PAGES for each in blocks(page) if each.language in languages]


def commands_of(block: Block) -> list[Command]:
    """Return the commands of an ``sh`` block, each a line or several that end with a backslash."""
    found: list[Command] = []
    joined = re.sub(r"\\\n *", "\0", block.text)  # a mark, so that lines can be counted
    number = block.line
    for line in joined.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            found.append(Command(block.page, number, line.replace("\0", " ").strip()))
        number += 1 + line.count("\0")
    return found


def commands() -> list[Command]:
    """Return the commands of all pages as they run; one that is shown on several pages runs once."""
    first: dict[str, Command] = {}
    for command in (each for block in all_blocks("sh") for each in commands_of(block)):
        first.setdefault(command.text, command)
    found = list(first.values())
    for rule in (each for each in RULES if each.after):
        cut = next((place for place, each in enumerate(found) if re.search(rule.after, each.text)), 0)
        early = [each for each in found[:cut] if re.search(rule.pattern, each.text)]
        found = [each for each in found[: cut + 1] if each not in early] + early + found[cut + 1 :]
    return found


def runnable(text: str, rules: tuple[Rule, ...], directory: Path) -> tuple[str, list[Rule]]:
    """Return what to run for a text, and the rules that changed it."""
    used = []
    for rule in rules:
        if re.search(rule.pattern, text):
            used.append(rule)
            instead = rule.instead
            replacement = instead if isinstance(instead, str) else partial(_replaced, instead, directory)
            text = re.sub(rule.pattern, replacement, text)
    return text.strip(), used


def _replaced(replace: Callable[[re.Match[str], Path], str], directory: Path, found: re.Match[str]) -> str:
    return replace(found, directory)


def at_top(folder: Path, *patterns: str) -> Callable[[str, list[str]], set[str]]:
    """Return what `copytree` ignores: names that match a pattern, in the folder itself only."""
    matching = shutil.ignore_patterns(*patterns)
    return lambda path, names: set(matching(path, names)) if Path(path) == folder else set()


def tracked(directory: Path, kind: str) -> list[Any]:
    """Return MLflow's runs of a kind, the newest last."""
    from tests.helpers.mining import runs_of

    return sorted(runs_of(directory, kind), key=lambda run: run.info.start_time)


@dataclass
class Outcome:
    """A command's exit code, None if it timed out, and its output."""

    code: int | None
    output: str
    seconds: float


@dataclass
class Reader:
    """A shell in a copy of the project: what a command exports, the next one sees."""

    directory: Path
    scratch: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, command: str, rules: Iterable[Rule] = ()) -> Outcome:
        """Run a command to its end, or until it answers if a rule marks it as served."""
        served, directory = any(rule.served for rule in rules), self.directory
        if any(rule.aside for rule in rules):
            directory = self.scratch / "aside"
            shutil.copytree(
                self.directory, directory, ignore=at_top(self.directory, "data", "studies", "mlruns", "mlflow.db*")
            )
        state, output = self.scratch / "environment", self.scratch / "output"
        state.unlink(missing_ok=True)
        script = f"{command}\ncode=$?\nenv -0 > {state}\nexit $code\n"
        environment = self.environment | {"PORT": str(_free_port())}
        started = time.monotonic()
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = _ask(process, environment["PORT"]) if served else process.wait(LONGEST_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            outcome = Outcome(code, output.read_text(encoding="utf-8", errors="replace"), time.monotonic() - started)
            _end(process)
        if state.exists():
            pairs = (item.partition("=") for item in state.read_text(encoding="utf-8").split("\0") if item)
            self.environment = {name: value for name, _, value in pairs}
        return outcome


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _ask(process: subprocess.Popen[bytes], port: str) -> int | None:
    """Return 0 once a server answers, or a nonzero code if it exits before."""
    opener, end = build_opener(ProxyHandler({})), time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            return process.returncode or 1
        with suppress(URLError, OSError), opener.open(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            if answer.status == 200:
                return 0
        time.sleep(0.5)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a command left running, first with a chance to tidy up."""
    with suppress(ProcessLookupError):
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(process.pid, number)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                process.poll()
                os.killpg(process.pid, 0)  # raises once the process group is empty
                time.sleep(0.1)
