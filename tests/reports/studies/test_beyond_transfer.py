"""The part about transfer: probes of frozen features, alone and beside models."""

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.reports.check import check_page
from jaxbench.reports.studies.beyond import build
from jaxbench.reports.studies.beyond_transfer import transfer_part
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.models import find_models
from jaxbench.studies.transfer import find_backbones
from tests.reports.studies.beyond_runs import (
    CLIP,
    NUM_IMAGES,
    SUPERVISED,
    evaluation,
    probed,
)
from tests.reports.studies.pages import rows, section

TASKS = {"flowers102": 3.0, "dtd": 1.5}


def page_of(tmp_path, *runs, **options):
    store = ResultStore(tmp_path, create=True)
    for run in runs:
        store.write(run)
    page = build(store, **({"num_resamples": 20} | options))
    check_page(page)
    return page


def both(**others):
    """Linear probes of two backbones on both tasks."""
    return [
        probed(model, dataset, skill + gain, **others)
        for model, gain in ((SUPERVISED, 1.0), (CLIP, 0.0))
        for dataset, skill in TASKS.items()
    ]


def test_probes_alone_are_a_page(tmp_path):
    runs = [*both(), probed(CLIP, "dtd", 1.0, protocol="knn", num_neighbors=10)]
    runs.append(probed(CLIP, "flowers102", 1.0, protocol="knn", num_neighbors=10))
    page = page_of(tmp_path, *runs, groups={"nobody": "x"})
    assert [one.name for one in page.sections] == ["transfer", "groups"]
    assert dict(page.facts)["Backbones"] == "2"
    assert dict(page.facts)["Datasets"] == "2"
    shown = [(one["Model"].text, one["Head"].text) for one in rows(page, "transfer")]
    assert shown == [
        *((SUPERVISED, "linear probe"), (CLIP, "linear probe")),
        (CLIP, "k-NN 10"),
    ]
    groups = {one["Model"].text: one["Group"].text for one in rows(page, "transfer")}
    assert groups == {SUPERVISED: "ConvNet supervised", CLIP: "transformer CLIP"}
    finding = page.findings[0]
    assert finding.value.startswith(f"{SUPERVISED}, ")
    assert f"{CLIP} follows with" in finding.text
    assert f"{SUPERVISED} on 2" in finding.text
    text = " ".join(page.notes)
    assert "not here: nobody" in text
    assert "has probes alone" in text


def test_the_mean_and_its_interval(tmp_path):
    runs = both()
    (one, _) = rows(page_of(tmp_path, *runs), "transfer")
    correct = [run.examples["correct"] for run in runs[:2]]
    shares = [float(found.mean()) for found in correct]
    mean = one["Mean %"]
    assert mean.value == pytest.approx(np.mean(shares))
    # Images of two datasets are independent, although their names are the same.
    variance = sum(p * (1 - p) / NUM_IMAGES for p in shares) / 4
    assert mean.high - mean.low == pytest.approx(2 * 1.959964 * variance**0.5)
    dtd = one["dtd %"]
    assert dtd.low < dtd.value == shares[1] < dtd.high


def test_other_weights_of_one_network_are_another_backbone(tmp_path):
    runs = [*both(weights="moco.safetensors"), *both(weights="dino.safetensors")]
    found = rows(page_of(tmp_path, *runs), "transfer")
    assert sorted(one["Model"].text for one in found) == [
        f"{model} weights={name}.safetensors"
        for model in (SUPERVISED, CLIP)
        for name in ("dino", "moco")
    ]
    # A name says nothing about weights from a file.
    assert {one["Group"].text for one in found} == {"unknown"}


def test_case_16_one_network_at_two_sizes_is_two_backbones(tmp_path):
    runs = [evaluation(CLIP, "imagenet", 2.0)]
    for size, skill in ((224, 1.0), (384, 3.0)):
        for dataset in TASKS:
            run = probed(CLIP, dataset, skill, probe_size=size)
            run.settings["image_size"] = size
            runs.append(run)
    page = page_of(tmp_path, *runs)
    means = {one["Model"].text: one["Mean %"].value for one in rows(page, "transfer")}
    assert set(means) == {f"{CLIP} size=224", f"{CLIP} size=384"}
    # The model was evaluated at 224 pixels, and has the score of that size.
    store = ResultStore(tmp_path)
    results = load_results(store)
    models, _ = find_models(results, "imagenet", heads_only=True)
    part = transfer_part(store, results, find_backbones(results, {}), models)
    assert part.scores[CLIP]["transfer"][0] == means[f"{CLIP} size=224"]


