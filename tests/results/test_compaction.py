"""The copy of many trials' curves: faster, never trusted, never needed."""

import dataclasses
import os
import threading

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.results import ResultStore, Run, compaction

COUNT = 260
QUERY = "SELECT run_id, epoch, loss, val FROM curves ORDER BY run_id, epoch"


def trial(number, loss=0.0):
    curves = {"loss": np.arange(3.0) + number + loss}
    if number % 2:
        curves["val"] = np.full(2, number / 7)
    return Run(f"{number:04}", "trial", "ok", curves=curves)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("trials"), create=True)
    for number in range(COUNT):
        store.write(trial(number))
    return store, store.sql(QUERY)


@pytest.fixture
def store(written, tmp_path):
    """A copy of the store whose parts are those that its file of curves is about."""
    source, _ = written
    folder = tmp_path / "store" / "runs"
    folder.mkdir(parents=True)
    for entry in os.scandir(source.path / "runs"):
        os.link(entry.path, folder / entry.name)
    return ResultStore(folder.parent)


def copy_of(store):
    return store.path / "runs" / compaction.NAME


def read_parts(monkeypatch):
    read = []
    whole = compaction.parts_dataset
    monkeypatch.setattr(
        compaction,
        "parts_dataset",
        lambda paths, schema: read.extend(paths) or whole(paths, schema),
    )
    return read


def test_answers_are_those_of_the_parts(written, store, monkeypatch):
    source, answer = written
    assert copy_of(source).is_file()
    rows = answer.to_pylist()
    assert len(rows) == 3 * COUNT
    assert rows[3:5] == [
        {"run_id": "0001", "epoch": 1, "loss": 1.0, "val": 1 / 7},
        {"run_id": "0001", "epoch": 2, "loss": 2.0, "val": 1 / 7},
    ]
    read = read_parts(monkeypatch)
    assert store.sql(QUERY).equals(answer)
    assert read == []
    copy_of(store).unlink()
    assert store.sql(QUERY).equals(answer)
    assert len(read) == COUNT


def test_parts_that_changed_since_are_read(store, monkeypatch):
    read = read_parts(monkeypatch)
    store.replace(trial(7, loss=100.0))
    store.write(dataclasses.replace(trial(0), run_id="new"))
    (store.path / "runs" / "trial-0009.parquet").unlink()
    rows = store.sql("SELECT run_id, loss FROM curves WHERE epoch = 1").to_pylist()
    losses = {row["run_id"]: row["loss"] for row in rows}
    assert (losses["0007"], losses["0008"], losses["new"]) == (107.0, 8.0, 0.0)
    assert "0009" not in losses
    assert len(losses) == COUNT
    assert sorted(path.name for path in read) == [
        "trial-0007.parquet",
        "trial-new.parquet",
    ]


def test_a_store_that_was_copied_is_read_anew(written, store, tmp_path, monkeypatch):
    import shutil

    moved = tmp_path / "elsewhere"
    shutil.copytree(store.path, moved)
    read = read_parts(monkeypatch)
    assert ResultStore(moved).sql(QUERY).equals(written[1])
    assert len(read) == COUNT


@pytest.mark.parametrize("place", [0.01, 0.5, 0.97])
def test_a_damaged_copy_is_not_believed(written, store, monkeypatch, place):
    path = copy_of(store)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.unlink()
    path.write_bytes(content)
    read = read_parts(monkeypatch)
    assert store.sql(QUERY).equals(written[1])
    assert len(read) == COUNT
    read.clear()
    # It was replaced by a good one.
    assert ResultStore(store.path).sql(QUERY).equals(written[1])
    assert read == []


def test_a_damaged_part_is_refused_in_spite_of_the_copy(store):
    path = store.path / "runs" / "trial-0011.parquet"
    content = bytearray(path.read_bytes())
    content[8] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(UserError, match="trial-0011"):
        store.sql(QUERY)


def test_no_copy_where_none_can_be_written(written, store, monkeypatch):
    copy_of(store).unlink()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction, "write_sealed", full)
    assert store.sql(QUERY).equals(written[1])
    assert not copy_of(store).exists()
    assert not list(copy_of(store).parent.glob("*.tmp"))


def test_queries_and_writers_at_once(written, store):
    copy_of(store).unlink()
    failures = []

    def ask():
        try:
            for _ in range(3):
                found = ResultStore(store.path).sql(QUERY)
                assert found.slice(0, 3 * COUNT).equals(written[1])
        except Exception as error:
            failures.append(error)

    def write():
        for number in range(20):
            run = trial(number)
            store.write(dataclasses.replace(run, run_id=f"z{number:02}"))

    threads = [threading.Thread(target=work) for work in (ask, ask, write)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ResultStore(store.path).sql(QUERY).num_rows == 3 * (COUNT + 20)


def test_a_run_is_read_without_listing_the_folder(store, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: listed.append(path) or scandir(path)
    )
    store.completed()
    assert len(listed) == 1
    for number in range(COUNT):
        store.curves(f"{number:04}")
        store.settings(f"{number:04}")
    assert len(listed) == 1
    store.write(dataclasses.replace(trial(1), run_id="new"))
    assert store.curves("new")["loss"][0] == 1.0
    with pytest.raises(UserError, match="unknown run 'no/such run'"):
        store.read("no/such run")
