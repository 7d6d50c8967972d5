"""The lottery on an excerpt of timm's tables, against plain loops."""

import csv
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from jaxbench import studies
from jaxbench.errors import UserError
from jaxbench.studies import VariantTable
from jaxbench.studies.lottery import tau_over_models
from jaxbench.studies.lottery_significance import two_proportion_p_values
from jaxbench.studies.lottery_survival import resampled_counts
from jaxbench.studies.variant_table import Examples

FOLDER = Path(__file__).parent / "lottery_tables"
FILES = {
    "imagenet": "results-imagenet.csv",
    "imagenet-real": "results-imagenet-real.csv",
    "imagenet-v2/matched-frequency": "results-imagenetv2-matched-frequency.csv",
    "imagenet-a": "results-imagenet-a.csv",
    "imagenet-r": "results-imagenet-r.csv",
    "imagenet-sketch": "results-sketch.csv",
}
PATHS = [FOLDER / name for name in FILES.values()]
ABSENT = "resnet50.tv_in1k"  # from ImageNet-A


@pytest.fixture(scope="module")
def table():
    return studies.read_result_tables(PATHS)


@pytest.fixture(scope="module")
def plain():
    """Dataset to {(model, size): percent}, read in the plainest way."""
    found = {}
    for variant, name in FILES.items():
        with open(FOLDER / name, newline="") as file:
            rows = list(csv.DictReader(file))
        found[variant] = {(r["model"], r["img_size"]): float(r["top1"]) for r in rows}
    return found


def obvious_improvements(scores, n):
    """(ahead, behind, p) of adjacent ranks, level ones included."""
    order = sorted(scores, key=lambda model: -scores[model])
    pairs = []
    for ahead, behind in pairwise(order):
        a, b = scores[ahead] / 100, scores[behind] / 100
        mean = (a + b) / 2
        z = (a - b) / math.sqrt(mean * (1 - mean) * (1 / n + 1 / n))
        pairs.append((ahead, behind, math.erfc(abs(z) / math.sqrt(2))))
    return pairs


def obvious_holm(p_values):
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, worst = [0.0] * len(p_values), 0.0
    for step, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def obvious_bh(p_values):
    order = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    adjusted, best = [0.0] * len(p_values), 1.0
    for step, i in enumerate(order):
        rank = len(p_values) - step
        best = min(best, len(p_values) * p_values[i] / rank)
        adjusted[i] = best
    return adjusted


def test_the_table_is_what_the_files_say(table, plain):
    assert table.variants == tuple(FILES)
    assert table.num_images == (50000, 46837, 10000, 7500, 30000, 50889)
    assert not table.paired
    assert len(table.models) == 60
    for column, variant in enumerate(table.variants):
        for row, (model, size) in enumerate(plain["imagenet"]):
            assert table.models[row] in (model, f"{model} at {size}")
            wanted = plain[variant].get((model, size))
            found = table.accuracy[row, column]
            if wanted is None:
                assert (model, variant) == (ABSENT, "imagenet-a")
                assert np.isnan(found)
            else:
                assert found == pytest.approx(wanted / 100, abs=1e-12)


def test_missing_models_are_reported(table):
    assert table.notes == (
        "imagenet-a: 1 model without a result on imagenet left out: "
        "resmlp_24_224.fb_dino at 224",
        "imagenet-a: 1 of 60 models are missing and in none of its pairs",
    )


def test_a_model_at_two_sizes_has_two_names(table, plain):
    times = Counter(model for model, _ in plain["imagenet"])
    wanted = [
        f"{model} at {size}" if times[model] > 1 else model
        for model, size in plain["imagenet"]
    ]
    assert list(table.models) == wanted
    assert {"efficientnetv2_rw_t.ra2_in1k at 224"} < set(wanted)


def test_significant_improvements_against_loops(table, plain):
    found = studies.improvements(table)
    pairs = obvious_improvements(plain["imagenet"], 50_000)
    adjusted = {
        "holm": obvious_holm([p for *_, p in pairs]),
        "bh": obvious_bh([p for *_, p in pairs]),
    }
    real = [
        i
        for i, (a, b, _) in enumerate(pairs)
        if plain["imagenet"][a] > plain["imagenet"][b]
    ]
    assert found.num_level == len(pairs) - len(real) > 0
    np.testing.assert_allclose(found.p_value, [pairs[i][2] for i in real], rtol=1e-9)
    for rule, values in adjusted.items():
        # float32, and what lies below 1e-38 is 0.
        wanted = [values[i] for i in real]
        np.testing.assert_allclose(getattr(found, rule), wanted, rtol=1e-5, atol=1e-37)
        count = int(found.significant(rule).sum())
        assert count == sum(value <= 0.05 for value in wanted)
        assert 5 < count < len(real) - 5
    assert found.test == "two-proportion"


