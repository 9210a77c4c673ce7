"""What a miner in the background reads from its standard input, which leaves no trace of a store's password."""

from __future__ import annotations

import json
from dataclasses import dataclass

from signal_miner.experiment.schema import Experiment, experiment_table, parse_experiment


@dataclass(frozen=True)
class MiningJob:
    """An experiment to be mined by another process.

    Attributes
    ----------
    experiment : Experiment
    study : str
        Its name, as it was planned.
    token : str
        Of this start of a miner, see `miner_status.MinerStatus`.
    report : bool
        Whether the report is made at the end.
    log : str
        File that the other process prints to.
    """

    experiment: Experiment
    study: str
    token: str
    report: bool
    log: str

    def to_json(self) -> str:
        """Return it as text."""
        own = {"study": self.study, "token": self.token, "report": self.report, "log": self.log}
        return json.dumps(own | {"experiment": experiment_table(self.experiment), "text": self.experiment.text})

    @classmethod
    def from_json(cls, text: str) -> MiningJob:
        """Return what `to_json` wrote.

        Raises
        ------
        ValueError
            If it is not that.
        """
        table = json.loads(text)
        experiment = parse_experiment(table["experiment"], table["text"])
        return cls(experiment, table["study"], table["token"], table["report"], table["log"])
