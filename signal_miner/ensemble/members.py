"""An ensemble as data: members with their weights, and what the blend is neutralised to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signal_miner.data.dataset import Dataset
from signal_miner.experiment.parameters import RULES
from signal_miner.scoring.blending import filled_features, gaussianised
from signal_miner.tracking.records import Checkpoint, repeat_name, trial_name
from signal_miner.utils.validation import parsed_json

FEATURES, OWN_BENCHMARK = "features", "benchmark"
"""What a blend can be neutralised to, besides a column of Numerai's benchmark predictions."""


@dataclass(frozen=True)
class Member:
    """A trial in an ensemble.

    Attributes
    ----------
    run_id : str
        Its MLflow run.
    number : int
        Its number in the study.
    params : mapping of str to str
        Its configuration as tracked, with ``target`` and ``seed``.
    trees : int
        Number of trees at `checkpoint`.
    weight : float
        Weights of all members add up to 1.
    checkpoint : Checkpoint
        Where it is cut; ensembles made before this could be chosen have the best checkpoint.
    study : str
        Name of its study, where that is not the ensemble's; else empty.
    repeat : bool
        Whether it is the trial trained again with another seed.
    """

    run_id: str
    number: int
    params: Mapping[str, str]
    trees: int
    weight: float
    checkpoint: Checkpoint = Checkpoint.BEST
    study: str = ""
    repeat: bool = False

    @property
    def name(self) -> str:
        """``trial 0007``, ``trial 0007 seed 8`` or ``trial 0007 of demo-1a2b3c4d``; unique in an ensemble."""
        own = repeat_name(self.number, int(self.params["seed"])) if self.repeat else trial_name(self.number)
        return own + (f" of {self.study}" if self.study else "")


@dataclass(frozen=True)
class Neutralization:
    """Neutralisation of a blend, era by era, by least squares.

    As ``numerai_tools.scoring.neutralize``: the blend minus `proportion` of its projection on the neutralizers and a
    constant.

    Attributes
    ----------
    to : str
        `FEATURES`, `OWN_BENCHMARK` (the study's benchmark run), or a column of Numerai's benchmark predictions.
    proportion : float
        From 0 (nothing) to 1 (all).
    """

    to: str
    proportion: float

    @property
    def numerai_column(self) -> str | None:
        """Column of Numerai's benchmark predictions that this needs, if any."""
        return None if self.to in (FEATURES, OWN_BENCHMARK) else self.to


@dataclass(frozen=True)
class Ensemble:
    """Members with their weights, and the neutralisation of their blend.

    Attributes
    ----------
    study : str
        Name of the study whose trials the members are, unless a member names another. Its benchmark is the ensemble's.
    selection : mapping of str to object
        The rule that selected the members, as it was given.
    """

    study: str
    members: tuple[Member, ...]
    neutralization: Neutralization | None
    selection: Mapping[str, object]

    def to_json(self) -> str:
        """Return the ensemble as text, for an artifact."""
        table = asdict(self)
        for member in table["members"]:  # written as before there was a choice, so that digests of ensembles stay
            for name in ("checkpoint", "study", "repeat"):
                if member[name] == getattr(Member, name):
                    del member[name]
        return json.dumps(table, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Ensemble:
        """Return the ensemble that `to_json` wrote; raise ValueError if the text is none."""
        try:
            table = parsed_json(text)
            given = table["neutralization"]
            neutralization = Neutralization(str(given["to"]), float(given["proportion"])) if given else None
            members = tuple(_member(member) for member in table["members"])
            if not members:
                raise ValueError("it has no members")
            return cls(str(table["study"]), members, neutralization, dict(table["selection"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no ensemble: {error!r}") from error


def _member(table: Mapping[str, Any]) -> Member:
    params = {str(name): str(value) for name, value in table["params"].items()}
    member = Member(
        str(table["run_id"]),
        int(table["number"]),
        params,
        int(table["trees"]),
        float(table["weight"]),
        Checkpoint(table.get("checkpoint", Checkpoint.BEST)),
        str(table.get("study", "")),
        bool(table.get("repeat", False)),
    )
    most = int(params.get("n_estimators", RULES["n_estimators"].high))
    if not 1 <= member.trees <= most:
        raise ValueError(f"a member has {member.trees} trees of {most}")
    if not 0 < member.weight < math.inf or not 0 <= int(params["seed"]) < 2**31:
        raise ValueError(f"a member has the weight {member.weight} and the seed {params['seed']}")
    return member


def neutralizers_of(
    to: str, dataset: Dataset, span: slice, benchmark: NDArray[np.floating[Any]]
) -> Callable[[slice], NDArray[np.float64]]:
    """Return a function from rows within `span` to their neutralizers, float64 of shape (n_rows, n_neutralizers).

    Parameters
    ----------
    to : str
        As `Neutralization.to`.
    span : slice
        A range of the dataset's rows.
    benchmark : ndarray of float, shape (n_rows,)
        Predictions of the study's benchmark for these rows.
    """
    if to == FEATURES:

        def features(rows: slice) -> NDArray[np.float64]:
            table = dataset.read_features(dataset.features, slice(span.start + rows.start, span.start + rows.stop))
            return filled_features(np.column_stack([column.to_numpy().astype(np.float64) for column in table.columns]))

        return features
    values = benchmark if to == OWN_BENCHMARK else dataset.read_benchmarks([to], span)[to]
    ranked = gaussianised(dataset.eras[span], values[:, np.newaxis])
    return lambda rows: ranked[rows]