@pytest.mark.parametrize("rule", [None, "none", "holm", "bh"])
def test_kept_signs_against_loops(table, plain, rule):
    found = studies.improvements(table)
    chosen = None if rule is None else found.significant(rule)
    keys = list(plain["imagenet"])
    for kept in studies.kept_signs(table, found, chosen):
        counts = {"kept": 0, "level": 0, "reversed": 0, "missing": 0}
        for pair in range(len(found.ahead)):
            if chosen is not None and not chosen[pair]:
                continue
            scores = plain[kept.variant]
            a, b = (scores.get(keys[i[pair]]) for i in (found.ahead, found.behind))
            if a is None or b is None:
                counts["missing"] += 1
            else:
                counts["kept" if a > b else "level" if a == b else "reversed"] += 1
        assert kept._asdict() == counts | {
            "variant": kept.variant,
            "chosen": sum(counts.values()),
        }
    if rule is None:
        last = {row.variant: row for row in studies.kept_signs(table, found)}
        assert last["imagenet-a"].missing == 2  # both neighbours of the absent model
        assert last["imagenet-r"].missing == 0


def test_all_pairs(table, plain):
    found = studies.improvements(table, pairs="all")
    assert len(found.ahead) + found.num_level == 60 * 59 // 2
    assert (found.difference > 0).all()
    keys = list(plain["imagenet"])
    for pair in (0, 100, len(found.ahead) - 1):
        a, b = (plain["imagenet"][keys[i[pair]]] for i in (found.ahead, found.behind))
        assert found.difference[pair] == pytest.approx((a - b) / 100)
        one = obvious_improvements({"a": a, "b": b}, 50_000)[0][2]
        assert found.p_value[pair] == pytest.approx(one, rel=1e-9)


def test_the_test_has_its_level_for_independent_models():
    rng = np.random.default_rng(0)
    a, b = rng.binomial(2000, 0.7, (2, 4000)) / 2000
    share = (two_proportion_p_values(a, b, 2000) <= 0.05).mean()
    assert share == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


def test_equal_and_extreme_accuracies_have_p_values():
    a, b = np.array([1.0, 0.5, 1.0]), np.array([1.0, 0.5, 0.0])
    assert two_proportion_p_values(a, b, 100).tolist() == [
        1.0,
        1.0,
        pytest.approx(math.erfc(10), rel=1e-9),
    ]


def test_ranks_share_places(table):
    ranks = studies.ranks(table)
    for column, variant in enumerate(table.variants):
        values = table.accuracy[:, column]
        known = table.present(variant)
        wanted = rankdata(-values[known])
        np.testing.assert_array_equal(ranks[known, column], wanted)
        assert np.isnan(ranks[~known, column]).all()
    assert studies.mean_ranks(np.array([0.5, 0.7, 0.5])).tolist() == [2.5, 1, 2.5]


def test_kendall_against_scipy(table, key):
    matrix = studies.agreement_matrix(table)
    rows = studies.rank_agreement(table, key=key, num_resamples=300)
    for place, row in enumerate(rows, start=1):
        both = table.present("imagenet", row.variant)
        pair = (table.accuracy[both, 0], table.accuracy[both, place])
        wanted = kendalltau(*pair).statistic
        assert row.tau == pytest.approx(wanted, abs=1e-6)  # float32
        assert matrix[0, place] == matrix[place, 0] == row.tau
        assert (row.over, row.num_models) == ("models", both.sum())
        assert row.low < row.tau < row.high
    assert rows[2].num_models == 59
    np.testing.assert_array_equal(np.diag(matrix), 1)


def test_tau_under_resamples_against_repeated_models(table):
    x, y = table.accuracy[:, 0], table.accuracy[:, 4]
    found = tau_over_models(x, y, np.random.default_rng(3), 40)
    weights = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=40)
    for tau, weight in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(60), weight)
        wanted = kendalltau(x[rows], y[rows]).statistic
        assert tau == pytest.approx(wanted, rel=1e-9)


def test_drops_and_unified_scores_against_loops(table, plain):
    drops, scores = studies.drops(table), studies.unified_scores(table)
    complete = [
        key for key in plain["imagenet"] if all(key in v for v in plain.values())
    ]
    places = {v: rankdata([-plain[v][key] for key in complete]) for v in plain}
    for row, key in enumerate(plain["imagenet"]):
        if key not in complete:
            assert np.isnan([column[row] for column in scores]).all()
            continue
        values = [plain[variant][key] / 100 for variant in plain]
        np.testing.assert_allclose(
            drops[row], [v - values[0] for v in values], atol=1e-12
        )
        assert scores.mean_accuracy[row] == pytest.approx(sum(values) / 6)
        ratio = math.prod(v / values[0] for v in values[1:]) ** (1 / 5)
        assert scores.retention[row] == pytest.approx(ratio)
        index = complete.index(key)
        wanted = sum(column[index] for column in places.values()) / 6
        assert scores.mean_rank[row] == pytest.approx(wanted)


