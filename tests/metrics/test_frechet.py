import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jax.sharding import PartitionSpec as P

from jaxbench.metrics.frechet import (
    FeatureMoments,
    frechet_distance,
    frechet_distance_of_moments,
)
from tests.reference import frechet as reference

# More rows than features, fewer, and one of each: the three ways it is computed.
SHAPES = {"tall": (40, 30, 12), "wide": (24, 16, 48), "mixed": (40, 16, 24)}

# Rounding in units of the variance; docs/metrics.md says 4e-6.
ROUNDING = 4e-6

distance = jax.jit(frechet_distance)
update = jax.jit(FeatureMoments.update)
slopes = jax.jit(jax.grad(frechet_distance, argnums=(0, 1)))


def drawn(shape, *, decay=0.0, mean=0.0, seed=0):
    rows_a, rows_b, columns = SHAPES[shape]
    rng = np.random.default_rng(seed)
    spread = np.arange(1, columns + 1.0) ** -decay
    a = rng.normal(size=(rows_a, columns)) * spread + mean
    b = rng.normal(size=(rows_b, columns)) * spread * 1.2 + mean + 0.1
    return a.astype(np.float32), b.astype(np.float32)


def waves(rows, columns, pace):
    """Features that any library can make again."""
    i = np.arange(1.0, rows + 1)[:, None]
    j = np.arange(1.0, columns + 1)[None, :]
    return (np.sin(pace * i * j) + np.cos(i + pace * j * j) / j).astype(np.float32)


def scale_of(a, b):
    return reference.variance(a) + reference.variance(b)


def streamed(features, size=8):
    """The state after batches, the last one filled up with rows that do not count."""
    state = FeatureMoments.empty(features.shape[1])
    for start in range(0, len(features), size):
        batch = np.full((size, features.shape[1]), np.nan, np.float32)
        rows = features[start : start + size]
        batch[: len(rows)] = rows
        state = update(state, batch, np.arange(size) < len(rows))
    return state


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_distance_is_the_float64_formula(shape, decay, mean):
    a, b = drawn(shape, decay=decay, mean=mean)
    twin = reference.frechet_distance(a, b)
    allowed = ROUNDING * scale_of(a, b)
    assert float(distance(a, b)) == pytest.approx(twin, abs=allowed)
    moments = frechet_distance_of_moments(streamed(a), streamed(b))
    assert float(moments) == pytest.approx(twin, abs=allowed)


def test_distance_is_that_of_torchmetrics():
    # torchmetrics 1.9.0, float64, on the same arrays.
    tall = waves(40, 12, 0.7), waves(30, 12, 1.3)
    assert float(distance(*tall)) == pytest.approx(2.678365086, rel=3e-6)
    wide = waves(24, 48, 0.7), waves(16, 48, 1.3)
    assert float(distance(*wide)) == pytest.approx(35.475368895, rel=3e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_set_is_at_no_distance_from_itself_in_any_order(shape):
    a, _ = drawn(shape)
    shuffled = a[np.random.default_rng(1).permutation(len(a))]
    for other in (a, shuffled):
        found = float(distance(a, other))
        assert 0 <= found < 1e-10 * reference.variance(a)
    decaying, _ = drawn(shape, decay=2.5)
    found = float(distance(decaying, decaying))
    assert 0 <= found < ROUNDING * reference.variance(decaying)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_shift_alone_is_its_squared_length(shape):
    a, _ = drawn(shape)
    shift = np.linspace(-1, 2, a.shape[1], dtype=np.float32)
    found = float(distance(a, a + shift))
    assert found == pytest.approx(float((shift**2).sum()), rel=1e-5)


def test_one_feature_has_a_closed_form():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(40, 1)).astype(np.float32)
    b = (3 * rng.normal(size=(30, 1)) + 1).astype(np.float32)
    means, deviations = (
        [float(f(x.astype(np.float64))) for x in (a, b)]
        for f in (np.mean, lambda x: x.std(ddof=1))
    )
    closed = (means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert float(frechet_distance(a, b)) == pytest.approx(closed, rel=1e-5)


def test_distance_is_symmetric_and_two_homogeneous():
    a, b = drawn("mixed", decay=1.0)
    found = float(distance(a, b))
    assert float(distance(3 * a, 3 * b)) == pytest.approx(9 * found, rel=1e-5)
    assert float(distance(b, a)) == pytest.approx(found, rel=1e-5)


small = st.integers(-2, 2).map(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, (6, 3), elements=small),
    arrays.arrays(np.float32, (5, 3), elements=small),
    st.lists(st.booleans(), min_size=5, max_size=5).filter(lambda m: sum(m) > 1),
)
def test_ties_constant_features_and_equal_rows(a, b, mask):
    # Integers: columns that are constant or alike, rank 0 to 3, two rows and up.
    mask = np.array(mask)
    found = float(frechet_distance(a, b, mask_b=mask))
    twin = reference.frechet_distance(a, b[mask])
    # The twin's square roots of rounded zeros are good to 1e-7.
    allowed = ROUNDING * (1 + scale_of(a, b[mask])) + 1e-6
    assert found == pytest.approx(twin, abs=allowed)
    assert found >= 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_gradient_is_the_float64_slope(shape, decay):
    a, b = drawn(shape, decay=decay)
    gradients = [np.asarray(g, np.float64) for g in slopes(a, b)]
    rng = np.random.default_rng(2)
    for _ in range(5):
        towards = [rng.normal(size=x.shape) for x in (a, b)]
        slope = reference.slope(a.astype(np.float64), b.astype(np.float64), *towards)
        found = sum((g * d).sum() for g, d in zip(gradients, towards, strict=True))
        size = np.sqrt(sum((g**2).sum() for g in gradients))
        assert found == pytest.approx(slope, abs=2e-4 * size, rel=1e-4)


