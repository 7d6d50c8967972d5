"""The page of the lottery: built from a folder and from tables."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from jaxbench.errors import UserError
from jaxbench.reports.check import check_page
from jaxbench.reports.page import HeatMap, Ranks, Scatter
from jaxbench.reports.studies.lottery import build, lottery_page
from jaxbench.reports.studies.lottery_charts import family
from jaxbench.results import ResultStore
from jaxbench.studies import VariantTable, mcnemar_exact_power
from jaxbench.studies.lottery_analysis import analyse
from tests.reports.studies.pages import section
from tests.results.sample_runs import evaluation, trial

TABLES = Path(__file__).parents[2] / "studies" / "lottery_tables"
MODELS = {"vit_a": 2.5, "vit_b": 4.5, "resnet_a": 2.5, "resnet_b": 3.5}


def write(store, model, role="clean", n=120, **settings):
    dataset = "digits@test" if role == "clean" else "digits-c/blur_3"
    skill = MODELS.get(model, 3.0)
    run = evaluation({"model": model} | settings, dataset, role, skill=skill, n=n)
    store.write(run)
    return run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = ResultStore(tmp_path_factory.mktemp("s"), create=True)
    for model in MODELS:
        for role in ("clean", "shifted"):
            write(store, model, role)
    write(store, "vit_a", protocol="linear_probe", probe_id="p")
    write(store, "vit_a", protocol="knn", num_neighbors=20, probe_id="k")
    store.write(evaluation({"model": "vit_a"}, "digits-ood", "ood", skill=2.0, n=40))
    return store


@pytest.fixture(scope="module")
def page(store):
    return build(store, num_resamples=50)


def column(page, name, heading):
    table = section(page, name).table
    place = [c.heading for c in table.columns].index(heading)
    return [row[place] for row in table.rows]


def test_the_page_of_a_folder_can_be_drawn(page):
    check_page(page)
    assert [one.name for one in page.sections] == [
        *("datasets", "models", "improvements", "kept", "survival", "unified"),
        "own-images",
    ]
    charts = [type(chart) for one in page.sections for chart in one.charts]
    assert charts == [HeatMap, Ranks, Scatter]
    assert "McNemar" in page.notes[0]
    assert not [note for note in page.notes if "1,000" in note]
    assert "resamples of the images of" in section(page, "models").caption
    texts = " ".join(finding.text for finding in page.findings)
    assert "no image was resampled" not in texts


def test_probed_features_are_models_of_their_own(page):
    names = [cell.text for cell in column(page, "models", "Model")]
    assert sorted(names) == sorted([*MODELS, "vit_a (linear probe)", "vit_a (k-NN 20)"])
    missing = [
        row[4].text for row in section(page, "models").table.rows if "(" in row[0].text
    ]
    assert missing == ["-", "-"]


def test_drops_are_shown(store, page):
    table = section(page, "models").table
    for row in table.rows:
        name, clean, shifted, drop = row[0].text, row[3], row[4], row[5]
        if "(" in name:
            continue
        runs = [store.find(f"{name}/digits-c/blur_3")]
        values = [store.examples(run)["correct"].mean() for run in runs]
        assert shifted.value == pytest.approx(values[0])
        assert drop.value == pytest.approx(values[0] - clean.value)
        assert drop.text == f"{100 * drop.value:+.1f}"


def test_the_table_of_own_images_gives_the_exact_power(page):
    cells = section(page, "own-images").table.rows[0]
    needed, exact = cells[9].value, cells[10].value
    wanted = mcnemar_exact_power(needed, cells[3].value, cells[4].value)
    assert exact == pytest.approx(wanted)
    assert page.findings[-1].value.endswith("of 15")


def test_the_page_of_tables():
    paths = sorted(TABLES.glob("*.csv"))
    page = build(tables=paths, num_resamples=50)
    check_page(page)
    assert "own-images" not in [one.name for one in page.sections]
    assert "conservative" in page.notes[0]
    # ImageNet-A and -R have 200 classes.
    (note,) = [note for note in page.notes if "200 of the 1,000" in note]
    assert note.startswith("imagenet-a and imagenet-r have")
    # No image is known, so none was resampled.
    assert "no image was resampled" in page.findings[-1].text
    assert "no image was resampled" in section(page, "survival").caption
    assert "resamples" not in section(page, "models").caption
    assert {c.text for c in column(page, "survival", "Drawn")} == {"independent errors"}
    # Counted with plain loops in tests/studies/test_lottery.py.
    first = page.findings[0]
    rows = section(page, "improvements").table.rows
    holm = [row[5].value for row in rows]
    assert int(first.value.split()[0]) == sum(value <= 0.05 for value in holm)
    assert len(rows) == min(50, int(first.value.split()[-1]))
    adjusted = [row[4].value for row in rows]
    assert adjusted == sorted(adjusted)
    kept = next(f for f in page.findings if f.title == "Leads that keep their sign")
    share = r"\d+% \[\d+, \d+\]"
    assert re.fullmatch(f"{share}( to {share})?", kept.value)
    assert "Wilson intervals" in kept.text
    texts = {cell.text for cell in column(page, "improvements", "imagenet-a")}
    assert texts <= {"kept", "reversed", "level", "-"}
    heat = section(page, "datasets").charts[0]
    assert isinstance(heat, HeatMap)
    np.testing.assert_allclose(np.array(heat.values), np.array(heat.values).T)


def test_nothing_to_compare_with(tmp_path):
    path = tmp_path / "imagenet.csv"
    # As many as in the tables above: other shapes would be compiled anew.
    path.write_text("model,top1\n" + "".join(f"m{i},80\n" for i in range(60)))
    page = build(tables=[path], num_resamples=50)
    check_page(page)
    assert page.findings[0].value == "0 of 0"
    assert page.findings[-1].value == "-"
    assert page.findings[-1].text == "All models are level on imagenet."
    assert [row[1].text for row in section(page, "models").table.rows] == ["30.5"] * 60


def page_of(accuracy):
    models = tuple(f"m{i}" for i in range(len(accuracy)))
    variants = ("imagenet", "x", "y")[: len(accuracy[0])]
    table = VariantTable(models, variants, np.array(accuracy), (1000,) * len(variants))
    return lottery_page(analyse(table, num_resamples=20))


def test_a_variant_without_a_model():
    page = page_of([[0.9, np.nan, 0.7], [0.5, np.nan, 0.4], [0.4, np.nan, 0.2]])
    check_page(page)
    row = section(page, "datasets").table.rows[1]
    assert [cell.text for cell in row[2:9]] == ["0", "-", "-", "-", "-", "-", "-"]
    found = {finding.title: finding for finding in page.findings}
    # 0.7 - 0.9, 0.4 - 0.5, 0.2 - 0.4
    assert found["Largest mean drop"].value == "-16.7 points"
    assert found["Any two models"].text.endswith("by variant: x -, y 100.0%.")
    page = page_of([[0.9, np.nan], [0.5, np.nan]])
    drop = next(f for f in page.findings if f.title == "Largest mean drop")
    assert (drop.value, drop.text) == ("-", "No model is on any variant.")


def test_the_best_of_one_is_not_a_finding():
    page = page_of([[0.9, 0.8], [0.5, np.nan]])
    (best,) = [f for f in page.findings if f.title == "Best overall (ours)"]
    assert (best.value, best.text[:10]) == ("-", "Fewer than")
    page = page_of([[0.9, 0.8], [0.5, 0.6]])
    (best,) = [f for f in page.findings if f.title == "Best overall (ours)"]
    assert best.value == "m0"


def test_few_leads_have_wide_intervals():
    """Four of nine leads: scipy's Wilson interval is 19 to 73 %."""
    reference = np.linspace(0.9, 0.5, 10)
    moves = np.array([-1, 1, 1, -1, 1, 1, -1, 1, -1])
    variant = 0.5 + 0.02 * np.concatenate([[0], np.cumsum(moves)])
    page = page_of(np.stack([reference, variant], axis=1).tolist())
    kept = next(f for f in page.findings if f.title == "Leads that keep their sign")
    low, high = scipy.stats.binomtest(4, 9).proportion_ci(method="wilson")
    assert kept.value == f"44% [{100 * low:.0f}, {100 * high:.0f}]" == "44% [19, 73]"


