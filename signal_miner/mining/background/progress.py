"""How far a miner is, as another process reads it: for a script, in words, and as a bar in a notebook."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from datetime import timedelta

from signal_miner.mining.status import (
    BENCHMARK,
    ENDED,
    FAILED,
    FINISHED,
    MINING,
    REPORT,
    STARTING,
    STOPPED,
    MinerStatus,
)
from signal_miner.mining.trial_counts import best_text, rate_text, time_text

_WORDS = {
    STARTING: "starting",
    BENCHMARK: "training the benchmark",
    MINING: "mining",
    REPORT: "making the report",
    FINISHED: "finished",
    STOPPED: "stopped; call start_mining or rerun the command to resume",
    FAILED: "failed",
}
_COLORS = {FINISHED: "#2e9e5b", STOPPED: "#8a8a8a", FAILED: "#d9403a"}
_BLUE = "#2a78d6"


@dataclass(frozen=True, repr=False)
class Progress:
    """How far a miner is.

    Attributes
    ----------
    study : str
    state : str
        ``starting``, ``benchmark``, ``mining``, ``report``, ``finished``, ``stopped`` or ``failed``.
    done, total : int
        Trials that are finished or failed, and all of the study; 0 of 0 before it has counted them.
    failed, beating : int
        Trials that failed, and that beat the benchmark in validation (CORR and Sharpe).
    rate : float or None
        Trials a second; None before the miner's first.
    time_left : timedelta or None
        At this rate.
    best : str
        Name of the trial with the highest validation Sharpe; empty while there is none.
    best_sharpe : float or None
        Its validation Sharpe.
    error : str
        Why it failed, and what to do, in one line; empty otherwise.
    words : tuple of str
        All of it, in the order in which a person is told.
    """

    study: str
    state: str
    done: int
    total: int
    failed: int
    beating: int
    rate: float | None
    time_left: timedelta | None
    best: str
    best_sharpe: float | None
    error: str
    words: tuple[str, ...]

    @property
    def running(self) -> bool:
        """Whether the miner is at work."""
        return self.state in (STARTING, BENCHMARK, MINING, REPORT)

    def __str__(self) -> str:
        return f"{self.study}: {' · '.join(self.words)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return a bar, as a notebook shows it."""
        share = 1.0 if self.state == FINISHED else self.done / self.total if self.total else 0.0
        head, *further = self.words
        color = _COLORS.get(self.state, _BLUE)
        bar = f"<div style='width:{share:.1%};height:100%;border-radius:4px;background:{color}'></div>"
        style = f" style='color:{color}'" if self.state == FAILED else ""
        parts = " · ".join(further).split(" · ")  # a line breaks between them, not within
        below = " · ".join(f"<span style='white-space:nowrap'>{html.escape(part)}</span>" for part in parts)
        return (
            "<div style='font:13px/1.7 system-ui,sans-serif;padding:2px 6px;max-width:58em'>"
            f"<div{style}><b>{html.escape(self.study)}</b> · {html.escape(head)}</div>"
            f"<div style='height:8px;border-radius:4px;background:rgba(128,128,128,.25)'>{bar}</div>"
            f"<div>{below if further else '&nbsp;'}</div></div>"
        )


def progress_of(status: MinerStatus, now: float | None = None) -> Progress:
    """Return how far a miner is by its last word, and whether it is still there.

    Parameters
    ----------
    status : MinerStatus
    now : float, optional
        Seconds since the epoch; the clock's if not given.

    Returns
    -------
    Progress
        ``failed`` where its process exited unexpectedly: killed, or out of memory.
    """
    counts = status.trial_counts
    lost = not status.ended and not status.alive
    state = FAILED if lost else status.state
    error = status.message
    if lost:
        error = (
            f"the miner exited unexpectedly while {_WORDS[status.state]} (killed or out of memory; "
            f"process {status.process.pid} on {status.process.host}). Finished trials are kept; call start_mining or "
            f"rerun the command to resume{f'. Its log: {status.log}' if status.log else ''}"
        )
    current = status.updated if state in (FINISHED, STOPPED, FAILED) else now or time.time()
    rate = counts.rate(current)
    left = counts.time_left(current) if state == MINING else None
    words = [f"failed: {error}" if state == FAILED else _WORDS[state]]
    if status.stopping and state not in ENDED:
        words = ["stopping"]
    if counts.total:
        words.append(f"{counts.done} of {counts.total} trials")
    if state == MINING and rate is not None:
        words += [rate_text(rate), time_text(left)]
    if counts.done:
        words.append(best_text(counts))
    if status.at and not status.ended and not lost:
        words.append(status.at)
    return Progress(
        study=status.study,
        state=state,
        done=counts.done,
        total=counts.total,
        failed=counts.failed,
        beating=counts.beating,
        rate=rate,
        time_left=left,
        best=counts.best,
        best_sharpe=counts.best_sharpe,
        error=error if state == FAILED else "",
        words=tuple(words),
    )
