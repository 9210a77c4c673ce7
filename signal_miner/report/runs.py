"""Writes a study's report to MLflow: its files and numbers on the study's run, verdicts on the leaders' runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from signal_miner.overfitting.deflation import deflate
from signal_miner.overfitting.records import StudyEvaluation
from signal_miner.report.contents import ReportContents
from signal_miner.tracking.notes import links_text
from signal_miner.tracking.run_store import RunStore, reports_store_errors
from signal_miner.tracking.studies import TrackedStudy
from signal_miner.tracking.tags import NOTE, VERDICT
from signal_miner.tracking.ui import REPORT, REPORT_PAGE, run_page, runs_page, view_name

DEFLATED_SHARPE = "luck/deflated_sharpe"
"""Metric of a leader: see `overfitting.records.ModelEvaluation`."""


class ReportRuns(RunStore):
    """The reports of a tracking store."""

    @reports_store_errors
    def log(self, study: TrackedStudy, contents: ReportContents, files: Sequence[Path], lines: Sequence[str]) -> None:
        """Write a report.

        Parameters
        ----------
        files : sequence of Path
            The page and its figures, in one directory.
        lines : sequence of str
            The summary, for the note on the study's page.
        """
        run_id, metrics = study.run_id, study_metrics(contents.evaluation)
        self._log_files(run_id, files, REPORT)
        self._write(run_id, {}, metrics)
        self._fold_away(study.experiment_id, study.name, metrics)
        links = {
            "Report": run_page(study.experiment_id, run_id, REPORT_PAGE),
            "All trials against the benchmark": runs_page(study.experiment_id, view_name(study.name)),
        }
        note = "\n\n".join((links_text(links), "\n".join(f"- {line}" for line in lines)))
        self._set_tags(run_id, {VERDICT: contents.chosen.verdict, NOTE: note})
        for leader, trial in zip(contents.evaluation.leaders, contents.trials, strict=False):
            self._write(trial.run_id, {}, _leader_metrics(leader.deflated_sharpe))
            self._set_tags(trial.run_id, {VERDICT: leader.verdict})
        # Leaders of earlier reports, before others were mined that are better.
        n_leaders = len(contents.evaluation.leaders)
        former = [place for place, trial in enumerate(contents.trials) if DEFLATED_SHARPE in trial.metrics]
        former = [place for place in former if place >= n_leaders]
        if former:
            _, deflated = deflate(contents.scores, former[-1] + 1)
            for place in former:
                run_id = contents.trials[place].run_id
                self._write(run_id, {}, _leader_metrics(float(deflated[place])))
                if VERDICT in self._client.get_run(run_id).data.tags:  # an earlier report may have removed it
                    self._client.delete_tag(run_id, VERDICT)


def study_metrics(evaluation: StudyEvaluation) -> dict[str, float]:
    """Return the numbers of a evaluation as metrics of the study's run; NaN for what is not defined."""
    chosen, deflation, relation = evaluation.leaders[0], evaluation.deflation, evaluation.relation
    values: dict[str, float] = {
        DEFLATED_SHARPE: chosen.deflated_sharpe,
        "luck/expected_best_sharpe": deflation.expected_best_sharpe,
        "luck/candidate_correlation": deflation.correlation,
        "luck/effective_eras": deflation.effective_eras,
        "luck/rank_correlation": relation.rank_correlation.value,
        "luck/slope": relation.slope,
        "luck/probability_of_overfitting": math.nan,
        "luck/superiority_p_value": math.nan,
    }
    for section, estimate in chosen.sharpe.items():
        values[f"luck/{section}_sharpe_low"], values[f"luck/{section}_sharpe_high"] = estimate.low, estimate.high
    for expected in evaluation.expectations:
        values |= {
            f"expected/{expected.objective}": expected.value,
            f"expected/{expected.objective}_low": expected.low,
            f"expected/{expected.objective}_high": expected.high,
        }
    if evaluation.overfitting is not None:
        values["luck/probability_of_overfitting"] = evaluation.overfitting.probability
    if evaluation.superiority is not None:
        values["luck/superiority_p_value"] = evaluation.superiority.p_consistent
    return values  # NaN too, or the values of an earlier report would remain


def _leader_metrics(deflated_sharpe: float) -> Mapping[str, float]:
    return {DEFLATED_SHARPE: deflated_sharpe}
