"""Several slots as whole processes: one that fails does not stop the others, and keys are nowhere to be found."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tests.helpers.live_rounds import three_slots
from tests.helpers.numerai_site import keyed_environment
from tests.helpers.refresh import DATA, newer, publish, versions
from tests.helpers.tournament import PUBLIC_ID, SECRET_KEY, Tournament

SLOTS = """
[slots.miner_none]
[slots.miner_one]
from_round = 1343
[slots.miner_two]
from_round = 1343
[slots.miner_nine]
delivery = "deploy"
[slots.miner_three]
delivery = "deploy"
from_round = 1343
"""
"""Two are not of the account, and one has an uploaded model."""


@dataclass
class Workplace:
    """A user's folder, in which commands run as processes."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    seen: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "signal_miner", *arguments]
        output = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command to its end, and note the command lines of its processes meanwhile."""
        process = self.start(*arguments)
        with suppress(psutil.Error):
            mine = psutil.Process(process.pid)
            while process.poll() is None:
                for each in (mine, *mine.children(recursive=True)):
                    with suppress(psutil.Error):
                        self.seen.append(" ".join(each.cmdline()))
                time.sleep(0.1)
        out = process.communicate(timeout=600)[0]
        self.said.append(out)
        return process.returncode, out


@pytest.fixture
def workplace(numerai_study: Path, tournament: Tournament, tmp_path: Path) -> Workplace:
    publish(tournament.server, numerai_study / DATA)
    (numerai_study / "slots.toml").write_text(SLOTS)
    return Workplace(numerai_study, keyed_environment(tournament.server, tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_slots_are_submitted_deployed_refreshed_and_looked_at(workplace, tournament, tmp_path):
    three_slots(tournament)
    tournament.assigns_by_itself, tournament.statuses[:] = False, ["validated"]
    by_hand = {"id": "by hand", "filename": "by_hand.pkl", "modelId": "id miner_two", "looks": 0}
    by_hand |= {"assignedModelSlots": ["miner_two"], "insertedAt": datetime.now(UTC).isoformat()}
    tournament.pickles.append(by_hand)

    code, out = workplace.run("submit", "--slots", "slots.toml")
    assert (code, out.splitlines()[-1]) == (1, "1 of 3 slots done; failed: miner_none, miner_two"), out
    assert "miner_none failed: numerai_model='miner_none' is not a model of this Numerai account" in out
    assert "miner_two failed: miner_two has an uploaded model (by_hand.pkl), and takes no other submission" in out
    assert [each["modelId"] for each in tournament.submissions] == ["id miner_one"]
    assert len(tournament.server.uploads) == 1  # nothing was tried for the one that was refused

    code, out = workplace.run("deploy", "--slots", "slots.toml")
    assert (code, out.splitlines()[-1]) == (1, "1 of 2 slots done; failed: miner_nine"), out
    assert [model for model, _ in tournament.assigned] == ["id miner_three"]

    newer(tmp_path / "newest")
    publish(tournament.server, tmp_path / "newest")
    tournament.next_round()
    code, out = workplace.run("refresh", "--slots", "slots.toml", "--deliver", "true", "--least-correlation", "-1")
    assert code == 1, out
    assert out.splitlines()[-1] == (
        "refresh signal-miner@champion: new version 2, 62 eras to 0062 (2 since it was mined); 2 of 5 slots delivered, "
        "failed: miner_none, miner_two, miner_nine"
    )
    assert [each["modelId"] for each in tournament.submissions] == ["id miner_one"] * 2
    assert [model for model, _ in tournament.assigned] == ["id miner_three"] * 2
    assert "-v2-" in tournament.pickles[-1]["filename"]

    code, out = workplace.run("live", "--slots", "slots.toml")
    assert code == 1, out
    assert out.count("is not a model of this Numerai account") == 2
    assert out.count("weeks of resolved rounds: payout") == 3

    for text in (*workplace.said, *workplace.seen):
        assert PUBLIC_ID not in text
        assert SECRET_KEY not in text
    assert any("signal_miner refresh" in line for line in workplace.seen)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "live.html", "predict.pkl", "miner_one_round_1401.csv"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert PUBLIC_ID.encode() not in content, path
        assert SECRET_KEY.encode() not in content, path
    client = MlflowClient(f"sqlite:///{workplace.folder}/mlflow.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert len(runs) > 6
    assert PUBLIC_ID not in (tracked := str([run.to_dictionary() for run in runs]))
    assert SECRET_KEY not in tracked


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_refreshes_at_once_make_one_version(workplace, tournament, tmp_path):
    newer(tmp_path / "newest")
    publish(tournament.server, tmp_path / "newest")
    both = [workplace.start("refresh", "--least-correlation", "-1") for _ in range(2)]
    said = sorted(process.communicate(timeout=600)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("Waiting for another refresh in this folder" in out for out in said) == 1, said
    assert sum("Registered signal-miner version 2" in out for out in said) == 1
    assert sum("Nothing to refit: version 2 was fitted on these data" in out for out in said) == 1
    assert versions(workplace.folder) == ["1", "2"]
