"""The page beyond accuracy: built from a folder, its numbers checked one by one."""

from dataclasses import replace

import numpy as np
import pytest

from jaxbench.data.known.imagenet_validation import image_name
from jaxbench.data.known.imagenet_x import NUM_ANNOTATED
from jaxbench.errors import UserError
from jaxbench.metrics import wilson_interval
from jaxbench.reports.check import check_page
from jaxbench.reports.page import Curves, HeatMap
from jaxbench.reports.studies import STUDIES
from jaxbench.reports.studies.beyond import build
from jaxbench.reports.studies.beyond_published import differences
from jaxbench.results import ResultStore, run_digest
from jaxbench.studies.models import Model
from jaxbench.studies.published.beyond import CORRUPTED, load_published_models
from jaxbench.studies.published.beyond import NUM_IMAGES as NUM_PUBLISHED
from tests.reports.studies.beyond_runs import (
    CLIP,
    NUM_IMAGES,
    SUPERVISED,
    evaluation,
    fill,
    image_ids,
    write_annotations,
)
from tests.reports.studies.pages import rows, section
from tests.results.sample_runs import evaluation as sample
from tests.results.sample_runs import trial
from tests.studies.cue_conflict_files import answers, write


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("s"), create=True)
    fill(store)
    return store


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    path = tmp_path_factory.mktemp("x") / "imagenet_x_val_top_factor.jsonl"
    return write_annotations(path, image_ids("imagenet"))


@pytest.fixture(scope="module")
def page(store, annotations):
    return build(store, annotations=annotations, num_resamples=50)


def row(page, name, **wanted):
    found = [
        one
        for one in rows(page, name)
        if all(one[heading].text == text for heading, text in wanted.items())
    ]
    (only,) = found
    return only


def columns(store, model, dataset, size=224):
    summary = store.summary("evaluation").to_pylist()
    (run,) = [
        one["run_id"]
        for one in summary
        if (one["model"], one["dataset"], one["image_size"]) == (model, dataset, size)
    ]
    return store.examples(run)


def test_the_page_can_be_drawn(page):
    check_page(page)
    assert [one.name for one in page.sections] == [
        *("models", "calibration", "robustness", "scale", "shift", "resolution"),
        *("shape-bias", "error-consistency", "error-ratios", "confusions"),
        *("confident-mistakes", "transfer", "published", "groups"),
    ]
    assert all(one.value and one.text for one in page.findings)
    assert STUDIES["beyond"].options().keys() >= {"annotations", "groups", "shown"}


def test_calibration_against_numpy(store, page):
    for dataset in ("imagenet", "imagenet-r"):
        found = columns(store, CLIP, dataset)
        confidence = found["confidence"].astype(np.float64)
        correct = found["correct"]
        bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
        ece = sum(abs((correct - confidence)[bins == b].sum()) for b in range(15))
        one = row(page, "calibration", Model=CLIP, Dataset=dataset)
        # float32 sums of 80 terms.
        assert one["ECE %"].value == pytest.approx(ece / NUM_IMAGES, abs=1e-5)
        assert one["Gap"].value == pytest.approx(
            (confidence - correct).mean(), abs=1e-5
        )
        assert one["Accuracy %"].value == pytest.approx(correct.mean())
        assert one["Confidence %"].value == pytest.approx(confidence.mean())
        beside = row(page, "published", Model=CLIP, Measure=f"ECE, {dataset}")
        assert beside["Own"].value == one["ECE %"].value
    datasets = {one["Dataset"].text for one in rows(page, "calibration")}
    assert datasets == {"imagenet", "imagenet-r", "imagenet-v2/matched-frequency"}
    chart = section(page, "calibration").charts[0]
    assert isinstance(chart, Curves)
    assert chart.kind == "reliability"
    assert set(chart.lines) == {CLIP, SUPERVISED}


def test_robustness_has_one_column_for_all_corruptions(store, page):
    one = row(page, "robustness", Model=SUPERVISED)
    fog = [columns(store, SUPERVISED, f"imagenet-c/fog_{s}") for s in (1, 3)]
    corrupted = np.mean([found["correct"].mean() for found in fog])
    assert one["imagenet-c %"].value == pytest.approx(corrupted)
    others = [
        columns(store, SUPERVISED, name)["correct"].mean()
        for name in ("imagenet-r", "imagenet-v2/matched-frequency")
    ]
    average = np.mean([corrupted, *others])
    assert one["Average %"].value == pytest.approx(average)
    clean = columns(store, SUPERVISED, "imagenet")["correct"].mean()
    assert one["Drop"].value == pytest.approx(average - clean)


