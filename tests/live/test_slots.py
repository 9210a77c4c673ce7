"""``slots.toml``: what it may say, and how mistakes in it are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from signal_miner.errors import UserError
from signal_miner.live.slots import Delivery, Slot, chosen_slots, read_slots


def test_a_slot_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "slots.toml"
    path.write_text(
        "[slots.one]\n"
        '[slots.two]\nmodel = "other"\nalias = 3\ndelivery = "deploy"\nfrom_round = 1350\nversion = "v5.3"\n'
    )
    first, second = read_slots(path)
    assert first == Slot("one", "signal-miner", "champion", Delivery.SUBMIT, None, None)
    assert second == Slot("two", "other", "3", Delivery.DEPLOY, 1350, "v5.3")
    assert chosen_slots(path, ("two",)) == (second,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no slot; write a table"),
        ("[slots]\n", "names no slot; write a table"),
        ("[slot.one]\n", "slot is not known; write a table"),
        ("[slots.one\n", "is not TOML"),
        ("slots.one = 3\n", r"slots.one = 3 is not a table; write \[slots.one\]"),
        ("[slots.one]\nmodle = 'x'\n", "slots.one.modle is not known; did you mean 'model'"),
        ("[slots.one]\nmodel = ''\n", "slots.one.model = '' is not text"),
        ("[slots.one]\ndelivery = 'deplyo'\n", "slots.one.delivery = 'deplyo' is neither .*; did you mean 'deploy'"),
        ("[slots.one]\nfrom_round = 0\n", "slots.one.from_round = 0 is not an integer of at least 1"),
        ("[slots.one]\nversion = '5.3'\n", "slots.one.version = '5.3' is not a version"),
        ("[slots.one]\nalias = true\n", "slots.one.alias = True is not text"),
        ("[slots.one]\nalias = 0\n", "slots.one.alias = 0 is not text"),
        ("[slots.one]\nmodel = ['x']\n", r"slots.one.model = \['x'\] is not text"),
        ("[slots.one]\nversion = 5.3\n", "slots.one.version = 5.3 is not text"),
        ("[slots.one]\ndelivery = 1\n", "slots.one.delivery = 1 is neither submit nor deploy"),
        ("[slots.one]\nfrom_round = true\n", "slots.one.from_round = True is not an integer"),
        ("[slots.one]\nfrom_round = -1343\n", "slots.one.from_round = -1343 is not an integer of at least 1"),
        ("[slots.one]\nfrom_round = 1e9\n", "slots.one.from_round = 1e.?09?|1000000000.0 is not an integer"),
        ("[slots.one]\n[slots.two]\n[slots.one]\n", "is not TOML .*declare.*twice"),
        ('[slots."../../one"]\n', "slot '../../one' is no name of a model at Numerai"),
        ('[slots."one two"]\n', "slot 'one two' is no name of a model at Numerai"),
        ('[slots."one\\ntwo"]\n', r"slot 'one\\ntwo' is no name of a model at Numerai"),
        ('[slots.""]\n', "slot '' is no name of a model at Numerai"),
        ("slots = 3\n", "names no slot; write a table"),
        ("slots = [1]\n", "names no slot; write a table"),
        ("[slots.one.two]\n", "slots.one.two is not known"),
    ],
)
def test_a_mistake_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "slots.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_slots(path)
    assert "\n" not in str(caught.value)


def test_a_file_or_slot_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "slots.toml"
    with pytest.raises(UserError, match=r"there is no .*slots.toml; write one"):
        read_slots(path)
    path.write_text("[slots.miner_one]\n")
    with pytest.raises(UserError, match=r"slot 'miner_on' is not in .*; did you mean 'miner_one'"):
        chosen_slots(path, ("miner_on",))
