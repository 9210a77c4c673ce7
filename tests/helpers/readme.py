"""What runs the README: its blocks, what is done in place of what cannot run as written, and a reader's folder.

A command that no rule of `RULES` fits runs as it stands. The README's author adds a rule where one cannot: a pattern,
what is done instead, and why.
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
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST_SECONDS = 900  # other work may hold the cores


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `line` is its first line's number in the README."""

    language: str
    line: int
    text: str


@dataclass(frozen=True)
class Command:
    """A command as it is written, and where."""

    line: int
    text: str


@dataclass(frozen=True)
class Rule:
    """What is done in place of what `pattern` finds: as `re.sub` has it, or said by a function of the reader's folder.

    `codes` are the exit codes that are right then. A command with `after` that stands before the first one that this
    fits runs behind it. One that is `served` never ends: it is asked at ``$PORT`` until it answers, and stopped. One
    that runs `aside` has a folder of its own, in which nothing was mined before.
    """

    pattern: str
    instead: str | Callable[[re.Match[str], Path], str]
    why: str
    codes: tuple[int, ...] = ()
    after: str = ""
    served: bool = False
    aside: bool = False


def _few_trials(found: re.Match[str], _directory: Path) -> str:
    return f"trials={min(84, int(found[1]))}"


def _study(found: re.Match[str], directory: Path) -> str:
    """The newest study; for a holdout, the newest that has one."""
    held = [run for run in studies(directory) if run.data.params["holdout_eras"] != "0"]
    return f"study={(held if 'holdout' in found.string else studies(directory))[-1].data.tags['signal_miner.study']}"


def _ensemble(found: re.Match[str], directory: Path) -> str:
    names = [run.info.run_name for run in tracked(directory, "ensemble")]
    return found[0] if found[1] in names else found[0].replace(found[1], names[-1])


def _live_of_champion(_found: re.Match[str], directory: Path) -> str:
    """Live data of what the champion was mined on."""
    from tests.helpers.mining import client_of

    version = client_of(directory).get_model_version_by_alias("signal-miner", "champion")
    return f"data/{version.tags['signal_miner.data']}/live.parquet"


RULES = (
    Rule(
        r"\bpip install (?=-r )",
        "pip install --no-index --dry-run --quiet ",
        "the environment stands: pip says whether it is the one that the file asks for, without a network",
    ),
    Rule(r"(?:^|(?<=&& ))pytest\b", "pytest --collect-only --quiet", "this is pytest; there, it finds all tests"),
    Rule(r"\btrials=(\d+)", _few_trials, "the demo's 80 are mined, and a few more where it says how to go on"),
    Rule(
        r"\bdata=path/to/\w+",
        r"\g<0>",
        "in place of other data, not on top of them: else this study were the newest one, and the newest `demo`",
        aside=True,
    ),
    Rule(r"\bstudy=…", _study, "a name that the reader fills in"),
    Rule(
        r"""\bensemble=["']?(ensemble \d+)""",
        _ensemble,
        "the newest, where there are not so many; told of before ensembles are made",
        after="-e ensemble",
    ),
    Rule(
        r"data/demo/live\.parquet",
        _live_of_champion,
        "the demo's live data fit a model mined on the demo; once real data are mined, the champion may be another",
    ),
    Rule(r"\bNUMERAI_(PUBLIC_ID|SECRET_KEY)=\S+", r"NUMERAI_\1=$LOOPBACK_\1", "the key that the loopback server knows"),
    Rule(
        r"\b(mlflow ui|mlflow server|jupyter[ -]lab)\b(?:(.*?) --port[ =]\d+)?",
        r"\1 --port=$PORT\2",
        "it runs until it is stopped: it is asked for its first page until that comes, at a port that is free",
        served=True,
    ),
    Rule(r"\bjupyter[ -]lab\b", r"\g<0> --no-browser --allow-root", "there is no screen, and CI may be root"),
)

PYTHON_RULES = (
    Rule(r"\A(?=model = mlflow)", "import mlflow, pandas\n", "a reader adds what every notebook begins with"),
    Rule(r"(?<=\")(data/demo/)?live\.parquet(?=\")", _live_of_champion, "the live data that fit, wherever they lie"),
)


def blocks(text: str = README) -> list[Block]:
    """Return the fenced blocks, in order."""
    found = re.finditer(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$", text)
    return [Block(each[2], text[: each.start(3)].count("\n") + 1, dedent(each[3])) for each in found]


def commands(text: str = README) -> list[Command]:
    """Return the commands of all ``sh`` blocks, each a line or several that end with a backslash, as they run."""
    found: list[Command] = []
    for block in (each for each in blocks(text) if each.language == "sh"):
        joined = re.sub(r"\\\n *", "\0", block.text)  # a mark, so that lines can be counted
        number = block.line
        for line in joined.splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                found.append(Command(number, line.replace("\0", " ").strip()))
            number += 1 + line.count("\0")
    for rule in (each for each in RULES if each.after):
        first = next((place for place, each in enumerate(found) if re.search(rule.after, each.text)), 0)
        early = [each for each in found[:first] if re.search(rule.pattern, each.text)]
        found = [each for each in found[: first + 1] if each not in early] + early + found[first + 1 :]
    return found


def settled(text: str, rules: tuple[Rule, ...], directory: Path) -> tuple[str, list[Rule]]:
    """Return what is run in place of a text, and the rules that said so."""
    used = []
    for rule in rules:
        if re.search(rule.pattern, text):
            used.append(rule)
            told = rule.instead if isinstance(rule.instead, str) else partial(_said, rule.instead, directory)
            text = re.sub(rule.pattern, told, text)
    return text.strip(), used


def _said(told: Callable[[re.Match[str], Path], str], directory: Path, found: re.Match[str]) -> str:
    return told(found, directory)


def tracked(directory: Path, kind: str) -> list[Any]:
    """Return MLflow's runs of a kind, the newest last."""
    from tests.helpers.mining import runs_of

    return sorted(runs_of(directory, kind), key=lambda run: run.info.start_time)


def studies(directory: Path) -> list[Any]:
    return tracked(directory, "study")


@dataclass
class Outcome:
    """What a command came to; no code where it was stopped because it took too long."""

    code: int | None
    output: str
    seconds: float


@dataclass
class Reader:
    """A person with a shell in a copy of the project: what a command exports is there for the next."""

    directory: Path
    scratch: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, command: str, rules: Iterable[Rule] = ()) -> Outcome:
        """Run a command to its end, or until it answers, where a rule says that it never ends."""
        served, directory = any(rule.served for rule in rules), self.directory
        if any(rule.aside for rule in rules):
            directory = self.scratch / "aside"
            mined = shutil.ignore_patterns("data", "studies", "mlruns", "mlflow.db*")
            shutil.copytree(self.directory, directory, ignore=mined, dirs_exist_ok=True)
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
    """Return 0 once a server answers; its own exit code where it ends before, and that is never right."""
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
                os.killpg(process.pid, 0)  # raises once nobody of the group is left
                time.sleep(0.1)
