"""Whether a new version becomes champion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.models.options import RegistrationOptions
from signal_miner.models.promotion import Comparison, Promotion, Reason, SectionScores, compare, decide_promotion
from signal_miner.models.registry import ModelVersion
from signal_miner.report.sentences import promotion_reason, section_line
from signal_miner.scoring.objective import Objective, Scoring

ERAS = [f"{era:04d}" for era in range(1, 13)]
SCORES = np.linspace(0.01, 0.03, 12)
CHAMPION = pd.DataFrame({"era": ERAS, "fold": [1] * 8 + [2] * 4, "corr": SCORES})
BETTER = CHAMPION.assign(corr=SCORES + 0.1)
SCORED_ON = {"data": "one", "target": "target_ender_60"}
GOOD = (SectionScores("validation", 0.03, 1.5, 0.02, 1.0, 0), SectionScores("test", 0.02, 1.0, 0.01, 0.5, 0))
VERSION = ModelVersion("signal-miner", "3", "run of the champion", ("champion",), SCORED_ON)


def test_a_challenger_without_a_score_in_some_era_does_not_win():
    eras = [f"{era:04d}" for era in range(1, 13)]
    scores = np.linspace(0.01, 0.03, 12)
    champion = pd.DataFrame({"era": eras, "fold": [1] * 8 + [2] * 4, "corr": scores})
    better = champion.assign(corr=scores + 0.1)
    assert compare(better, champion).beats
    assert not compare(champion, better).beats
    assert not compare(better.assign(corr=[np.nan, *better["corr"][1:]]), champion).beats
    assert not compare(better.iloc[[0, 1, 2, 8]], champion).beats  # 3 eras in common are too few
    flipped = champion.assign(corr=[*scores[:8] + 0.1, *scores[8:] - 9])  # test eras decide nothing
    assert compare(flipped, champion).beats


def scores_of(run_id: str) -> pd.DataFrame:
    return CHAMPION if "champion" in run_id else BETTER


def decided(champion=VERSION, era_scores=scores_of, run_id="run of the challenger", sections=GOOD, **options):
    return decide_promotion(RegistrationOptions(**options), run_id, sections, SCORED_ON, champion, era_scores)


PAID = Scoring(Objective.PAYOUT)
PAYOUTS = tuple(
    SectionScores(each, 0.03, 1.5, 0.02, 1.0, 0, 0.5, 0.3, 0.1, Objective.PAYOUT) for each in ("validation", "test")
)


@pytest.mark.parametrize(
    ("tags", "compared"),
    [
        ({"study": "demo-1"}, True),  # registered before there was the other tag
        ({"study": "demo-0", "against": "ridge"}, True),
        ({"study": "demo-0", "against": "deep"}, False),
        ({"study": "demo-0"}, False),
    ],
)
def test_payouts_are_compared_with_a_champion_of_the_same_benchmark_alone(tags, compared):
    def of(run_id):
        return scores_of(run_id).assign(bmc=0.01)

    against = {"study": "demo-1", "against": "ridge"}
    champion = replace(VERSION, tags=SCORED_ON | tags)
    found = decide_promotion(RegistrationOptions(), "run", PAYOUTS, SCORED_ON, champion, of, PAID, against)
    assert (found.promoted, found.reason is Reason.COMPARED) == (compared, compared)
    if not compared:
        assert promotion_reason(found, "if-better") == (
            "the BMC of version 3 is a contribution to another benchmark, so payouts do not compare"
        )
    by_corr = decide_promotion(RegistrationOptions(), "run", GOOD, SCORED_ON, champion, of, Scoring(), against)
    assert by_corr.reason is Reason.COMPARED


def section(name: str, **changes: float) -> tuple[SectionScores, ...]:
    """Return good scores, changed in a section."""
    return tuple(replace(each, **changes) if each.section == name else each for each in GOOD)


def unreadable(run_id: str) -> pd.DataFrame:
    raise UserError("no such file")


def other_data() -> ModelVersion:
    return ModelVersion("signal-miner", "3", "another run", (), SCORED_ON | {"data": "two"})


@pytest.mark.parametrize(
    ("found", "promoted", "reason", "sentence"),
    [
        (decided(promote="always"), True, Reason.CHOSEN, "promote = always"),
        (decided(promote="never", champion=None), False, Reason.CHOSEN, "promote = never"),
        (decided(champion=None), True, Reason.FIRST, "there was none"),
        (decided(trees="scaled"), False, Reason.SCALED_TREES, "scaled tree counts were never validated"),
        (decided(run_id=VERSION.run_id), True, Reason.SAME_ENSEMBLE, "it is the same ensemble, refitted"),
        (decided(champion=other_data()), False, Reason.OTHER_DATA, "version 3 was mined on other data or scored on"),
        (decided(era_scores=unreadable), False, Reason.UNREADABLE, "the scores of version 3 cannot be read (no such"),
        (decided(), True, Reason.COMPARED, "validation Sharpe "),
        (decided(champion=None, promote="always", sections=section("test", corr=-1)), True, Reason.CHOSEN, "promote ="),
        (
            decided(run_id=VERSION.run_id, sections=section("test", corr=-1)),
            True,
            Reason.SAME_ENSEMBLE,
            "it is the same",
        ),
        (decided(era_scores=lambda _run_id: CHAMPION), False, Reason.COMPARED, "validation Sharpe "),
    ],
)
def test_a_promotion_has_its_reason(found: Promotion, promoted: bool, reason: Reason, sentence: str) -> None:
    assert (found.promoted, found.reason) == (promoted, reason)
    assert promotion_reason(found, "always" if promoted else "never").startswith(sentence)


@pytest.mark.parametrize("champion", [None, VERSION])
@pytest.mark.parametrize("trees", ["kept", "scaled"])
@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize(
    ("changes", "reason", "sentence"),
    [
        ({"corr": 0.005}, Reason.BELOW_BENCHMARK, "it does not beat the benchmark in {}"),
        ({"sharpe": 0.1}, Reason.BELOW_BENCHMARK, "it does not beat the benchmark in {}"),
        ({"undefined_eras": 1}, Reason.BELOW_BENCHMARK, "it does not beat the benchmark in {}"),
        ({"corr": np.nan}, Reason.BELOW_BENCHMARK, "it does not beat the benchmark in {}"),
        ({"benchmark_sharpe": np.nan}, Reason.BELOW_BENCHMARK, "it does not beat the benchmark in {}"),
        (
            {"corr": -0.001, "sharpe": -0.1, "benchmark_corr": -0.02, "benchmark_sharpe": -1.0},
            Reason.NOT_POSITIVE,
            "its CORR in {} is not positive",
        ),
    ],
)
def test_an_ensemble_that_loses_is_champion_only_if_asked_for(champion, trees, name, changes, reason, sentence) -> None:
    found = decided(champion=champion, trees=trees, sections=section(name, **changes))
    assert (found.promoted, found.reason) == (False, reason)
    assert promotion_reason(found, "if_better") == sentence.format(name)


def test_scores_are_read_from_tracked_metrics() -> None:
    own = {"test/corr": 0.02, "test/sharpe": -0.5, "test/undefined_eras": 2.0}
    scores = SectionScores.of("test", own, {"test/corr": 0.01}, Objective.SHARPE)
    assert section_line(scores) == (
        "Test: CORR 0.0200 and Sharpe −0.50; the benchmark CORR 0.0100 and Sharpe –; no CORR in 2 eras"
    )


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (Comparison(3, np.nan, np.nan), "they have 3 validation eras in common, too few to compare"),
        (Comparison(1, np.nan, np.nan), "they have 1 validation era in common, too few to compare"),
        (Comparison(8, -1.5, 2.0), "validation Sharpe −1.500 against 2.000 on 8 common eras"),
    ],
)
def test_a_comparison_in_words(comparison: Comparison, sentence: str) -> None:
    assert promotion_reason(Promotion(False, Reason.COMPARED, "3", comparison), "if_better") == sentence


def test_under_payout_a_champion_is_the_one_that_is_paid_more() -> None:
    eras = [f"{era:04d}" for era in range(1, 10)]
    scores = pd.DataFrame({"era": eras, "fold": [1] * 8 + [2], "corr": 0.02, "bmc": np.linspace(0.0, 0.01, 9)})
    unique = scores.assign(corr=0.015, bmc=scores["bmc"] + 0.005)
    by_payout = Scoring(Objective.PAYOUT)
    assert compare(unique, scores, by_payout).beats
    assert not compare(unique, scores, Scoring(Objective.CORR)).beats
    found = compare(unique, scores, by_payout)
    assert found.challenger == pytest.approx((3 * 0.015 + 15 * unique["bmc"][:8]).mean())
    metrics = {"test/payout": 0.1, "test/payout_lead": 0.01, "test/corr": -0.1}
    section = SectionScores.of("test", metrics, {"test/payout": 0.05}, Objective.PAYOUT)
    assert section.beats_benchmark
    assert section.positive
    assert not replace(section, payout_lead=-0.01).beats_benchmark
    assert not replace(section, undefined_eras=1).beats_benchmark
    assert "payout 0.100; the benchmark" in section_line(section)
