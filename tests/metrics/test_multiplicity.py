import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics.multiplicity import benjamini_hochberg, holm
from tests.reference import statistics as reference

# Shorter lists are filled up with tests that do not count.
TESTS = 7
TWINS = [
    pytest.param(holm, reference.holm, id="holm"),
    pytest.param(benjamini_hochberg, reference.benjamini_hochberg, id="bh"),
]
# Few values, so that ties are common, and the ends of the range.
LEVELS = [0.0, 1e-30, 0.001, 0.0125, 0.02, 0.025, 0.3, 0.5, 1.0]


@pytest.mark.parametrize(("adjust", "twin"), TWINS)
@settings(max_examples=60, deadline=None)
@given(p=st.lists(st.sampled_from(LEVELS), min_size=1, max_size=TESTS), junk=st.data())
def test_adjusted_p_value_is_the_smallest_level_that_rejects(adjust, twin, p, junk):
    place = junk.draw(st.permutations(range(TESTS)))[: len(p)]
    padded = np.full(TESTS, junk.draw(st.sampled_from([np.nan, -1.0, 0.0])), np.float32)
    padded[place] = p
    mask = np.isin(np.arange(TESTS), place)
    found = np.asarray(adjust(padded, mask=mask))
    # Two float32 roundings.
    np.testing.assert_allclose(found[mask], twin(padded[mask]), rtol=2e-7)
    assert np.isnan(found[~mask]).all()


def test_worked_example():
    # By hand: 4 p1, 3 p2, then 2 p3 = 0.06 raised to its predecessor's 0.075.
    p = np.array([0.03, 0.01, 0.5, 0.025], np.float32)
    np.testing.assert_allclose(holm(p), [0.075, 0.04, 0.5, 0.075], rtol=2e-7)
    # By hand: 4 p1, 4/2 p2 = 0.05 lowered to its successor's 4/3 p3 = 0.04.
    np.testing.assert_allclose(
        benjamini_hochberg(p), [0.04, 0.04, 0.5, 0.04], rtol=2e-7
    )


def test_agrees_with_scipy_on_a_zoo():
    p = (np.random.default_rng(0).random(1000) ** 3).astype(np.float32)
    found = np.asarray(benjamini_hochberg(p))
    expected = scipy.stats.false_discovery_control(p.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=2e-7)
    assert (found <= holm(p)).all()
    assert (found >= p).all()


@pytest.mark.parametrize(("adjust", "twin"), TWINS)
def test_transforms_and_order(adjust, twin):
    rng = np.random.default_rng(1)
    p = np.round(rng.random((3, TESTS)), 1).astype(np.float32)
    mask = np.arange(TESTS) < 5
    one_by_one = np.stack([adjust(row, mask=mask) for row in p])
    mapped = jax.jit(jax.vmap(adjust))(p, mask=np.stack([mask] * 3))
    # XLA may divide before it multiplies, or after.
    np.testing.assert_allclose(mapped, one_by_one, rtol=2e-7)
    order = rng.permutation(TESTS)
    shuffled = adjust(p[0][order], mask=mask[order])
    np.testing.assert_array_equal(shuffled, one_by_one[0][order])
    np.testing.assert_allclose(one_by_one[0][:5], twin(p[0][:5]), rtol=2e-7)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (1.5, r"\[0.01, 1.5\]")]
)
def test_values_that_are_not_p_values_are_never_adjusted(adjust, value, message):
    p = np.linspace(0.01, 0.5, TESTS, dtype=np.float32)
    broken = np.where(np.arange(TESTS) == 2, np.float32(value), p)
    with pytest.raises(ValueError, match=f"p_values .*{message}"):
        adjust(broken)
    assert np.isnan(jax.jit(adjust)(broken)).all()
    kept = np.asarray(adjust(broken, mask=np.arange(TESTS) != 2))
    assert np.isnan(kept).tolist() == [False, False, True, *[False] * 4]


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_no_tests_are_refused(adjust):
    p, nothing = np.full(TESTS, 0.5, np.float32), np.zeros(TESTS, bool)
    with pytest.raises(ValueError, match="excludes all 7 rows"):
        adjust(p, mask=nothing)
    with pytest.raises(ValueError, match="0 rows"):
        adjust(np.zeros(0, np.float32))
    assert np.isnan(jax.jit(adjust)(p, mask=nothing)).all()
