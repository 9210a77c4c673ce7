"""What becomes of a draw whose worker dies, runs out of memory or is at fault; the pool follows a script."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from signal_miner.cluster.job import Trained
from signal_miner.cluster.pool import Ended, Workers
from signal_miner.mining.cluster_training import OnCluster
from signal_miner.mining.observer import ClusterWorkers
from signal_miner.mining.search import Draw

WORKER = "tcp://10.0.0.7:1234"
RESULT = object()


def finished():
    return {"trained": Trained(WORKER, RESULT)}


def failed(error, **kind):
    return {"trained": Trained(WORKER, error=f"Traceback …\n{error}", **kind)}


class ScriptedPool:
    """Ends each draw's attempts as its script says; the first that was submitted ends first."""

    def __init__(self, scripts, workers):
        self.scripts = {number: iter(script) for number, script in scripts.items()}
        self.workers, self.most, self.submitted, self.waiting = workers, 0, [], []
        self.ready = 0

    @property
    def in_training(self):
        return len(self.waiting)

    def submit(self, number, params, *, alone=False, report_steps=False, seed=None, race=None):
        self.submitted.append((number, alone))
        self.waiting.append(number)
        self.most = max(self.most, len(self.waiting))

    def ended(self, seconds):
        number = self.waiting.pop(0)
        return [Ended(number, **next(self.scripts[number]))]


def mined(scripts, workers=Workers(1, 2)):  # noqa: B008
    pool, said = ScriptedPool(scripts, workers), []
    plan = SimpleNamespace(folds={}, experiment=SimpleNamespace(race=None, seed=0))
    training = OnCluster(plan, lambda: False, {}, pool, said.append)
    outcomes = {each.draw.number: each for each in training.outcomes(Draw(number, {}) for number in scripts)}
    return outcomes, pool, said


def test_as_many_are_in_training_as_the_workers_take():
    outcomes, pool, said = mined({number: [finished()] for number in range(9)}, Workers(2, 3))
    assert pool.most == 3
    assert all(outcome.result is RESULT for outcome in outcomes.values())
    assert pool.submitted == [(number, False) for number in range(9)]
    assert said == [ClusterWorkers(2, 3)]


def test_what_a_scheduler_forgot_is_trained_again_however_often():
    lost = {"lost": True}
    outcomes, pool, _ = mined({0: [lost, lost, lost, finished()], 1: [finished()]})
    assert {number: outcome.result for number, outcome in outcomes.items()} == {0: RESULT, 1: RESULT}
    assert (0, True) not in pool.submitted


@pytest.mark.parametrize("first", [{"killed": True}, failed("MemoryError: too large", of_memory=True)])
def test_what_takes_too_much_memory_is_tried_once_more_alone_and_then_fails(first):
    outcomes, pool, said = mined({0: [first, first], 1: [first, finished()]})
    assert outcomes[0].error
    assert outcomes[0].fatal is None
    assert outcomes[1].result is RESULT
    assert sorted(pool.submitted) == [(0, False), (0, True), (1, False), (1, True)]
    assert sum("is tried again, alone" in str(text) for text in said) == 2


def test_a_worker_at_fault_is_given_another_chance_and_then_ends_the_mining():
    full = failed("OSError: [Errno 28] No space left on device", of_worker=True)
    outcomes, _, said = mined({0: [full, finished()], 1: [full, full]})
    assert outcomes[0].result is RESULT
    assert str(outcomes[1].fatal) == "OSError: [Errno 28] No space left on device"
    assert f"trial 0000 failed on {WORKER} (OSError: [Errno 28] No space left on device); it is tried again." in said


def test_a_configuration_that_lightgbm_refuses_fails_at_once():
    outcomes, pool, _ = mined({0: [failed("LightGBMError: no")]})
    assert outcomes[0].error.endswith("LightGBMError: no")
    assert outcomes[0].fatal is None
    assert pool.submitted == [(0, False)]