def test_sentences_about_level_models():
    page = page_of([[0.5, 0.4], [0.5, 0.3]])
    found = {finding.title: finding for finding in page.findings}
    kept = found["Leads that keep their sign"]
    assert kept.text == "All models are level on imagenet: no lead to follow."
    assert not any("nan" in f.text.lower().split() for f in page.findings)
    page = page_of([[0.5, 0.4], [0.5, 0.3], [0.1, 0.1]])
    text = page.findings[-1].text
    assert "The first place is shared; 100% of the adjacent leads hold" in text
    kept = next(f for f in page.findings if f.title == "Leads that keep their sign")
    assert "1 more neighbours are level" in kept.text


def test_families_are_those_of_the_zoo():
    assert family("resnet50.a1_in1k at 288") == family("resnet101 adamw") == "resnet"
    assert family("wide_resnet50_2") == "resnet"
    assert family("Mine_b16") == "mine"


def test_a_diverged_model_is_none_of_the_ranking(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for optimizer, step in (("sgd", None), ("adamw", None), ("lamb", 3)):
        one = trial(
            {"model": "net", "optimizer": optimizer}, skill=3, diverged_step=step
        )
        store.write(one)
        tied = {"model": "net", "optimizer": optimizer, "trial_id": one.run_id}
        store.write(evaluation(tied, "digits@test", "clean", skill=3.0, n=60))
    page = build(store, num_resamples=20)
    names = {cell.text for cell in column(page, "models", "Model")}
    assert names == {"net sgd", "net adamw"}
    note = "1 model diverged in training and left out: net lamb"
    assert note in page.notes


def test_two_results_with_equal_settings(tmp_path):
    store = ResultStore(tmp_path, create=True)
    for batch in (1, 2):
        write(store, "vit_b")
        run = write(store, "vit_a")
        store.write(replace(run, run_id=f"{run.run_id}{batch}"))
    with pytest.raises(UserError, match="results are there twice, such as vit_a on"):
        build(store)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": 1.5, "power": 0.2}, "alpha is 1.5.*power is 0.2"),
        ({"num_resamples": 0}, "num_resamples is 0"),
        ({"own": "digits"}, "unknown dataset 'digits'"),
        ({"reference": "digits"}, "no model was evaluated on 'digits'"),
        ({"percent": True}, "percent say"),
        ({"images": {"a": 1}, "score_column": "acc"}, "images, score_column say"),
        ({"tables": ["a.csv"]}, "either a folder"),
    ],
)
def test_options_that_do_not_fit(store, options, message):
    with pytest.raises(UserError, match=message):
        build(store, **options)


def test_no_source_and_own_images_of_a_table(tmp_path):
    with pytest.raises(UserError, match="either a folder"):
        build()
    with pytest.raises(UserError, match="not known from a table"):
        build(tables=[TABLES / "results-imagenet.csv"], own="imagenet")
    with pytest.raises(UserError, match="no finished evaluation"):
        build(ResultStore(tmp_path, create=True))
