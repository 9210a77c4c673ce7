"""The report's page: one file that asks for nothing, says what there is, and opens in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from signal_miner.overfitting.records import Estimate, Verdict
from signal_miner.report.contents import ReportContents
from signal_miner.report.page import render_page, write_report
from signal_miner.report.sentences import interval_text
from signal_miner.report.summary import expected_headline, headline, summary_lines
from signal_miner.report.tables import findings, further_heads, leaderboard_rows
from signal_miner.tracking.records import Checkpoint
from signal_miner.utils.formatting import number_text, percent_text, probability_text
from tests.helpers.report import SOURCES, bare, make_contents, undefined, with_ensembles, with_further_scores

NASTY = '<script>alert("1")</script> & <b>' + "x" * 150
VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "image", "rect"}


class Page(HTMLParser):
    """Tags, their attributes and the text in some of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data


@pytest.fixture(scope="module")
def contents() -> ReportContents:
    return make_contents(study=NASTY)


@pytest.fixture(scope="module")
def written(contents: ReportContents, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_report(contents, SOURCES, tmp_path_factory.mktemp("report") / "new")


@pytest.fixture(scope="module")
def page(written: tuple[Path, ...]) -> str:
    return written[0].read_text()


def test_the_page_and_a_picture_of_every_figure_are_written(written: tuple[Path, ...]) -> None:
    assert [path.name for path in written] == [
        "report.html",
        "expectation.png",
        "past_vs_future.png",
        "luck.png",
        "intervals.png",
        "correlations.png",
        "bmc_vs_benchmark_corr.png",
        "cumulative_corr.png",
        "corr_by_trees.png",
        "fold_plan.png",
        "parameters.png",
    ]
    assert sorted(written) == sorted(written[0].parent.iterdir())
    for path in written[1:]:
        body = path.read_bytes()
        width, height = struct.unpack(">II", body[16:24])
        assert body.startswith(b"\x89PNG")
        assert 900 < width < 1200
        assert 400 < height < 4000
        assert 10_000 < len(body) < 800_000
    assert written[0].stat().st_size < 1_000_000


def test_the_page_is_whole_and_has_a_name_for_everything(page: str) -> None:
    parsed = Page(page)
    assert not parsed.open
    assert parsed.tags["h1"] == parsed.tags["title"] == parsed.tags["main"] == 1
    assert parsed.tags["figure"] == parsed.tags["figcaption"] == parsed.tags["svg"] == 11
    assert sum(name == "aria-label" and bool(value) for name, value in parsed.attributes) == 13
    assert parsed.text["h2"] == [
        "In short",
        "Past against future",
        "Leaderboard",
        "How much of it is luck",
        "Uniqueness",
        "Curves",
        "Folds",
        "Parameters",
        "How to read this",
        "Sources",
    ]


def test_the_page_asks_for_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {"link", "iframe", "object", "embed", "img", "base", "form", "a"} & set(parsed.tags)
    data, script = parsed.text["script"]
    json.loads(data)
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\b|eval|innerHTML|localStorage|sendBeacon", script)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    for name, value in parsed.attributes:
        if name in {"href", "xlink:href", "src", "srcset", "data", "action", "poster"}:
            assert value.startswith(("#", "data:image/png;base64,"))
        assert not name.startswith("on")
        assert "://" not in value
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_ids_are_unique_and_every_reference_has_its_target(page: str) -> None:
    ids = Counter(value for name, value in Page(page).attributes if name == "id")
    assert max(ids.values()) == 1
    references = set(re.findall(r'(?:url\(#|href="#)([^")]+)', page))
    assert references
    assert references <= set(ids)
    found = set(re.findall(r'getElementById\("(.*?)"\)', page))
    assert found <= set(ids)


def test_names_are_escaped(page: str) -> None:
    assert page.count("<script") == 2  # the page's own
    assert "&lt;script&gt;" in page


def test_the_page_says_the_verdict_the_lines_and_the_sources(contents: ReportContents, page: str) -> None:
    parsed = Page(page)
    assert parsed.text["h1"] == [expected_headline(contents)]
    assert headline(contents) in parsed.text["main"][0]
    assert [text.strip() for text in parsed.text["li"][:7]] == list(summary_lines(contents))
    for source in SOURCES.values():
        assert source in parsed.text["main"][0]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [(Verdict.SKILL, "has skill"), (Verdict.UNCLEAR, "unclear"), (Verdict.LUCK, "no better than luck")],
)
def test_the_headline_is_the_first_models_verdict(contents: ReportContents, verdict: Verdict, said: str) -> None:
    leaders = (replace(contents.chosen, verdict=verdict), *contents.evaluation.leaders[1:])
    changed = replace(contents, evaluation=replace(contents.evaluation, leaders=leaders))
    assert said in headline(changed)
    assert contents.chosen.name in headline(changed).lower()
    assert f'<span class="badge {verdict}">{verdict}</span>' in render_page(changed, SOURCES, {})


