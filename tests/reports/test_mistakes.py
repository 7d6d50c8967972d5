"""The sections about mistakes: their cells, map and pictures."""

import numpy as np
import pytest

from jaxbench.data import open_dataset
from jaxbench.reports.check import check_page
from jaxbench.reports.mistakes import MAX_IMAGES, MAX_PAIRS_EACH, mistake_sections
from jaxbench.reports.page import Page
from jaxbench.studies.mistake_images import SeenImages
from jaxbench.studies.mistakes import confident_mistakes, confused_pairs
from tests.studies.test_mistakes import answers_of, columns_of, digits_row

HOSTILE = "\"><script>alert(1)</script> '$x_1$' [a] \u202ereversed"


@pytest.fixture(scope="module")
def digits():
    source, row = digits_row()
    models = {
        f"m{seed}": columns_of(source.ids, source.labels, seed, 8, right=0.8)
        for seed in range(3)
    }
    answers = answers_of(models)
    return answers, {s.name: s for s in mistake_sections(answers, row)}


def page_of(sections):
    return Page("report", "t", "", "", (), (), tuple(sections))


def test_tables_have_the_numbers_of_the_study(digits):
    answers, sections = digits
    pairs = confused_pairs(answers, most=20)
    rows = sections["confusions"].table.rows
    assert len(rows) == 20 + 3 * MAX_PAIRS_EACH
    for pair, row in zip(pairs, rows, strict=False):
        cells = row[0].text, row[1].text, row[2].text, row[4].value, row[5].value
        wanted = "all 3 models", str(pair.label), str(pair.prediction)
        assert cells == (*wanted, pair.num_answers, pair.num_images)
        assert (row[3].value, row[3].low, row[3].high) == tuple(pair.share)
    first = confused_pairs(answers.of("m1"))[0]
    own = next(row for row in rows if row[0].text == "m1")
    assert own[4].value == first.num_answers
    (chart,) = sections["confusions"].charts
    shares = {(p.label, p.prediction): p.share.value for p in confused_pairs(answers)}
    for true, line in zip(chart.rows, chart.values, strict=True):
        for taken, value in zip(chart.columns, line, strict=True):
            wanted = shares.get((int(true), int(taken)), 0.0)
            assert value == (None if true == taken else wanted)


def test_pictures_are_of_the_most_confident_mistakes(digits):
    answers, sections = digits
    section = sections["confident-mistakes"]
    mistakes = confident_mistakes(answers, most=MAX_IMAGES)
    assert [p.title for p in section.pictures] == [one.id for one in mistakes]
    assert [row[0].text for row in section.table.rows] == [one.id for one in mistakes]
    source = open_dataset("digits@test")
    first = mistakes[0]
    label = source.labels[source.ids.index(first.id)]
    assert section.pictures[0].text.startswith(f"{label}, taken for ")
    assert f"{first.num_wrong} of 3 models" in section.pictures[0].text
    check_page(page_of(sections.values()))


def test_hostile_and_equal_class_names(digits, monkeypatch):
    answers, _ = digits
    names = {0: HOSTILE, 1: HOSTILE, 2: "", 3: "x" * 300}
    monkeypatch.setattr(
        "jaxbench.reports.mistakes.find_images", lambda *_: SeenImages(names, "Gone.")
    )
    sections = mistake_sections(answers, {"dataset": HOSTILE})
    (chart,) = sections[0].charts
    assert len(set(chart.rows)) == len(chart.rows) == 8
    assert f"{HOSTILE} (1)" in chart.rows
    assert sections[1].pictures == ()
    assert "Gone." in sections[1].caption
    check_page(page_of(sections))


def test_nothing_is_shown_without_mistakes():
    label = np.arange(8) % 4
    best = answers_of({"best": columns_of([*"abcdefgh"], label, 0, right=2.0)})
    assert mistake_sections(best, {"dataset": "digits@test"}) == []
    assert mistake_sections(answers_of({}), {"dataset": "digits@test"}) == []


def test_one_model_has_its_pairs_once(digits):
    answers, _ = digits
    _, row = digits_row()
    section, _ = mistake_sections(answers.of("m2"), row)
    assert {row[0].text for row in section.table.rows} == {"m2"}
    assert "1 model confused" in section.caption
