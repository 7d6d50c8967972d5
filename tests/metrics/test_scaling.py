import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.metrics import fit_temperature, score_examples
from jaxbench.metrics.minimise import Point, has_converged, minimise
from jaxbench.metrics.scaling import (
    fit_bias_corrected_temperature,
    fit_vector_scaling,
)
from tests.reference import scaling as reference

FITS = [fit_vector_scaling, fit_bias_corrected_temperature]
TWINS = [
    (fit_vector_scaling, reference.vector_scaling),
    (fit_bias_corrected_temperature, reference.bias_corrected_temperature),
]
LOWEST, HIGHEST = 0.01, 100.0


@pytest.fixture(scope="module")
def biased(cases):
    """Logits with an offset, and a scale, that are wrong in another way each class."""
    logits, labels = cases["random"]
    offset = np.linspace(-8, 8, 10, dtype=np.float32)
    scale = np.linspace(0.5, 2, 10, dtype=np.float32)
    return logits * scale + offset, labels


def mean_nll(logits, labels, **options):
    return float(score_examples(logits, labels, **options).nll.mean())


@pytest.mark.parametrize("name", ["random", "skilled", "tied", "all right", "biased"])
def test_vector_scaling_is_the_float64_minimum(cases, biased, name):
    case = biased if name == "biased" else cases[name]
    scale, bias, nll = reference.vector_scaling(*case)
    found = fit_vector_scaling(*case)
    assert bool(found.converged)
    # NLL to float32, parameters to what its flat minimum leaves open.
    assert float(found.nll) == pytest.approx(nll, abs=2e-6)
    np.testing.assert_allclose(found.scale, scale, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(found.bias, bias, rtol=2e-3, atol=2e-3)
    assert mean_nll(found.apply(case[0]), case[1]) == pytest.approx(nll, abs=1e-5)


@pytest.mark.parametrize("name", ["random", "skilled", "tied", "biased"])
def test_bias_corrected_temperature_is_the_float64_minimum(cases, biased, name):
    case = biased if name == "biased" else cases[name]
    temperature, bias, nll = reference.bias_corrected_temperature(*case)
    found = fit_bias_corrected_temperature(*case)
    assert bool(found.converged)
    assert float(found.nll) == pytest.approx(nll, abs=2e-6)
    assert float(found.temperature) == pytest.approx(temperature, rel=1e-3)
    np.testing.assert_allclose(found.bias, bias, rtol=1e-3, atol=1e-3)
    assert mean_nll(found.apply(case[0]), case[1]) == pytest.approx(nll, abs=1e-5)


def test_ridge_moves_the_likelihood_by_less_than_1e_5(cases):
    case = cases["random"]
    for fit, twin in TWINS:
        least = twin(*case, ridge=0.0)[-1]
        assert least - 1e-6 < float(fit(*case).nll) < least + 1e-5


@pytest.mark.parametrize(
    "name",
    [
        *("random", "skilled", "tied", "saturated", "all right", "all wrong"),
        *("equal logits", "one row", "two classes"),
    ],
)
def test_fits_converge_and_are_as_good_as_the_temperature(cases, name):
    logits, labels = cases["skilled" if name in ("one row", "two classes") else name]
    # By masks, which need no further compilation.
    rows = np.arange(160) == 3 if name == "one row" else np.ones(160, bool)
    classes = np.arange(10) < (2 if name == "two classes" else 10)
    labels = labels if name != "two classes" else labels % 2
    masks = dict(mask=rows, class_mask=classes)
    temperature = fit_temperature(logits, labels, **masks)
    scores = score_examples(logits, labels, temperature=temperature, **masks)
    base = float(scores.nll[rows].mean())
    vector, narrow = (fit(logits, labels, **masks) for fit in FITS)
    for found in (vector, narrow):
        assert bool(found.converged)
        assert float(found.nll) <= base + 1e-6 * (1 + base)
        assert abs(float(found.bias.mean())) < 1e-4
        assert all(np.isfinite(leaf).all() for leaf in found)
    assert float(vector.nll) <= float(narrow.nll) + 1e-3
    assert LOWEST * 0.999 <= float(narrow.temperature) <= HIGHEST * 1.001


def test_sampled_labels_recover_their_scales_and_biases():
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(20_000, 5)) * 2 + 1).astype(np.float32)
    scale, bias = np.array([0.5, 0.8, 1.0, 1.4, 2.0]), np.array([2, -1, 0, 0.5, -1.5])
    noise = rng.gumbel(size=logits.shape)
    labels = (scale * logits + bias + noise).argmax(1).astype(np.int32)
    found = fit_vector_scaling(logits, labels)
    np.testing.assert_allclose(found.scale, scale, rtol=0.05)
    np.testing.assert_allclose(found.bias, bias, atol=0.12)


