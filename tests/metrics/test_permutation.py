import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics import resampling
from jaxbench.metrics.permutation import paired_permutation
from tests.reference import statistics as reference

# 2^8 patterns are enumerated, 2^40 are drawn from.
FEW, MANY = 8, 40
LEVELS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0])


def padded(rows, length):
    a, b = np.full((2, length), np.nan, np.float32)
    mask = np.arange(length) < len(rows)
    a[mask], b[mask] = zip(*rows, strict=True)
    return a, b, mask


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=FEW))
def test_few_rows_give_the_exact_p_value(rows):
    a, b, mask = padded(rows, FEW)
    found = paired_permutation(a, b, key=jax.random.key(0), mask=mask)
    assert float(found.p_value) == reference.sign_flips(a[mask], b[mask])
    expected = np.mean(a[mask].astype(np.float64) - b[mask])
    assert float(found.difference) == pytest.approx(expected, rel=1e-6, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=FEW, max_size=FEW))
def test_means_that_tie_but_for_rounding_count_as_equal(tenths):
    # Tenths are not binary fractions: 0.1 + 0.2 and 0.3 need not tie in float32.
    nothing = np.zeros(FEW, np.float32)
    rounded = (np.array(tenths) / 10).astype(np.float32)
    found = paired_permutation(rounded, nothing, key=jax.random.key(0))
    assert float(found.p_value) == reference.sign_flips(tenths, nothing)


def test_scipy_defines_the_same(key):
    a, b = np.random.default_rng(3).normal(size=(2, FEW)).astype(np.float32)
    exact = scipy.stats.permutation_test(
        (a.astype(np.float64) - b,), np.mean, permutation_type="samples"
    )
    found = paired_permutation(a, b, key=key)
    assert float(found.p_value) == pytest.approx(exact.pvalue, rel=1e-6)
    # The same rows among others that do not count are drawn from, not enumerated.
    a, b, mask = padded(list(zip(a, b, strict=True)), MANY)
    drawn = paired_permutation(a, b, key=key, mask=mask)
    error = np.sqrt(exact.pvalue * (1 - exact.pvalue) / 10_000)
    assert abs(float(drawn.p_value) - exact.pvalue) < 4 * error
    assert float(drawn.p_value) != float(found.p_value)
    assert drawn.difference == found.difference


@pytest.mark.parametrize("shift", [0.05, 0.35])
def test_many_rows_agree_with_the_z_test(shift, key):
    a, b = np.random.default_rng(1).normal(size=(2, MANY)).astype(np.float32)
    a += np.float32(b.mean() - a.mean() + shift)
    found = paired_permutation(a, b, key=key)
    # Under random signs the mean is about normal, with the root mean square's error.
    z = shift / np.sqrt(np.mean((a - b) ** 2) / MANY)
    expected = 2 * scipy.stats.norm.sf(z)
    assert float(found.p_value) == pytest.approx(expected, abs=0.015)


def test_p_value_is_never_zero(key):
    ones, nothing = np.ones(MANY, np.float32), np.zeros(MANY, np.float32)
    assert float(paired_permutation(ones, nothing, key=key).p_value) == pytest.approx(
        1 / 10_001
    )
    few = paired_permutation(ones[:FEW], nothing[:FEW], key=key)
    assert float(few.p_value) == 2 / 2**FEW
    assert tuple(map(float, paired_permutation(ones, ones, key=key))) == (0, 1)


def test_flips_are_fair_and_independent(key):
    # Then p is uniform where the models are equal.
    rng = np.random.default_rng(5)
    differences = rng.normal(size=(300, MANY)).astype(np.float32)
    keys = jax.random.split(key, 300)
    test = jax.vmap(
        lambda a, key: paired_permutation(
            a, np.zeros(MANY, np.float32), key=key, num_permutations=200
        )
    )
    p = np.asarray(test(differences, keys).p_value)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_same_p_value_for_every_order_padding_and_chunk(key, monkeypatch):
    rng = np.random.default_rng(2)
    a, b = np.round(rng.random((2, MANY)) * 4).astype(np.float32)
    a += np.float32(0.5)
    plain = paired_permutation(a, b, key=key)
    order = rng.permutation(MANY)
    assert paired_permutation(a[order], b[order], key=key) == plain
    swapped = paired_permutation(b, a, key=key)
    assert swapped.p_value == plain.p_value
    assert swapped.difference == -plain.difference
    # 10,000 patterns in 11 chunks, the last filled up.
    monkeypatch.setattr(resampling, "_ROWS_IN_FLIGHT", (MANY + 29) * 999)
    a, b, mask = padded(list(zip(a, b, strict=True)), MANY + 29)
    order = rng.permutation(MANY + 29)
    a, b, mask = a[order], b[order], mask[order]
    assert paired_permutation(a, b, key=key, mask=mask) == plain
    assert paired_permutation(a, b, key=jax.random.key(9), mask=mask) != plain


def test_broken_row_gives_no_result(key):
    values = np.random.default_rng(0).random((2, MANY)).astype(np.float32)
    mask = np.arange(MANY) != 3
    inside = jax.jit(lambda a, b: paired_permutation(a, b, key=key))
    for junk in (np.nan, np.inf):
        broken = np.where(mask, values, np.float32(junk))
        broken[1] = values[1]
        assert np.isnan(inside(*broken)).all()
        assert np.isfinite(paired_permutation(*broken, key=key, mask=mask)).all()
        if np.isnan(junk):
            with pytest.raises(ValueError, match="a is NaN in 1 of 40 rows"):
                paired_permutation(*broken, key=key)
        else:
            assert np.isnan(paired_permutation(*broken, key=key)).all()


def test_settings_and_empty_input_are_refused(key):
    a, b = np.zeros((2, MANY), np.float32)
    with pytest.raises(ValueError, match="num_permutations is 0"):
        paired_permutation(a, b, key=key, num_permutations=0)
    nothing = np.zeros(MANY, bool)
    with pytest.raises(ValueError, match="excludes all 40 rows"):
        paired_permutation(a, b, key=key, mask=nothing)
    inside = jax.jit(lambda mask: paired_permutation(a, b, key=key, mask=mask))
    assert np.isnan(inside(nothing)).all()
