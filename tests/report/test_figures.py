"""The report's figures: what they show, on large and on hardly any input, and how they look in a page."""

from __future__ import annotations

import itertools
import re
import struct
import warnings
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from signal_miner.overfitting.records import Verdict
from signal_miner.report.contents import ReportContents
from signal_miner.report.curves import corr_by_trees_figure, cumulative_corr_figure
from signal_miner.report.fold_plan import fold_plan_figure
from signal_miner.report.gallery import page_figures
from signal_miner.report.luck import intervals_figure, luck_figure
from signal_miner.report.measures import beats_benchmark, benchmark_sharpe, trial_sharpe, wins
from signal_miner.report.parameters import parameters_figure, varying_dimensions
from signal_miner.report.scatters import contribution_figure, past_vs_future_figure
from signal_miner.report.style import THEME, page_element, png
from signal_miner.report.summary import uniqueness_sentence
from signal_miner.report.uniqueness import clustered_order, correlations_figure
from signal_miner.scoring.objective import Objective
from signal_miner.scoring.series import sharpe
from signal_miner.scoring.study_scores import TEST, VALIDATION, Correlations, StudyScores
from tests.helpers.report import bare, make_contents, undefined

FIGURES = {
    "past_vs_future": lambda contents: past_vs_future_figure(contents.scores, contents.evaluation.relation),
    "luck": lambda contents: luck_figure(
        contents.scores, contents.evaluation.deflation, contents.evaluation.overfitting
    ),
    "intervals": lambda contents: intervals_figure(contents.scores, contents.evaluation.leaders),
    "contribution": lambda contents: contribution_figure(contents.scores),
    "cumulative_corr": lambda contents: cumulative_corr_figure(contents.scores, contents.plan),
    "corr_by_trees": lambda contents: corr_by_trees_figure(contents.scores),
    "fold_plan": lambda contents: fold_plan_figure(contents.plan),
    "parameters": lambda contents: parameters_figure(contents.scores, contents.trials, contents.plan),
}


