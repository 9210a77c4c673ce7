"""What a worker has to know to train a study's trials, and what it answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path

import signal_miner
from signal_miner.cluster.files import ArraysFile
from signal_miner.data.sources import DATA_DIRECTORY, DEMO, is_data_version
from signal_miner.engine.trial import TrialResult
from signal_miner.experiment.plan import Plan
from signal_miner.experiment.schema import ClusterSettings, Experiment, experiment_table, parse_experiment

COMPARED = ("lightgbm", "numba", "numpy")
"""Packages whose version may change what a configuration trains or scores, beside this one."""


@dataclass(frozen=True)
class StudyJob:
    """A study to train for. It holds no address of a store, which workers do not need, and so no password.

    Attributes
    ----------
    study : str
    experiment : str
        As JSON; a worker of another version can read it as far as to name its own.
    digest, content : str
        Those of the data, see `Dataset`.
    data : tuple of str
        Where the data may be, as a worker sees it; the first that is there counts.
    versions : tuple of (str, str)
        Packages and their versions, of the process that mines.
    exchange : str or None
        Directory or fsspec address through which predictions come back.
    """

    study: str
    experiment: str
    digest: str
    content: str
    data: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    exchange: str | None

    @classmethod
    def of(cls, plan: Plan) -> StudyJob:
        """Return what workers have to know of a plan."""
        settings = plan.experiment.cluster
        bare = replace(
            plan.experiment,
            targets=plan.targets,
            payout=plan.payout,
            memory_gb=None,
            jobs=-1,
            study_storage="studies",
            tracking_uri=None,
            cluster=ClusterSettings(),
        )
        return cls(
            study=plan.study,
            experiment=json.dumps(experiment_table(bare)),
            digest=plan.dataset.digest,
            content=plan.dataset.content,
            data=(_from_anywhere(settings.data),) if settings.data else _places(plan.experiment.data),
            versions=tuple(installed_versions().items()),
            exchange=_from_anywhere(settings.exchange) if settings.exchange else None,
        )

    def parsed(self) -> Experiment:
        """Return the experiment."""
        return parse_experiment(json.loads(self.experiment), recorded=True)

    @property
    def resource(self) -> str:
        """Name of the Dask resource of which a worker that is ready for this study has one for each trial at a time."""
        return f"signal-miner {self.study}"

    @property
    def topic(self) -> str:
        """Topic of Dask's events under which workers report."""
        return f"signal-miner {self.study}"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a worker answers of one configuration.

    Attributes
    ----------
    worker : str
        Its address.
    result : TrialResult or None
        Its folds have no predictions where `predictions` is set.
    predictions : ArraysFile or None
        File with the predictions of each fold; None where they are in the result.
    error : str
        Traceback; empty where there is a result, or the training was stopped.
    of_memory, of_worker : bool
        Whether memory ran out; whether the error is not the configuration's but the worker's, such as a full disk.
    """

    worker: str
    result: TrialResult | None = None
    predictions: ArraysFile | None = None
    error: str = ""
    of_memory: bool = False
    of_worker: bool = False


@cache
def installed_versions() -> dict[str, str]:
    """Return the version of each package that decides what is trained; of this one with a hash of its sources."""
    digest = hashlib.sha256()
    package = Path(signal_miner.__file__).parent
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode())
        digest.update(source.read_bytes())
    own = f"{signal_miner.__version__} ({digest.hexdigest()[:8]})"
    return {"signal_miner": own} | {name: version(name) for name in COMPARED}


def _from_anywhere(place: str) -> str:
    """Return a place as a process in another working directory names it."""
    return place if "://" in place else str(Path(place).expanduser().absolute())


def _places(data: str) -> tuple[str, ...]:
    """Return where an experiment's data are on this machine, and their name, for machines that have their own."""
    path = Path(data).expanduser()
    if data != DEMO and path.exists():
        return (_from_anywhere(data), data)
    if data == DEMO or is_data_version(data):
        return str((DATA_DIRECTORY / data).absolute()), data
    return (data,)
