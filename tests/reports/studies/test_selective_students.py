"""The selective study's page of networks that were trained here."""

import dataclasses

import pytest

from jaxbench.errors import UserError
from jaxbench.reports.studies.selective import build
from jaxbench.results import ResultStore, run_digest
from tests.reports.studies.pages import section
from tests.reports.studies.test_selective_page import OPTIONS, column, student
from tests.results.sample_runs import evaluation


def build_of(tmp_path, *runs, **options):
    store = ResultStore(tmp_path, create=True)
    for run in runs:
        store.write(run)
    return build(store, **(OPTIONS | options))


@pytest.mark.parametrize(
    ("seeds", "num_resamples", "caption", "title", "text"),
    [
        (2, 40, "cover other seeds and other images.", "changes on", "holds 0 leaves"),
        (1, 40, "about other images alone", "one seed", "decides nothing"),
        (2, 0, "differences have no intervals", "changes on", "nothing is decided"),
    ],
)
def test_students_say_what_their_intervals_are_about(
    tmp_path, seeds, num_resamples, caption, title, text
):
    pairs = [
        run
        for seed in range(seeds)
        for teacher, skill in ((None, 2.5), ("resnet_micro best-trial", 3.0))
        for run in student(seed, teacher, skill)
    ]
    page = build_of(tmp_path, *pairs, num_resamples=num_resamples)
    assert caption in section(page, "students").caption
    finding = next(f for f in page.findings if f.title.startswith("What a teacher"))
    assert title in finding.title
    assert text in finding.text


def test_a_name_says_nothing_about_other_weights(tmp_path):
    plain, taught = "pit_b_224.in1k", "pit_b_distilled_224.in1k"
    own = {"model": plain, "weights": "pretrained"}
    probe = {"protocol": "linear_probe", "probe_id": "1"}
    rows = [
        own,
        own | probe,
        {"model": taught, "weights": "random:0"},
        {"model": taught, "weights": "mine.safetensors"},
        {"model": taught, "weights": "pretrained"} | probe,
    ]
    runs = [evaluation(row, "digits@test", "clean", skill=3.0) for row in rows]
    page = build_of(tmp_path, *runs)
    table = section(page, "models").table
    labels = column(table, "Model")
    regimes = dict(zip(labels, column(table, "Regime"), strict=True))
    assert sorted(regimes.values()) == ["plain"] + ["unknown"] * 4
    # No twin of the plain one is what its name says.
    assert "twins" not in [part.name for part in page.sections]
    named = build_of(tmp_path, regimes={taught: "mine"})
    assert dict(named.facts)["Regimes"] == "mine 3, plain 1, unknown 1"
    whole = {"model": taught, "weights": "pretrained"}
    page = build_of(tmp_path, evaluation(whole, "digits@test", "clean", skill=4.0))
    assert section(page, "twins").table.rows[0][1].value == 1
    assert "linear probe" not in section(page, "twin-pairs").table.rows[0][0].text


def test_trials_that_diverged_are_named_and_left_out(tmp_path):
    trial, row = student(0, None, 2.5)
    lost = dataclasses.replace(
        trial, settings=trial.settings | {"diverged_step": 3}, metrics={}
    )
    with pytest.raises(UserError, match=r"diverged .* left out: vit_micro adamw"):
        build_of(tmp_path, lost, row)
    page = build_of(tmp_path, *student(1, "resnet_micro best-trial", 3.0))
    labels = column(section(page, "models").table, "Model")
    assert labels == ["vit_micro adamw teacher=resnet_micro"]
    assert any(note.endswith("left out: vit_micro adamw") for note in page.notes)


def trained_otherwise(skill, teacher=None, **settings):
    """A student of seed 0 with other settings of its training: trial and row."""
    trial, row = student(0, teacher, skill)
    run_id = run_digest(settings)
    yield dataclasses.replace(
        trial,
        run_id=run_id,
        settings=trial.settings | settings | {"trial_id": run_id},
    )
    yield dataclasses.replace(
        row,
        run_id=run_digest(settings | {"row": 1}),
        settings=row.settings | {"trial_id": run_id},
    )


def test_students_of_two_pools_are_two_groups(tmp_path):
    runs = [*student(0, None, 2.5)]
    for pool, skill in (("aaaaaaaa", 3.0), ("bbbbbbbb", 3.5)):
        teacher = "resnet_micro best-trial"
        runs += trained_otherwise(skill, teacher, teacher_trial=pool)
    page = build_of(tmp_path, *runs)
    students = {row[0].text for row in section(page, "students").table.rows}
    assert len(students) == 2
    assert {"trial aaaaaa" in s for s in students} == {True, False}
    titles = [f.title for f in page.findings if f.title.startswith("What a teacher")]
    assert len(set(titles)) == 2
    assert all(any(student in title for title in titles) for student in students)


def test_case_16_students_are_named_by_every_setting_in_which_they_differ(tmp_path):
    runs = []
    for epochs, skill in ((5, 2.0), (9, 2.5)):
        runs += trained_otherwise(skill, epochs=epochs)
        teacher = "resnet_micro best-trial"
        runs += trained_otherwise(
            skill + 0.5, teacher, epochs=epochs, teacher_trial="t"
        )
    page = build_of(tmp_path, *runs)
    students = {row[0].text for row in section(page, "students").table.rows}
    named = "vit_micro adamw, teacher resnet_micro best-trial"
    assert students == {f"{named} (epochs 5)", f"{named} (epochs 9)"}
