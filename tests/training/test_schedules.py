import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.training.schedules import warmup_cosine


def reference(step, peak, warmup, total):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def rates(peak, warmup, total, steps):
    schedule = jax.jit(
        jax.vmap(
            lambda step, *rest: warmup_cosine(
                step, peak=rest[0], warmup_steps=rest[1], total_steps=rest[2]
            ),
            (0, None, None, None),
        )
    )
    return schedule(
        jnp.arange(steps), jnp.float32(peak), jnp.int32(warmup), jnp.int32(total)
    )


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 20), (5, 20), (19, 20)])
def test_matches_the_formula(warmup, total):
    expected = [reference(step, 0.3, warmup, total) for step in range(total)]
    # cos is good to 1e-7 absolute in float32, of a rate of 0.3.
    np.testing.assert_allclose(rates(0.3, warmup, total, total), expected, atol=1e-7)


def test_peak_is_taken_once_and_zero_comes_after_the_last_step():
    got = np.asarray(rates(2.0, 4, 12, 14))
    assert got.argmax() == 4
    assert got[4] == 2.0
    assert (got == 2.0).sum() == 1
    assert (got[:12] > 0).all()
    np.testing.assert_allclose(got[12:], 0, atol=1e-7)


def test_warmup_to_the_very_end_is_finite():
    got = np.asarray(rates(1.0, 6, 6, 6))
    np.testing.assert_allclose(got, [(s + 1) / 7 for s in range(6)], rtol=1e-6)