def test_gradient_is_sound_at_equal_singular_values_and_idle_features():
    # Orthogonal columns of one length, and a feature that is constant in both sets:
    # every singular value ties, and both covariances are singular.
    rng = np.random.default_rng(4)
    centred = rng.normal(size=(40, 11))
    frame = np.linalg.qr(centred - centred.mean(axis=0))[0]
    a = np.concatenate([frame, np.zeros((40, 1))], axis=1).astype(np.float32)
    b = (2 * a[:30] + 1).astype(np.float32)
    gradients = [np.asarray(g, np.float64) for g in slopes(a, b)]
    assert all(np.isfinite(g).all() for g in gradients)
    for seed in range(3):
        towards = [np.random.default_rng(seed).normal(size=x.shape) for x in (a, b)]
        for direction in towards:
            direction[:, -1] = 0
        slope = reference.slope(a.astype(np.float64), b.astype(np.float64), *towards)
        found = sum((g * d).sum() for g, d in zip(gradients, towards, strict=True))
        assert found == pytest.approx(slope, rel=1e-3, abs=1e-4)
    # A set and itself: the least value there is.
    for gradient in slopes(a, a):
        assert float(jnp.abs(gradient).max()) < 1e-6
    # All rows alike: no covariance at all.
    collapsed = jnp.ones_like(a)
    assert all(bool(jnp.isfinite(g).all()) for g in slopes(collapsed, jnp.asarray(b)))


def test_descent_along_the_gradient_brings_two_sets_together():
    a, b = drawn("wide")
    start = float(distance(a, b))
    for _ in range(150):
        a = a - 4.0 * slopes(a, b)[0]
    assert float(distance(a, b)) < 0.35 * start


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_rows_change_nothing_and_have_no_gradient(shape):
    a, b = drawn(shape)
    keep = np.arange(len(a)) % 3 > 0
    expected = reference.frechet_distance(a[keep], b)
    a[~keep] = np.nan
    masked = jax.jit(
        jax.value_and_grad(lambda x, y: frechet_distance(x, y, mask_a=keep))
    )
    value, gradient = masked(a, b)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert not np.asarray(gradient)[~keep].any()
    assert np.isfinite(gradient).all()
    if shape == "mixed":
        other_side = frechet_distance(b, a, mask_b=keep)
        assert float(other_side) == pytest.approx(expected, rel=1e-5)


def test_views_of_many_batches_by_vmap():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(3, 24, 48)).astype(np.float32)
    b = rng.normal(size=(3, 16, 48)).astype(np.float32)
    mask = rng.random((3, 24)) < 0.8
    mask[2] = False
    mask[2, 5] = True
    together = jax.jit(jax.vmap(lambda x, y, m: frechet_distance(x, y, mask_a=m)))(
        a, b, mask
    )
    for i in range(2):
        alone = reference.frechet_distance(a[i][mask[i]], b[i])
        assert float(together[i]) == pytest.approx(alone, rel=1e-5)
    # One row has no covariance.
    assert np.isnan(together[2])