def beside(page, model, measure):
    return row(page, "published", Model=model, Measure=measure)


def test_own_numbers_stand_beside_the_published_ones(store, page):
    one = beside(page, SUPERVISED, "accuracy, imagenet")
    accuracy = columns(store, SUPERVISED, "imagenet")["correct"].mean()
    assert one["Published as"].text == "ConvNeXt-sup"
    assert (one["Published"].text, one["Published"].value) == ("85.5", 0.855)
    assert one["Own"].value == pytest.approx(accuracy)
    assert one["Difference"].value == pytest.approx(accuracy - 0.855)
    low, high = wilson_interval(round(accuracy * NUM_IMAGES), NUM_IMAGES)
    assert one["Own"].low == pytest.approx(float(low))
    assert one["Difference"].high == pytest.approx(float(high) - 0.855)
    assert one["Difference"].text.startswith(f"{100 * (accuracy - 0.855):+.1f} [")
    assert beside(page, SUPERVISED, "accuracy, imagenet-c")["Published"].text == "66.8"
    assert beside(page, CLIP, "ECE, imagenet")["Published"].text == "13.3"
    # Curves and error ratios, as measured in the figures.
    assert beside(page, CLIP, "accuracy, scale 3")["Published"].text == "36.0"
    curve = section(page, "scale").charts[0].lines[CLIP][1]
    own = beside(page, CLIP, "accuracy, scale 3")["Own"]
    assert own.value == pytest.approx(curve[-1])
    assert own.low < own.value < own.high
    tables = {
        (one["Factor"].text, one["Model"].text): one["Error ratio"].text
        for one in rows(page, "error-ratios")
    }
    for (factor, model), text in tables.items():
        if text != "NaN":
            one = beside(page, model, f"error ratio, {factor}")
            published = load_published_models()[model].error_ratio
            assert one["Own"].text == text
            assert one["Published"].value == published[factor.replace(" ", "_")]
            gap = one["Own"].value - one["Published"].value
            assert one["Difference"].text.startswith(f"{gap:+.2f}")


def test_published_curves_are_drawn_beside_the_own_ones(page):
    accuracy, probability = section(page, "scale").charts
    x, y = accuracy.lines["ViT-clip (published)"]
    assert list(zip(x, y, strict=True))[-1] == pytest.approx((3.0, 0.36))
    assert "ViT-clip (published)" not in probability.lines


def test_models_without_published_numbers_have_no_such_section(tmp_path):
    store = ResultStore(tmp_path, create=True)
    store.write(evaluation("resnet50.mine", "imagenet", 3.0))
    page = build(store, num_resamples=50)
    assert not [one for one in page.sections if one.name == "published"]


def test_case_19_published_numbers_of_something_else_are_noted(page):
    """Two of the 75 corrupted datasets, three of seven variants, 80 images of each."""
    caption = section(page, "published").caption
    assert (
        "imagenet-c is published as the mean of 75 datasets (15 corruptions, 5 "
        "severities) and here of 2; the published average is over "
        "imagenet-v2/matched-frequency, imagenet-a, imagenet-c, imagenet-hard, "
        "imagenet-r, imagenet-sketch, imagenet-real, here over imagenet-c, "
        "imagenet-r, imagenet-v2/matched-frequency"
    ) in caption
    parts = "imagenet 80 of 50,000, imagenet-c 80 of 50,000, imagenet-r 80 of 30,000"
    assert f"here of a part of the images: {parts}" in caption
    average = row(
        page, "published", Model=SUPERVISED, Measure="mean accuracy of the variants"
    )
    own = row(page, "robustness", Model=SUPERVISED)["Average %"]
    assert (average["Published"].text, average["Own"].text) == ("60.7", own.text)
    assert caption.count("Published numbers are of something else") == 1


def model_of(rows, size=224):
    published = load_published_models()[CLIP]
    return Model(CLIP, CLIP, "", size=size, rows=rows, published=published)


