"""Choosing hyper-parameters from trials."""

import itertools
import math
import random

import numpy as np
import pytest

from jaxbench.studies import best_pairs, score_table, tuned_table

NAN = float("nan")


def trial(accuracy, rate=0.1, decay=0.0, seed=0, **others):
    row = {
        "model": "vit",
        "optimizer": "sgd",
        "learning_rate": rate,
        "weight_decay": decay,
        "seed": seed,
        "val_accuracy": accuracy,
        "diverged_step": None,
    }
    return row | others


def test_the_mean_over_seeds_decides():
    rows = [trial(0.9, 0.1, seed=0), trial(0.1, 0.1, seed=1), trial(0.6, 0.2, seed=0)]
    (best,) = best_pairs(rows)
    assert (best.optimizer, best.backbone) == ("sgd", "vit")
    assert (best.learning_rate, best.val_accuracy, best.score) == (0.2, 0.6, 0.6)
    assert (best.num_seeds, best.num_points, best.num_usable) == (1, 2, 2)
    assert best.at_edge
    assert not best.diverged


def test_ties_take_the_smaller_values_in_any_order():
    rows = [
        trial(0.5 + sign * 0.1, rate, decay, seed)
        for rate, decay in itertools.product((0.3, 0.1, 0.2), (1e-4, 0.0))
        for seed, sign in enumerate((1, 0, -1))
    ]
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        (best,) = best_pairs(rows)
        assert (best.learning_rate, best.weight_decay) == (0.1, 0.0)


def test_the_edge_is_that_of_the_learning_rates():
    rows = [trial(1 - abs(rate - 0.2), rate) for rate in (0.1, 0.2, 0.3)]
    assert not best_pairs(rows)[0].at_edge
    assert not best_pairs(rows[:1])[0].at_edge


@pytest.mark.parametrize(
    "broken", [{"diverged_step": 3}, {"val_accuracy": NAN}, {"val_accuracy": None}]
)
def test_a_point_with_a_broken_seed_does_not_count(broken):
    rows = [
        trial(0.9, 0.1, seed=0),
        trial(0.9, 0.1, seed=1, **({"val_accuracy": 0.9} | broken)),
        trial(0.5, 0.2),
    ]
    rows[1].update(broken)
    (best,) = best_pairs(rows)
    assert (best.learning_rate, best.num_points, best.num_usable) == (0.2, 2, 1)


@pytest.mark.parametrize(
    ("broken", "diverged"),
    [
        ({"diverged_step": 3}, True),
        ({"val_accuracy": NAN}, True),
        ({"val_accuracy": None}, False),
    ],
)
def test_a_pair_without_a_usable_point(broken, diverged):
    pairs = best_pairs([trial(0.1) | broken, trial(0.7, model="resnet")])
    assert math.isnan(pairs[0].learning_rate)
    assert math.isnan(pairs[0].score)
    assert (pairs[0].num_seeds, pairs[0].diverged) == (0, diverged)
    table = score_table(pairs)
    assert math.isnan(table.value("sgd", "vit"))
    assert table.diverged == ({("sgd", "vit")} if diverged else set())
    assert np.isnan(tuned_table(pairs).learning_rate).tolist() == [[True, False]]


def test_a_point_that_was_stopped_early_counts_only_among_its_like():
    stopped = trial(0.9, rate=0.3, stopped_step=40)
    (best,) = best_pairs([trial(0.5, stopped_step=None), stopped])
    assert best.learning_rate == 0.1
    (best,) = best_pairs([trial(0.5, stopped_step=20), stopped])
    assert best.learning_rate == 0.3


def test_other_scores_have_no_say_in_the_choice():
    rows = [
        trial(0.9, 0.1, run_id="a"),
        trial(0.7, 0.1, seed=1, run_id="b"),
        trial(0.5, 0.2, run_id="c"),
    ]
    (best,) = best_pairs(rows, scores={"a": 0.2, "b": 0.4, "c": 1.0})
    assert best.val_accuracy == pytest.approx(0.8)
    assert best.score == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"1 chosen trials of sgd on vit .*: b; eval"):
        best_pairs(rows, scores={"a": 0.2})


def test_tables_are_in_the_order_of_the_rows():
    rows = [
        trial(0.1 * i, rate=0.01 * (i + 1), optimizer=optimizer, model=model)
        for i, (optimizer, model) in enumerate(
            [("sgd", "vit"), ("adam", "resnet"), ("sgd", "resnet")]
        )
    ]
    pairs = best_pairs(rows)
    table, tuned = score_table(pairs), tuned_table(pairs)
    assert (table.optimizers, table.backbones) == (("sgd", "adam"), ("vit", "resnet"))
    np.testing.assert_allclose(table.values, [[0, 0.2], [NAN, 0.1]])
    np.testing.assert_allclose(tuned.learning_rate, [[0.01, 0.03], [NAN, 0.02]])
    assert not table.diverged


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no trials"),
        ([trial(0.1, optimizer=None)], "a trial has no optimizer"),
        ([{"model": "vit"}], "no optimizer, learning_rate, weight_decay, seed"),
        ([trial(63.2)], "fractions, not percent"),
        ([trial(0.1), trial(0.2)], "one recipe"),
    ],
)
def test_rows_that_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        best_pairs(rows)


def test_grids_that_are_refused():
    pairs = best_pairs([trial(0.1)])
    with pytest.raises(ValueError, match="more than once"):
        score_table(pairs * 2)
    with pytest.raises(ValueError, match="no optimizers"):
        tuned_table(())