def test_published_transfer_stands_beside_the_linear_probes(tmp_path):
    runs = [
        probed(model, f"{dataset}@test", 2.0, protocol=protocol)
        for model in (SUPERVISED, CLIP)
        for dataset in (*TASKS, "pets")
        for protocol in ("linear_probe", "knn")
    ]
    page = page_of(tmp_path, *runs)
    found = rows(page, "published")
    assert len(found) == 6
    own = {one["Model"].text: one for one in rows(page, "transfer")}[CLIP]
    clip = {o["Measure"].text: o for o in found if o["Model"].text == CLIP}
    for name, text in (("dtd", "79.4"), ("flowers102", "96.4"), ("pets", "91.7")):
        one = clip[f"linear probe, {name}@test"]
        assert one["Published"].text == text
        assert one["Own"] == own[f"{name}@test %"]
    assert "do not say how" in section(page, "published").caption


def test_the_best_of_several_probes_is_reported(tmp_path):
    runs = [
        probed(CLIP, "dtd", skill, probe_validation_accuracy=accuracy)
        for skill, accuracy in ((4.0, 0.5), (1.0, 0.9), (2.0, 0.1))
    ]
    runs.append(probed(CLIP, "dtd", 1.0, role="shifted", probe_train="dtd@train"))
    page = page_of(tmp_path, *runs)
    (one,) = rows(page, "transfer")
    assert one["dtd %"].value == runs[1].metrics["accuracy"]
    assert "Mean %" not in one
    text = " ".join(page.notes)
    assert "Not in the table of transfer: 2 results of probes" in text
    assert "1 shifted or out-of-distribution dataset that probes" in text


def test_one_test_set_after_two_training_sets_is_two_columns(tmp_path):
    few = probed(CLIP, "dtd", 1.0, probe_train="dtd@train[:800]")
    page = page_of(tmp_path, probed(CLIP, "dtd", 3.0), few)
    (one,) = rows(page, "transfer")
    assert {"dtd from dtd@train %", "dtd from dtd@train[:800] %"} <= one.keys()


def test_a_dataset_that_a_backbone_lacks(tmp_path):
    page = page_of(tmp_path, *both()[:3])
    found = {one["Model"].text: one for one in rows(page, "transfer")}
    assert found[CLIP]["dtd %"].text == found[CLIP]["Mean %"].text == "-"
    assert any(f"one or more are missing: {CLIP}" in note for note in page.notes)
    assert "2 datasets, of 1 backbone." in page.findings[0].text


def test_probes_beside_models(tmp_path):
    runs = [evaluation(model, "imagenet", 3.0) for model in (SUPERVISED, CLIP)]
    # More results than the models have, on datasets that they were not evaluated on.
    runs += [*both(), *both(protocol="knn", num_neighbors=10)]
    runs += both(weights="other.safetensors")
    page = page_of(tmp_path, *runs, groups={CLIP: "mine"})
    assert dict(page.facts)["Reference"] == "imagenet"
    models = {one["Model"].text: one for one in rows(page, "models")}
    means = {
        one["Model"].text.removesuffix(" weights=pretrained"): one["Mean %"].value
        for one in rows(page, "transfer")
        if one["Head"].text == "linear probe" and "other" not in one["Model"].text
    }
    assert {n: one["Transfer %"].value for n, one in models.items()} == means
    assert not any("not here" in note for note in page.notes)
    with pytest.raises(UserError, match="unknown clean dataset 'dtd'"):
        build(ResultStore(tmp_path), reference="dtd")


def test_options_that_probes_do_not_have(tmp_path):
    with pytest.raises(UserError, match="of their own: reference, shown; leave them"):
        page_of(tmp_path, *both(), reference="dtd", shown=["*"])
