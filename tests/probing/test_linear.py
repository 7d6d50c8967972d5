"""Linear probes against a float64 twin, and how the best member is chosen."""

import jax
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.probing import Features, ProbeMember, ProbeSettings, fit_linear_probe
from jaxbench.probing import linear as linear_module
from jaxbench.probing.choice import choose
from jaxbench.probing.heads import scaling, validation_rows
from tests.probing import twins

TRAIN, VALIDATION = twins.blobs(0, 130), twins.blobs(1, 90)


def settings(**changes):
    options = {
        "learning_rates": (0.03, 0.3),
        "weight_decays": (0.0, 0.01),
        "epochs": 3,
        "batch_size": 32,
        "warmup_epochs": 0.5,
    }
    return ProbeSettings(**(options | changes))


def batches(chosen, count):
    """The rows of every batch, as the seed decides them."""
    size = min(chosen.batch_size, count)
    for epoch in range(chosen.epochs):
        key = jax.random.fold_in(jax.random.key(chosen.seed), epoch + 1)
        order = np.asarray(jax.random.permutation(key, count))
        yield from order[: count // size * size].reshape(-1, size)


@pytest.mark.parametrize(
    ("optimizer", "norm"),
    [
        ("sgd", "l2"),
        ("sgd", "standardize"),
        ("lars", "batch_norm"),
    ],
)
def test_every_member_is_what_a_loop_in_float64_gives(optimizer, norm):
    chosen = settings(optimizer=optimizer, feature_norm=norm)
    fit = fit_linear_probe(TRAIN, VALIDATION, 3, chosen)
    key = jax.random.key(chosen.seed)
    kernel = 0.01 * np.asarray(jax.random.normal(key, (6, 3)))
    orders = list(batches(chosen, len(TRAIN)))
    for (lr, decay), member in zip(chosen.members, fit.members, strict=True):
        found = twins.probe(
            *(TRAIN, 3, kernel, orders),
            **{"lr": lr, "decay": decay, "momentum": 0.9, "warmup": 2.0},
            **{"optimizer": optimizer, "norm": norm},
        )
        x = VALIDATION.values.astype(np.float64)
        if norm == "l2":
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        logits = (x - found[2]) / found[3] @ found[0] + found[1]
        p = twins.softmax(logits)[np.arange(len(x)), VALIDATION.labels]
        # Twelve float32 steps.
        assert member.nll == pytest.approx(-np.log(p).mean(), rel=2e-5)
        if member == fit.chosen:
            got = fit.head.logits(VALIDATION)
            np.testing.assert_allclose(got, logits, rtol=1e-4, atol=1e-4)
            right = np.argmax(got, axis=1) == VALIDATION.labels
            assert member.accuracy == pytest.approx(right.mean())


def test_one_program_serves_every_grid_of_a_size():
    fit_linear_probe(TRAIN, VALIDATION, 3, settings())
    before = linear_module._train._cache_size()
    changed = settings(learning_rates=(0.1, 1.0), weight_decays=(0.1, 0.2), epochs=5)
    fit_linear_probe(TRAIN, VALIDATION, 3, changed)
    assert linear_module._train._cache_size() == before


def test_features_that_do_not_fit_on_the_device_give_the_same_numbers():
    whole = fit_linear_probe(TRAIN, VALIDATION, 3, settings())
    # Room for one batch of 32 rows at a time.
    parts = fit_linear_probe(TRAIN, VALIDATION, 3, settings(), max_device_bytes=1600)
    for one, other in zip(whole.members, parts.members, strict=True):
        assert one.nll == pytest.approx(other.nll, rel=1e-6)


def test_the_best_member_is_the_most_accurate_that_did_not_diverge():
    wild = settings(learning_rates=(1e38, 0.1, 1e-6), weight_decays=(0.0,), epochs=6)
    fit = fit_linear_probe(TRAIN, VALIDATION, 3, wild)
    assert fit.best == 1
    assert fit.chosen.learning_rate == 0.1
    assert not np.isfinite(fit.members[0].nll)
    alone = settings(learning_rates=(1e38,), weight_decays=(0.0,))
    with pytest.raises(UserError, match="all 1 members of the probe diverged"):
        fit_linear_probe(TRAIN, VALIDATION, 3, alone)


def test_equals_are_ordered_by_nll_then_by_place():
    def member(accuracy, nll):
        return ProbeMember(0.1, 0.0, accuracy, nll)

    equal = (member(0.5, 1.0), member(0.5, 0.9), member(0.5, 0.9), member(0.4, 0.1))
    assert choose(equal) == 1
    broken = (member(0.9, float("nan")), member(0.9, 3.0))
    assert choose(broken) == 1


def test_a_constant_feature_is_left_in_its_scale():
    values = np.full((50, 2), 1234.567, np.float32)
    values[:, 1] = np.arange(50)
    mean, scale = scaling("standardize", values)
    assert scale[0] == 1
    assert scale[1] == pytest.approx(np.arange(50).std())
    assert mean[0] == pytest.approx(1234.567)


def test_what_cannot_be_fitted_is_refused_all_at_once():
    with pytest.raises(ValueError, match="ProbeSettings") as refusal:
        settings(learning_rates=(0.0,), epochs=1, momentum=1.0, warmup_epochs=2.0)
    for said in ("learning_rates is", "momentum is 1.0", "warmup_epochs is 2.0"):
        assert said in str(refusal.value)
    one = Features(TRAIN.values, np.zeros_like(TRAIN.labels), TRAIN.ids)
    with pytest.raises(UserError, match="the same class"):
        fit_linear_probe(one, VALIDATION, 3, settings())
    narrow = Features(VALIDATION.values[:, :2], VALIDATION.labels, VALIDATION.ids)
    with pytest.raises(UserError, match=r"widths \[2, 6\].* outside 0 to 1"):
        fit_linear_probe(TRAIN, narrow, 2, settings())


def test_validation_rows_keep_the_classes_proportions():
    labels = np.repeat([0, 1, 2], [60, 30, 10]).astype(np.int32)
    ids = np.array([f"{i}.png" for i in range(100)])
    fit, held = validation_rows(labels, ids, 0.2, seed=0)
    assert sorted([*fit, *held]) == list(range(100))
    assert np.bincount(labels[held]).tolist() == [12, 6, 2]
    shuffled = np.random.default_rng(0).permutation(100)
    _, again = validation_rows(labels[shuffled], ids[shuffled], 0.2, seed=0)
    assert set(ids[shuffled][again]) == set(ids[held])
    with pytest.raises(UserError, match=r"a share of 0\.001 of 100"):
        validation_rows(labels, ids, 0.001, seed=0)