def test_without_a_minimum_the_ridge_and_the_bounds_end_the_fit(cases):
    # Three classes without an image: their bias would fall without bound.
    logits, labels = cases["equal logits"]
    found = fit_bias_corrected_temperature(logits, labels)
    assert float(found.temperature) == 1.0
    counts = np.bincount(labels, minlength=10)
    p = np.exp(np.asarray(found.bias, np.float64))
    p /= p.sum()
    # p n, the images expected of a class, is short of its count by 0.01 bias.
    shift = 0.01 * np.asarray(found.bias, np.float64)
    np.testing.assert_allclose(160 * p, counts - shift, atol=1e-3)
    # T at a bound, and the bias at its best for that.
    right = fit_bias_corrected_temperature(*cases["all right"])
    assert float(right.temperature) == pytest.approx(LOWEST, rel=2e-3)
    wrong = fit_bias_corrected_temperature(*cases["all wrong"])
    assert float(wrong.temperature) == pytest.approx(HIGHEST)
    # A logit that misleads is turned round by vector scaling.
    turned = fit_vector_scaling(*cases["all wrong"])
    assert float(turned.scale.max()) < 0
    assert float(turned.nll) < 0.1 < float(wrong.nll)


@pytest.mark.parametrize("fit", FITS)
def test_vmap_fits_each_model_and_jit_agrees(cases, fit):
    chosen = [cases[name] for name in ("random", "all right", "all wrong", "tied")]
    logits = np.stack([case.logits for case in chosen])
    labels = np.stack([case.labels for case in chosen])
    mask = np.ones((4, 160), bool)
    mask[3] = False
    together = jax.jit(jax.vmap(lambda z, y, m: fit(z, y, mask=m)))(
        logits, labels, mask
    )
    np.testing.assert_array_equal(together.converged, [True, True, True, False])
    applied = jax.vmap(lambda model, z: model.apply(z))(together, logits)
    for i in range(3):
        alone = fit(*chosen[i])
        for leaf, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(leaf[i], expected, rtol=2e-3, atol=2e-3)
        scores = alone.apply(logits[i])
        np.testing.assert_allclose(applied[i], scores, rtol=2e-3, atol=1e-2)
    # No row counts.
    assert all(np.isnan(leaf[3]).all() for leaf in together[:3])


def test_each_device_fits_a_model_of_its_own(cases, mesh):
    case = cases["skilled"]
    logits = np.stack([case.logits[i : i + 40, :4] for i in range(0, 120, 15)])
    labels = np.stack([case.labels[i : i + 40] % 4 for i in range(0, 120, 15)])

    def fits(logits, labels):
        def fit(z, y):
            vector = fit_vector_scaling(z, y)
            narrow = fit_bias_corrected_temperature(z, y)
            return vector.nll, narrow.nll, fit_temperature(z, y)

        return jax.vmap(fit)(logits, labels)

    local = jax.shard_map(fits, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    for apart, alone in zip(
        jax.jit(local)(logits, labels), jax.jit(fits)(logits, labels), strict=True
    ):
        np.testing.assert_allclose(apart, alone, rtol=1e-5)


@pytest.mark.parametrize(("fit", "twin"), TWINS)
def test_masked_rows_and_classes_change_nothing(cases, fit, twin):
    case = cases["random"]
    rows, classes = np.arange(160) % 5 > 0, np.arange(10) < 6
    labels = np.where(rows, case.labels % 6, 9).astype(np.int32)
    expected = twin(case.logits[rows][:, classes], labels[rows])
    logits = case.logits.copy()
    logits[~rows] = np.nan
    logits[:, 8] = np.inf
    found = fit(logits, labels, mask=rows, class_mask=classes)
    assert bool(found.converged)
    first = np.asarray(found[0])[:6] if found[0].ndim else found[0]
    np.testing.assert_allclose(first, expected[0], rtol=1e-3)
    np.testing.assert_allclose(found.bias[:6], expected[1], atol=2e-3)
    assert not np.asarray(found.bias[6:]).any()
    assert float(found.nll) == pytest.approx(expected[2], abs=2e-6)
    scores = score_examples(found.apply(logits), labels, mask=rows, class_mask=classes)
    assert float(scores.nll[rows].mean()) == pytest.approx(expected[2], abs=1e-5)
    # A label that the mask of classes forbids.
    assert np.isnan(fit(case.logits, labels, class_mask=classes).nll)


def test_common_logit_levels_cost_no_accuracy(cases, biased):
    # In float32 the logits themselves are steps of 6e-5 then: the twins see the same.
    logits, labels = cases["random"]
    raised = (logits * 0.05 + 1000).astype(np.float32)
    for fit, twin in TWINS:
        found, expected = fit(raised, labels), twin(raised, labels)
        assert bool(found.converged)
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-3)
        assert float(found.nll) == pytest.approx(expected[2], abs=1e-5)
    # A level of each image's own means nothing to one temperature for all classes.
    levels = np.random.default_rng(2).normal(size=(160, 1)).astype(np.float32) * 100
    plain = fit_bias_corrected_temperature(*biased)
    moved = fit_bias_corrected_temperature(biased[0] + levels, biased[1])
    np.testing.assert_allclose(moved.temperature, plain.temperature, rtol=1e-4)
    np.testing.assert_allclose(moved.bias, plain.bias, atol=1e-3)