def test_the_page_has_the_scores_that_nothing_is_chosen_by(contents: ReportContents, page: str) -> None:
    further = {"validation/fnc": 0.0123, "test/fnc": 0.0045, "validation/feature_exposure": 0.31}
    further |= {"test/feature_exposure": 0.29, "meta_model/mmc": 0.002, "meta_model/cwmm": 0.45}
    further |= {"meta_model/eras": 40.0, "meta_model/independent_blocks": 3.0}
    chosen = contents.chosen_trial
    trials = tuple(
        replace(trial, metrics={**trial.metrics, **further}) if trial is chosen else trial for trial in contents.trials
    )
    shown = render_page(replace(contents, trials=trials), SOURCES, {})
    start = f"Not used for selection: {contents.chosen.name} has FNC 0.0123 in validation and 0.0045 in test, "
    assert start in shown
    assert "MMC 0.0020" in shown
    assert "independent" in shown.partition(start)[2].partition("</p>")[0]
    assert "Not used for selection: " not in page


def test_seven_lines_say_what_was_found(contents: ReportContents) -> None:
    lines = summary_lines(contents)
    assert len(lines) == 7
    assert not any("\n" in line for line in lines)
    expected, trials, chosen, relation, overfitting, benchmark, uniqueness = lines
    own = contents.chosen.sharpe
    assert expected.startswith("Expect a Sharpe of about 0.42, between −0.05 and 0.90 over the next 52 eras; a payout")
    shown, tested = (number_text(own[section].value) for section in ("validation", "test"))
    name = contents.chosen.name
    assert f"{name}, chosen from 80 trials, showed {shown} in validation and {tested} in test." in expected
    assert "no estimate covers a change of regime" in expected
    assert trials.startswith("80 trials finished, 2 failed; ")
    assert f"{contents.chosen.name}, Sharpe " in chosen
    assert "Verdict: skill." in chosen
    assert "weak relation over 80 trials" in relation
    meaning = "above 0, so validation predicted test to some extent"
    assert f"(rank correlation 0.31, 90% interval 0.02 to 0.55: {meaning})" in relation
    assert f"{contents.evaluation.overfitting.probability:.0%} of 924 splits" in overfitting
    assert "luck" not in overfitting
    assert "p = 0.048 for CORR and 0.058 for Sharpe" in benchmark
    assert "before the correction for selection bias" in benchmark
    assert "It is better than the average trial, but not shown better than the benchmark." in chosen
    assert "the most similar of the ten leaders is trial " in uniqueness


def test_where_the_trials_are_scored_is_said(contents: ReportContents) -> None:
    assert "trials are scored with the drawn number of trees" in render_page(contents, SOURCES, {})
    raced = [replace(trial, checkpoint=Checkpoint.BEST) for trial in contents.trials]
    assert "trials are scored at their best checkpoints" in render_page(replace(contents, trials=raced), SOURCES, {})


def test_an_average_is_recommended_until_there_is_an_ensemble(contents: ReportContents) -> None:
    assert "Average the ten best" in render_page(contents, SOURCES, {})
    assert "Average the ten best" not in render_page(with_ensembles(contents), SOURCES, {})


@pytest.mark.parametrize(
    ("failed", "unfinished", "said"),
    [(0, 0, "80 trials finished; "), (0, 1, "80 trials finished, 1 not finished; "), (2, 1, ", 2 failed, 1 not finis")],
)
def test_a_trial_that_is_not_finished_is_not_called_failed(
    contents: ReportContents, failed: int, unfinished: int, said: str
) -> None:
    changed = replace(contents, scores=replace(contents.scores, failed=failed, unfinished=unfinished))
    assert said in summary_lines(changed)[1]
    footer = Page(render_page(changed, SOURCES, {})).text["footer"][0]
    assert said.partition(";")[0] in footer
    assert changed.scores.tries == 80 + failed + unfinished


