"""Addresses of pages in MLflow's UI, after the server's."""

from __future__ import annotations

from urllib.parse import urlencode

MODEL_TRAINING = "workflowType=machine_learning"
"""Query of an address of MLflow's UI; without it the page opens in the GenAI menus."""


REPORT = "report"
"""Artifact folder of the study's run: the report's page and its figures."""

REPORT_PAGE = f"{REPORT}/report.html"


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """Return the address of a run's page, or of one of its artifacts."""
    shown = f"/artifacts/{artifact}" if artifact else ""
    return f"/#/experiments/{experiment_id}/runs/{run_id}{shown}?{MODEL_TRAINING}"


def runs_page(experiment_id: str, view: str = "") -> str:
    """Return the address of an experiment's runs, or of a view saved under a name; see `view_name`."""
    saved = f"&{urlencode({'viewStateShareKey': view, 'compareRunsMode': 'CHART'})}" if view else ""
    return f"/#/experiments/{experiment_id}/runs?{MODEL_TRAINING}{saved}"


def view_name(study: str) -> str:
    """Return the name under which the comparison of a study's trials with its benchmark is saved."""
    return f"signal-miner-{study}"