def test_case_19_nothing_is_noted_where_nothing_differs():
    rows = {name: {"num_examples": n} for name, n in NUM_PUBLISHED.items()}
    assert len(CORRUPTED) == 75
    variants = [name for name in load_published_models()[CLIP].accuracy][1:]
    whole = model_of(rows)
    assert differences([whole], list(rows), averaged=variants) == ""
    assert "mean of 75 datasets" in differences(
        [whole], [*rows, "imagenet-c/spatter_1"], averaged=variants
    )
    assert "here also at 336" in differences([model_of(rows, 336)], list(rows))
    assert "imagenet 100 of 50,000" in differences(
        [model_of({"imagenet": {"num_examples": 100}})], ["imagenet"]
    )
    assert differences([Model("own", "own", "", rows={})], list(rows)) == ""


def test_curves_of_larger_moved_and_finer_images(store, page):
    accuracy, probability = section(page, "scale").charts
    x, y = accuracy.lines[CLIP]
    assert list(x) == [1.0, 1.5, 3.0]
    names = ("imagenet", "imagenet+scale_1.5", "imagenet+scale_3")
    found = [columns(store, CLIP, name) for name in names]
    assert y == pytest.approx([one["correct"].mean() for one in found])
    wanted = [np.exp(-one["nll"].astype(np.float64)).mean() for one in found]
    assert probability.lines[CLIP][1] == pytest.approx(wanted)
    one = row(page, "scale", Model=CLIP)
    worst = int(np.argmin(y))
    assert one["Lowest at"].value == x[worst]
    assert one["Change"].value == pytest.approx(y[worst] - y[0], abs=1e-6)
    # The shift starts where it was measured, and is not replaced by the plain images.
    assert list(section(page, "shift").charts[0].lines[CLIP][0]) == [0.0, 30.0]
    assert list(section(page, "resolution").charts[0].lines[CLIP][0]) == [112, 224, 336]


def test_shape_bias_and_consistency_of_stored_answers(page):
    one = row(page, "shape-bias", Observer=CLIP)
    assert (one["Shape"].value, one["Texture"].value) == (421, 485)
    assert one["Shape bias %"].text.startswith("46.5 [")
    pair = rows(page, "error-consistency")[0]
    # The same number in tests/studies/test_shape_bias.py, there from the rows.
    assert pair["Error consistency"].value == pytest.approx(0.39152, abs=1e-5)
    heat = section(page, "error-consistency").charts[0]
    assert isinstance(heat, HeatMap)
    assert heat.values[0][1] == heat.values[1][0]


def test_response_files_are_observers_too(store, tmp_path):
    given = answers()["vit_clip"]
    write(tmp_path / "person.csv", "subject-01", given)
    page = build(store, responses=[tmp_path], num_resamples=50)
    assert (
        row(page, "shape-bias", Observer="subject-01")["From"].text == "response file"
    )
    assert rows(page, "error-consistency")[0]["Error consistency"].value == 1.0
    few = dict(list(given.items())[:1000])
    write(tmp_path / "person.csv", "subject-01", few)
    with pytest.raises(UserError, match="subject-01 lacks 280 of 1280 images"):
        build(store, responses=[tmp_path])


def test_error_ratios(store, page):
    found = columns(store, CLIP, "imagenet")
    member = np.arange(NUM_IMAGES) % 4 == 0
    ratio = (~found["correct"])[member].mean() / (~found["correct"]).mean()
    one = row(page, "error-ratios", Factor="pose", Model=CLIP)
    assert one["Error ratio"].value == pytest.approx(ratio)
    mine = [r for r in rows(page, "error-ratios") if r["Model"].text == CLIP]
    weights = [r["Images"].value for r in mine]
    ratios = [r["Error ratio"].value for r in mine]
    assert np.average(ratios, weights=weights) == pytest.approx(1.0)


def test_annotations_of_other_images(store, tmp_path):
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(70, 90)]
    path = write_annotations(tmp_path / "x.jsonl", names)
    with pytest.raises(UserError) as error:
        build(store, annotations=path)
    # Both models, each with its count.
    assert str(error.value).count("9 of 20 annotated images were not evaluated") == 2


def test_annotations_of_a_part_are_noted(page):
    note = (
        "Partial: 80 images are annotated in imagenet_x_val_top_factor.jsonl, of the "
        "48,868 that ImageNet-X has; models were evaluated on up to 80 images."
    )
    assert note in page.notes


