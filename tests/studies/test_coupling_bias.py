"""The study's own tables through the measures, and the measures' edges."""

import numpy as np
import pytest

from jaxbench.studies import (
    EQ1_MARGINS,
    ScoreTable,
    failed_pairs,
    plain_statistics,
    side_by_side,
    trimmed_statistics,
)
from jaxbench.studies.published import (
    load_published_failures,
    load_published_scores,
    load_published_statistics,
)

NAN = float("nan")


@pytest.fixture(scope="module")
def cifar():
    return load_published_scores("cifar100")


def table(columns, diverged=()):
    """A table from lists of scores by backbone."""
    values = np.array(list(columns.values()), np.float64).T
    names = tuple(f"o{i}" for i in range(len(values)))
    return ScoreTable(names, tuple(columns), values, frozenset(diverged))


def differing(cifar, statistic, digits):
    """Backbones whose trimmed statistic does not round to the printed one."""
    printed, ours = load_published_statistics(), trimmed_statistics(cifar)
    assert list(printed) == list(ours) == list(cifar.backbones)
    return {
        name
        for name in printed
        # A printed number is met within half a unit of its last digit.
        if abs(getattr(printed[name], statistic) - getattr(ours[name], statistic))
        > 0.5 * 10.0 ** -(digits + 2) + 1e-12
    }


def test_published_means_but_one_are_met(cifar):
    assert differing(cifar, "mean", 2) == {"CNX-T"}


def test_published_deviations_but_two_are_met(cifar):
    assert differing(cifar, "std", 1) == {"AlexNet", "CNX-T"}


def test_published_ranges_but_two_are_met(cifar):
    assert differing(cifar, "range", 0) == {"CNX-T", "MLP-S"}


def test_two_exceptions_are_printed_over_all_scores(cifar):
    mixer = plain_statistics(cifar)["MLP-S"]
    assert round(mixer.range, 2) == load_published_statistics()["MLP-S"].range
    plain = plain_statistics(cifar)["CNX-T"]
    printed = load_published_statistics()["CNX-T"]
    assert round(plain.mean, 4) == printed.mean
    assert round(plain.std, 3) == printed.std
    assert round(plain.range, 2) == printed.range
    assert plain.num == printed.num == 20


def test_fitted_rule_meets_48_of_50_grey_marks_and_no_other(cifar):
    grey = load_published_failures()
    found = failed_pairs(cifar)
    assert (found.rule, found.margin) == ("fitted", 0.02)
    assert grey.sum() == 50
    assert (found.failed & grey).sum() == 48
    assert not (found.failed & ~grey).any()
    missed = {
        (cifar.optimizers[o], cifar.backbones[b])
        for o, b in np.argwhere(grey & ~found.failed)
    }
    assert missed == {("NovoGrad", "Moga-S"), ("AdaGrad", "R-50")}
    assert len(found.pairs()) == 48
    assert ("LARS", "Moga-S") in found.pairs()


def test_printed_rule_marks_258_of_400_and_all_grey_ones(cifar):
    grey = load_published_failures()
    found = failed_pairs(cifar, rule="eq1")
    assert (found.rule, found.margin) == ("eq1", EQ1_MARGINS["cifar100"])
    assert found.failed.sum() == 258
    assert (found.failed & grey).sum() == 50


@pytest.mark.parametrize("rule", ["fitted", "eq1"])
def test_thresholds_against_the_formula(cifar, rule):
    found = failed_pairs(cifar, rule=rule, margin=0.01)
    for column, threshold in zip(cifar.values.T, found.thresholds, strict=True):
        # Quartiles of 20 values, by hand: positions 4.75, 9.5 and 14.25.
        s = sorted(column)
        low = s[4] + 0.75 * (s[5] - s[4])
        median = (s[9] + s[10]) / 2
        high = s[14] + 0.25 * (s[15] - s[14])
        wanted = {
            "fitted": median - max(0.75 * (high - low), 0.01),
            "eq1": s[-1] - min(high - low, 0.01),
        }
        assert threshold == pytest.approx(wanted[rule], abs=1e-12)


def test_findings_of_the_study(cifar):
    failed = set(failed_pairs(cifar).pairs())
    assert {("SGD-M", name) for name in ("DeiT-S", "CNX-T", "Moga-S")} <= failed
    assert {("LARS", name) for name in ("Moga-S", "URLK-T")} <= failed
    assert sum(optimizer == "AdaGrad" for optimizer, _ in failed) > 15
    best = {
        name: cifar.optimizers[int(column.argmax())]
        for name, column in zip(cifar.backbones, cifar.values.T, strict=True)
    }
    assert best["R-50"] == "AdaBelief"
    assert best["CNX-T"] == "Adan"
    spread = {name: row.std for name, row in trimmed_statistics(cifar).items()}
    highest = sorted(spread, key=lambda name: -spread[name])[:4]
    assert set(highest) == {"CNX-T", "URLK-T", "DeiT-S", "Moga-S"}


def test_a_score_at_the_threshold_has_not_failed():
    # Five scores: quartiles 0.70, 0.70, 0.70; the threshold is 0.70 - 0.02.
    scores = [0.68, 0.7, 0.7, 0.7, 0.7]
    assert not failed_pairs(table({"b": scores})).failed.any()
    scores[0] = 0.6799
    assert failed_pairs(table({"b": scores})).pairs() == (("o0", "b"),)
    # 0.29 + 0.01 is not 0.30 in binary; the printed rule says "less than".
    pair = table({"b": [0.29, 0.30, 0.28, 0.27]})
    assert ("o0", "b") not in failed_pairs(pair, rule="eq1", margin=0.01).pairs()


