"""How far a miner is, as another process reads it: for a script, in words, and as a bar in a notebook."""

from __future__ import annotations

import html
import time
from dataclasses import dataclass, replace
from datetime import timedelta

from signal_miner.mining.progress import best_text, rate_text, time_text
from signal_miner.mining.status import (
    BENCHMARK,
    FAILED,
    FINISHED,
    MINING,
    REPORT,
    STARTING,
    STOPPED,
    MinerStatus,
)

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


@dataclass(frozen=True, repr=False, kw_only=True)
class Progress(MinerStatus):
    """A miner's status at one moment, to read and to show.

    Attributes
    ----------
    now : float
        That moment, seconds since the epoch; of a miner that ended, its end.
    """

    now: float

    @property
    def done(self) -> int:
        """Trials that are finished or failed."""
        return self.trial_counts.done

    @property
    def total(self) -> int:
        """Trials of the study; 0 before they are counted."""
        return self.trial_counts.total

    @property
    def failed(self) -> int:
        """Trials that failed."""
        return self.trial_counts.failed

    @property
    def beating(self) -> int:
        """Trials that beat the benchmark in validation."""
        return self.trial_counts.beating

    @property
    def best(self) -> str:
        """Name of the trial that is best in validation; empty while there is none."""
        return self.trial_counts.best

    @property
    def best_score(self) -> float | None:
        """Its score there, by `objective`."""
        return self.trial_counts.best_score

    @property
    def objective(self) -> str:
        """What the study looks for, such as ``payout``."""
        return str(self.trial_counts.objective)

    @property
    def rate(self) -> float | None:
        """Trials a second; None before the miner's first."""
        return self.trial_counts.rate(self.now)

    @property
    def time_left(self) -> timedelta | None:
        """How long the rest takes at this rate; None where it is not mining."""
        return self.trial_counts.time_left(self.now) if self.state == MINING else None

    @property
    def error(self) -> str:
        """Why it failed, and what to do, in one line; empty otherwise."""
        return self.message if self.state == FAILED else ""

    @property
    def running(self) -> bool:
        """Whether the miner has not ended."""
        return not self.ended

    @property
    def words(self) -> tuple[str, ...]:
        """All of it, as it is shown."""
        words = [
            f"failed: {self.error}"
            if self.error
            else "stopping"
            if self.running and self.stopping
            else _WORDS[self.state]
        ]
        if self.total:
            words.append(f"{self.done} of {self.total} trials")
        if self.state == MINING and self.rate is not None:
            words += [rate_text(self.rate, races=self.trial_counts.races), time_text(self.time_left)]
        if self.done:
            words.append(best_text(self.trial_counts))
        if self.at and self.running:
            words.append(self.at)
        return tuple(words)

    def __str__(self) -> str:
        return f"{self.study}: {' · '.join(self.words)}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return a bar, as a notebook shows it."""
        share = 1.0 if self.state == FINISHED else self.done / max(1, self.total)
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
    """Return how far a miner is by its last status, and whether its process is still there.

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
    if not status.ended and not status.alive:
        error = (
            f"the miner exited unexpectedly while {_WORDS[status.state]} (killed or out of memory; "
            f"process {status.process.pid} on {status.process.host}). Finished trials are kept; call start_mining or "
            f"rerun the command to resume{f'. Its log: {status.log}' if status.log else ''}"
        )
        status = replace(status, state=FAILED, message=error)
    return Progress(**vars(status), now=status.updated if status.ended else now or time.time())
