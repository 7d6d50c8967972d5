import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.training.losses import cross_entropy

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
