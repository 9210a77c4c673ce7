"""What an experiment may say of its objective and of payouts, and what is refused, in one line."""

from __future__ import annotations

import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.files import make_experiment
from signal_miner.experiment.schema import Experiment, experiment_table, parse_experiment
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.payout import Payout

PAYS = {"corr": 3, "mmc": 15, "clip": 1}


def made(**changes: object) -> Experiment:
    return make_experiment(name="x", data="demo", grid={"n_estimators": [5]}, benchmark={"n_estimators": 5}, **changes)


def test_an_experiment_that_says_nothing_looks_for_sharpe() -> None:
    experiment = made()
    assert (experiment.objective, experiment.payout) == (Objective.SHARPE, None)


@pytest.mark.parametrize("objective", Objective)
def test_objective_and_payout_pass_through_a_record(objective: Objective) -> None:
    experiment = made(objective=str(objective), payout={"corr": 0.5, "mmc": 2, "clip": 0.05})
    assert (experiment.objective, experiment.payout) == (objective, Payout(0.5, 2.0, 0.05))
    assert parse_experiment(experiment_table(experiment)).payout == experiment.payout
    assert parse_experiment(experiment_table(experiment)).objective is objective


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": "payouts"},
            "objective = 'payouts' is not one of payout, payout_sharpe, sharpe, corr, bmc; did you",
        ),
        ({"objective": ""}, "objective = '' is not one of payout"),
        ({"objective": 3}, "objective = 3 is not one of payout"),
        ({"objective": ["payout"]}, r"objective = \['payout'\] is not one of payout"),
        ({"payout": 3}, r"payout = 3 is not a table; write \[payout\] and below it corr = 3, mmc = 15, clip = 1"),
        ({"payout": {}}, "payout.corr is missing; give all of corr, mmc, clip"),
        ({"payout": {"corr": 3, "mmc": 15}}, "payout.clip is missing"),
        ({"payout": PAYS | {"corr": "3"}}, "payout.corr = '3' is not a number"),
        ({"payout": PAYS | {"mmc": -1}}, "payout.mmc = -1 is not a number"),
        ({"payout": PAYS | {"mmc": float("nan")}}, "payout.mmc = nan is not a number"),
        ({"payout": PAYS | {"clip": 0}}, "payout.clip = 0 is not a number"),
        ({"payout": PAYS | {"corr": True}}, "payout.corr = True is not a number"),
        ({"payout": PAYS | {"clip": float("inf")}}, "payout.clip = inf is not a number"),
        ({"payout": PAYS | {"mmc": 5000}}, "payout.mmc = 5000 is not a number"),
        (
            {"payout": PAYS | {"corr": 0, "mmc": 0}},
            "payout.corr and payout.mmc are both 0, which pays nothing; set one",
        ),
        ({"payout": PAYS | {"bmc": 1}}, "unknown key 'payout.bmc'; did you mean 'mmc'"),
        ({"clip": 1}, "clip is not a setting but a key of payout; write payout="),
        ({"mmc": 15}, "mmc is not a setting but a key of payout"),
    ],
)
def test_what_is_no_objective_or_payout_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        made(**changes)
    assert "\n" not in str(refused.value)
