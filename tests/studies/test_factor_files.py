"""Factors of your own images, from files."""

import json

import pytest

from jaxbench.errors import UserError
from jaxbench.studies import read_factors

WANTED = {"a/1.png": ("dark", "from=behind"), "a/2.png": (), "3": ("from=side",)}


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_case_40_csv_and_json_lines_say_the_same(tmp_path):
    table = '\ufeffid,dark,from\n"a/1.png",1,behind\r\na/2.png,0,\n\n3,false,side\n'
    assert read_factors(written(tmp_path, "f.csv", table)) == WANTED
    rows = [
        {"id": "a/1.png", "dark": True, "from": "behind"},
        {"id": "a/2.png", "dark": 0, "from": None},
        {"id": 3, "from": "side"},
    ]
    lines = "\n".join(map(json.dumps, rows))
    assert read_factors(written(tmp_path, "f.jsonl", lines)) == WANTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.txt", "id,dark\n", "is of no kind that holds factors"),
        ("f.csv", "", "no image"),
        ("f.csv", "id,dark\n", "no image"),
        ("f.csv", "name,dark\na,1\n", "malformed or without an id: line 1"),
        ("f.csv", "id,dark,dark\na,1,0\n", "malformed or without an id: line 1"),
        ("f.csv", "id,dark\na,1,0\nb\n,1\n", "without an id: line 2, 3, 4"),
        ("f.csv", 'id,dark\n"a,1\n', "malformed"),
        ("f.csv", "id,dark\na,1\na,1\nb,1\nb,0\n", "come twice: a, b"),
        ("f.csv", "id,dark\na,0\n", "no image has a factor, of 1"),
        ("f.jsonl", '[]\n{"dark": 1}\n{"id": "a", "x": []}\n{', "line 1, 2, 3, 4"),
        ("f.jsonl", '{"id": "a", "x": 0.5}', "line 1"),
    ],
)
def test_case_40_files_that_are_refused(tmp_path, name, text, message):
    with pytest.raises(UserError, match=f"{message}.*wanted a CSV file"):
        read_factors(written(tmp_path, name, text))


def test_case_40_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_factors(tmp_path / "f.csv")