@pytest.mark.parametrize(
    ("own", "other", "said"),
    [
        ({"test/sharpe": 0.412}, {"test/sharpe": 0.67}, "Sharpe 0.41 against 0.67"),
        ({"test/sharpe": 0.671}, {"test/sharpe": 0.674}, "Sharpe 0.671 against 0.674"),
        ({"test/sharpe": -0.25}, {"test/sharpe": -0.1}, "Sharpe −0.25 against −0.10"),
        ({"test/sharpe": 0.8, "test/corr": 0.01}, {"test/sharpe": 0.67, "test/corr": 0.02}, "CORR 0.0100 against 0.02"),
        ({"test/sharpe": 0.67, "test/corr": 0.02}, {"test/sharpe": 0.67, "test/corr": 0.02}, ""),
        ({}, {"test/sharpe": 0.67}, ""),
    ],
)
def test_a_model_below_the_benchmark_in_test_is_said_to_be(
    contents: ReportContents, own: dict[str, float], other: dict[str, float], said: str
) -> None:
    first = replace(contents.trials[0], metrics=own)
    changed = replace(
        contents,
        trials=(first, *contents.trials[1:]),
        benchmark=replace(contents.benchmark, metrics=other),
    )
    lines = (headline(changed), summary_lines(changed)[2])
    assert all(line.endswith(".") for line in lines)
    if said:
        assert f"; in test it is below the benchmark ({said}" in lines[0]
        assert f" In test it is below the benchmark ({said}" in lines[1]
    else:
        assert not any("below the benchmark" in line for line in lines)


def test_seven_lines_where_nothing_was_estimated() -> None:
    for contents in (bare(make_contents(1)), undefined(bare(make_contents(2)))):
        lines = summary_lines(contents)
        assert len(lines) == 7
        assert "not estimated" in lines[0]
        assert "not estimated" in lines[4]
        assert "not possible" in lines[5]
        assert not any("nan" in line for line in lines)


def test_leaders_ensembles_and_benchmark_have_scores_that_nothing_is_chosen_by(
    contents: ReportContents,
) -> None:
    assert "not used for selection" not in render_page(contents, SOURCES, {}).lower()
    further = with_further_scores(with_ensembles(contents))
    columns = ["FNC vali\u00addation", "FNC test", "largest ex\u00adpo\u00adsure", "MMC", "CWMM"]
    assert further_heads(further) == columns
    rows = leaderboard_rows(further)
    leaders = {leader.name for leader in contents.evaluation.leaders}
    assert len(leaders) == 10
    for row in rows:
        known = row.kind != "trial" or row.name in leaders
        expected = ["0.0123", "−0.0045", "0.31", "0.0012", "0.45"] if known else ["–"] * 5
        assert [cell.text for cell in row.cells[-5:]] == expected
    page = render_page(further, SOURCES, {})
    assert (
        "of the ensembles, the first ten trials and the benchmark, CORR once the features are taken out (FNC)" in page
    )
    assert "in the 86 eras that it covers, worth about 7.2 independent ones." in page
    body = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    assert {len(re.findall(r"<t[hd][ >]", row)) for row in body if 'scope="row"' in row} == {2 + len(rows[0].cells) + 6}
    assert [int(n) for n in re.findall(r'data-column="(\d+)"', page)][-5:] == list(range(12, 17))


def test_the_leaderboard_has_the_trials_and_the_benchmark_in_its_place(contents: ReportContents) -> None:
    rows = leaderboard_rows(contents)
    assert len(rows) == 81
    trials = [row for row in rows if not row.is_benchmark]
    assert [row.name for row in trials] == list(contents.scores.names)
    assert [row.more for row in trials] == [False] * 15 + [True] * 65
    ranks = [int(row.rank.text) for row in rows]
    assert ranks == sorted(ranks)
    for place, (row, trial) in enumerate(zip(trials, contents.trials, strict=True)):
        beats = trial.beats_benchmark
        assert row.beats == ("both" if all(beats.values()) else "validation" if beats["validation"] else "–")
        assert row.cells[0].text == number_text(trial.metrics["validation/sharpe"])
        assert row.cells[6].text == number_text(trial.metrics["test/corr"], 4)
        assert float(row.cells[6].value) == pytest.approx(trial.metrics["test/corr"], rel=1e-4)
        assert len(row.cells) == 10
        assert row.place == place
        assert bool(row.verdict) == bool(row.why) == (place < 10)
    assert [trials[0].better, trials[1].better] == ["average", "–"]
    assert len(leaderboard_rows(contents, 20)) == 21


def test_ensembles_stand_beside_the_trials(contents: ReportContents, tmp_path: Path) -> None:
    both = with_ensembles(contents)
    rows = leaderboard_rows(both)
    assert [(row.name, row.kind, row.place) for row in rows[:2]] == [
        ("ensemble 1", "ensemble", 80),
        ("ensemble 2", "ensemble", 81),
    ]
    assert [row.expected.text for row in rows[:2]] == ["0.50", "–"]
    assert rows[0].verdict == "skill"
    assert [row.beats for row in rows[:2]] == ["both", "validation"]
    text = write_report(both, SOURCES, tmp_path)[0].read_text()
    data = json.loads(Page(text).text["script"][0])
    assert [model["name"] for model in data["models"][79:]] == [contents.scores.names[79], "ensemble 1", "ensemble 2"]
    assert data["models"][80]["run"].startswith("/#/experiments/1/runs/e1?")
    assert set(data["figures"]) == {"past_vs_future", "luck", "intervals", "bmc_vs_benchmark_corr"}
    points = data["figures"]["past_vs_future"]
    assert len(points["x"]) == len(points["y"]) == 82
    order = np.argsort([trial.metrics["validation/sharpe"] for trial in contents.trials])
    assert (np.diff(np.array(points["x"])[order]) >= 0).all()  # where it is drawn rises with its score
    assert (points["x"][80], points["y"][80]) == (points["x"][0], points["y"][0])


