"""A store that fails at any of a command's requests: one line, exit code 2, no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from signal_miner.__main__ import main
from tests.helpers.mining import MINE
from tests.helpers.study import copy_study

pytestmark = pytest.mark.slow

METHODS = [name for name in vars(MlflowClient) if not name.startswith("_") and callable(getattr(MlflowClient, name))]
COMMANDS = {
    "mine": (*MINE, "--trials", "11"),
    "ensemble": ("ensemble", "--select", "top", "--members", "2"),
}

FORGIVEN = {"delete_tag", "get_experiment", "set_experiment_tag"}
"""Requests after which all results are stored: the claim that others see has ended, and the look of the charts."""


class FailingStore:
    """Counts the outermost requests of every client; from the request `fails_at` on, all fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[str] = []
        self.fails_at: int | None = None
        self._nested = False
        for name in METHODS:
            monkeypatch.setattr(MlflowClient, name, self._counted(name, getattr(MlflowClient, name)))

    def _counted(self, name: str, method: Any) -> Any:
        def request(client: MlflowClient, *arguments: Any, **options: Any) -> Any:
            if self._nested:
                return method(client, *arguments, **options)
            self.requests.append(name)
            if self.fails_at is not None and len(self.requests) > self.fails_at:
                raise MlflowException("postgresql://me:s3cret@host/db dropped the connection\npassword=s3cret")
            self._nested = True
            try:
                return method(client, *arguments, **options)
            finally:
                self._nested = False

        return request


@pytest.mark.parametrize("name", COMMANDS)
def test_a_store_that_drops_the_connection_is_one_line(
    name: str, tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FailingStore(monkeypatch)
    monkeypatch.chdir(copy_study(tiny_study, tmp_path / "whole"))
    assert main(COMMANDS[name]) == 0
    requests, store.requests = store.requests, []
    first = {method: place for place, method in reversed(list(enumerate(requests)))}
    for place in sorted({*first.values(), 1, len(requests) - 1}):
        monkeypatch.chdir(copy_study(tiny_study, tmp_path / f"failing at {place}"))
        store.requests, store.fails_at = [], place
        capfd.readouterr()
        forgiven = FORGIVEN.issuperset(requests[place:])
        assert main(COMMANDS[name]) == (0 if forgiven else 2), requests[place]
        shown = capfd.readouterr()
        assert "s3cret" not in shown.out + shown.err
        if not forgiven:
            assert shown.err.startswith("signal-miner: ")
            assert shown.err.count("\n") == 1
