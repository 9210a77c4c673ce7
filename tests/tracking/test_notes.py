"""The notes on runs' pages: the scores beside the benchmark's, and links that stay in the menus of model training."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_miner.engine.metrics import RunMetrics
from signal_miner.tracking.notes import markdown_table, scores_note
from signal_miner.tracking.ui import REPORT_PAGE, run_page, runs_page, view_name

VALUES = {
    "validation/sharpe": 1.0419,
    "validation/sharpe_over_benchmark": 0.225,
    "validation/corr": 0.0504,
    "validation/corr_over_benchmark": 0.0172,
    "validation/bmc": 0.0298,
    "test/sharpe": -0.77,
    "test/sharpe_over_benchmark": -1.4,
    "test/corr": -0.0283,
    "best/trees": 120.0,
}


def cells(note: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in note.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.replace("&emsp;", "").strip() for cell in row] for row in rows]


def test_a_trials_scores_are_beside_the_benchmarks() -> None:
    metrics = RunMetrics(VALUES, {"validation": True, "test": False}, {}, (10, 150))
    links = {"All trials": runs_page("1", view_name("demo")), "Report": run_page("1", "abc", REPORT_PAGE)}
    note = scores_note(metrics, links)
    first, *_ = note.splitlines()
    assert first.startswith("Beats the benchmark in validation. [All trials](#/experiments/1/runs?")
    heads, validation, test = cells(note)
    assert validation[:5] == ["validation", "1.04", "0.82", "0.0504", "0.0332"]
    assert test[:5] == ["test", "−0.77", "0.63", "−0.0283", "–"]
    assert dict(zip(heads, validation, strict=True))["best trees"] == "120 of 150"


@pytest.mark.parametrize(
    ("beats", "first"),
    [
        ((False, False), "Does not beat the benchmark."),
        ((True, True), "Beats the benchmark in validation and test, but its CORR is not above 0 in test."),
        ((False, True), "Beats the benchmark in test, but its CORR is not above 0 in test."),
    ],
)
def test_a_loss_is_not_a_win(beats: tuple[bool, bool], first: str) -> None:
    metrics = RunMetrics(VALUES, dict(zip(("validation", "test"), beats, strict=True)))
    assert scores_note(metrics).splitlines()[0] == first


def test_the_benchmark_is_not_compared_with_itself() -> None:
    note = scores_note(RunMetrics(VALUES, {"validation": False, "test": False}), is_benchmark=True)
    assert note.startswith("The benchmark, with which all trials are compared.")
    assert "benchmark's" not in note


@given(st.dictionaries(st.sampled_from(sorted(VALUES)), st.floats(allow_nan=True)), st.booleans())
def test_whatever_is_defined_makes_a_table(values: dict[str, float], is_benchmark: bool) -> None:
    rows = cells(scores_note(RunMetrics(values, {"validation": True, "test": True}), is_benchmark=is_benchmark))
    assert len(rows) == 3
    assert len({len(row) for row in rows}) == 1
    assert "nan" not in str(rows)


def test_every_page_opens_in_model_training() -> None:
    for page in (run_page("1", "a"), run_page("1", "a", REPORT_PAGE), runs_page("1"), runs_page("1", "view of x")):
        path, _, query = page.partition("?")
        assert re.fullmatch(r"/#/experiments/1/runs(/a(/artifacts/report/report\.html)?)?", path)
        assert parse_qs(query)["workflowType"] == ["machine_learning"]


def test_columns_have_space_between_them() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a&emsp; | b&emsp; |\n| --- | --- |\n| 1&emsp; | 2&emsp; |"
