"""Where the documentation is run: a copy of the project, a Numerai on loopback, and small data instead of real data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil

from signal_miner.data.sources import is_data_version
from tests.conftest import FEATURES, make_frame, write_numerai_directory
from tests.helpers.readme import ROOT, Reader, all_blocks, at_top

if TYPE_CHECKING:
    from tests.helpers.tournament import Tournament

NUMERAI_MODEL = "my_model"  # the model of the reader's account, as the documentation calls it

SHRUNK = {
    r"(?m)^trials = \d+": "trials = 20",
    r"(?m)^n_estimators = [\d_]+": "n_estimators = 20",
    r"(?m)^n_estimators = \{.*\}": "n_estimators = { from = 5, to = 20, step = 5 }",
    r"(?m)^min_child_samples = [\d_]+": "min_child_samples = 20",
    r"(?m)^min_child_samples = [\[{].*[\]}]": "min_child_samples = [5, 20]",
}
"""Replacements in the experiment files of real data: so many trees take hours, and so many rows per leaf would leave a
single leaf."""


@contextmanager
def documentation_reader(base: Path) -> Iterator[Reader]:
    """Give a reader a fresh copy of the project, a Numerai on loopback, and data where ``path/to/directory`` says."""
    from tests.helpers.numerai_server import NumeraiServer
    from tests.helpers.numerai_site import write_site
    from tests.helpers.tournament import PUBLIC_ID, SECRET_KEY, Tournament

    project, scratch = base / "project", base / "scratch"
    copy_project(project)
    for block in all_blocks("toml"):
        given = tomllib.loads(block.text)
        if "slots" in given:
            (project / "slots.toml").write_text(block.text, encoding="utf-8")
        if name := given.get("name"):  # an experiment that the reader saves
            (project / "experiments" / f"{name}.toml").write_text(block.text, encoding="utf-8")
    shrink_experiments(project)
    write_numerai_directory(project / "path" / "to" / "directory", eras=150)
    scratch.mkdir()
    with NumeraiServer() as server, _no_process_left(base):
        offer(Tournament(server), project, scratch / "version")
        site, packages = write_site(scratch / "site", server.url), scratch / "packages"
        keys = {"PUBLIC_ID": PUBLIC_ID, "SECRET_KEY": SECRET_KEY}
        own = re.compile(r"MLFLOW_|NUMERAI_|PYTEST_|COV_|PYTHON|VIRTUAL_ENV$")  # set by whoever runs the tests
        kept = {name: value for name, value in os.environ.items() if not own.match(name)}
        environment = kept | {
            "VIRTUAL_ENV": sys.prefix,
            "PATH": os.pathsep.join(
                [str(packages / "bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            ),
            "PYTHONPATH": os.pathsep.join([str(site), str(packages)]),
            "PACKAGES": str(packages),
            "MPLBACKEND": "Agg",
            "COLUMNS": "140",
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        environment |= {f"NUMERAI_{name}": key for name, key in keys.items()}
        yield Reader(project, scratch, environment)


@contextmanager
def _no_process_left(base: Path) -> Iterator[None]:
    """End the processes still running in the folder, such as a miner in the background."""
    try:
        yield
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(base):
                    process.kill()


def copy_project(target: Path) -> None:
    """Copy the files that git tracks or would track; without git, all that the project does not write itself."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    names = [Path(os.fsdecode(name)) for name in listed.stdout.split(b"\0") if name]
    if listed.returncode or Path("README.md") not in names:
        own = ["data", "studies", "submissions", "mlruns", "mlartifacts", "mlflow.db*"]
        own += [".git", ".venv", ".*cache", "site"]
        shutil.copytree(ROOT, target, ignore=at_top(ROOT, *own))
        return
    for name in names:
        if (ROOT / name).is_file():  # a deletion that is not committed is still listed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def experiments_of_numerai(project: Path) -> dict[Path, dict[str, Any]]:
    """Return the shipped experiments that mine a version of Numerai's data."""
    found = {path: tomllib.loads(path.read_text(encoding="utf-8")) for path in (project / "experiments").glob("*.toml")}
    return {path: given for path, given in found.items() if is_data_version(str(given.get("data")))}


def shrink_experiments(project: Path) -> None:
    for path in experiments_of_numerai(project):
        text = path.read_text(encoding="utf-8")
        for pattern, smaller in SHRUNK.items():
            text = re.sub(pattern, smaller, text)
        path.write_text(text, encoding="utf-8")


def offer(tournament: Tournament, project: Path, directory: Path) -> None:
    """Offer the version that the experiments name, with the targets, benchmarks and eras that they ask for."""
    from tests.helpers.live_rounds import rounds_of

    given = list(experiments_of_numerai(project).values())
    (version,) = {each["data"] for each in given}
    write_version(
        directory,
        sorted({name for each in given if each["targets"] != "all" for name in each["targets"]}),
        sorted({name for each in given for name in each.get("numerai_benchmarks", ())}),
        max(each["folds"].get("holdout_eras", 0) for each in given),
    )
    for path in directory.iterdir():
        tournament.server.put(f"{version}/{path.name}", path.read_bytes())
    rounds_of(tournament, NUMERAI_MODEL)
    tournament.assigns_by_itself = False
    tournament.statuses[:] = ["validated"]  # the command looks four times a minute
    tournament.images.insert(0, "Python 3.13")


def write_version(directory: Path, targets: list[str], benchmarks: list[str], holdout_eras: int) -> None:
    """Write a tiny version of Numerai's data: 96 eras to mine, a holdout, 13 unresolved, and live ones."""
    directory.mkdir()
    resolved = 96 + holdout_eras
    eras = {"train": range(1, 81), "validation": range(81, resolved + 14), "live": range(resolved + 14, resolved + 15)}
    names = sorted({*targets, "target_ender_60"} - {"target"})
    for part, labels in eras.items():
        generator = np.random.default_rng(len(part))
        frame = make_frame(labels, rows=300 if part == "live" else 30, seed=53)
        frame = frame.drop(columns=["target_ender_20", "target_cyrusd_60"])
        moved = {
            name: (frame["target"] + generator.choice([-0.25, 0, 0.25], len(frame))).clip(0, 1).astype(np.float32)
            for name in names
        }
        moved["target_ender_60"] = frame["target"]  # the payout target
        frame = frame.assign(**moved)
        unresolved = frame["era"] > f"{resolved:04d}"
        frame.loc[unresolved, ["target", *names]] = np.nan
        frame["data_type"] = np.where(unresolved & (part == "validation"), "test", part)
        frame.to_parquet(directory / f"{part}.parquet")
        predicted = pd.DataFrame({name: generator.random(len(frame)) for name in benchmarks}, frame.index)
        predicted.insert(0, "era", frame["era"])
        predicted.to_parquet(directory / f"{part}_benchmark_models.parquet")
    sets = {"small": FEATURES[:4], "medium": FEATURES[:8], "all": FEATURES}
    (directory / "features.json").write_text(json.dumps({"feature_sets": sets, "targets": ["target", *names]}))