def test_low_precision_features_are_raised():
    a, b = drawn("wide")
    low = jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16)
    twin = reference.frechet_distance(*(np.asarray(x, np.float64) for x in low))
    found = frechet_distance(*low)
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(twin, rel=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_broken_rows_make_the_distance_nan(value):
    for shape in SHAPES:
        a, b = drawn(shape)
        a[3, 2] = value
        assert np.isnan(distance(a, b))
    a, b = drawn("tall")
    sound, a[3, 2] = streamed(a), value
    assert np.isnan(frechet_distance_of_moments(sound, streamed(a)))


def test_too_few_rows_are_an_error_outside_jit_and_nan_inside():
    a, b = drawn("wide")
    one = np.arange(24) == 7
    with pytest.raises(ValueError, match="rows of features_a that count: 1,"):
        frechet_distance(a, b, mask_a=one)
    with pytest.raises(ValueError, match="rows of features_b that count: 1,"):
        jax.jit(frechet_distance)(a, b[:1])
    inside = jax.jit(lambda m: frechet_distance(a, b, mask_a=m))
    assert np.isnan(inside(one))
    assert np.isnan(inside(np.zeros(24, bool)))


def test_wrong_arguments_are_named(users_types):
    a, b = drawn("wide")
    cases = {
        r"features_a has shape \(24, 48\) and features_b \(16, 40\)": (a, b[:, :40]),
        r"features_a has shape \(24,\)": (a[:, 0], b),
        r"features_b has shape \(16, 0\)": (a, b[:, :0]),
        "features_b is int32": (a, b.astype(np.int32)),
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            frechet_distance(*arguments)
    for mask in (np.ones(16, bool), np.ones(24, np.int32)):
        with pytest.raises(ValueError, match="mask_a is"):
            frechet_distance(a, b, mask_a=mask)
        with pytest.raises(ValueError, match="mask is"):
            FeatureMoments.empty(48).update(a, mask)


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_moments_are_those_of_all_rows(mean):
    a, _ = drawn("tall", mean=mean)
    exact = a.astype(np.float64)
    for size in (8, 40):
        state = streamed(a, size)
        assert int(state.num_examples) == 40
        total = np.asarray(state.mean, np.float64) + np.asarray(state.mean_rest)
        # The deviations are 1: a mean of 1000 is kept to 1e-7 of them, in two parts.
        np.testing.assert_allclose(total, exact.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(
            state.covariance(), np.cov(exact, rowvar=False), atol=3e-6
        )


def test_many_updates_of_a_large_mean_do_not_add_roundings():
    rng = np.random.default_rng(6)
    rows = (rng.normal(size=(4000, 3)) + 1000).astype(np.float32)
    batches = rows.reshape(500, 8, 3)

    def step(state, batch):
        return state.update(batch), None

    state, _ = jax.jit(lambda b: jax.lax.scan(step, FeatureMoments.empty(3), b))(
        batches
    )
    exact = rows.astype(np.float64)
    total = np.asarray(state.mean, np.float64) + np.asarray(state.mean_rest)
    np.testing.assert_allclose(total, exact.mean(axis=0), atol=2e-6)
    covariance = np.cov(exact, rowvar=False)
    np.testing.assert_allclose(state.covariance(), covariance, atol=1e-5)


def test_merge_is_associative_and_commutative():
    a, b = drawn("tall", mean=100.0)
    one, two, three = streamed(a[:16]), streamed(a[16:]), streamed(b)
    left = one.merge(two).merge(three)
    for other in (one.merge(two.merge(three)), three.merge(one).merge(two)):
        assert int(other.num_examples) == 70
        np.testing.assert_allclose(other.mean, left.mean, rtol=1e-6)
        np.testing.assert_allclose(other.comoment, left.comoment, atol=2e-4)
    empty = FeatureMoments.empty(12)
    for same in (one.merge(empty), empty.merge(one)):
        for leaf, expected in zip(same, one, strict=True):
            np.testing.assert_array_equal(leaf, expected)
    nothing = update(one, np.full((8, 12), np.nan, np.float32), np.zeros(8, bool))
    np.testing.assert_array_equal(nothing.comoment, one.comoment)


def test_devices_are_merged_inside_shard_map(mesh):
    a, _ = drawn("tall", mean=1000.0)
    mask = np.arange(40) % 4 > 0
    mask[5:10] = False  # the second device sees no row

    def local(features, mask):
        state = FeatureMoments.empty(12).update(features, mask)
        return state.all_reduce("data")

    total = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=P("data"), out_specs=P()))(
        a, mask
    )
    exact = a[mask].astype(np.float64)
    assert int(total.num_examples) == mask.sum()
    mean = np.asarray(total.mean, np.float64) + np.asarray(total.mean_rest)
    np.testing.assert_allclose(mean, exact.mean(axis=0), atol=1e-6)
    covariance = np.cov(exact, rowvar=False)
    np.testing.assert_allclose(total.covariance(), covariance, atol=3e-6)


def test_states_without_a_covariance_are_refused():
    empty = FeatureMoments.empty(12)
    one = update(empty, np.ones((8, 12), np.float32), np.arange(8) < 1)
    full = streamed(drawn("tall")[0])
    with pytest.raises(ValueError, match="covariance that count: 0,"):
        empty.covariance()
    with pytest.raises(ValueError, match="b that count: 1,"):
        frechet_distance_of_moments(full, one)
    assert np.isnan(jax.jit(FeatureMoments.covariance)(one)).all()
    assert np.isnan(jax.jit(frechet_distance_of_moments)(full, one))
    with pytest.raises(ValueError, match="num_features is 0"):
        FeatureMoments.empty(0)
    for other in (lambda s: s.merge(empty), lambda s: s.update(drawn("wide")[0])):
        with pytest.raises(ValueError, match=r"FeatureMoments.empty\("):
            other(FeatureMoments.empty(5))
    with pytest.raises(ValueError, match="12 features and this FeatureMoments 5"):
        frechet_distance_of_moments(streamed(drawn("tall")[0][:, :5]), full)