def test_a_benchmark_further_down_is_still_shown(contents: ReportContents) -> None:
    low = replace(contents.benchmark, metrics={**contents.benchmark.metrics, "validation/sharpe": -9.0})
    rows = leaderboard_rows(replace(contents, benchmark=low))
    assert rows[-1].is_benchmark
    assert rows[-1].rank.text == "81"
    assert len(rows) == 81


def test_every_number_about_luck_has_a_meaning_and_its_source(contents: ReportContents) -> None:
    for each in (contents, bare(contents), undefined(bare(contents))):
        found = findings(each, SOURCES)
        assert len(found) == (7 if each is contents else 6)
        assert all(finding.meaning.endswith(".") and finding.source for finding in found)
    assert all(finding.source == "" for finding in findings(contents, {}))


def test_a_benchmark_that_loses_is_noted(contents: ReportContents) -> None:
    losing = replace(contents.benchmark, metrics={**contents.benchmark.metrics, "test/corr": -0.02})
    note = "The benchmark&#39;s own CORR is −0.0200 in test, not above 0, so beating it means little there."
    assert note in render_page(replace(contents, benchmark=losing), SOURCES, {})
    assert "means little" not in render_page(contents, SOURCES, {})


def test_the_holdout_is_noted(contents: ReportContents) -> None:
    assert "It has not been opened" in render_page(contents, SOURCES, {})
    opened = render_page(replace(contents, holdout="Opened on 3 May; Sharpe 0.41."), SOURCES, {})
    assert "It has not been opened" not in opened
    assert "Opened on 3 May; Sharpe 0.41." in opened


def test_what_is_missing_is_said_in_its_place(tmp_path: Path) -> None:
    paths = write_report(undefined(bare(make_contents(2, holdout_eras=0))), {}, tmp_path)
    text = paths[0].read_text()
    Page(text)
    assert {"correlations.png", "parameters.png"} & {path.name for path in paths} == set()
    assert "No parameter varies between the trials." in text
    assert "predictions are not at hand" in text
    assert "nan" not in Page(text).text["main"][0].lower().split()
    assert "holdout" not in Page(text).text["main"][0].lower()


def test_contents_that_do_not_fit_are_refused(contents: ReportContents) -> None:
    with pytest.raises(ValueError, match="not of the same models"):
        replace(contents, trials=contents.trials[::-1])
    with pytest.raises(ValueError, match="at least one finished trial"):
        replace(contents, evaluation=replace(contents.evaluation, leaders=()))


def test_numbers_are_written_as_a_reader_expects() -> None:
    assert number_text(-0.004) == "0.00"
    assert number_text(-1.25) == "−1.25"
    assert number_text(None) == number_text(np.nan) == "–"
    assert [percent_text(share) for share in (0.0, 0.004, 0.424, 0.999, 1.0)] == [
        "0%",
        "below 1%",
        "42%",
        "above 99%",
        "100%",
    ]
    assert [probability_text(each) for each in (0.9499, 0.95, 0.99999, 0.0)] == [
        "94.9%",
        "95.0%",
        "above 99.9%",
        "below 0.1%",
    ]
    assert interval_text(Estimate(0.5, np.nan, np.nan)) == "0.50"
    assert interval_text(Estimate(0.5, -0.1, 1.0)) == "0.50 (90% interval −0.10 to 1.00)"


def test_sentences_are_escaped(contents: ReportContents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal_miner.report.page.verdict_sentence", lambda *_: "Its <i>reason</i>.")
    page = render_page(contents, SOURCES, {})
    assert "<i>reason" not in page
    assert "Its &lt;i&gt;reason&lt;/i&gt;." in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium on the path")
def test_the_page_opens_in_chromium_without_a_complaint(
    contents: ReportContents, written: tuple[Path, ...], tmp_path: Path
) -> None:
    picture = tmp_path / "page.png"
    opened = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=10000",
            "--hide-scrollbars",
            "--window-size=375,900",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={picture}",
            written[0].as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert [line for line in opened.stderr.splitlines() if "CONSOLE" in line] == []
    body = picture.read_bytes()
    assert struct.unpack(">II", body[16:24]) == (375, 900)
    assert len(body) > 20_000
