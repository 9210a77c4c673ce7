"""Trees whose splits are chosen by era against `erasplit`, the package of the paper's author, where both do the same.

It needs a scikit-learn below 1.4, so it cannot share this project's environment: ``ERASPLIT_PYTHON`` names an
interpreter that has it. Eras are large, as `erasplit` rounds where two means are equal.
"""

from __future__ import annotations

import json
import os
import subprocess

import lightgbm as lgb
import numpy as np
import pytest

from signal_miner.engine.bitplane.booster import Booster
from tests.engine.bitplane.test_era_splits import exact
from tests.helpers.planes import fold_of

PYTHON = os.environ.get("ERASPLIT_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="ERASPLIT_PYTHON names no interpreter with erasplit")

N_CASES = 40
# The directional criterion, with the era gain to decide between equal agreements, is a sum in which the gain is tiny.
# `erasplit` itself compares such gains within a feature only, and never with the one found first.
WEIGHTS = {"era": {"gamma": 1.0, "blama": 0.0}, "directional": {"gamma": 1e-5, "blama": 1.0}}

PROGRAM = """
import json, sys
import numpy as np
from erasplit.ensemble import EraHistGradientBoostingRegressor

cases = np.load(sys.argv[1])
for number, params in enumerate(json.loads(sys.argv[2])):
    matrix, target, eras = (cases[f"{number}_{name}"] for name in ("matrix", "target", "eras"))
    model = EraHistGradientBoostingRegressor(early_stopping=False, max_iter=1, learning_rate=1.0, n_jobs=1, **params)
    model.fit(matrix.astype(float), target.astype(float), eras)
    nodes = model._predictors[0][0].nodes
    rows, splits = {0: np.arange(len(matrix))}, []
    for node, each in enumerate(nodes):
        if not each["is_leaf"]:
            right = matrix[rows[node], each["feature_idx"]] > each["num_threshold"]
            rows[int(each["left"])], rows[int(each["right"])] = rows[node][~right], rows[node][right]
            sides = [rows[int(each[side])].tolist() for side in ("left", "right")]
            splits.append([int(each["feature_idx"]), *sides])
    print("tree", json.dumps([splits, model.predict(matrix.astype(float)).tolist()]))
"""


def case(number):
    """Return data whose residuals four bits hold, and a tree's parameters in LightGBM's names and in erasplit's."""
    generator = np.random.default_rng(number)
    criterion = ("era", "directional")[number % 2]
    n_rows, n_eras = int(generator.integers(1500, 4000)), int(generator.integers(1, 9))
    if criterion == "directional":
        n_eras |= 1  # an even number may disagree by halves, where `erasplit` splits by the gain alone
    eras = np.sort(generator.integers(0, n_eras, n_rows))
    data = exact(generator, n_rows, int(generator.integers(2, 7)), np.unique(eras, return_inverse=True)[1])
    alpha = float(generator.choice([0.0, -0.01, -0.3, 0.02]))
    ours = {
        "split_criterion": criterion,
        "boltzmann_alpha": alpha,
        "num_leaves": int(generator.integers(2, 12)),
        "min_child_samples": int(generator.choice([1, 20])),
        # With it gains can be below 0, where `erasplit` splits by the direction.
        "reg_lambda": float(generator.choice([0.0, 3.0])) if criterion == "era" else 0.0,
    }
    theirs = WEIGHTS[criterion] | {
        "boltzmann_alpha": alpha,
        "max_leaf_nodes": ours["num_leaves"],
        "min_samples_leaf": ours["min_child_samples"],
        "l2_regularization": ours["reg_lambda"],
    }
    return data, ours, theirs


def test_trees_are_those_of_erasplit(tmp_path):
    cases = [case(number) for number in range(N_CASES)]
    arrays = {
        f"{number}_{name}": array
        for number, (data, _, _) in enumerate(cases)
        for name, array in zip(("matrix", "target", "eras"), data, strict=True)
    }
    np.savez(tmp_path / "cases.npz", **arrays)
    command = [PYTHON, "-c", PROGRAM, str(tmp_path / "cases.npz"), json.dumps([theirs for *_, theirs in cases])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.removeprefix("tree ") for line in done.stdout.splitlines() if line.startswith("tree ")]
    for ((matrix, residual, eras), ours, _), line in zip(cases, lines, strict=True):
        expected, predictions = json.loads(line)
        every = np.ones(len(matrix), bool)
        fold = fold_of(matrix, residual.astype(float), every, ~every, eras=eras)
        booster = Booster(fold, ours | {"learning_rate": 1.0}, 0)
        booster.grow(1)
        found = []
        if booster.num_trees:
            model = lgb.Booster(model_str=booster.model_text())
            np.testing.assert_allclose(model.predict(matrix), predictions, rtol=1e-5, atol=1e-5)
            visit(model.dump_model()["tree_info"][0]["tree_structure"], np.arange(len(matrix)), matrix, found)
        assert sorted(found) == sorted(expected), ours


def visit(node, rows, matrix, found):
    if "split_index" in node:
        right = matrix[rows, node["split_feature"]] > node["threshold"]
        found.append([node["split_feature"], rows[~right].tolist(), rows[right].tolist()])
        visit(node["left_child"], rows[~right], matrix, found)
        visit(node["right_child"], rows[right], matrix, found)
