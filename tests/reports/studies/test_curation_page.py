"""The page of the curation study, from runs of known numbers."""

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.reports.studies.curation import build
from jaxbench.reports.writing import write_page
from jaxbench.results import ResultStore, Run


def write(store, arm, seed, accuracy, *, draws=30, rejected=0, **settings):
    generator = np.random.default_rng(seed)
    used = np.ones(draws)
    used[draws - rejected :] = 0
    curves = {
        "loss": generator.uniform(size=draws),
        "distance": generator.uniform(size=draws),
        "used": used,
    }
    if settings.get("curation_measured") is False:
        curves["distance"] = np.full(draws, np.nan)
    store.write(
        Run(
            run_id=f"{arm}-{seed}",
            kind="trial",
            status="ok",
            settings={
                "objective": "nt_xent",
                "model": "resnet_micro",
                "dataset": "digits@train",
                "optimizer": "adamw",
                "learning_rate": 0.1,
                "weight_decay": 0.0,
                "seed": seed,
                "budget": "draws",
                "huber_weight": 0.1,
                "draws": draws,
                "updates": draws - rejected,
                "images_seen": 8 * draws,
                **settings,
            },
            metrics={
                "probe_accuracy": accuracy,
                "final_loss": 1.5,
                "rejected_share": rejected / draws,
            },
            timing={"train_seconds": 10.0 + rejected, "seconds_per_draw": 0.1},
            provenance={"platform": "cpu"},
            curves=curves,
        )
    )


@pytest.fixture
def store(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    skip = {
        "curation": "quantile",
        "curation_quantile": 0.9,
        "curation_on_reject": "skip",
    }
    for seed, gain in ((0, 0.04), (1, 0.06)):
        plain = {"curation": "none", "curation_measured": False}
        write(store, "plain", seed, 0.5, **plain)
        write(store, "skip", seed, 0.5 + gain, rejected=3, **skip)
        more = skip | {"budget": "updates"}
        write(store, "more", seed, 0.4, draws=33, rejected=3, **more)
    return store


def test_the_page_has_gains_costs_and_curves(store, tmp_path):
    page = build(store)
    sections = {section.name: section for section in page.sections}
    assert list(sections) == ["arms", "equal-draws", "equal-updates", "curves"]
    # Gains of 4 and 6 points: 5 +- 12.706 x 1.414 / 1.414.
    gain = sections["equal-draws"].table.texts()[0][2]
    assert gain == "5.0 [-7.7, 17.7]"
    assert "holds zero" in page.findings[0].text
    assert page.findings[1].value.startswith("-10.0 [-10.0, -10.0]")
    assert "hurt" in page.findings[1].text
    rejected = sections["arms"].table.texts()
    assert [row[4] for row in rejected] == ["0.0", "10.0", "9.1"]
    names = [chart.name for chart in sections["curves"].charts]
    assert names == ["loss", "distance", "rejected", "distances"]
    lines = sections["curves"].charts[2].lines
    assert lines["quantile 0.9, skip"][1][-1] == pytest.approx(0.1)
    # Plain runs did not measure: they have no line of distances.
    assert set(sections["curves"].charts[1].lines) == set(lines)
    text = write_page(page, tmp_path / "page.html").read_text("utf-8")
    assert "quantile 0.9, skip, equal updates" in text


def test_case_16_every_arm_has_its_curves_and_its_rows(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    arm = {
        "curation": "quantile",
        "curation_quantile": 0.5,
        "curation_on_reject": "skip",
        "curation_window": 100,
        "curation_warmup": 20,
    }
    write(store, "plain", 0, 0.5, curation="none", curation_measured=True)
    for number, other in enumerate(
        ({}, {"curation_window": 50}, {"curation_warmup": 0}, {"learning_rate": 0.2})
    ):
        write(store, f"arm{number}", 0, 0.6, rejected=number + 1, **arm | other)
    page = build(store)
    sections = {section.name: section for section in page.sections}
    names = [row[0] for row in sections["arms"].table.texts()]
    assert len(set(names)) == 5
    assert "learning rate 0.2: quantile 0.5, skip, window 100, warm-up 20" in names
    for chart in sections["curves"].charts:
        assert len(chart.lines) == (4 if chart.name == "rejected" else 5)
    titles = [finding.title for finding in page.findings]
    assert len(set(titles)) == len(titles) == 3
    (note,) = [n for n in page.notes if n.startswith("Without a plain run")]
    assert "learning rate 0.2" in note


def test_a_folder_without_contrastive_runs_says_what_to_do(tmp_path):
    empty = ResultStore(tmp_path / "empty", create=True)
    with pytest.raises(UserError, match=r"no finished contrastive runs.*\[\[pretrain"):
        build(empty)
