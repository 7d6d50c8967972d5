"""Comparisons of curated and plain runs, seed by seed."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from jaxbench.errors import UserError
from jaxbench.studies.curation import (
    ARM_SETTINGS,
    COSTS,
    SHARED_SETTINGS,
    compare_arms,
    find_arms,
    mean_interval,
    student_quantile,
)


def run(seed, accuracy, **settings):
    """A row as a store gives it."""
    base = {
        "run_id": f"{settings.get('curation', 'none')}{seed}{sorted(settings.items())}",
        "objective": "nt_xent",
        "model": "resnet_micro",
        "optimizer": "adamw",
        "huber_weight": 0.1,
        "train_batch_size": 64,
        "seed": seed,
        "curation": "none",
        "curation_measured": False,
        "budget": "draws",
        "probe_accuracy": accuracy,
        "train_seconds": 10.0,
        "images_seen": 640,
        "updates": 10,
    }
    return base | settings


QUANTILE = {
    "curation": "quantile",
    "curation_measured": None,
    "curation_quantile": 0.9,
    "curation_on_reject": "skip",
}


def test_student_quantiles_are_scipys():
    for degrees in (1, 2, 3, 4, 9, 30):
        for share in (0.025, 0.3, 0.5, 0.975, 0.9995):
            wanted = scipy.stats.t.ppf(share, degrees)
            assert student_quantile(share, degrees) == pytest.approx(
                wanted, rel=1e-9, abs=1e-12
            )


def test_intervals_of_means_are_scipys():
    values = np.random.default_rng(0).normal(size=5)
    found = mean_interval(values.tolist(), level=0.9)
    wanted = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert found[:3] == pytest.approx((values.mean(), *wanted))
    assert mean_interval([0.5]) == (0.5, None, None, 1)
    with pytest.raises(UserError, match="0 values"):
        mean_interval([])


def test_arms_are_paired_with_plain_runs_of_the_same_setting_by_seed():
    rows = [
        *(run(seed, 0.5 + seed / 10) for seed in (0, 1, 2)),
        *(run(seed, 0.9, curation_measured=True) for seed in (0, 1)),
        # Seed 7 has no plain run beside it.
        *(run(s, 0.53 + s / 10, **QUANTILE, updates=9) for s in (0, 1, 2, 7)),
        run(0, 0.1, **QUANTILE, train_batch_size=32),
        {**run(0, 0.2), "objective": None},
    ]
    arms = find_arms(rows)
    assert [arm.name for arm in arms] == [
        "plain",
        "plain, measured",
        "quantile 0.9, skip",
        "quantile 0.9, skip",
    ]
    (found,) = compare_arms(arms)
    assert found.seeds == (0, 1, 2)
    # The plain runs that did not measure, and a gain that is the same for each seed.
    assert not found.plain.measured
    assert found.difference[:3] == pytest.approx((0.03, 0.03, 0.03))
    assert found.saved["updates"].mean == pytest.approx(0.1)
    assert found.saved["images_seen"].mean == 0
    assert set(found.saved) == {"train_seconds", "images_seen", "updates"} <= set(COSTS)


def test_what_costs_more_is_saved_negatively():
    longer = {**QUANTILE, "budget": "updates", "train_seconds": 15.0}
    rows = [*(run(s, 0.5) for s in (0, 1)), *(run(s, 0.5, **longer) for s in (0, 1))]
    (found,) = compare_arms(find_arms(rows))
    assert found.arm.name == "quantile 0.9, skip, equal updates"
    assert found.saved["train_seconds"].mean == -0.5


def test_of_two_runs_with_the_same_settings_the_later_counts():
    old, new = run(0, 0.5, created_at="2026-01"), run(0, 0.6, created_at="2026-02")
    (arm,) = find_arms([new, old])
    assert (arm.name, arm.title) == ("plain", "plain")
    assert arm.values("probe_accuracy") == [0.6]


def test_case_16_arms_are_named_by_every_setting_in_which_they_differ():
    window = QUANTILE | {"curation_window": 100, "curation_warmup": 20}
    redraw = window | {"curation_on_reject": "redraw", "curation_max_redraws": 3}
    rows = [
        run(0, 0.5, curation_measured=True),
        run(0, 0.5, **window),
        run(0, 0.5, **window | {"curation_window": 50}),
        run(0, 0.5, **window | {"curation_warmup": 0}),
        run(0, 0.5, **redraw),
        run(0, 0.5, **redraw | {"curation_max_redraws": 1}),
    ]
    assert {arm.title for arm in find_arms(rows)} == {
        "plain, measured",
        "quantile 0.9, skip, window 100, warm-up 20",
        "quantile 0.9, skip, window 50, warm-up 20",
        "quantile 0.9, skip, window 100, warm-up 0",
        "quantile 0.9, redraw, redraws 3",
        "quantile 0.9, redraw, redraws 1",
    }


@pytest.mark.parametrize("name", [n for n in ARM_SETTINGS if n != "curation"])
def test_case_16_no_two_arms_share_a_name(name):
    values = {"budget": ("draws", "updates"), "curation_on_reject": ("skip", "redraw")}
    method = "value" if name == "curation_max_distance" else "quantile"
    arm = {
        "curation": method,
        "curation_quantile": 0.9,
        "curation_max_distance": 0.4,
        "curation_on_reject": "skip",
    }
    # The first two numbers are equal to six digits.
    chosen = values.get(name, (0.12345671, 0.12345672, 0.5))
    rows = [run(0, 0.5, **arm | {name: value}) for value in chosen]
    if name == "curation_measured":
        rows = [run(0, 0.5, curation_measured=value) for value in (False, True)]
    arms = find_arms(rows)
    assert len(arms) == len(rows)
    assert len({arm.title for arm in arms}) == len(rows)


@pytest.mark.parametrize(
    "name", [n for n in SHARED_SETTINGS if n not in ("objective", "model")]
)
def test_case_16_no_two_settings_share_a_title(name):
    rows = [run(0, 0.5, **{name: value}) for value in (0.3, 0.12345671, 0.12345672)]
    titles = [arm.title for arm in find_arms(rows)]
    assert len(set(titles)) == 3
    assert all("0.1234567" in title for title in titles[1:])


PAGE = Path(__file__).parents[2] / "docs" / "studies" / "curation.md"


def test_examples_of_the_page():
    # Fences end an example's output, which doctest takes for a part of it.
    text = PAGE.read_text("utf-8").replace("```", "")
    parsed = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    options = doctest.IGNORE_EXCEPTION_DETAIL
    results = doctest.DocTestRunner(optionflags=options).run(parsed)
    assert results.attempted > 5
    assert results.failed == 0
