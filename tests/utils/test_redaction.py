"""Passwords never reach what is shown, logged or kept."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (
            "http://127.0.0.1:5000/#/models of models:/m@champion",
            "http://127.0.0.1:5000/#/models of models:/m@champion",
        ),
        ("https://b.blob.net/c?sv=1&sig=s3%2Fcret%3D&se=2", "https://b.blob.net/c?sv=1&sig=***&se=2"),
        (
            "https://s3/b?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret&X-Amz-Date=1",
            "https://s3/b?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("postgresql://host/db?password=s3%20cret&x=1", "postgresql://host/db?password=***&x=1"),
        ("cannot reach postgresql://me:s3 cret@host:1/db", "cannot reach postgresql://***@host:1/db"),
        ('postgresql://me:s3"cret@host/db', "postgresql://***@host/db"),
        ("uri = 'postgresql://me:s3 \"cr@et@host/db' # mine", "uri = 'postgresql://***@host/db' # mine"),
        ('uri = "postgresql://me:s3 c\\"r@et@host/db"', 'uri = "postgresql://***@host/db"'),
        ("# password = s3 cret\nname = 'x'  # me@corp", "# password = ***\nname = 'x'  # me@corp"),
        ("trials = 3  # db password: s3cret", "trials = 3  # db password: ***"),
        ("password = 's3 cret'; token: s3cret", "password = '***'; token: ***"),
        ('{"api_key": "s3cret", "a": 1}', '{"api_key": "***", "a": 1}'),
        ("NUMERAI_SECRET_KEY=s3cret python", "NUMERAI_SECRET_KEY=*** python"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("password authentication failed for user me", "password authentication failed for user me"),
    ],
)
def test_addresses_lose_user_and_password(text, kept):
    assert without_passwords(text) == kept


SECRETS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=6).map(lambda text: f"s3{text}cret")


@given(SECRETS, st.sampled_from(["postgresql", "http", "mysql+pymysql"]), st.integers(0, 65535))
def test_no_password_of_an_experiment_file_is_kept(secret: str, scheme: str, port: int) -> None:
    address = f"{scheme}://me:{secret}@host:{port}/db"
    quoted = [json.dumps(address)] + ([f"'{address}'"] if "'" not in secret else [])
    for text in quoted:
        hidden = without_passwords(f"trials = 3\ntracking_uri = {text}  # the team's\njobs = 2\n")
        assert (
            hidden
            == f"trials = 3\ntracking_uri = {text[0]}{scheme}://***@host:{port}/db{text[0]}  # the team's\njobs = 2\n"
        )
        assert without_passwords(hidden) == hidden
    hidden = without_passwords(f"# password = {secret}\npassword = {json.dumps(secret)}\njobs = 2")
    assert hidden == '# password = ***\npassword = "***"\njobs = 2'


def test_a_reason_is_one_line_whatever_the_error_says():
    assert reason_of(ValueError("no postgresql://a:s3cret@h/d\nand more")) == "no postgresql://***@h/d"
    assert reason_of(OSError()) == "OSError"


def test_a_storage_that_fails_keeps_its_password(monkeypatch):
    def refuse(address, **_options):
        raise RuntimeError(f"cannot reach {address}")

    monkeypatch.setattr("signal_miner.mining.search._is_mlflows", lambda _storage: False)  # it needs a driver
    monkeypatch.setattr("signal_miner.mining.search.RDBStorage", refuse)
    with pytest.raises(UserError, match=r"cannot reach postgresql://\*\*\*@host/db\); check the URL"):
        Search("s", Grid((Axis("n_estimators", (1, 2)),)), 0, "postgresql://me:s3cret@host/db")
