"""Names of the tags that MLflow's runs carry."""

from __future__ import annotations

KIND = "signal_miner.kind"
"""`STUDY_KIND`, `BENCHMARK_KIND`, `TRIAL_KIND`, `ENSEMBLE_KIND` or `SUBMISSION_KIND`."""

STUDY = "signal_miner.study"
CONFIG_HASH = "signal_miner.config_hash"

NUMBER = "signal_miner.trial"
"""Number of the trial in its study."""

ERROR = "signal_miner.error"
"""End of the traceback of a trial that failed."""

ORDER = "signal_miner.order"
"""What the saved view sorts by: the benchmark first, then trials by validation Sharpe.

The UI loads 100 runs; sorted by the metric alone, a study in which 100 trials are better would hide its benchmark.
"""

STUDY_KIND, BENCHMARK_KIND, TRIAL_KIND = "study", "benchmark", "trial"
ENSEMBLE_KIND, SUBMISSION_KIND = "ensemble", "submission"
