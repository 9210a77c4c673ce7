"""The report as one self-contained HTML page, and its figures as files."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from signal_miner.overfitting.records import FEWEST_TRIALS, STRONG
from signal_miner.report.contents import ReportContents
from signal_miner.report.gallery import page_figures
from signal_miner.report.live_text import METHOD, slot_sentence
from signal_miner.report.sentences import (
    beating_rule,
    further_rule,
    further_sentence,
    relation_sentence,
    verdict_sentence,
)
from signal_miner.report.style import THEME, page_element, png
from signal_miner.report.summary import (
    compared_trial,
    expected_headline,
    headline,
    others_text,
    page_notes,
    recommendation,
    relation_facts,
    summary_lines,
    uniqueness_sentence,
)
from signal_miner.report.tables import (
    MOST,
    SECTIONS,
    column_heads,
    columns_of,
    findings,
    further_heads,
    leaderboard_rows,
)
from signal_miner.scoring.columns import Column
from signal_miner.tracking.records import FIXED_PARAMS
from signal_miner.tracking.ui import REPORT_PAGE, run_page
from signal_miner.utils.files import write_whole

PAGE = Path(REPORT_PAGE).name

_SECTION_NOTES = {"validation": "chosen by", "test": "shown only"}
_SERVER = "http://127.0.0.1:5000"  # where `mlflow ui` is, for a page opened from a file


def write_report(contents: ReportContents, sources: Mapping[str, str], directory: Path) -> tuple[Path, ...]:
    """Write the page, and its figures as PNG.

    Parameters
    ----------
    sources : mapping of str to str
        Where the methods are from: of ``deflation``, ``overfitting``, ``superiority``, ``bootstrap`` and ``relation``.
    directory : Path
        Made where it does not exist; files of an earlier report in it are replaced.

    Returns
    -------
    tuple of Path
        ``report.html``, and the PNG files in the page's order.

    Raises
    ------
    UserError
        If the disk does not take them.
    """
    drawn: dict[str, Mapping[str, str | Markup]] = {}
    points: dict[str, Mapping[str, list[float | None]]] = {}
    paths = [directory / PAGE]
    for each in page_figures(contents):
        if each.as_file:
            path = directory / f"{each.name}.png"
            write_whole(path, png(each.figure))
            paths.append(path)
            each.figure.set_layout_engine("none")  # the layout is known by now, and computing it again takes long
        if each.on_page:
            markup = Markup(page_element(each.figure, each.name, each.description))
            drawn[each.name] = {"element": markup, "caption": each.caption}
            if each.points is not None:
                points[each.name] = _in_svg(each.figure, each.points)
    write_whole(directory / PAGE, render_page(contents, sources, drawn, points).encode())
    return tuple(paths)


def render_page(
    contents: ReportContents,
    sources: Mapping[str, str],
    figures: Mapping[str, Mapping[str, str | Markup]],
    points: Mapping[str, Mapping[str, list[float | None]]] | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    sources : mapping of str to str
        As of `write_report`.
    figures : mapping of str to mapping
        ``element`` and ``caption`` of each figure by its name; one that is missing is left out.
    points : mapping of str to mapping, optional
        ``x`` and ``y`` of each trial, then of each ensemble, in a figure's view box.

    Returns
    -------
    str
        HTML that asks for nothing outside itself.
    """
    found = findings(contents, sources)
    return template("report.html.jinja").render(
        contents=contents,
        chosen=contents.chosen,
        evaluation=contents.evaluation,
        notes=page_notes(contents),
        verdict_sentence=verdict_sentence,
        headline=headline(contents),
        expected=expected_headline(contents),
        recommendation=recommendation(contents),
        lines=summary_lines(contents),
        uniqueness=uniqueness_sentence(contents),
        further=further_sentence(contents.chosen.name, contents.chosen_trial.metrics),
        relation_sentence=relation_sentence(contents.evaluation.relation, compared_trial(contents)),
        relation_facts=relation_facts(contents),
        further_rule=further_rule(contents.metrics),
        rows=leaderboard_rows(contents),
        findings=found,
        sources=sorted(set(sources.values())),
        relation_source=sources.get("relation", ""),
        figures=figures,
        columns=column_heads(contents.objective),
        further_heads=further_heads(contents),
        sections={section: _SECTION_NOTES[section] for section in SECTIONS},
        theme=THEME,
        others=others_text(contents),
        few_trials=FEWEST_TRIALS,
        strong=STRONG,
        objective=contents.objective,
        rule=beating_rule(contents.objective),
        most=MOST,
        script=Markup(_script()),
        script_hash=_script_hash(),
        data=Markup(page_data(contents, points or {})),
        live_sentences=[slot_sentence(each.slot, each.model, each.comparison) for each in contents.live],
        live_method=METHOD,
        has_holdout=bool(contents.plan.get("holdout_eras")),
    )


def page_data(contents: ReportContents, points: Mapping[str, Mapping[str, list[float | None]]]) -> str:
    """Return what the page's figures tell of a trial or an ensemble, as JSON that is safe within a page."""
    columns = columns_of(contents.objective)
    models = [
        {
            "name": name,
            "scores": [_scores_text(section, metrics, columns) for section in SECTIONS],
            "run": run_page(contents.experiment_id, run_id) if contents.experiment_id else "",
        }
        for name, run_id, metrics in (
            *((trial.name, trial.run_id, trial.metrics) for trial in contents.trials),
            *((each.name, each.run_id, each.metrics) for each in contents.ensembles),
        )
    ]
    names = sorted({name for trial in contents.trials for name in trial.params} - FIXED_PARAMS)
    params = {name: [trial.params.get(name) for trial in contents.trials] for name in names}
    data = {"models": models, "params": params, "figures": points, "server": _SERVER}
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _scores_text(section: str, metrics: Mapping[str, float], columns: Sequence[Column]) -> str:
    known = [(column, metrics[key]) for column in columns if (key := f"{section}/{column.metric}") in metrics]
    texts = (" ".join((*column.head.split(), column.text(value))) for column, value in known)
    return f"{section}: {', '.join(texts)}"


def _in_svg(
    figure: Figure, points: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Mapping[str, list[float | None]]:
    """Return points of a figure's first axes in the view box of its SVG, whose unit is 1/72 inch."""
    pixels = figure.axes[0].transData.transform(np.column_stack(points)) * 72 / figure.dpi
    pixels[:, 1] = 72 * figure.get_figheight() - pixels[:, 1]
    known = np.asarray(np.isfinite(pixels).all(axis=1))
    return {
        axis: [round(float(value), 1) if found else None for value, found in zip(column, known, strict=True)]
        for axis, column in zip("xy", pixels.T, strict=True)
    }


@cache
def _script() -> str:
    return (Path(__file__).parent / "report.js").read_text(encoding="utf-8")


@cache
def _script_hash() -> str:
    return b64encode(sha256(_script().encode()).digest()).decode()


@cache
def template(name: str) -> Template:
    """Return a page's template by its file's name."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
