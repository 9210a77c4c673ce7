"""Submissions of whole processes: killed on the way, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signal_miner.numerai.live.submission import submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
from tests.helpers.tournament import (
    MODEL_ID,
    NAME,
    Tournament,
    make_console,
    make_model,
    options,
)

ROOT = Path(__file__).resolve().parents[2]


_PROCESS = """
import sys
from pathlib import Path
import numerapi.base_api
numerapi.base_api.API_TOURNAMENT_URL = sys.argv[1]
from tests.helpers.tournament import make_console, make_model, options
from signal_miner.numerai.live.submission import submit
from signal_miner.numerai.live.submission_runs import SubmissionRuns
directory = Path(sys.argv[2])
console, written = make_console()
outcome = submit(options(directory), make_model(directory / "model"), SubmissionRuns(sys.argv[3], sys.argv[4]), console)
print("UPLOADED" if outcome.uploaded else "NOTHING", outcome.submission_id)
"""


def start(tournament: Tournament, directory: Path, store: str, experiment: str) -> subprocess.Popen[str]:
    paths = str(ROOT)
    command = [sys.executable, "-c", _PROCESS, tournament.server.url, str(directory), store, experiment]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True], ids=["before the submission is made", "after it is made"])
def test_killed_between_upload_and_confirmation(
    tournament: Tournament, store: str, experiment: str, tmp_path: Path, made: bool
) -> None:
    processes: list[subprocess.Popen[str]] = []

    def kill(given: dict[str, str]) -> dict[str, str]:
        answer = tournament.create_submission(given) if made else {"id": "never seen"}
        processes[0].send_signal(signal.SIGKILL)
        time.sleep(0.2)
        return answer

    tournament.server.answers["create_submission"] = kill
    processes.append(start(tournament, tmp_path, store, experiment))
    processes[0].communicate(timeout=120)
    assert processes[0].returncode == -signal.SIGKILL
    assert len(tournament.server.uploads) == 1
    assert len(tournament.submissions) == made
    assert (tmp_path / "submissions" / f"{NAME}_round_1400.csv").is_file()
    runs = SubmissionRuns(store, experiment)
    (cut_off,) = [each for each in runs.submissions() if each.running]
    tournament.server.answers["create_submission"] = tournament.create_submission
    outcome = submit(options(tmp_path), make_model(tmp_path), runs, make_console()[0])
    assert outcome.uploaded == (not made)
    assert len(tournament.submissions) == 1
    settled = next(each for each in runs.submissions() if each.run_id == cut_off.run_id)
    assert settled.status == ("FINISHED" if made else "FAILED")
    assert settled.submission_id == (outcome.submission_id if made else "")


@pytest.mark.slow
def test_two_at_once_make_one_submission(tournament: Tournament, store: str, experiment: str, tmp_path: Path) -> None:
    tournament.server.faults.put_delay_seconds = 1.0
    both = [start(tournament, tmp_path, store, experiment) for _ in range(2)]
    said = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(out.split()[0] for out, _ in said) == ["NOTHING", "UPLOADED"]
    assert len({out.split()[1] for out, _ in said}) == 1
    assert len(tournament.submissions) == len(tournament.server.uploads) == 1
    assert tournament.submissions[0]["modelId"] == MODEL_ID
