"""Whether a new version becomes champion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from signal_miner.errors import UserError
from signal_miner.models.options import RegistrationOptions
from signal_miner.models.promotion import Comparison, Promotion, Reason, compare, decide_promotion
from signal_miner.models.registry import ModelVersion
from signal_miner.report.sentences import promotion_reason

ERAS = [f"{era:04d}" for era in range(1, 13)]
SCORES = np.linspace(0.01, 0.03, 12)
CHAMPION = pd.DataFrame({"era": ERAS, "fold": [1] * 8 + [2] * 4, "corr": SCORES})
BETTER = CHAMPION.assign(corr=SCORES + 0.1)
SCORED_ON = {"data": "one", "target": "target_ender_60"}
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


def decided(champion=VERSION, era_scores=lambda run_id: CHAMPION if "champion" in run_id else BETTER, **options):
    run_id = options.pop("run_id", "run of the challenger")
    return decide_promotion(RegistrationOptions(**options), run_id, SCORED_ON, champion, era_scores)


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
        (decided(era_scores=lambda _run_id: CHAMPION), False, Reason.COMPARED, "validation Sharpe "),
    ],
)
def test_a_promotion_has_its_reason(found: Promotion, promoted: bool, reason: Reason, sentence: str) -> None:
    assert (found.promoted, found.reason) == (promoted, reason)
    assert promotion_reason(found, "always" if promoted else "never").startswith(sentence)


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
