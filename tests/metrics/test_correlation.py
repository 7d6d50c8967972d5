import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics import resampling
from jaxbench.metrics.correlation import correlation_interval, kendall, spearman
from tests.reference import statistics as reference

ROWS = 12
KINDS = {"spearman": spearman, "kendall": kendall}
SCIPY = {"spearman": scipy.stats.spearmanr, "kendall": scipy.stats.kendalltau}
# Few values, so that ties are common; extremes that must still be ordered.
LEVELS = [-np.inf, -3e38, -1.0, -0.0, 0.0, 1e-30, 1.0, np.float32(1.0000001), 3e38]


@pytest.fixture(scope="module")
def zoo():
    """300 models, the second number rounded: many ties."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = np.round(x + rng.normal(size=300), 1)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS[:6])),
        min_size=2,
        max_size=ROWS,
    ),
    place=st.permutations(range(ROWS)),
)
def test_ties_and_extremes_agree_with_the_loops(kind, rows, place):
    x, y = np.full((2, ROWS), np.nan, np.float32)
    place = place[: len(rows)]
    x[place], y[place] = zip(*rows, strict=True)
    mask = np.isin(np.arange(ROWS), place)
    found = float(KINDS[kind](x, y, mask=mask))
    twin = reference.CORRELATIONS[kind](x[mask], y[mask])
    assert found == pytest.approx(twin, rel=1e-6, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_scipy_defines_the_same(kind, zoo):
    x, y = zoo
    assert len(np.unique(y)) < 100
    expected = float(SCIPY[kind](x.astype(np.float64), y.astype(np.float64))[0])
    assert float(KINDS[kind](x, y)) == pytest.approx(expected, abs=1e-6)
    # Any monotone scale will do.
    assert KINDS[kind](np.exp(x), y) == KINDS[kind](x, y)
    # Reversed rows are summed in another order.
    reverse = float(KINDS[kind](-x, y))
    assert reverse == pytest.approx(-expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_order_is_exactly_one(kind, zoo, key):
    x, _ = zoo
    assert float(KINDS[kind](x, 2 * x)) == 1.0
    assert float(KINDS[kind](x, -x)) == -1.0
    for method in ("bootstrap", "fisher"):
        found = correlation_interval(x, 2 * x, kind=kind, key=key, method=method)
        assert tuple(map(float, found)) == (1.0, 1.0), method


@pytest.mark.parametrize("kind", KINDS)
def test_interval_is_that_of_literally_resampled_rows(kind, key):
    rng = np.random.default_rng(2)
    x, y = np.sort(rng.integers(0, 6, (2, ROWS)).astype(np.float32))
    y = y[rng.permutation(ROWS)]
    mask = np.arange(ROWS) % 6 > 0
    found = correlation_interval(
        x, y, kind=kind, key=key, num_resamples=60, level=0.8, mask=mask
    )
    # The draws are handed to the rows in sorted order.
    order = np.lexsort((y[mask], x[mask]))
    held = jnp.arange(ROWS) < mask.sum()
    draw = jax.jit(jax.vmap(resampling.draw_weights, (0, None)))
    weights = draw(jax.random.split(key, 60), held)
    twin = reference.bootstrap_correlation(
        reference.CORRELATIONS[kind],
        x[mask][order],
        y[mask][order],
        np.asarray(weights[:, : mask.sum()]),
        0.8,
    )
    np.testing.assert_allclose(found, twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["bootstrap", "fisher"])
def test_interval_has_the_spread_of_other_samples(kind, method, zoo, key):
    x, y = zoo
    low, high = map(
        float, correlation_interval(x, y, kind=kind, key=key, method=method)
    )
    estimate = float(KINDS[kind](x, y))
    assert low < estimate < high
    rng = np.random.default_rng(3)
    others = []
    for _ in range(200):
        a = rng.normal(size=300)
        others.append(SCIPY[kind](a, np.round(a + rng.normal(size=300), 1))[0])
    # The spread of 200 values is known to 5 %, that of the percentiles to as much.
    assert high - low == pytest.approx(3.92 * np.std(others), rel=0.2)
    narrow = correlation_interval(x, y, kind=kind, key=key, method=method, level=0.5)
    assert low < float(narrow[0]) < estimate < float(narrow[1]) < high


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_is_the_published_formula(kind, zoo):
    x, y = zoo
    mask = np.arange(300) < 40
    r = SCIPY[kind](x[mask].astype(np.float64), y[mask].astype(np.float64))[0]
    quantile = scipy.stats.norm.ppf(0.95)
    twin = reference.fisher_correlation(kind, r, 40, quantile)
    found = correlation_interval(
        x, y, kind=kind, key=None, method="fisher", level=0.9, mask=mask
    )
    np.testing.assert_allclose(found, twin, rtol=1e-5)
    rows = 3 if kind == "spearman" else 4
    few = np.arange(300) < rows
    found = correlation_interval(x, y, kind=kind, key=None, method="fisher", mask=few)
    assert np.isnan(found).all()


@pytest.mark.parametrize("kind", KINDS)
def test_same_interval_for_every_order_padding_and_chunk(kind, zoo, key, monkeypatch):
    x, y = zoo
    order = np.random.default_rng(4).permutation(300)
    plain = correlation_interval(x, y, kind=kind, key=key)
    assert correlation_interval(x[order], y[order], kind=kind, key=key) == plain
    # Rows and resamples in chunks of at most 99, and both fill up.
    monkeypatch.setattr(resampling, "_ROWS_IN_FLIGHT", 310 * 99)
    mask = np.arange(310) >= 10
    x, y = (np.concatenate([np.full(10, np.nan, np.float32), v]) for v in (x, y))
    found = correlation_interval(x, y, kind=kind, key=key, mask=mask)
    np.testing.assert_allclose(found, plain, rtol=1e-6)
    # Sums of whole numbers up to 90,000: exact.
    assert kendall(x, y, mask=mask) == kendall(x[10:], y[10:])


@pytest.mark.parametrize("kind", KINDS)
def test_undefined_correlations_are_nan(kind, zoo, key):
    x, y = zoo
    constant = np.full_like(x, 3.0)
    for a, b in ((constant, y), (x, constant)):
        assert np.isnan(KINDS[kind](a, b))
        for method in ("bootstrap", "fisher"):
            ends = correlation_interval(a, b, kind=kind, key=key, method=method)
            assert np.isnan(ends).all()
    broken = np.where(np.arange(300) == 5, np.float32(np.nan), x)
    with pytest.raises(ValueError, match="x is NaN in 1 of 300 rows"):
        KINDS[kind](broken, y)
    with pytest.raises(ValueError, match="y is NaN in 1 of 300 rows"):
        correlation_interval(y, broken, kind=kind, key=key)
    assert np.isnan(jax.jit(KINDS[kind])(broken, y))
    assert np.isnan(jax.jit(KINDS[kind])(y, broken))
    assert np.isfinite(KINDS[kind](broken, y, mask=np.arange(300) != 5))


@pytest.mark.parametrize("kind", KINDS)
def test_undefined_resamples_are_left_out(kind, zoo, key):
    # Of two rows, half of the resamples hold one row twice: no correlation.
    x, y = np.arange(300, dtype=np.float32), np.arange(300, dtype=np.float32)
    found = correlation_interval(x, y, kind=kind, key=key, mask=np.arange(300) < 2)
    assert tuple(map(float, found)) == (1.0, 1.0)


def test_fewer_than_two_rows_are_refused(zoo, key):
    x, y = zoo
    one, none = np.arange(300) < 1, np.arange(300) < 0
    for measure in (spearman, kendall):
        with pytest.raises(ValueError, match="at least 2 rows and got 1"):
            measure(x, y, mask=one)
        with pytest.raises(ValueError, match="excludes all 300 rows"):
            measure(x, y, mask=none)
        inside = jax.jit(lambda mask, measure=measure: measure(x, y, mask=mask))
        assert np.isnan(inside(one))
        assert np.isnan(inside(none))
        assert float(inside(np.arange(300) >= 0)) == float(measure(x, y))
    with pytest.raises(ValueError, match="at least 2 rows and got 1"):
        correlation_interval(x[:1], y[:1], key=key)


def test_transforms(zoo, key):
    x, y = (column[:36].reshape(3, ROWS) for column in zoo)
    for measure in (
        spearman,
        kendall,
        lambda x, y: correlation_interval(x, y, key=key, num_resamples=60)[0],
    ):
        mapped = jax.jit(jax.vmap(measure))(x, y)
        expected = [measure(*rows) for rows in zip(x, y, strict=True)]
        np.testing.assert_allclose(mapped, expected, rtol=1e-6)


def test_unknown_settings_are_refused(zoo, key):
    x, y = zoo
    with pytest.raises(ValueError, match="kind is 'pearson'; wanted one of 'spearman'"):
        correlation_interval(x, y, kind="pearson", key=key)
    with pytest.raises(ValueError, match="method is 'bca'; wanted one of 'bootstrap'"):
        correlation_interval(x, y, method="bca", key=key)
    with pytest.raises(ValueError, match="level is 95"):
        correlation_interval(x, y, key=key, level=95.0)
    with pytest.raises(ValueError, match="key is None"):
        correlation_interval(x, y, key=None)
