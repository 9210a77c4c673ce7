"""The model slot of a Numerai account that a command submits to or uploads a model for."""

from __future__ import annotations

from dataclasses import dataclass

from signal_miner.errors import UserError
from signal_miner.models.registry import RegisteredModel
from signal_miner.numerai.account import NumeraiAccount
from signal_miner.numerai.live.data import data_version
from signal_miner.utils.next_command import option_text


@dataclass(frozen=True)
class ModelSlot:
    """A model slot, with the account it belongs to and the version of the live data."""

    account: NumeraiAccount
    name: str
    id: str
    data_version: str

    @classmethod
    def find(cls, name: str, wanted_version: str | None, model: RegisteredModel) -> ModelSlot:
        """Find a slot by name, with the API key from the environment.

        Raises
        ------
        UserError
            If `name` is empty or not in the account, the data version is not one, or a key is missing or wrong.
        """
        if not name:
            raise UserError(
                f"numerai_model is missing; name a model of your Numerai account: {option_text('numerai_model', '…')}"
            )
        version = data_version(wanted_version, model)
        account = NumeraiAccount.from_environment()
        return cls(account, name, account.model_id(name), version)
