import jax
import numpy as np
import pytest
import scipy.stats

from jaxbench.metrics.binomial import (
    binomial_log_pmf,
    binomial_log_tails,
    clopper_pearson_upper,
    wilson_interval,
)
from tests.reference import binomial as reference

# One shape for all: 600 triples a call.
SIZE = 600
LOG_TINY = -87.0  # exp of less leaves float32


@jax.jit
def log_probabilities(successes, trials, probability):
    tails = binomial_log_tails(successes, trials, probability)
    return binomial_log_pmf(successes, trials, probability), *tails


def assert_close(found, wanted):
    """To 5e-5 of a probability that float32 holds, to 1e-6 of its logarithm below."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted)
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(wanted))
    finite = np.isfinite(wanted)
    found, wanted = found[finite], wanted[finite]
    allowed = np.where(wanted > LOG_TINY, 5e-5, -1e-6 * wanted)
    worst = np.argmax(np.abs(found - wanted) - allowed)
    assert abs(found - wanted)[worst] <= allowed[worst], (found[worst], wanted[worst])


def draw_triples(trials, seed):
    """Counts within a few standard deviations of the mean, and shares of all sizes."""
    rng = np.random.default_rng(seed)
    n = rng.choice(trials, SIZE).astype(np.int32)
    small = 10 ** rng.uniform(-9, -1, SIZE)
    near_one = 1 - 10 ** rng.uniform(-6, -1, SIZE)
    p = np.choose(
        rng.integers(0, 4, SIZE),
        [rng.random(SIZE), small, near_one, np.full(SIZE, 0.5)],
    ).astype(np.float32)
    mean = n * p.astype(np.float64)
    spread = np.sqrt(mean * (1 - p.astype(np.float64)))
    k = np.round(mean + 6 * rng.normal(size=SIZE) * spread)
    k = np.clip(k + rng.integers(-2, 3, SIZE), -1, n + 1)
    return k.astype(np.int32), n, p


def test_probabilities_are_the_exact_fractions():
    k, n, p = draw_triples([0, 1, 2, 3, 7, 8, 9, 30], seed=0)
    p[:40] = np.repeat(np.float32([0, 1]), 20)
    pmf, lower, upper = log_probabilities(k, n, p)
    triples = list(zip(k.tolist(), n.tolist(), p, strict=True))
    assert_close(pmf, [reference.log(reference.pmf(*t)) for t in triples])
    tails = [reference.tails(*t) for t in triples]
    assert_close(lower, [reference.log(tail) for tail, _ in tails])
    assert_close(upper, [reference.log(tail) for _, tail in tails])


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_hold_for_many_trials(seed):
    k, n, p = draw_triples([100, 1000, 50_000, 1_000_000, 2**24], seed)
    found = log_probabilities(k, n, p)
    law = scipy.stats.binom(n, p.astype(np.float64))
    assert_close(found[0], law.logpmf(k))
    assert_close(found[1], law.logcdf(k))
    assert_close(found[2], law.logsf(k))


def test_neither_vmap_nor_a_neighbour_changes_a_tail():
    # The loop runs until the slowest element of an array is done.
    k, n, p = draw_triples([3, 100, 50_000, 1_000_000], seed=9)
    together = log_probabilities(k, n, p)
    mapped = jax.jit(jax.vmap(log_probabilities))(k, n, p)
    for one, other in zip(together, mapped, strict=True):
        np.testing.assert_array_equal(one, other)
    alone = [binomial_log_tails(*t)[0] for t in zip(k[:9], n[:9], p[:9], strict=True)]
    np.testing.assert_allclose(together[1][:9], alone, rtol=1e-6)


def test_probabilities_of_no_share_are_nan():
    for share in (-0.1, 1.1, np.nan):
        found = binomial_log_pmf(1, 3, share), *binomial_log_tails(1, 3, share)
        assert np.isnan(found).all()


COUNTS = (
    *[(0, 1), (1, 1), (0, 2), (1, 2), (0, 10), (3, 10), (9, 10), (10, 10)],
    *[(0, 1000), (12, 1000), (999, 1000), (0, 50_000), (250, 50_000), (2500, 50_000)],
    *[(49_999, 50_000), (0, 1_000_000), (10_000, 1_000_000), (999_999, 1_000_000)],
)


@pytest.mark.parametrize("delta", [1e-3, 0.05, 0.7, 1e-12])
def test_upper_bound_is_the_share_whose_tail_is_delta(delta):
    errors, trials = np.transpose(COUNTS)
    found = np.asarray(clopper_pearson_upper(errors, trials, delta=delta), np.float64)
    twins = [reference.upper_bound(*c, delta) for c in COUNTS]
    np.testing.assert_allclose(found, twins, rtol=3e-6)
    inner = errors < trials
    exact = scipy.stats.beta.ppf(1 - delta, errors[inner] + 1, (trials - errors)[inner])
    # 1 - delta rounds in float64, which matters for a delta of 1e-12.
    np.testing.assert_allclose(found[inner], exact, rtol=1e-5)


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.3])
def test_upper_bound_fails_with_probability_delta_at_most(delta):
    # Exactly: the bound is below the rate for the fewest errors, and for no more of
    # them than delta allows.
    errors = np.arange(len(COUNTS))
    bound = np.asarray(clopper_pearson_upper(errors, 40, delta=delta))
    failing = scipy.stats.binom.cdf(errors, 40, 0.3) <= delta
    np.testing.assert_array_equal(bound < 0.3, failing)
    assert 0 < failing.sum() < len(COUNTS)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
def test_wilson_interval_inverts_the_score_test(level):
    successes, trials = np.transpose(COUNTS)
    low, high = wilson_interval(successes, trials, level=level)
    twins = np.array([reference.wilson(*c, level) for c in COUNTS])
    np.testing.assert_allclose(low, twins[:, 0], rtol=2e-6, atol=1e-12)
    np.testing.assert_allclose(high, twins[:, 1], rtol=2e-6)
    assert (np.asarray(low)[successes == 0] == 0).all()
    assert (np.asarray(high)[successes == trials] == 1).all()
    for i, (k, n) in enumerate(COUNTS):
        exact = scipy.stats.binomtest(k, n).proportion_ci(level, "wilson")
        np.testing.assert_allclose((low[i], high[i]), exact, rtol=2e-6, atol=1e-12)


def test_one_number_of_trials_serves_all_counts():
    low, high = wilson_interval(np.arange(len(COUNTS)), 20)
    assert low.shape == high.shape == (len(COUNTS),)
    one = clopper_pearson_upper(2, 10, delta=0.05)
    assert one.shape == ()
    many = clopper_pearson_upper(np.arange(len(COUNTS)), 20, delta=0.05)
    assert many.shape == (len(COUNTS),)


def test_no_trials_say_nothing():
    errors, trials = np.transpose(COUNTS)
    none = np.arange(len(COUNTS)) % 3 == 0
    counts = np.where(none, 0, errors), np.where(none, 0, trials)
    for ends in (*wilson_interval(*counts), clopper_pearson_upper(*counts, delta=0.1)):
        np.testing.assert_array_equal(np.isnan(ends), none)


def test_bounds_work_under_jit_and_vmap():
    errors, trials = np.transpose(COUNTS)

    def both(errors, trials):
        bound = clopper_pearson_upper(errors, trials, delta=0.01)
        return bound, *wilson_interval(errors, trials)

    for found, wanted in zip(
        jax.jit(jax.vmap(both))(errors, trials), both(errors, trials), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_counts_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"errors must lie in \[0, trials\]"):
        clopper_pearson_upper(11, 10, delta=0.1)
    with pytest.raises(ValueError, match=r"successes must lie in \[0, trials\]"):
        wilson_interval(np.array([0, -1]), 10)
    for delta in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="delta is"):
            clopper_pearson_upper(1, 10, delta=delta)
    with pytest.raises(ValueError, match="level is 95"):
        wilson_interval(1, 10, level=95.0)