def test_counts_of_accuracies_are_binomial(table, key):
    drawn = resampled_counts(table, key=key, num_resamples=4000)
    for variant, counts in drawn.items():
        known = table.present(variant)
        assert np.isnan(counts[:, ~known]).all()
        n, p = table.images_of(variant), table.column(variant)[known]
        error = np.sqrt(n * p * (1 - p))
        offset = (counts[:, known].mean(axis=0) - n * p) / (error / math.sqrt(4000))
        assert np.abs(offset).max() < 5
        spread = counts[:, known].std(axis=0) / error
        assert np.abs(spread - 1).max() < 5 / math.sqrt(2 * 4000)
    with pytest.raises(ValueError, match="num_resamples is 0"):
        resampled_counts(table, key=key, num_resamples=0)


def test_ties_one_variant_and_no_order(key):
    flat = VariantTable(
        ("a", "b", "c"), ("x", "y"), np.array([[0.5, 0.2]] * 3), (100, 100)
    )
    found = studies.improvements(flat)
    assert (len(found.ahead), found.num_level) == (0, 2)
    assert studies.kept_signs(flat, found)[0][1:] == (0, 0, 0, 0, 0)
    row = studies.rank_agreement(flat, key=key, num_resamples=10)[0]
    assert np.isnan([row.tau, row.low, row.high]).all()
    survival = studies.ranking_survival(flat, key=key, num_resamples=10)[0]
    assert np.isnan([survival.whole, survival.top[1], *survival.adjacent]).all()
    alone = VariantTable(("a", "b"), ("x",), np.array([[0.5], [0.4]]), (100,))
    assert studies.rank_agreement(alone, key=key) == ()
    assert np.isnan(studies.unified_scores(alone).retention).all()


def test_a_variant_without_models_has_no_number(key):
    table = VariantTable(
        ("a", "b"), ("x", "y"), np.array([[0.5, np.nan], [0.4, 0.3]]), (100, 100)
    )
    assert np.isnan(studies.rank_agreement(table, key=key, num_resamples=5)[0].tau)
    assert studies.kept_signs(table, studies.improvements(table))[0].missing == 1
    assert np.isnan(studies.unified_scores(table).mean_accuracy[0])
    zero = VariantTable(
        ("a", "b"), ("x", "y"), np.array([[0.0, 0.1], [0.4, 0.0]]), (100, 100)
    )
    retention = studies.unified_scores(zero).retention
    assert np.isnan(retention[0])
    assert retention[1] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ("a",), "accuracy": np.array([[0.5, 0.4]])}, "needs two or more"),
        ({"models": ("a", "a")}, "models occur more than once: a"),
        ({"variants": ("x", "x")}, "variants occur more than once: x"),
        ({"accuracy": np.array([[50.0, 0.4], [0.4, 0.3]])}, "the first is 50 .a on x"),
        ({"accuracy": np.array([[np.nan, 0.4], [0.4, 0.3]])}, "no number on x for a"),
        ({"num_images": (100,)}, "wanted 2 models x 2 variants"),
        ({"num_images": (100, 0)}, "at least 1, got y: 0"),
        (
            {"examples": {"x": Examples(np.array(["i"]), np.ones((2, 1), bool))}},
            "of every variant or of none",
        ),
    ],
)
def test_tables_that_make_no_sense(change, message):
    parts = {
        "models": ("a", "b"),
        "variants": ("x", "y"),
        "accuracy": np.array([[0.5, 0.4], [0.4, 0.3]]),
        "num_images": (100, 100),
    }
    with pytest.raises(UserError, match=message):
        VariantTable(**(parts | change))


def test_the_accuracies_are_a_copy_that_stays():
    values = np.array([[0.5], [0.4]])
    table = VariantTable(("a", "b"), ("x",), values, (100,))
    values[:] = 0
    assert table.column("x").tolist() == [0.5, 0.4]
    with pytest.raises(ValueError, match="read-only"):
        table.accuracy[0, 0] = 1


def test_the_same_key_gives_the_same_numbers(table):
    one, two = (
        studies.ranking_survival(table, key=jax.random.key(1), num_resamples=20)
        for _ in range(2)
    )
    for a, b in zip(one, two, strict=True):
        assert a.top == b.top
        np.testing.assert_array_equal(a.adjacent, b.adjacent)
