"""A saved view of MLflow's UI: the charts and columns that set a study's trials against its benchmark.

By default the UI charts the ten newest runs, without the benchmark, and keeps that setting in the browser. A view saved
to the experiment opens by its address instead. The format is that of
MLflow 3.17's own "share" button; a browser that cannot read it shows the plain runs.
"""

from __future__ import annotations

import base64
import json
import math
import time
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signal_miner.scoring.objective import Objective
from signal_miner.tracking.ranking import losses
from signal_miner.tracking.tags import (
    BENCHMARK_KIND,
    ENSEMBLE_KIND,
    KIND,
    ORDER,
    REPEAT_KIND,
    SHARED_VIEW,
    STUDY,
    STUDY_KIND,
)
from signal_miner.tracking.ui import runs_page, view_name

LONGEST_TAG = 20_000

COLORS = {
    "benchmark": "#FF7F0E",
    "ensemble": "#7B3FA0",
    "both": "#1A9850",
    "validation": "#4393C3",
    "neither": "#C0C0C0",
}

_MAIN = "Trials against the benchmark"
_PARAMETERS = "Parameters"
_CURVES = "Learning curves"
_BESIDE = {
    Objective.PAYOUT: Objective.CORR,
    Objective.PAYOUT_SHARPE: Objective.PAYOUT,
    Objective.SHARPE: Objective.CORR,
    Objective.CORR: Objective.SHARPE,
    Objective.BMC: Objective.PAYOUT,
}
"""The second score that is charted, by objective."""
_PACKED = "deflate;"
_NAMESPACE = uuid.UUID("7f0e3d5e-2f6c-5d0a-9a1f-5b1f0f5c7f10")


@dataclass(frozen=True)
class SharedView:
    """An experiment tag and the address that opens it.

    Attributes
    ----------
    key, value : str
        Experiment tag; ``value`` has at most 20,000 characters.
    url_suffix : str
        To be put after the server's address: ``/#/experiments/<id>/runs?...``.
    """

    key: str
    value: str
    url_suffix: str


def run_color(kind: str, wins: Mapping[str, bool]) -> str:
    """Return the colour of a run: benchmark orange, ensembles violet; green, blue or grey as a trial `wins`."""
    if kind in (BENCHMARK_KIND, ENSEMBLE_KIND):
        return COLORS[kind]
    if not wins.get("validation"):
        return COLORS["neither"]
    return COLORS["both" if wins.get("test") else "validation"]


def order(kind: str, score: float | None) -> str:
    """Return a run's place in text order.

    ``0`` for the benchmark, then ``0 ensemble``, then ``1 `` and a number that falls with the objective in validation.
    """
    if kind == BENCHMARK_KIND:
        return "0"
    if kind == ENSEMBLE_KIND:
        return "0 ensemble"
    if score is None or not math.isfinite(score):
        return "2"
    return f"1 {5000 - min(max(score, -4000.0), 4000.0):011.6f}"


def shared_view(
    experiment_id: str,
    study: str,
    benchmark: Mapping[str, float],
    grid_params: Sequence[str],
    objective: Objective = Objective.SHARPE,
    folded: Iterable[str] = (),
    made: float | None = None,
) -> SharedView:
    """Return the saved view of a study.

    Parameters
    ----------
    benchmark : mapping of str to float
        The benchmark's metrics: sections of charts that MLflow makes of them itself are folded away.
    grid_params : sequence of str
        Parameters that vary between trials: axes of the parallel coordinates, and columns.
    objective : Objective, default `Objective.SHARPE`
        What trials are ranked by.
    folded : iterable of str, optional
        Further sections to fold away: groups of metrics that reports, ensembles and the like have added.
    made : float, optional
        Seconds since the epoch; now if not given.
    """
    ident = view_name(study)
    state = _state(study, benchmark, list(grid_params), objective, folded)
    stamp = int((time.time() if made is None else made) * 1000)
    value = _json({"name": f"{_MAIN}: {study}", "createdAt": stamp, "updatedAt": stamp, "state": _packed(state)})
    if len(value) > LONGEST_TAG:
        raise ValueError(f"view has {len(value)} characters; MLflow takes {LONGEST_TAG}")
    return SharedView(SHARED_VIEW + ident, value, runs_page(experiment_id, ident))


def folded_sections(value: str) -> tuple[str, ...]:
    """Return the sections of charts that a saved view folds away, from its tag's value; none if it is not readable."""
    state = _unpacked(value)
    return () if state is None else tuple(each["name"] for each in state["compareRunSections"] if not each["display"])


def with_folded(value: str, sections: Iterable[str]) -> str | None:
    """Return a saved view's tag with further sections folded away; None if that changes nothing or is not possible."""
    state = _unpacked(value)
    new = set(sections) - {each["name"] for each in state["compareRunSections"]} if state else set()
    if state is None or not new:
        return None
    state["compareRunSections"] += [_section(name, False) for name in sorted(new)]
    changed = _json(json.loads(value) | {"state": _packed(state)})
    return changed if len(changed) <= LONGEST_TAG else None