@pytest.mark.parametrize("fit", FITS)
def test_row_order_and_dtype_change_nothing(cases, fit):
    logits, labels = cases["skilled"]
    low = jnp.asarray(logits, jnp.bfloat16)
    order = np.random.default_rng(1).permutation(160)
    found = fit(low, labels)
    shuffled = fit(np.asarray(low, np.float32)[order], labels[order])
    assert found.bias.dtype == found.nll.dtype == jnp.float32
    for leaf, expected in zip(found, shuffled, strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fit", FITS)
def test_broken_rows_and_labels_make_the_fit_nan(cases, fit):
    case = cases["random"]
    logits, labels = case.logits.copy(), case.labels.copy()
    logits[7, 1] = np.nan
    labels[7] = -1
    for broken in (fit(logits, case.labels), fit(case.logits, labels)):
        assert not broken.converged
        assert all(np.isnan(leaf).all() for leaf in broken[:3])
    mask = jnp.arange(160) != 7
    assert bool(fit(logits, labels, mask=mask).converged)
    nothing = np.zeros(160, bool)
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        fit(*case, mask=nothing)


@pytest.mark.parametrize("fit", FITS)
def test_wrong_arguments_are_named(cases, users_types, fit):
    logits, labels = cases["random"]
    for arguments, message in (
        ((logits, labels.astype(np.float32)), "labels of dtype float32"),
        ((logits, labels[:-1]), r"labels of shape \(159,\)"),
        ((logits[0], labels), r"logits of shape \(10,\)"),
    ):
        with pytest.raises(ValueError, match=f"{fit.__name__}: {message}"):
            fit(*arguments)


@pytest.mark.parametrize("fit", FITS)
def test_a_fit_that_is_cut_off_says_so(monkeypatch, fit):
    monkeypatch.setattr("jaxbench.metrics.minimise.MAX_EVALUATIONS", 2)
    rng = np.random.default_rng(3)
    # A shape of its own: the limit is compiled in.
    logits = rng.normal(size=(13, 3)).astype(np.float32)
    found = fit(logits, rng.integers(0, 3, 13).astype(np.int32))
    assert not found.converged
    assert np.isfinite(found.nll)


def test_minimiser_learns_the_curvature_and_knows_when_to_stop():
    # A quadratic whose curvatures are given wrongly.
    curvature = jnp.float32(np.geomspace(1, 100, 8))

    def bowl(theta):
        gradient = curvature * (theta - 1.0)
        value = 0.5 * jnp.sum(gradient * (theta - 1.0))
        return Point(value, value, gradient, jnp.ones_like(theta), None)

    found = minimise(bowl, jnp.zeros(8, jnp.float32))
    assert bool(has_converged(found.point))
    np.testing.assert_allclose(found.theta, 1.0, atol=1e-5)
    # Without its memory it takes 58.
    assert int(found.evaluations) < 35

    def slope(theta):
        value = -jnp.sum(theta)
        return Point(value, value, -jnp.ones_like(theta), jnp.ones_like(theta), None)

    endless = minimise(slope, jnp.zeros(8, jnp.float32))
    assert not has_converged(endless.point)
    broken = minimise(bowl, jnp.full(8, jnp.nan, jnp.float32))
    assert not has_converged(broken.point)
    assert int(broken.evaluations) == 1
