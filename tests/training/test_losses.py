import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.training.losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    distillation,
)

LOGITS = np.random.default_rng(0).normal(0, 3, (40, 7)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 7, 40).astype(np.int32)


def reference(logits, labels, smoothing):
    """The definition itself: cross-entropy against the smoothed target."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    k = logits.shape[1]
    target = np.full(logits.shape, smoothing / k)
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return -(target * log_p).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_matches_the_smoothed_target(smoothing):
    losses = cross_entropy(
        jnp.asarray(LOGITS), jnp.asarray(LABELS), label_smoothing=smoothing
    )
    expected = reference(LOGITS, LABELS, smoothing)
    # float32 sums over seven classes.
    np.testing.assert_allclose(losses, expected, rtol=2e-6, atol=1e-6)


def test_huge_logits_stay_finite_and_bfloat16_is_upcast():
    logits = jnp.asarray([[1e4, -1e4], [0.0, 0.0]], jnp.bfloat16)
    losses = cross_entropy(logits, jnp.asarray([1, 0]))
    assert losses.dtype == jnp.float32
    np.testing.assert_allclose(
        losses, [float(logits[0, 0] - logits[0, 1]), np.log(2)], rtol=1e-6
    )


def test_jit_equals_eager_and_row_order_does_not_matter():
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    eager = cross_entropy(logits, labels)
    np.testing.assert_allclose(jax.jit(cross_entropy)(logits, labels), eager, rtol=1e-6)
    np.testing.assert_array_equal(
        cross_entropy(logits[::-1], labels[::-1]), eager[::-1]
    )


def smoothed(labels, k, smoothing):
    target = np.full((len(labels), k), smoothing / k)
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return target


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_a_logistic_loss_a_class(smoothing):
    losses = binary_cross_entropy(
        jnp.asarray(LOGITS), jnp.asarray(LABELS), label_smoothing=smoothing
    )
    x, target = LOGITS.astype(np.float64), smoothed(LABELS, 7, smoothing)
    p = 1 / (1 + np.exp(-x))
    expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).sum(1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_losses_are_linear_in_the_target(loss):
    """Why a mixed image may be scored by its two labels one after the other."""
    logits, other = jnp.asarray(LOGITS), jnp.asarray(LABELS[::-1].copy())
    losses = [loss(logits, lab) for lab in (jnp.asarray(LABELS), other)]
    target = 0.3 * smoothed(LABELS, 7, 0.0) + 0.7 * smoothed(LABELS[::-1], 7, 0.0)
    x = LOGITS.astype(np.float64)
    if loss is LOSSES["cross_entropy"]:
        log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
        expected = -(target * log_p).sum(1)
    else:
        expected = (np.logaddexp(0, x) - target * x).sum(1)
    np.testing.assert_allclose(0.3 * losses[0] + 0.7 * losses[1], expected, rtol=1e-5)


def test_smoothing_may_be_traced():
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    run = jax.jit(lambda s: cross_entropy(logits, labels, label_smoothing=s))
    for smoothing in (0.0, 0.4):
        expected = cross_entropy(logits, labels, label_smoothing=smoothing)
        np.testing.assert_allclose(run(smoothing), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_distillation_is_a_divergence_at_a_temperature(temperature):
    teacher = np.random.default_rng(2).normal(0, 2, LOGITS.shape).astype(np.float32)
    losses = distillation(
        jnp.asarray(LOGITS), jnp.asarray(teacher), temperature=temperature
    )
    p, q = (
        np.exp(x / temperature) / np.exp(x / temperature).sum(1, keepdims=True)
        for x in (LOGITS.astype(np.float64), teacher.astype(np.float64))
    )
    expected = temperature**2 * (q * np.log(q / p)).sum(1)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    same = distillation(jnp.asarray(LOGITS), jnp.asarray(LOGITS))
    np.testing.assert_allclose(same, 0, atol=1e-6)


def test_hard_distillation_takes_the_teachers_decision():
    teacher = jnp.asarray(np.roll(LOGITS, 1, axis=1))
    expected = cross_entropy(jnp.asarray(LOGITS), teacher.argmax(axis=1))
    losses = distillation(jnp.asarray(LOGITS), teacher, kind="hard")
    np.testing.assert_array_equal(losses, expected)


def test_no_gradient_reaches_the_teacher():
    slope = jax.grad(lambda t: distillation(jnp.asarray(LOGITS), t).sum())
    np.testing.assert_array_equal(slope(jnp.asarray(LOGITS) + 1), 0)
