"""Passwords never reach what is shown, logged or kept."""

from __future__ import annotations

import pytest

from signal_miner.redaction import without_passwords


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
        ("sqlite:///mlflow.db and http://127.0.0.1:5000", "sqlite:///mlflow.db and http://127.0.0.1:5000"),
    ],
)
def test_addresses_lose_user_and_password(text, kept):
    assert without_passwords(text) == kept
