"""CSV files: converted once by their content, named as the user names them, and mistakes found by line and column."""

from __future__ import annotations

import os
import random
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from signal_miner.data.csv_import import csv_as_parquet
from signal_miner.data.sources import open_source
from signal_miner.errors import UserError
from tests.conftest import FEATURES, make_frame

HEADER = "id,era,feature_a,target\n"


def opened(path, kept, target="target"):
    return open_source(str(path), "all", target, directory=kept)


def test_two_files_alike_in_name_size_and_time_are_read_each_for_itself(tmp_path):
    frames = {"a": make_frame(range(1, 31), rows=20)}
    frames["b"] = frames["a"].assign(feature_03=(frames["a"]["feature_03"] + 1) % 5)
    found = {}
    for folder, frame in frames.items():
        path = tmp_path / folder / "x.csv"
        path.parent.mkdir()
        frame.to_csv(path)
        os.utime(path, ns=(1, 1))
        found[folder] = opened(path, tmp_path / "kept")
    assert (tmp_path / "a" / "x.csv").stat().st_size == (tmp_path / "b" / "x.csv").stat().st_size
    for folder, dataset in found.items():
        table = dataset.read_features(FEATURES, slice(0, len(dataset))).to_pandas()
        np.testing.assert_array_equal(table, frames[folder][FEATURES])
    assert found["a"].content != found["b"].content


def test_a_file_that_is_moved_is_not_converted_again(tmp_path):
    path = tmp_path / "mine.csv"
    make_frame(range(1, 31), rows=20).to_csv(path)
    first = opened(path, tmp_path / "kept")
    moved = path.rename(tmp_path / "mine.CSV")
    os.utime(moved)
    again = opened(moved, tmp_path / "kept")
    assert (again.digest, again.content) == (first.digest, first.content)
    assert len(list((tmp_path / "kept" / "converted").iterdir())) == 1


def test_messages_and_records_name_the_users_file(tmp_path):
    path = tmp_path / "mine.csv"
    make_frame(range(1, 31), rows=20).to_csv(path)
    dataset = opened(path, tmp_path / "kept")
    assert dataset.name == "mine.csv"
    assert dataset.files == (path,)
    with pytest.raises(UserError) as caught:
        opened(path, tmp_path / "kept", target="targte")
    assert (
        str(caught.value)
        == f"{path} has no target 'targte'; did you mean 'target'?; score on another with -P scoring_target=…"
    )


def test_a_byte_order_mark_quotes_blanks_and_none_are_read(tmp_path):
    path = tmp_path / "mine.csv"
    text = '"id", era ,"feature_a,b",feature_c,target\na,1,2,None,0.5\nb,1,3,4,0.25\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = pq.read_table(csv_as_parquet(path, tmp_path / "kept")).to_pydict()
    assert table["feature_a,b"] == [2, 3]
    assert table["feature_c"] == [None, 4]
    assert table["id"] == ["a", "b"]


def test_a_name_of_any_length_is_converted(tmp_path):
    path = tmp_path / f"{'ä' * 120}.csv"
    path.write_text(HEADER + "a,1,2,0.5\nb,1,3,0.25\n")
    assert len(opened(path, tmp_path / "kept")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.csv is empty; give a CSV file with a header"),
        ("\n\n", "begins with an empty line"),
        ("id;era;feature_a;target\na;1;2;0.5\n", "is separated by ';'; write it with commas"),
        ("id\tera\tfeature_a\ttarget\n", r"is separated by '\\t'"),
        ("id,era,feature_a,feature_a,target\na,1,2,3,0.5\n", "has the column 'feature_a' twice; keep one"),
        ("id,era,feature_a, feature_a ,target\na,1,2,3,0.5\n", "has the column 'feature_a' twice; keep one"),
        ("id,eraa,target\na,1,0.5\n", "has no column 'era'; did you mean 'eraa'"),
        (HEADER.encode("utf-16"), "is UTF-16 or not text; save it as CSV in UTF-8"),
        (HEADER.replace("target", "zïel").encode("latin-1"), "line 1 is not UTF-8 text"),
        (HEADER.encode() + b"a,1,2,0.5\n\xe9,1,2,0.5\n", "column 'id' in line 3 is not UTF-8 text; correct it"),
        (HEADER + "a,1,2,0.5\nb,1,high,0.5\n", "column 'feature_a' in line 3 is 'high', not a number; correct it"),
        (HEADER + 'a,1,2,0.5\nb,1,2,"0,5"\n', "column 'target' in line 3 is '0,5', not a number"),
        (HEADER + "a,1,2,0.5\n\nb,1\n", "line 4 has 2 columns and line 1 has 4"),
        (HEADER + "a,1,2,0.5\nb,1,inf,0.25\n", "mine.csv: 'feature_a' holds infinite values"),
        (HEADER + "a,1,2,\n", "has a known 'target'"),
        (HEADER, "has a known 'target'"),
        (HEADER.strip(), "mine.csv cannot be read as CSV: it has no rows below its header"),
        (
            HEADER.replace("\n", "\r") + "a,1,2,0.5\r",
            "ends its lines with carriage returns alone; save it with line feeds",
        ),
    ],
)
def test_a_broken_csv_is_one_line(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        opened(path, tmp_path / "kept")
    assert "\n" not in str(caught.value)
    assert "converted" not in str(caught.value).replace("cannot be converted", "")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_files_with_random_damage_are_read_whole_or_refused_in_one_line(tmp_path):
    odd = [
        b"\0",
        b"\xff",
        b'"',
        b",",
        b"\n",
        b"\r",
        b";",
        b"\xef\xbb\xbf",
        b"inf",
        b"nan",
        b"1e999",
        b"9" * 40,
        b"\t",
        b"era",
    ]
    good = make_frame(range(1, 9), rows=4).to_csv().encode()
    generator = random.Random(1)
    path = tmp_path / "mine.csv"
    messages = []
    for _ in range(150):
        body = bytearray(good)
        for _ in range(generator.choice([1, 1, 2, 5])):
            place = generator.choice([generator.randrange(120), generator.randrange(len(body) + 1)])
            match generator.randrange(4):
                case 0:
                    body[place:place] = generator.choice(odd)
                case 1:
                    body[place : place + 1] = generator.choice(odd)
                case 2:
                    del body[place : place + generator.randrange(1, 6)]
                case 3:
                    del body[place:]
        path.write_bytes(body)
        try:
            dataset = opened(path, tmp_path / "kept")
            dataset.read_features(dataset.features, slice(0, len(dataset)))
            lines = [line for line in bytes(body).split(b"\n")[1:] if line.strip()]
            assert pq.read_metadata(dataset.source.paths[0]).num_rows == len(lines), bytes(body)
        except UserError as error:
            messages.append(str(error))
    assert 50 < len(messages) < 150
    assert all("\n" not in message and re.search("mine.csv|era", message) for message in messages)