def _packed(state: dict[str, Any]) -> str:
    return _PACKED + base64.b64encode(zlib.compress(_json(state).encode(), 9)).decode("ascii")


def _unpacked(value: str) -> dict[str, Any] | None:
    """Return the state in a saved view's tag; None if it was not written as `shared_view` does."""
    try:
        state = json.loads(zlib.decompress(base64.b64decode(json.loads(value)["state"].removeprefix(_PACKED))))
        known = all(isinstance(each["name"], str) and "display" in each for each in state["compareRunSections"])
        return dict(state) if known else None
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        return None


def _state(
    study: str,
    benchmark: Mapping[str, float],
    grid_params: list[str],
    objective: Objective,
    folded: Iterable[str],
) -> dict[str, Any]:
    main, parameters, curves = _id(_MAIN), _id(_PARAMETERS), _id(_CURVES)
    compared, beside = objective.compared, _BESIDE[objective]
    drawdown = "max_drawdown" if compared is Objective.CORR else "payout_drawdown"
    charts = [
        _bar(main, f"Validation {objective.label}", f"validation/{objective}"),
        _bar(main, f"Test {objective.label}", f"test/{objective}"),
        _scatter(main, _heading(objective), f"validation/{objective}", f"test/{objective}"),
        _scatter(main, _heading(beside), f"validation/{beside}", f"test/{beside}"),
        _scatter(main, f"Drawdown and {compared.label}", f"validation/{drawdown}", f"validation/{compared}"),
        _scatter(main, "Correlation with the benchmark and BMC", "validation/benchmark_corr", "validation/bmc"),
        _parallel(parameters, "Parameters", grid_params, [f"test/{objective}", f"validation/{objective}"]),
        _line(curves, "Validation", f"validation/{compared}_curve"),
        _line(curves, "Test", f"test/{compared}_curve"),
    ]
    generated = sorted({*sections_of(benchmark), *folded})
    sections = [
        _section(_MAIN, True, title=_title(benchmark, objective), columns=3),
        _section(_PARAMETERS, True, title=f"Parameters (colour: validation {objective.label})", columns=1),
        _section(_CURVES, True, title=f"Learning curves: mean {compared.label} by trees", columns=2),
    ]
    sections += [_section(name, False) for name in generated]
    scores = list(dict.fromkeys([objective, beside, "sharpe", "corr", drawdown, "bmc", "benchmark_corr"]))
    names = [f"validation/{name}" for name in scores] + [f"test/{objective}", f"test/{beside}"]
    columns = [f"metrics.`{name}`" for name in names] + [f"params.`{name}`" for name in grid_params]
    left_out = [f"tags.`{KIND}` != '{kind}'" for kind in (STUDY_KIND, REPEAT_KIND)]
    return {
        "searchFilter": " and ".join([f"tags.`{STUDY}` = '{study}'", *left_out]),
        "orderByKey": f"tags.`{ORDER}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,
        "groupBy": None,
        "viewMaximized": False,
        "runListHidden": False,
    }


def sections_of(metric_names: Iterable[str]) -> set[str]:
    """Return the sections into which MLflow's UI puts the charts of metrics."""
    return {name.rpartition("/")[0] or "Model metrics" for name in metric_names}


def _title(benchmark: Mapping[str, float], objective: Objective) -> str:
    """Return the charts' title, which warns of a benchmark that loses itself."""
    where = " and ".join(f"{score:.4f} in {section}" for section, score in losses(benchmark, objective).items())
    return f"{_MAIN}, whose {objective.compared.label} is {where}: beating it means little" if where else _MAIN


def _heading(objective: Objective) -> str:
    return objective.label[:1].upper() + objective.label[1:]


def _section(name: str, display: bool, title: str = "", **layout: int) -> dict[str, Any]:
    return {
        "uuid": _id(name),
        "name": title or name,
        "display": display,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        **layout,
    }


def _chart(kind: str, section: str, title: str, **fields: Any) -> dict[str, Any]:
    return {
        "uuid": _id(section + title),
        "type": kind,
        "metricSectionId": section,
        "displayName": title,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
        **fields,
    }


def _scatter(section: str, title: str, x: str, y: str) -> dict[str, Any]:
    return _chart("SCATTER", section, title, xaxis={"key": x, "type": "METRIC"}, yaxis={"key": y, "type": "METRIC"})


def _bar(section: str, title: str, metric: str) -> dict[str, Any]:
    return _chart("BAR", section, title, metricKey=metric)


def _parallel(section: str, title: str, params: list[str], metrics: list[str]) -> dict[str, Any]:
    return _chart("PARALLEL", section, title, selectedParams=params, selectedMetrics=metrics, showAllRuns=True)


def _line(section: str, title: str, metric: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        section,
        title,
        metricKey=metric,
        selectedMetricKeys=[metric],
        lineSmoothness=0,
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        xAxisKey="step",
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        useGlobalLineSmoothing=True,
    )


def _id(name: str) -> str:
    return uuid.uuid5(_NAMESPACE, name).hex


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
