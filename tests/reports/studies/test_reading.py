"""No page reads a column of a part twice, nor a whole part."""

from collections import Counter

import pytest

from jaxbench.reports.overview import build_report
from jaxbench.results import parts
from tests.reports.browser.study_pages import STORES, study_page


@pytest.fixture
def reads(monkeypatch):
    """How often each column of each part was read; "*" is a whole part."""
    found = Counter()

    def counted(name):
        read = getattr(parts, name)

        def reader(path, names=("*",)):
            found.update((path.name, name, column) for column in names)
            return read(path, *([] if names == ("*",) else [names]))

        reader.__name__ = name
        monkeypatch.setattr(parts, name, reader)

    for name in ("read_part", "read_examples", "read_curves"):
        counted(name)
    return found


def assert_read_once(reads):
    assert reads
    assert {place: count for place, count in reads.items() if count > 1} == {}
    assert not [place for place in reads if place[2] == "*"]


@pytest.mark.parametrize("name", STORES)
def test_a_study_reads_every_column_once(name, tmp_path, reads):
    study_page(name, tmp_path)
    assert_read_once(reads)


def test_the_report_reads_every_column_once(sweep_store, reads):
    build_report(sweep_store)
    assert_read_once(reads)


def test_columns_used_longest_ago_are_read_again(sweep_store, reads):
    runs = sweep_store.summary("evaluation").to_pylist()
    first, second = [run["run_id"] for run in runs if run["status"] == "ok"][:2]
    size = sweep_store.examples(first, ("confidence",))["confidence"].nbytes
    reads.clear()
    store = sweep_store.keeping(2 * size)
    for run_id in (first, first, second, first):
        again = store.examples(run_id, ("confidence",))
        with pytest.raises(ValueError, match="read-only"):
            again["confidence"][0] = 0.5
    assert sorted(reads.values()) == [1, 1]
    for run_id in (second, first):
        store.examples(run_id, ("nll",))
    store.examples(first, ("confidence",))
    assert sorted(reads.values()) == [1, 1, 1, 2]


def test_a_store_keeps_nothing_unless_asked(sweep_store, reads):
    runs = sweep_store.summary("evaluation").to_pylist()
    run_id = next(run["run_id"] for run in runs if run["status"] == "ok")
    for _ in range(2):
        sweep_store.examples(run_id, ("confidence",))
    assert set(reads.values()) == {2}
