"""NT-Xent, the Huber term and the rule that curates, against slow twins."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import cross_entropy
from jaxbench.training.contrastive import (
    ContrastiveRecipe,
    Curation,
    CurationState,
    decide,
    losses,
    unit_length,
)
from jaxbench.training.contrastive.curation import running_quantile

# Compiled as in a step: operation by operation each would be a program.
nt_xent, huber_term = jax.jit(losses.nt_xent), jax.jit(losses.huber_term)

RNG = np.random.default_rng(0)
FIRST, SECOND = map(jnp.asarray, RNG.normal(size=(2, 9, 5)).astype(np.float32))


def slow_nt_xent(first, second, temperature):
    z = np.concatenate([first, second]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n, losses = len(first), []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [np.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i]
        losses.append(-np.log(np.exp(z[i] @ z[partner] / temperature) / sum(others)))
    return np.mean(losses)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_nt_xent_is_its_formula_and_a_cross_entropy(temperature):
    found = float(nt_xent(FIRST, SECOND, temperature=temperature))
    # float32 similarities over the temperature: 1e-7 / 0.05.
    assert found == pytest.approx(slow_nt_xent(FIRST, SECOND, temperature), rel=1e-5)
    z = unit_length(jnp.concatenate([FIRST, SECOND]))
    similarity = np.asarray(z @ z.T) / temperature
    # Without itself, each row is a classification among 17, and its view the class.
    logits = jnp.stack([np.delete(row, i) for i, row in enumerate(similarity)])
    labels = jnp.array([i + 8 if i < 9 else i - 9 for i in range(18)])
    assert found == pytest.approx(float(cross_entropy(logits, labels).mean()), rel=1e-5)


def test_nt_xent_in_closed_form():
    same = jnp.ones((4, 3))
    assert float(nt_xent(same, 2.0 * same, temperature=0.5)) == pytest.approx(np.log(7))
    assert float(nt_xent(same[:1], same[:1], temperature=0.5)) == 0.0
    # Orthogonal images, equal views: 1 / t against six zeros.
    wanted = -np.log(np.e**2 / (np.e**2 + 6))
    views = jnp.eye(4)
    assert float(nt_xent(views, views, temperature=0.5)) == pytest.approx(wanted)


def test_gradients_are_finite_and_right():
    loss = partial(nt_xent, second=SECOND, temperature=0.5)
    gradient = jax.jit(jax.grad(loss))
    slope = np.asarray(gradient(FIRST), np.float64)
    direction, step = RNG.normal(size=FIRST.shape), 1e-5
    base = np.asarray(FIRST, np.float64)
    ends = (slow_nt_xent(base + s * direction, SECOND, 0.5) for s in (step, -step))
    assert (slope * direction).sum() == pytest.approx(
        np.subtract(*ends) / (2 * step), rel=1e-4
    )
    # A projection of length zero, and two views that are equal.
    for first in (jnp.zeros_like(FIRST), SECOND):
        assert np.isfinite(gradient(first)).all()
    equal = jax.grad(partial(huber_term, second=SECOND, delta=1.0))(SECOND)
    np.testing.assert_array_equal(equal, 0)


@pytest.mark.parametrize("delta", [0.1, 1.0, 3.0])
def test_huber_is_its_formula(delta):
    residual = np.abs(np.asarray(FIRST, np.float64) - np.asarray(SECOND))
    pieces = np.where(
        residual <= delta, residual**2 / 2, delta * (residual - delta / 2)
    )
    found = float(huber_term(FIRST, SECOND, delta=delta))
    assert found == pytest.approx(pieces.sum(axis=1).mean(), rel=1e-6)


def test_huber_of_unit_vectors_is_one_minus_the_cosine():
    first, second = unit_length(jnp.asarray(FIRST)), unit_length(SECOND)
    cosine = np.asarray((first * second).sum(axis=1)).mean()
    found = float(huber_term(first, second, delta=2.0))
    assert found == pytest.approx(1 - cosine, rel=1e-6)


class SlowCuration:
    """The rule on the host, with a list."""

    def __init__(self, curation):
        self.c, self.seen, self.attempt, self.batch = curation, [], 0, 0

    def __call__(self, distance):
        c = self.c
        window = [d for d in self.seen[-c.window :] if not np.isnan(d)]
        threshold = np.inf
        if c.method != "none" and len(self.seen) >= c.warmup:
            threshold = c.max_distance
            if c.method == "quantile":
                share = np.float32(c.quantile)
                threshold = np.quantile(window, share) if window else np.inf
        place = (self.batch, self.attempt)
        used = not distance > threshold
        redraws = c.max_redraws if c.on_reject == "redraw" else 0
        if used or self.attempt >= redraws:
            self.batch, self.attempt = self.batch + 1, 0
        else:
            self.attempt += 1
        self.seen.append(distance)
        return used, threshold, *place


RULES = [
    Curation(),
    Curation("value", max_distance=0.7, warmup=3),
    Curation("value", max_distance=0.2, warmup=0, on_reject="redraw", max_redraws=2),
    Curation("quantile", quantile=0.8, window=7, warmup=1),
    Curation("quantile", quantile=0.35, window=10, warmup=5, on_reject="redraw"),
]


@pytest.mark.parametrize("curation", RULES, ids=lambda c: f"{c.method}-{c.on_reject}")
def test_the_rule_is_that_of_a_list_on_the_host(curation):
    distances = RNG.uniform(size=60).astype(np.float32)
    # Values that come again: ties are not above the threshold.
    distances[20:40] = distances[:20].round(1)
    # Some are none: they pass, and the threshold goes on without them.
    distances[[0, 14, 15, 45]] = np.nan
    limits, slow = curation.limits(), SlowCuration(curation)
    state = jax.tree.map(jnp.asarray, CurationState.empty(curation.window))
    judge = jax.jit(partial(decide, curation.method))
    rejected = 0
    for distance in distances:
        place = int(state.batch), int(state.attempt)
        used, threshold, state = judge(limits, state, distance)
        wanted = slow(distance)
        assert (bool(used), *place) == (wanted[0], *wanted[2:])
        # float32 interpolation between neighbours.
        assert float(threshold) == pytest.approx(wanted[1], rel=1e-6)
        rejected += not wanted[0]
    assert (rejected > 0) == (curation.method != "none")
    assert int(state.draws) == 60
    assert int(state.updates) == 60 - rejected
    assert curation.on_reject == "redraw" or int(state.batch) == 60


def test_a_redraw_is_tried_so_often_and_then_skipped():
    curation = RULES[2]
    state = jax.tree.map(jnp.asarray, CurationState.empty(curation.window))
    places = []
    for _ in range(7):
        places.append((int(state.batch), int(state.attempt)))
        _, _, state = decide("value", curation.limits(), state, jnp.float32(0.9))
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]


def test_a_distance_that_is_not_a_number_passes():
    state = jax.tree.map(jnp.asarray, CurationState.empty(5))
    limits = RULES[2].limits()
    assert bool(decide("value", limits, state, jnp.float32(np.nan))[0])


def test_infinite_distances_are_above_every_other():
    found = [
        float(running_quantile(jnp.array(ring, jnp.float32), jnp.float32(0.5)))
        for ring in (
            [np.inf, 1.0, np.nan],
            [np.inf, np.inf, np.nan],
            [np.inf, 2.0, 1.0],
            [np.nan, np.nan, np.nan],
        )
    ]
    assert found == [np.inf, np.inf, 2.0, np.inf]


def test_all_misfits_are_reported_at_once():
    with pytest.raises(UserError, match=r"max_distance has.*quantile is missing"):
        Curation("quantile", max_distance=1.0)
    with pytest.raises(UserError, match=r"quantile is 1.5.*window is 1.*warmup is 0"):
        Curation("quantile", quantile=1.5, window=1, warmup=0)
    with pytest.raises(UserError, match="measure is false, and method 'value' needs"):
        Curation("value", max_distance=1.0, measure=False)
    with pytest.raises(UserError, match=r"temperature is 0.0, .*huber_delta is -1"):
        ContrastiveRecipe(temperature=0.0, huber_delta=-1.0)
    with pytest.raises(UserError, match=r"batch_size is 1, .* negatives"):
        ContrastiveRecipe(batch_size=1)
