"""Passwords never reach what is shown, logged or kept."""

from __future__ import annotations

import pytest

from signal_miner.errors import UserError
from signal_miner.experiment.grid import Axis, Grid
from signal_miner.mining.search import Search
from signal_miner.utils.redaction import reason_of, without_passwords


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql+psycopg://me:s3cret@host:5432/db", "postgresql+psycopg://***@host:5432/db"),
        (
            "cannot reach http://u:s3cret@host/ (http://u:s3cret@host/api)",
            "cannot reach http://***@host/ (http://***@host/api)",
        ),
        ("postgresql://host/db?user=me&password=s3cret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ('study_storage = "mysql://a:s3cret@h/d"  # mine', 'study_storage = "mysql://***@h/d"  # mine'),
        ("postgresql+psycopg://me@corp:s3cret@host:1/db", "postgresql+psycopg://***@host:1/db"),
        ("http://host/?access_token=s3cret&x=1", "http://host/?access_token=***&x=1"),
        ("postgresql://host/db?sslpassword=s3cret;api_key=s3cret", "postgresql://host/db?sslpassword=***;api_key=***"),
        ("mssql://?odbc_connect=UID%3Dme%3BPWD%3Ds3cret%3BX", "mssql://?odbc_connect=UID%3Dme%3BPWD%3D***%3BX"),
        ("sqlite:///mlflow.db and http://127.0.0.1:5000", "sqlite:///mlflow.db and http://127.0.0.1:5000"),
    ],
)
def test_addresses_lose_user_and_password(text, kept):
    assert without_passwords(text) == kept


def test_a_reason_is_one_line_whatever_the_error_says():
    assert reason_of(ValueError("no postgresql://a:s3cret@h/d\nand more")) == "no postgresql://***@h/d"
    assert reason_of(OSError()) == "OSError"


def test_a_storage_that_fails_keeps_its_password(monkeypatch):
    def refuse(address):
        raise RuntimeError(f"cannot reach {address}")

    monkeypatch.setattr("signal_miner.mining.search.RDBStorage", refuse)
    with pytest.raises(UserError, match=r"cannot reach postgresql://\*\*\*@host/db\); check the URL"):
        Search("s", Grid((Axis("n_estimators", (1, 2)),)), 0, "postgresql://me:s3cret@host/db")