def test_missing_and_diverged_pairs():
    grid = table(
        {"a": [0.7, NAN, 0.72, 0.1], "b": [NAN, NAN, NAN, NAN]},
        diverged=[("o1", "a"), ("o2", "b")],
    )
    found = failed_pairs(grid)
    assert found.pairs() == (("o1", "a"), ("o2", "b"), ("o3", "a"))
    assert np.isnan(found.thresholds).tolist() == [False, True]
    known = table({"a": [0.7, 0.72, 0.1]})
    assert found.thresholds[0] == failed_pairs(known).thresholds[0]


@pytest.mark.parametrize("rule", ["fitted", "eq1"])
def test_one_score_or_equal_scores_fail_nothing(rule):
    assert not failed_pairs(table({"a": [0.1]}), rule=rule).failed.any()
    assert not failed_pairs(table({"a": [0.3, 0.3, 0.3]}), rule=rule).failed.any()


def test_statistics_of_few_scores():
    grid = table(
        {"none": [NAN, NAN, NAN], "one": [0.5, NAN, NAN], "three": [0.2, 0.6, 0.8]}
    )
    trimmed, plain = trimmed_statistics(grid), plain_statistics(grid)
    assert np.isnan(trimmed["none"][:3]).all()
    assert np.isnan(trimmed["one"][:3]).all()
    assert (trimmed["one"].num, plain["one"].num) == (0, 1)
    assert plain["one"].mean == 0.5
    assert np.isnan(plain["one"].std)
    assert trimmed["three"] == pytest.approx((0.7, 0.1, 0.2, 2))
    assert plain["three"].std == pytest.approx(np.std([0.2, 0.6, 0.8]))


def test_trimming_follows_the_number_of_optimizers():
    def kept(n):
        return trimmed_statistics(table({"a": np.linspace(0, 1, n).tolist()}))["a"].num

    assert [kept(n) for n in (2, 9, 10, 19, 20, 30)] == [1, 8, 8, 17, 17, 26]


def test_order_of_the_optimizers_does_not_matter(cifar):
    order = list(np.random.default_rng(0).permutation(cifar.optimizers))
    shuffled = cifar.select(optimizers=[str(name) for name in order])
    assert set(failed_pairs(shuffled).pairs()) == set(failed_pairs(cifar).pairs())
    once, again = trimmed_statistics(cifar), trimmed_statistics(shuffled)
    for name, row in once.items():
        assert again[name] == pytest.approx(row, rel=1e-12)


@pytest.mark.parametrize(
    "measure", [failed_pairs, trimmed_statistics, plain_statistics]
)
def test_a_table_without_scores_says_nothing(measure):
    with pytest.raises(ValueError, match="none of the 2 pairs has a score"):
        measure(table({"a": [NAN, NAN]}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"margin": -0.1}, "margin is -0.1"), ({"margin": NAN}, "margin is nan")],
)
def test_settings_out_of_range(cifar, settings, message):
    with pytest.raises(ValueError, match=message):
        failed_pairs(cifar, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ("b",), np.zeros((0, 1))), "no optimizers"),
        ((("o",), (), np.zeros((1, 0))), "no backbones"),
        ((("o", "o"), ("b",), np.zeros((2, 1))), "optimizers o occur more than once"),
        ((("o",), ("b",), np.zeros((2, 1))), r"shape \(2, 1\); 1 optimizers"),
        ((("o",), ("b",), np.full((1, 1), 63.2)), "fractions, not percent"),
        (
            (("o",), ("b",), np.zeros((1, 1)), frozenset({("o", "b")})),
            "marked as diverged and has a score",
        ),
        (
            (("o",), ("b",), np.zeros((1, 1)), frozenset({("p", "b")})),
            "unknown optimizer 'p'",
        ),
    ],
)
def test_tables_that_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScoreTable(*arguments)


def test_a_table_is_a_copy_that_cannot_change():
    values = np.zeros((1, 1))
    grid = ScoreTable(("o",), ("b",), values)
    values[:] = 1
    assert grid.value("o", "b") == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.values[0, 0] = 1


def test_select_and_rename():
    grid = table({"a": [0.1, NAN], "b": [0.3, 0.4]}, diverged=[("o1", "a")])
    part = grid.select(optimizers=["o1"], backbones=["b", "a"])
    assert (part.optimizers, part.backbones) == (("o1",), ("b", "a"))
    assert part.value("o1", "b") == 0.4
    renamed = part.renamed(optimizers={"o1": "sgd"}, backbones={"a": "vit"})
    assert renamed.diverged == {("sgd", "vit")}
    assert renamed.backbones == ("b", "vit")
    with pytest.raises(ValueError, match="backbones b occur more than once"):
        part.renamed(optimizers={}, backbones={"a": "b"})
    with pytest.raises(ValueError, match="unknown backbone 'c'"):
        grid.select(backbones=["c"])


def test_two_tables_side_by_side():
    own = table({"a": [0.1, NAN], "c": [0.3, 0.4]})
    other = table({"c": [0.1, 0.5, 0.6], "a": [NAN, 0.2, 0.3]})
    rows = side_by_side(own, other)
    assert [row[:4] for row in rows] == [("o0", "c", 0.3, 0.1), ("o1", "c", 0.4, 0.5)]
    assert [row.difference for row in rows] == pytest.approx([0.2, -0.1])
    with pytest.raises(
        ValueError, match=r"no pair .* in both tables: .*o0, o1 on a, c"
    ):
        side_by_side(own, table({"z": [0.5]}))
