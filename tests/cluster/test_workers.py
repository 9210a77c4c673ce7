"""What a worker refuses, and what the miner reports of it; Dask runs within this process."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from distributed import LocalCluster

from signal_miner.cluster import pool as pools
from signal_miner.cluster.job import StudyJob
from signal_miner.cluster.pool import WorkerPool
from signal_miner.cluster.worker import prepare
from signal_miner.engine.benchmark_run import score_benchmark
from signal_miner.engine.trial import run_trial
from signal_miner.engine.validation_rows import fold_scorers
from signal_miner.errors import UserError
from signal_miner.experiment.files import load_experiment
from signal_miner.experiment.plan import make_plan, open_data
from signal_miner.experiment.schema import ClusterSettings
from tests.conftest import write_numerai_directory
from tests.helpers.mining import write_experiment

GB = 10**9


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    path = write_experiment(directory, write_numerai_directory(directory / "numerai", eras=40, rows=20))
    secret = "postgresql+psycopg://me:secret@host/studies"
    experiment = load_experiment(path, study_storage=secret, tracking_uri="https://me:secret@host")
    return make_plan(experiment, open_data(experiment))


def test_what_workers_are_sent_holds_no_address_of_a_store(plan):
    job = StudyJob.of(plan)
    assert "secret" not in repr(job)
    assert "host" not in repr(job)


def test_a_worker_plans_with_its_own_threads_and_memory(plan, monkeypatch):
    monkeypatch.setattr("signal_miner.cluster.worker._STUDIES", {})  # the scheduler's worker is in this process, too
    job = StudyJob.of(plan)
    assert prepare(job, 3, 8 * GB).slots == 3
    assert prepare(replace(job, digest=job.digest), 1, 8 * GB) is prepare(job, 3, 8 * GB)  # once for a study


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"versions": (("lightgbm", "1.2.3"),)}, r"it has lightgbm \S+, and the study is mined with 1\.2\.3"),
        ({"digest": "0" * 16}, r"its data in \S+ differ from those that are mined \(digest \w+, not 0{16}\)"),
        ({"content": "0" * 16}, r"its data in \S+ differ from those that are mined \(content \w+, not 0{16}\)"),
        ({"data": ("v9.9",)}, r"data = 'v9\.9' is not here yet"),
        ({"study": "other-1"}, r"it plans the study as tiny-\w+, not other-1"),
    ],
)
def test_a_worker_refuses_what_would_train_otherwise(plan, change, reason):
    with pytest.raises(UserError, match=reason):
        prepare(replace(StudyJob.of(plan), **change), 1, 8 * GB)


def test_a_worker_without_the_memory_refuses(plan):
    job = replace(StudyJob.of(plan), exchange="small")
    with pytest.raises(UserError, match="cannot hold one binned dataset"):
        prepare(job, 1, 1000)


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def connected(scheduler, job, said, **options):
    return WorkerPool(ClusterSettings(scheduler=scheduler), job, 1, lambda: False, said.append, **options)


def ended(pool):
    while not (found := pool.ended(1)):
        pass
    return found[0]


def fold_size(plan, fold):
    span = plan.dataset.span_of(fold.validation_eras)
    return span.stop - span.start


def test_a_trial_and_the_benchmark_are_trained_as_on_this_machine(plan, scheduler, tmp_path):
    draws = [plan.grid.params(cell) for cell in ((0,) * len(plan.grid.axes), (1,) * len(plan.grid.axes))]
    job, said, steps = replace(StudyJob.of(plan), exchange=str(tmp_path)), [], []
    with connected(scheduler, job, said, on_checkpoint=lambda fold, trees: steps.append((fold, trees))) as pool:
        while not pool.workers.slots:
            pool.ended(0.05)
        assert (pool.workers.ready, pool.workers.slots) == (1, 2)
        pool.submit(-1, plan.benchmark, report_steps=True)
        trained = ended(pool).trained
        predictions = trained.predictions.take()
        pool.compare_with({fold.number: part[:, 0] for fold, part in zip(plan.scored_folds, predictions, strict=True)})
        for number, params in enumerate(draws):
            pool.submit(number, params, alone=number == 1)
        results = {each.number: each.trained for each in (ended(pool), ended(pool))}
        assert pool.in_training == 0
    assert said == []
    assert steps[-1] == (2, 20)
    benchmark = {fold.number: part[:, 0] for fold, part in zip(plan.scored_folds, predictions, strict=True)}
    scorers = score_benchmark(plan, fold_scorers(plan), benchmark).scorers
    source = prepare(StudyJob.of(plan), 2, 8 * GB).source
    for number, params in enumerate(draws):
        wanted = run_trial(source, plan.folds[str(params["target"])], scorers, params, plan.experiment.seed)
        assert results[number].result.best == wanted.best
        for mine, part in zip(results[number].predictions.take(), wanted.folds, strict=True):
            np.testing.assert_array_equal(mine, part.predictions)
        for mine, part in zip(results[number].result.folds, wanted.folds, strict=True):
            np.testing.assert_array_equal(mine.scores.bmc["benchmark"], part.scores.bmc["benchmark"])


def test_the_mining_ends_where_every_worker_is_refused(plan, scheduler, monkeypatch):
    monkeypatch.setattr(pools, "_REFUSED_SECONDS", 0.0)
    job, said = replace(StudyJob.of(plan), study="other-2"), []

    def wait(pool):
        while not pool.workers.slots:
            pool.ended(0.2)

    with connected(scheduler, job, said) as pool, pytest.raises(UserError, match="no worker of scheduler tcp:"):
        wait(pool)
    assert len(said) == 1
    assert "is given no trials: it plans the study as" in said[0]


def test_no_report_of_a_worker_is_missed_where_the_subscription_arrives_late(plan, scheduler, monkeypatch):
    def send_late(client, message):
        delay = 0.5 if message["op"] == "subscribe-topic" else 0
        client.loop.call_later(delay, send, client, message)

    send = pools.Client._send_to_scheduler
    monkeypatch.setattr(pools.Client, "_send_to_scheduler", send_late)
    said = []
    with connected(scheduler, replace(StudyJob.of(plan), study="other-3"), said) as pool:
        for _ in range(100):
            pool.ended(0.1)
            if said:
                break
    assert [line for line in said if "is given no trials: it plans the study as" in line]


def test_a_trial_that_is_submitted_before_any_worker_is_ready_is_trained_once_one_is(plan, scheduler, monkeypatch):
    def prepare_slowly(*given):
        time.sleep(1)
        return prepare(*given)

    monkeypatch.setattr("signal_miner.cluster.worker.prepare", prepare_slowly)
    with connected(scheduler, StudyJob.of(plan), []) as pool:
        pool.submit(0, plan.benchmark)
        assert pool.workers.slots == 0
        assert ended(pool).trained.error == ""
        pool.compare_with({fold.number: np.zeros(fold_size(plan, fold), np.float32) for fold in plan.scored_folds})
        pool.submit(1, plan.benchmark)
        assert ended(pool).trained is not None


def test_a_task_that_is_given_up_ends_at_its_next_tree(plan, scheduler, monkeypatch):
    started, stopped = threading.Event(), threading.Event()

    def endless(source, folds, scorers, params, seed, should_stop, *others):
        started.set()
        while not should_stop():
            stopped.wait(0.01)
        stopped.set()
        raise RuntimeError

    monkeypatch.setattr("signal_miner.cluster.worker.run_trial", endless)
    with connected(scheduler, StudyJob.of(plan), []) as pool:
        while not pool.workers.slots:
            pool.ended(0.05)
        pool.submit(0, plan.benchmark)
        assert started.wait(30)
    assert stopped.wait(30)


def test_a_scheduler_that_is_not_there_is_named(plan, monkeypatch):
    monkeypatch.setattr(pools, "_CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(UserError, match=r"scheduler tcp://127\.0\.0\.1:9 cannot be reached"),
        connected("tcp://127.0.0.1:9", StudyJob.of(plan), []),
    ):
        pass
