"""Tails of the binomial distribution, and what they say of an unknown share.

All of it is elementwise over arrays of counts and holds in float32: log-probabilities
are built from deviances that are computed directly, so that no large numbers cancel.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Float, Int

from jaxbench.metrics.checks import is_known, require_arrays
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.types import AnyArray

Counts = int | np.integer | Int[AnyArray, "..."]
Shares = float | np.floating | Float[AnyArray, "..."]
_Floats = Float[jax.Array, "..."]
_Ints = Int[jax.Array, "..."]

# log(n!) less Stirling's formula for n = 1..7; Loader (2000), table 1. The first is
# never used: 0! has no such error, and the formulas part with it earlier.
_SMALL_STIRLING = (
    *(0.0, 0.0810614667953273, 0.0413406959554093, 0.0276779256849984),
    *(0.0207906721037651, 0.0166446911898212, 0.0138761288230707, 0.0118967099458918),
)

# A continued fraction takes about 0.3 sqrt(n) steps at most: 270 for a million.
_MAX_STEPS = 5000


def binomial_log_pmf(
    successes: Counts, trials: Counts, probability: Shares
) -> Float[jax.Array, "..."]:
    """The logarithm of P(X = k) for X ~ binomial(n, p).

    Loader's saddle point: Stirling's formula with its errors, and twice the deviance
    of k from n p; the exact value, not an approximation. Loader (2000), "Fast and
    accurate computation of binomial probabilities", eq. 1.

    Args:
        successes: k; any integer.
        trials: n in [0, 2^24].
        probability: p in [0, 1].

    Returns:
        At most 0; -inf for k outside [0, n]. The probability is accurate to 1e-4 of
        its value down to 1e-38. NaN for p outside [0, 1].
    """
    return _log_pmf(*_spread(successes, trials, probability))


def binomial_log_tails(
    successes: Counts, trials: Counts, probability: Shares
) -> tuple[Float[jax.Array, "..."], Float[jax.Array, "..."]]:
    """The logarithms of P(X <= k) and P(X > k) for X ~ binomial(n, p).

    The tail on the far side of the mean is its largest term times a continued fraction
    of positive parts (Didonato and Morris 1992, eq. 9:
    https://doi.org/10.1145/131766.131776); the other is its complement.

    Args:
        successes: k; any integer.
        trials: n in [0, 2^24].
        probability: p in [0, 1].

    Returns:
        Two arrays, at most 0; -inf for a tail without probability. The tails
        themselves are accurate to 1e-4 of their value down to 1e-38, their logarithms
        beyond. NaN for p outside [0, 1].
    """
    return _log_tails(*_spread(successes, trials, probability))


def clopper_pearson_upper(
    errors: Counts, trials: Counts, *, delta: float
) -> Float[jax.Array, "..."]:
    """An upper bound on an error rate that fails with probability at most delta.

    The smallest b with P(X <= errors) <= delta for X ~ binomial(trials, b), found by
    bisection over all float32 numbers in [0, 1]. Clopper and Pearson (1934):
    https://doi.org/10.1093/biomet/26.4.404.

    Args:
        errors: In [0, trials].
        trials: At most 2^24.
        delta: In (0, 1).

    Returns:
        In (0, 1]; 1 if all trials are errors. NaN without trials.

    Raises:
        ValueError: If delta is outside (0, 1), counts are not integers, or errors are
            not in [0, trials] (outside jit).
    """
    _check_share("delta", delta)
    errors, trials = _checked_counts("errors", errors, trials)
    return upper_bound(errors, trials, jnp.log(jnp.float32(delta)))


def wilson_interval(
    successes: Counts, trials: Counts, *, level: float = 0.95
) -> tuple[Float[jax.Array, "..."], Float[jax.Array, "..."]]:
    """Wilson's score interval for a share.

    The p with |k/n - p| <= z sqrt(p (1 - p) / n), z the (1 + level) / 2 quantile of
    the normal distribution. Unlike a bootstrap interval it has a width where all or
    none are successes. Wilson (1927): https://doi.org/10.2307/2276774; no continuity
    correction.

    Args:
        successes: k, in [0, trials].
        trials: n, one for each k or one for all.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (low, high), in [0, 1]. NaN without trials, as in an empty bin.

    Raises:
        ValueError: If the level is outside (0, 1), counts are not integers, or
            successes are not in [0, trials] (outside jit).
    """
    _check_share("level", level)
    successes, trials = _checked_counts("successes", successes, trials)
    return _wilson(successes, trials, jnp.float32((1.0 - level) / 2))


@partial(compiled, by_row=True)
def _wilson(
    successes: _Ints, trials: _Ints, tail: Float[jax.Array, ""]
) -> tuple[_Floats, _Floats]:
    z2 = ndtri(tail) ** 2
    n = jnp.where(trials > 0, trials.astype(jnp.float32), jnp.nan)
    k, rest = successes.astype(jnp.float32), (trials - successes).astype(jnp.float32)
    # The roots of (n + z2) p^2 - (2 k + z2) p + k^2 / n. The smaller is their product
    # over the larger: their difference would cancel.
    top = 2 * k + z2 + jnp.sqrt(z2) * jnp.sqrt(z2 + 4 * (k / n) * rest)
    high = jnp.where(successes == trials, 1.0, top / (2 * (n + z2)))
    return 2 * (k / n) * k / top, jnp.where(jnp.isnan(n), jnp.nan, high)


@partial(compiled, by_row=True)
def upper_bound(
    errors: _Ints, trials: _Ints, log_delta: Float[jax.Array, ""]
) -> _Floats:
    """`clopper_pearson_upper` for arrays of one shape and a traced level."""
    one = np.float32(1).view(np.int32)

    def halve(_, bounds):
        # Positive floats are ordered as their bits are.
        low, high = bounds
        middle = low + (high - low) // 2
        share = jax.lax.bitcast_convert_type(middle, jnp.float32)
        lower, _ = _log_tails(errors, trials, share)
        enough = lower <= log_delta
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    start = jnp.zeros_like(errors), jnp.full_like(errors, one)
    _, high = jax.lax.fori_loop(0, int(one).bit_length(), halve, start)
    bound = jax.lax.bitcast_convert_type(high, jnp.float32)
    return jnp.where(trials > 0, bound, jnp.nan)


@partial(compiled, by_row=True)
def _log_pmf(k: _Ints, n: _Ints, p: _Floats) -> _Floats:
    inside = jnp.clip(k, 1, jnp.maximum(n - 1, 1))
    excess = _excess(inside, n, p)
    x, rest, total = (c.astype(jnp.float32) for c in (inside, n - inside, n))
    p_safe = jnp.clip(p, jnp.finfo(jnp.float32).tiny, 1 - jnp.finfo(jnp.float32).epsneg)
    errors = _stirling_error(n) - _stirling_error(inside) - _stirling_error(n - inside)
    deviance = _deviance(x, total * p_safe, excess)
    deviance += _deviance(rest, total * (1 - p_safe), -excess)
    root = 0.5 * jnp.log(total / (2 * jnp.pi * x * rest))
    log_pmf = jnp.where((p == 0) | (p == 1), -jnp.inf, root + errors - deviance)
    none = jnp.where(n == 0, 0.0, total * jnp.log1p(-p))
    every = total * jnp.log(p)
    log_pmf = jnp.where(k == 0, none, jnp.where(k == n, every, log_pmf))
    log_pmf = jnp.where((k < 0) | (k > n), -jnp.inf, log_pmf)
    return jnp.where((p >= 0) & (p <= 1), log_pmf, jnp.nan)


@partial(compiled, by_row=True)
def _log_tails(k: _Ints, n: _Ints, p: _Floats) -> tuple[_Floats, _Floats]:
    excess = _excess(k, n, p)
    # The far tail is at most about a half, so that its complement does not cancel.
    above = excess > -0.5
    # Above the mean, P(X > k) is P(Y <= n - k - 1) for the failures Y = n - X.
    count = jnp.where(above, n - k - 1, k)
    share, other = jnp.where(above, 1 - p, p), jnp.where(above, p, 1 - p)
    below_mean = jnp.where(above, excess + 1, -excess)
    # Of a share near 1, 1 - p is exact; of a small one its error is below 6e-8.
    log_share = jnp.where(above, jnp.log1p(-p), jnp.log(p))
    log_term = _log_pmf(jnp.where(above, k + 1, k), n, p)
    sum_of_terms = _tail_over_term(count, n, share, other, below_mean)
    far = log_term + log_share + jnp.log(sum_of_terms)
    # P(X <= 0) is its largest term.
    far = jnp.where(count == 0, log_term, jnp.minimum(far, 0.0))
    near = jnp.log1p(-jnp.exp(far))
    lower = jnp.where(above, near, far)
    upper = jnp.where(above, far, near)
    lower = jnp.where(k < 0, -jnp.inf, jnp.where((k >= n) | (p == 0), 0.0, lower))
    upper = jnp.where(k < 0, 0.0, jnp.where((k >= n) | (p == 0), -jnp.inf, upper))
    lower = jnp.where((p == 1) & (k < n), -jnp.inf, lower)
    upper = jnp.where((p == 1) & (k < n), 0.0, upper)
    known = (p >= 0) & (p <= 1)
    return jnp.where(known, lower, jnp.nan), jnp.where(known, upper, jnp.nan)


def _tail_over_term(
    k: _Ints, n: _Ints, p: _Floats, x: _Floats, below_mean: _Floats
) -> _Floats:
    """P(X <= k) / (p P(X = k)) for k at most the mean n p; 1 elsewhere.

    In Didonato and Morris, a = n - k, b = k + 1 and lambda + 1 = p + below_mean.
    x is 1 - p, which the caller may know better than p.
    """
    useful = (k > 0) & (k < n) & (p > 0) & (x > 0)
    a = jnp.where(useful, n - k, 1).astype(jnp.float32)
    b = jnp.where(useful, k + 1, 1).astype(jnp.float32)
    lead = p + below_mean

    def step(state):
        m, fraction, c, d, going = state
        width = a + 2 * m - 1
        numerator = (a + m - 1) / width * ((a + b + m - 1) / width)
        numerator *= m * x * ((b - m) * x)
        partial = m + m * (b - m) / width * x
        partial += (a + m) / (width + 2) * (lead + m * (1 + p))
        d = 1 / (partial + numerator * d)
        c = partial + numerator / c
        # The fraction ends at m = b, where its next numerator is 0. One that has
        # converged stands still: rounding would move it while it waits for the others.
        change = jnp.where(going & (m < b), c * d, 1.0)
        going &= jnp.abs(change - 1) > 1e-7
        return m + 1, fraction * change, c, d, going

    first = jnp.where(useful, a / (a + 1) * lead, 1.0)
    _, fraction, *_ = jax.lax.while_loop(
        lambda state: jnp.any(state[-1]) & (state[0] < _MAX_STEPS),
        step,
        (jnp.float32(1), first, first, jnp.zeros_like(first), useful),
    )
    return jnp.where(useful, a / fraction, 1.0)


def _excess(k: _Ints, n: _Ints, p: _Floats) -> _Floats:
    """The excess k - n p without the rounding error of n p.

    Both factors are split into halves of 12 bits, whose products float32 holds.
    """
    bits = jax.lax.bitcast_convert_type(p, jnp.int32)
    p_high = jax.lax.bitcast_convert_type(bits & ~0xFFF, jnp.float32)
    p_low = p - p_high
    n_low = (n & 0xFFF).astype(jnp.float32)
    n_high = (n & ~0xFFF).astype(jnp.float32)
    rest = n_low * p_high + n_high * p_low
    return (k.astype(jnp.float32) - n_high * p_high) - rest - n_low * p_low


def _deviance(x: _Floats, mean: _Floats, excess: _Floats) -> _Floats:
    """Loader's D(x, mean) = x log(x / mean) + mean - x, for excess = x - mean."""
    v = excess / (x + mean)
    v2 = v * v
    # 2 (atanh(v) - v) / v^3, to 1e-8 for v below a quarter.
    series = 1 / 3 + v2 * (
        1 / 5 + v2 * (1 / 7 + v2 * (1 / 9 + v2 * (1 / 11 + v2 / 13)))
    )
    near = v * excess + 2 * x * v * v2 * series
    far = x * jnp.log(x / mean) - excess
    return jnp.where(jnp.abs(v) < 0.25, near, far)


def _stirling_error(count: _Ints) -> _Floats:
    """log(n!) less Stirling's formula, n >= 1, to 1e-8."""
    small = jnp.array(_SMALL_STIRLING, jnp.float32)[jnp.clip(count, 0, 7)]
    x = 1 / jnp.maximum(count, 1).astype(jnp.float32)
    x2 = x * x
    series = x * (1 / 12 - x2 * (1 / 360 - x2 * (1 / 1260)))
    return jnp.where(count < 8, small, series)


def _spread(
    successes: Counts, trials: Counts, probability: Shares
) -> tuple[_Ints, _Ints, _Floats]:
    k, n = _as_counts("successes", successes), _as_counts("trials", trials)
    p = jnp.asarray(probability, jnp.float32)
    shape = jnp.broadcast_shapes(k.shape, n.shape, p.shape)
    k, n, p = (jnp.broadcast_to(x, shape) for x in (k, n, p))
    return k, n, p


def _checked_counts(name: str, part: Counts, trials: Counts) -> tuple[_Ints, _Ints]:
    k, n = _as_counts(name, part), _as_counts("trials", trials)
    shape = jnp.broadcast_shapes(k.shape, n.shape)
    k, n = jnp.broadcast_to(k, shape), jnp.broadcast_to(n, shape)
    if is_known(k, n):
        low, high = jax.device_get((k, n))
        if ((low < 0) | (low > high)).any():
            raise ValueError(f"{name} must lie in [0, trials]; got {low} of {high}")
    return k, n


def _as_counts(name: str, counts: Counts) -> _Ints:
    if not isinstance(counts, int | np.integer):
        require_arrays(**{name: counts})
    array = jnp.asarray(counts)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ValueError(f"{name} has dtype {array.dtype}; wanted integers")
    return array.astype(jnp.int32)


def _check_share(name: str, share: float) -> None:
    if not 0.0 < share < 1.0:
        raise ValueError(f"{name} is {share}; wanted a fraction in (0, 1)")