@pytest.fixture(scope="module")
def contents() -> ReportContents:
    return make_contents()


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """Return the labelled lines and markers of some axes, as (n_points, 2)."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.get_lines()}


def test_past_vs_future_has_a_dot_for_every_trial_and_the_benchmark_a_star(contents: ReportContents) -> None:
    scores = contents.scores
    axes = past_vs_future_figure(scores, contents.evaluation.relation).axes[0]
    drawn = lines(axes)
    dots = np.vstack([points for label, points in drawn.items() if "beat" in label])
    expected = np.column_stack([trial_sharpe(scores, VALIDATION), trial_sharpe(scores, TEST)])
    np.testing.assert_allclose(np.sort(dots, axis=0), np.sort(expected, axis=0))
    star = benchmark_sharpe(scores, VALIDATION), benchmark_sharpe(scores, TEST)
    np.testing.assert_allclose(drawn["benchmark"], [star])
    np.testing.assert_allclose(drawn[f"chosen: {scores.names[0]}"], expected[:1])
    slope = contents.evaluation.relation.slope
    (start, end) = drawn[f"fit, slope {slope:.2f}"]
    assert (end[1] - start[1]) / (end[0] - start[0]) == pytest.approx(slope)


def test_controls_of_a_race_are_encircled(contents: ReportContents) -> None:
    sampled = np.arange(len(contents.scores.names)) % 10 == 3
    scores = replace(contents.scores, sampled=sampled)
    axes = past_vs_future_figure(scores, contents.evaluation.relation).axes[0]
    expected = np.column_stack([trial_sharpe(scores, VALIDATION), trial_sharpe(scores, TEST)])[sampled]
    np.testing.assert_allclose(lines(axes)["controls of the race"], expected)
    none = past_vs_future_figure(replace(scores, sampled=~np.ones_like(sampled)), contents.evaluation.relation)
    assert "controls of the race" not in lines(none.axes[0])


def test_a_notebook_shows_a_figure_at_the_width_of_its_cell(contents: ReportContents) -> None:
    figure = past_vs_future_figure(contents.scores, contents.evaluation.relation)
    width = figure.get_figwidth()
    picture, metadata = figure._repr_png_()
    assert metadata == {"width": 1040}
    pixels = struct.unpack(">I", picture[16:20])[0]
    assert pixels >= metadata["width"]
    assert figure.get_figwidth() == width


def test_dots_beat_the_benchmark_as_their_runs_are_tagged(contents: ReportContents) -> None:
    for section in (VALIDATION, TEST):
        tagged = [trial.beats_benchmark[section] for trial in contents.trials]
        assert beats_benchmark(contents.scores, section).tolist() == tagged


def test_a_trial_with_an_undefined_era_beats_nobody(contents: ReportContents) -> None:
    corr = contents.scores.era_scores.copy()
    assert beats_benchmark(contents.scores, VALIDATION)[0]
    corr[0, 0] = np.nan
    assert not beats_benchmark(replace(contents.scores, era_scores=corr), VALIDATION)[0]


def test_what_loses_is_not_drawn_as_a_winner(contents: ReportContents) -> None:
    scores = contents.scores
    shift = 2 * np.abs(scores.era_scores.mean(axis=0)).max()
    losing = replace(scores, era_scores=scores.era_scores - shift, benchmark=scores.benchmark - shift)
    assert beats_benchmark(losing, VALIDATION).any()
    assert not wins(losing, VALIDATION).any()
    legend = past_vs_future_figure(losing, contents.evaluation.relation).axes[0].get_legend_handles_labels()[1]
    assert "does not beat it, or is below 0" in legend
    assert not [label for label in legend if label.startswith("beats")]


def test_luck_marks_what_luck_alone_gives_and_halves_the_splits_at_zero(contents: ReportContents) -> None:
    evaluation = contents.evaluation
    best, halves = luck_figure(contents.scores, evaluation.deflation, evaluation.overfitting).axes
    marks = {label.split(":")[0]: points[0, 0] for label, points in lines(best).items()}
    assert marks["luck's expected best"] == evaluation.deflation.expected_best_sharpe
    assert marks["benchmark"] == benchmark_sharpe(contents.scores, VALIDATION)
    assert marks[f"chosen, {contents.scores.names[0]}"] == trial_sharpe(contents.scores, VALIDATION).max()
    below = sum(bar.get_height() for bar in halves.containers[0])
    above = sum(bar.get_height() for bar in halves.containers[1])
    assert below == pytest.approx(evaluation.overfitting.probability)
    assert below + above == pytest.approx(1)
    assert all(bar.get_x() + bar.get_width() < 1e-9 for bar in halves.containers[0] if bar.get_height())
    halves.figure.canvas.draw()
    for tick, label in zip(halves.get_yticks(), halves.get_yticklabels(), strict=True):
        assert float(label.get_text().replace("−", "-").removesuffix("%")) == pytest.approx(100 * tick)  # not rounded


def test_luck_without_a_probability_of_overfitting_has_one_panel(contents: ReportContents) -> None:
    assert len(luck_figure(contents.scores, contents.evaluation.deflation, None).axes) == 1


def test_intervals_say_each_leaders_verdict_best_on_top(contents: ReportContents) -> None:
    own = intervals_figure(contents.scores, contents.evaluation.leaders).axes[0]
    leaders = contents.evaluation.leaders
    assert [label.get_text() for label in own.get_yticklabels()] == [
        f"{leader.name}\n{leader.verdict}" for leader in leaders
    ]
    assert own.get_ylim()[0] > own.get_ylim()[1]
    bold = [label.get_fontweight() == "bold" for label in own.get_yticklabels()]
    assert bold == [leader.verdict is Verdict.SKILL for leader in leaders]


@given(st.integers(1, 12), st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_clustering_keeps_every_model_and_puts_those_of_a_kind_side_by_side(n_models: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    kind = random.integers(3, size=n_models)
    matrix = np.where(kind[:, None] == kind, 0.9, 0.2) + random.uniform(-0.05, 0.05, (n_models, n_models))
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1)
    order = clustered_order(matrix)
    assert sorted(order) == list(range(n_models))
    changes = int((np.diff(kind[order]) != 0).sum())
    assert changes == len(set(kind.tolist())) - 1


def test_correlations_are_numbers_in_cells_where_they_fit() -> None:
    for n_models, numbers in ((4, 16), (20, 0)):
        matrix = np.full((n_models, n_models), -0.25) + 1.25 * np.eye(n_models)
        matrix[0, 1] = matrix[1, 0] = np.nan
        figure = correlations_figure(Correlations(tuple(f"trial {number:04d}" for number in range(n_models)), matrix))
        cells = [text.get_text() for text in figure.axes[0].texts]
        assert len(cells) == numbers
        assert set(cells) <= {"1", "−.25", "–"}
        png(figure)


def test_correlations_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"matrix has shape \(2, 2\)"):
        Correlations(("trial 0001",), np.eye(2))


def test_cumulative_corr_ends_at_the_sum_and_passes_over_undefined_eras(contents: ReportContents) -> None:
    corr = contents.scores.era_scores.copy()
    corr[3, 1] = np.nan
    axes = cumulative_corr_figure(replace(contents.scores, era_scores=corr), contents.plan).axes[0]
    drawn = lines(axes)
    for place, name in enumerate(contents.scores.names[:5]):
        assert drawn[name][-1, 1] == pytest.approx(np.nansum(corr[:, place]))
    assert drawn["benchmark"][-1, 1] == pytest.approx(contents.scores.benchmark.sum())
    assert [text.get_text() for text in axes.texts] == ["fold 1, validation", "fold 2, test"]


def test_trees_are_marked_where_validation_is_best(contents: ReportContents) -> None:
    noise = 0.02 * np.random.default_rng(1).standard_normal(contents.scores.candidates.shape)
    scores = replace(contents.scores, candidates=contents.scores.candidates + noise)
    validation, test = corr_by_trees_figure(scores).axes
    members = scores.candidate_trial == 0
    ratios = sharpe(scores.candidates[scores.rows(VALIDATION)][:, members])
    best = scores.candidate_trees[members][ratios.argmax()]
    assert best != scores.candidate_trees[members][-1]
    for axes in (validation, test):
        assert axes.get_lines()[1].get_xydata()[0, 0] == best


def test_fold_plan_bars_are_the_plans_eras(contents: ReportContents) -> None:
    axes = fold_plan_figure(contents.plan).axes[0]
    bars = [(bar.get_x() + 0.5, bar.get_x() + bar.get_width() - 0.5) for bar in axes.patches]
    assert bars[:6] == [(1, 36), (37, 52), (53, 104), (1, 88), (89, 104), (105, 156)]
    assert bars[6:] == [(157, 172), (173, 198)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fold 1", "fold 2", "holdout"]


def test_dimensions_are_those_that_vary_in_few_groups(contents: ReportContents) -> None:
    found = {each.name: each for each in varying_dimensions(contents.trials, contents.plan)}
    assert "subsample" not in found
    assert "seed" not in found
    assert found["reg_lambda"].labels == ("0", "1", "100", "10000")
    assert not found["target"].numeric
    rate = found["learning_rate"]
    assert rate.binned
    assert len(rate.labels) == 8
    values = np.array([float(trial.params["learning_rate"]) for trial in contents.trials])
    counts = np.bincount(rate.group)
    assert counts.sum() == len(values)
    assert counts.max() <= 2 * counts.min()
    for one in range(7):
        assert values[rate.group == one].max() < values[rate.group == one + 1].min()


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parameters_in_parts_show_every_dimension_once(contents: ReportContents, parts: int) -> None:
    drawn = []
    for part in range(1, parts + 1):
        figure = parameters_figure(contents.scores, contents.trials, contents.plan, (part, parts))
        drawn += [axes.get_title(loc="left").removesuffix(", binned") for axes in figure.axes if axes.axison]
    names = [each.name for each in varying_dimensions(contents.trials, contents.plan)]
    assert sorted(drawn) == sorted(names)


@pytest.mark.parametrize(("objective", "ratio"), [(Objective.SHARPE, "Sharpe"), (Objective.PAYOUT, "payout Sharpe")])
def test_parameters_name_the_ratio_that_they_show(contents: ReportContents, objective: Objective, ratio: str) -> None:
    figure = parameters_figure(replace(contents.scores, objective=objective), contents.trials, contents.plan)
    labels = {label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())}
    assert labels - {""} == {ratio}


def test_parameters_that_do_not_vary_are_a_sentence(contents: ReportContents) -> None:
    plain = bare(contents)
    figure = parameters_figure(plain.scores, plain.trials, plain.plan)
    assert not figure.axes
    assert "No parameter varies" in figure.texts[-1].get_text()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(lambda: make_contents(1, n_checkpoints=1), id="one trial"),
        pytest.param(lambda: make_contents(2, n_eras=8, n_folds=3), id="two trials, few eras"),
        pytest.param(lambda: undefined(bare(make_contents(2))), id="nothing defined"),
        pytest.param(lambda: undefined(make_contents(3)), id="a first trial without scores"),
        pytest.param(lambda: make_contents(5, n_folds=1), id="no validation eras"),
        pytest.param(lambda: replace(make_contents(3), plan={}), id="no plan"),
    ],
)
def test_hardly_any_input_still_makes_every_figure(case: object) -> None:
    contents = case()  # type: ignore[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, draw in FIGURES.items():
            figure = draw(contents)
            figure.draw_without_rendering()
            assert isinstance(figure, Figure), name


def test_labels_stay_within_their_figure_and_off_one_another(contents: ReportContents) -> None:
    figures = {each.name: each.figure for each in page_figures(contents)}
    folds = make_contents(30, n_eras=20, n_folds=8, n_leaders=12)
    figures |= {
        f"{name} of eight folds": FIGURES[name](folds) for name in ("intervals", "cumulative_corr", "fold_plan")
    }
    for name, figure in figures.items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        drawn, size = figure.get_tightbbox(renderer), figure.get_size_inches()
        assert drawn.x0 > -0.01, name
        assert drawn.y0 > -0.01, name
        assert drawn.x1 < size[0] + 0.01, name
        assert drawn.y1 < size[1] + 0.01, name
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                apart(name, [label.get_window_extent(renderer) for label in shown_labels(axis)])
            apart(name, [text.get_window_extent(renderer) for text in axes.texts])


def shown_labels(axis: Axis) -> list[Text]:
    """Return the labels of the ticks within the limits; others are made but not drawn."""
    low, high = sorted(axis.get_view_interval())
    within = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for label in within if label.get_visible() and label.get_text()]


def apart(name: str, boxes: list[Bbox]) -> None:
    for first, second in itertools.pairwise(boxes):
        assert Bbox.intersection(first, second) is None, f"{name}: {first} and {second}"


def test_png_is_twice_the_pages_size(contents: ReportContents) -> None:
    body = png(fold_plan_figure(contents.plan))
    assert body.startswith(b"\x89PNG")
    width, _ = struct.unpack(">II", body[16:24])
    assert width == 1040


def test_svg_follows_the_page_and_shares_no_id(contents: ReportContents) -> None:
    figure = past_vs_future_figure(contents.scores, contents.evaluation.relation)
    first, second = page_element(figure, "first", 'said "so" & <such>'), page_element(figure, "second", "")
    for text in (first, second):
        assert not any(light in text for light, _ in THEME.values())
        assert "var(--ink)" in text
        assert "var(--benchmark)" in text
        assert re.search(r"<text [^>]*>Sharpe in validation</text>", text)
        assert "http" not in text
    ids = [set(re.findall(r' id="([^"]*)"', text)) for text in (first, second)]
    assert all(ids)
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]*)\)", first)) <= ids[0]
    assert 'aria-label="said &quot;so&quot; &amp; &lt;such&gt;"' in first


@pytest.mark.parametrize(
    ("written", "otherwise"),
    [
        (r' viewBox="[^"]*"', ""),
        ("#1c2127", "rgb(28,33,39)"),
        ("'DejaVu Sans'", "DejaVu"),
        (r' id="', ' name="'),
    ],
)
def test_a_figure_whose_svg_is_not_understood_is_a_picture(
    contents: ReportContents, monkeypatch: pytest.MonkeyPatch, written: str, otherwise: str
) -> None:
    save = Figure.savefig

    def savefig(self: Figure, file: Any, **options: Any) -> None:
        save(self, file, **options)
        if options["format"] == "svg":
            text = re.sub(written, otherwise, file.getvalue())
            file.seek(0)
            file.truncate()
            file.write(text)

    monkeypatch.setattr(Figure, "savefig", savefig)
    element = page_element(past_vs_future_figure(contents.scores, contents.evaluation.relation), "past", 'a "text"')
    assert re.fullmatch(r'<img src="data:image/png;base64,[\w+/=]{1000,}" alt="a &quot;text&quot;">', element)


def test_figures_neither_take_nor_leave_settings(contents: ReportContents) -> None:
    plain = page_element(fold_plan_figure(contents.plan), "folds", "")
    with mpl.rc_context({"font.size": 40, "axes.facecolor": "red", "text.usetex": False, "axes.grid": False}):
        before = dict(mpl.rcParams)
        assert page_element(fold_plan_figure(contents.plan), "folds", "") == plain
        assert dict(mpl.rcParams) == before


def test_names_with_dollars_are_no_formulas(contents: ReportContents) -> None:
    params = [{**trial.params, "target": f"$\\bad_{number % 2}$"} for number, trial in enumerate(contents.trials)]
    trials = [replace(trial, params=each) for trial, each in zip(contents.trials, params, strict=True)]
    figure = parameters_figure(contents.scores, trials, {"experiment": {"grid": {"target": []}}})
    assert "$\\bad_0$" in page_element(figure, "parameters", "")


def test_the_benchmark_is_where_its_scores_are() -> None:
    contents = make_contents(12)
    metrics = {**contents.benchmark.metrics, "validation/benchmark_corr": 0.65, "validation/bmc": 0.02}
    plan = {**contents.plan, "experiment": {**contents.plan["experiment"], "contribution_to": "v53_lgbm_ender60"}}
    moved = replace(contents, benchmark=replace(contents.benchmark, metrics=metrics), plan=plan)
    figure = next(each.figure for each in page_figures(moved) if each.name == "bmc_vs_benchmark_corr")
    assert figure.axes[0].get_xlabel() == "correlation with v53_lgbm_ender60"
    assert " with v53_lgbm_ender60 in validation" in uniqueness_sentence(moved)
    assert " with the benchmark in validation" in uniqueness_sentence(contents)
    stars = [line.get_xydata().tolist() for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert stars == [[[0.65, 0.02]]]


def test_three_thousand_dots_are_small_files() -> None:
    contents = make_contents(3000, n_eras=20, n_checkpoints=1)
    scores: StudyScores = contents.scores
    for figure in (past_vs_future_figure(scores, contents.evaluation.relation), contribution_figure(scores)):
        assert len(page_element(figure, "dots", "")) < 600_000
        assert len(png(figure)) < 400_000
