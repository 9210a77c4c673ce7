"""The saved view of MLflow's UI: what it asks for exists, and a real browser shows all trials with the benchmark."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.tracking.comparison_view import (
    COLORS,
    LONGEST_TAG,
    folded_sections,
    order,
    run_color,
    shared_view,
    with_folded,
)
from tests.helpers.mining import client_of, environment, mine_here, runs_of
from tests.helpers.study import copy_study


def unpack(value):
    return json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix("deflate;"))))


def test_the_view_fits_mlflows_tags_whatever_the_study():
    metrics = {f"numerai_model_{number}/validation_bmc": 0.0 for number in range(200)}
    view = shared_view("1", "a-study-00000000", metrics, [f"parameter_{number}" for number in range(18)])
    assert len(view.value) < LONGEST_TAG
    assert "/#/experiments/1/runs?" in view.url_suffix
    assert view.key.removeprefix("mlflow.sharedViewState.") in view.url_suffix


def test_charts_of_later_metrics_are_folded_away_without_empty_sections():
    view = shared_view("1", "a-study-00000000", {"validation/corr": 0.01, "train_seconds": 1.0}, ["max_depth"])
    assert folded_sections(view.value) == ("Model metrics", "validation")
    assert with_folded(view.value, {"validation"}) is None
    changed = with_folded(view.value, {"luck", "validation"})
    assert folded_sections(changed) == ("Model metrics", "validation", "luck")
    assert unpack(changed)["compareRunCharts"] == unpack(view.value)["compareRunCharts"]
    resumed = shared_view(
        "1", "a-study-00000000", {"validation/corr": 0.01}, ["max_depth"], folded=folded_sections(changed)
    )
    assert set(folded_sections(resumed.value)) == {"Model metrics", "validation", "luck"}


@given(
    st.one_of(st.text(), st.sampled_from(["{}", "[]", '{"state": 3}', '{"state": "deflate;AAAA"}', '{"state": ""}']))
)
def test_a_view_of_another_format_is_left_alone(value):
    assert folded_sections(value) == ()
    assert with_folded(value, {"luck"}) is None


def test_charts_warn_of_a_benchmark_that_loses():
    losing = {"validation/corr": -0.0171, "test/corr": 0.01}
    for benchmark, title in (
        (losing, "Trials against the benchmark, whose CORR is -0.0171 in validation: beating it means little"),
        ({"validation/corr": 0.01, "test/corr": 0.01}, "Trials against the benchmark"),
    ):
        view = shared_view("1", "a-study-00000000", benchmark, ["max_depth"])
        assert unpack(view.value)["compareRunSections"][0]["name"] == title
        assert (
            unpack(view.value)["compareRunSections"][0]["uuid"]
            == unpack(view.value)["compareRunCharts"][0]["metricSectionId"]
        )


def test_the_order_puts_the_benchmark_first_then_the_best():
    sharpes = [1.5, 0.2, 0.0, -0.3, -12.0, None]
    keys = [order("benchmark", 0.1), *(order("trial", sharpe) for sharpe in sharpes)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_colours_show_the_benchmark_and_who_beats_it():
    assert run_color("benchmark", {}) == COLORS["benchmark"]
    assert run_color("trial", {"validation": True, "test": True}) == COLORS["both"]
    assert run_color("trial", {"validation": True, "test": False}) == COLORS["validation"]
    assert run_color("trial", {"validation": False, "test": True}) == COLORS["neither"]


@pytest.fixture(scope="module")
def served(tiny_study, tmp_path_factory):
    """A small study, with a few trials more than MLflow's charts show at first, and MLflow's UI over it."""
    directory = copy_study(tiny_study, tmp_path_factory.mktemp("view") / "study")
    done = mine_here(directory, "--trials", "14")
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db"]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--workers", "1"],  # not four, which import MLflow each
        cwd=directory,
        env=environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        address = re.search(r"and open  http://127.0.0.1:5000(\S+)", done.stdout).group(1)
        yield directory, f"http://127.0.0.1:{port}{address}"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.mark.slow
def test_the_view_speaks_of_metrics_params_and_tags_that_runs_have(served):
    directory, _ = served
    (experiment,) = [found for found in client_of(directory).search_experiments() if found.name == "tiny"]
    (value,) = [tag for name, tag in experiment.tags.items() if name.startswith("mlflow.sharedViewState.")]
    state = unpack(value)
    run = runs_of(directory)[0]
    for column in state["selectedColumns"]:
        kind, name = re.fullmatch(r"(metrics|params)\.`(.*)`", column).groups()
        assert name in getattr(run.data, kind)
    for chart in state["compareRunCharts"]:
        for metric in (chart.get("metricKey"), *(chart.get(axis, {}).get("key") for axis in ("xaxis", "yaxis"))):
            assert metric is None or metric in run.data.metrics
    assert state["orderByKey"] == "tags.`signal_miner.order`"
    found = client_of(directory).search_runs([experiment.experiment_id], state["searchFilter"])
    assert len(found) == 15


@pytest.mark.slow
def test_a_browser_opens_on_all_trials_and_the_benchmark(served, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    _, address = served
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}"]
    flags += ["--window-size=1600,1400", "--virtual-time-budget=40000", "--timeout=60000", "--dump-dom"]
    page = subprocess.run(
        [chromium, *flags, address],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    assert "15</strong> matching runs" in page or re.search(r"15\D{0,40}matching runs", page)
    for run in ("benchmark", *(f"trial {number:04d}" for number in range(14))):
        assert f">{run}<" in page
    assert "Trials against the benchmark" in page
    assert not re.search(r">\s*\(0\)", page)  # sections without charts
    assert "validation/sharpe vs. test/sharpe" in page