def test_all_images_need_annotations(tmp_path, annotations):
    """A file that was cut off does not annotate the evaluated images."""
    run = evaluation(CLIP, "imagenet", 2.0)
    whole = run.settings | {"num_examples": 50_000}
    store = ResultStore(tmp_path / "s", create=True)
    store.write(replace(run, settings=whole, run_id=run_digest(whole)))
    with pytest.raises(UserError, match="80 annotated images, the published"):
        build(store, annotations=annotations)


def test_case_21_the_whole_file_beside_a_part_of_the_images(store, tmp_path):
    names = [image_name(i) for i in range(31, 31 + NUM_ANNOTATED)]
    path = write_annotations(tmp_path / "imagenet_x_val_top_factor.jsonl", names)
    page = build(store, annotations=path, num_resamples=50)
    found = columns(store, CLIP, "imagenet")
    # The first 30 of the 80 images that were evaluated are not annotated.
    one = row(page, "error-ratios", Factor="pose", Model=CLIP)
    wrong = ~found["correct"][30:]
    ratio = wrong[np.arange(50) % 4 == 0].mean() / wrong.mean()
    assert one["Error ratio"].value == pytest.approx(ratio)
    notes = " ".join(page.notes)
    assert "50 that every model has are annotated" in notes
    assert "Up to 30 of the images evaluated on imagenet are not annotated" in notes


def test_case_40_factors_of_your_own_images(store, tmp_path):
    path = tmp_path / "factors.csv"
    lines = [
        f"{name},{int(i % 4 == 0)},{'dark' if i % 2 else ''}"
        for i, name in enumerate(image_ids("imagenet"))
    ]
    path.write_text("\n".join(["id,partly_hidden,light", *lines[:60]]))
    page = build(store, annotations=path, num_resamples=50)
    wrong = ~columns(store, CLIP, "imagenet")["correct"][:60]
    place = np.arange(60)
    for factor, member in (
        ("partly_hidden", place % 4 == 0),
        ("light=dark", place % 2 == 1),
    ):
        one = row(page, "error-ratios", Factor=factor, Model=CLIP)
        assert one["Error ratio"].value == pytest.approx(
            wrong[member].mean() / wrong.mean()
        )
        assert one["Images"].value == member.sum()
    assert "(factors.csv)" in section(page, "error-ratios").caption
    assert "Up to 20 of the images evaluated on imagenet" in " ".join(page.notes)
    check_page(page)
    with pytest.raises(UserError, match="prototypes are of ImageNet-X"):
        build(store, annotations=path, prototypes=path)
    path.write_text("id,dark\ncat/1.png,1\n")
    with pytest.raises(UserError, match=r"1 of 1 annotated.*cat/1\.png[\s\S]*such as"):
        build(store, annotations=path)


def test_groups_by_name_and_by_option(store, page):
    groups = {one["Model"].text: one["Group"].text for one in rows(page, "models")}
    assert groups == {SUPERVISED: "ConvNet supervised", CLIP: "transformer CLIP"}
    one = row(page, "groups", Measure="Shape bias", Group="transformer CLIP")
    assert one["Mean"].text == "46.5"
    own = build(store, groups={CLIP: "mine", "other": "x"}, num_resamples=50)
    assert row(own, "models", Model=CLIP)["Group"].text == "mine"
    assert any("not here: other" in note for note in own.notes)


def test_linear_probes_are_a_table(page):
    (one,) = rows(page, "transfer")
    published = row(page, "published", Measure="linear probe, dtd@test")
    assert published["Published"].text == "79.4"
    assert one["Model"].text == CLIP
    assert one["dtd@test %"].value < one["flowers102@test %"].value
    mean = (one["dtd@test %"].value + one["flowers102@test %"].value) / 2
    assert one["Mean %"].value == pytest.approx(mean)


def test_a_student_and_the_network_alone_are_two_models(tmp_path):
    store = ResultStore(tmp_path, create=True)
    taught = {"teacher": "resnet_micro best-trial", "distillation": 0.5}
    pair = {"model": "vit_micro", "optimizer": "adamw", "seed": 0}
    for more, skill in (
        ({}, 2.0),
        (taught, 3.0),
        ({"started_from": "pretrained"}, 2.5),
    ):
        run = trial(pair | more, skill=skill)
        store.write(run)
        tied = pair | {"trial_id": run.run_id}
        store.write(sample(tied, "digits@test", "clean", skill=skill, n=80))
    page = build(store, num_resamples=20)
    groups = {one["Model"].text: one["Group"].text for one in rows(page, "models")}
    assert groups == {
        "vit_micro adamw": "transformer supervised",
        "vit_micro adamw teacher=resnet_micro": "unknown",
        "vit_micro adamw started_from=pretrained": "unknown",
    }


