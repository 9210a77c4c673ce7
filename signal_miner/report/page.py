"""The report as one self-contained HTML page, and its figures as files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from signal_miner.overfitting.records import FEWEST_TRIALS, STRONG
from signal_miner.report.contents import ReportContents
from signal_miner.report.gallery import page_figures
from signal_miner.report.sentences import beating_rule, relation_sentence, verdict_sentence
from signal_miner.report.style import THEME, page_element, png
from signal_miner.report.summary import (
    expected_headline,
    headline,
    others_text,
    page_notes,
    recommendation,
    relation_facts,
    summary_lines,
    uniqueness_sentence,
)
from signal_miner.report.tables import SECTIONS, column_heads, findings, leaderboard_rows
from signal_miner.tracking.ui import REPORT_PAGE
from signal_miner.utils.files import write_whole

PAGE = Path(REPORT_PAGE).name

_SECTION_NOTES = {"validation": "chosen by", "test": "shown only", "whole": "contains both"}


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
    write_whole(directory / PAGE, render_page(contents, sources, drawn).encode())
    return tuple(paths)


def render_page(
    contents: ReportContents, sources: Mapping[str, str], figures: Mapping[str, Mapping[str, str | Markup]]
) -> str:
    """Return the page.

    Parameters
    ----------
    sources : mapping of str to str
        As of `write_report`.
    figures : mapping of str to mapping
        ``element`` and ``caption`` of each figure by its name; one that is missing is left out.

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
        relation_sentence=relation_sentence(contents.evaluation.relation),
        relation_facts=relation_facts(contents),
        rows=leaderboard_rows(contents),
        findings=found,
        sources=sorted(set(sources.values())),
        relation_source=sources.get("relation", ""),
        figures=figures,
        columns=column_heads(contents.objective),
        sections={section: _SECTION_NOTES[section] for section in SECTIONS},
        theme=THEME,
        others=others_text(contents),
        few_trials=FEWEST_TRIALS,
        strong=STRONG,
        objective=contents.objective,
        rule=beating_rule(contents.objective),
        has_holdout=bool(contents.plan.get("holdout_eras")),
    )


@cache
def template(name: str) -> Template:
    """Return a page's template by its file's name."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)