def test_one_model_and_nothing_else(tmp_path):
    store = ResultStore(tmp_path, create=True)
    store.write(evaluation(SUPERVISED, "imagenet", 3.0))
    page = build(store, num_resamples=50)
    check_page(page)
    mistakes = ["confusions", "confident-mistakes"]
    assert [one.name for one in page.sections] == [
        *("models", "calibration", *mistakes, "published")
    ]
    text = " ".join(page.notes)
    for words in (
        *("imagenet has no variant", "No invariance curves", "No shape bias"),
        *("No error ratios", "No transfer table", "fewer than two"),
    ):
        assert words in text


def test_models_that_are_missing_on_a_dataset(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for model, datasets in {
        SUPERVISED: ("imagenet", "imagenet-c/fog_1", "imagenet-c/fog_3", "imagenet-r"),
        CLIP: ("imagenet", "imagenet-c/fog_1"),
        "vit_small_patch16_224": ("imagenet-r",),
    }.items():
        for dataset in datasets:
            store.write(evaluation(model, dataset, 2.0))
    page = build(store, num_resamples=50)
    check_page(page)
    one = row(page, "robustness", Model=CLIP)
    assert (one["imagenet-c %"].text, one["Average %"].text) == ("-", "-")
    text = " ".join(page.notes)
    assert "lacks results on imagenet-c (1 of 2), imagenet-r (0 of 1)" in text
    assert "Left out for want of a result on imagenet: 1 model," in text


def test_two_results_with_equal_settings(tmp_path):
    store = ResultStore(tmp_path, create=True)
    run = evaluation(SUPERVISED, "imagenet", 2.0)
    store.write(run)
    store.write(replace(run, run_id=f"{run.run_id}0"))
    with pytest.raises(UserError, match="results are there twice, such as convnext"):
        build(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": "imagenett"}, "unknown clean dataset 'imagenett'"),
        ({"shown": ["resnet*", "vit"]}, r"(?s)shown: .*'resnet\*'.*'vit'"),
        ({"calibration_on": ["cifar10"]}, "unknown dataset 'cifar10'"),
        ({"num_resamples": 0, "seed": -1}, "num_resamples is 0.*seed is -1"),
        (
            {"responses": "a.csv", "groups": {"a": ""}},
            "responses is 'a.csv'.*groups is",
        ),
        ({"responses": ["none.csv"]}, "none.csv does not exist"),
        ({"annotations": "none.jsonl"}, "none.jsonl cannot be read"),
    ],
)
def test_options_that_do_not_fit(store, options, message):
    with pytest.raises(UserError, match=message):
        build(store, **options)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match="no evaluation on a clean dataset"):
        build(ResultStore(tmp_path, create=True))


def test_mistakes_are_of_the_charted_models(store, page):
    wrong = {m: ~columns(store, m, "imagenet")["correct"] for m in (SUPERVISED, CLIP)}
    found = rows(page, "confident-mistakes")
    assert len(found) == min(24, int((wrong[SUPERVISED] | wrong[CLIP]).sum()))
    ids = np.array(image_ids("imagenet"))
    both = set(ids[wrong[SUPERVISED] & wrong[CLIP]])
    for one in found:
        assert one["Models wrong"].value == 1 + (one["Image"].text in both)
    alone = build(store, shown=["vit_base*"], num_resamples=50)
    models = {one["Model"].text for one in rows(alone, "confusions")}
    assert models == {CLIP}


def test_runs_without_answers_have_no_mistakes(tmp_path):
    run = evaluation(CLIP, "imagenet", 2.0)
    kept = {n: v for n, v in run.examples.items() if n != "prediction"}
    store = ResultStore(tmp_path, create=True)
    store.write(replace(run, examples=kept))
    page = build(store, num_resamples=50)
    assert not [s for s in page.sections if s.name == "confusions"]
    assert "No mistakes of single images on imagenet are stored." in page.notes
