"""Weight statistics against slow float64 twins and against known distributions."""

import jax
import numpy as np
import pytest

from jaxbench.studies import (
    pca_energy,
    power_law_fit,
    spectrum,
    value_entropy,
    weight_statistics,
)
from jaxbench.studies.weight_statistics import _measure_stack, _tail_exponents
from model_zoo import create_model


def power_law_twin(values):
    """Every tail in turn: alpha, xmin, distance and size of the best one."""
    sample = np.sort(np.asarray(values, np.float64))
    sample = sample[sample > 0]
    best = None
    for xmin in np.unique(sample)[:-1]:
        tail = sample[sample >= xmin]
        alpha = 1 + len(tail) / np.log(tail / xmin).sum()
        fitted = 1 - (tail / xmin) ** (1 - alpha)
        distance = np.abs(np.arange(len(tail)) / len(tail) - fitted).max()
        if best is None or distance < best[2]:
            best = (alpha, xmin, distance, len(tail))
    return best


def entropy_twin(values, num_bins):
    counts, _ = np.histogram(np.asarray(values, np.float64), bins=num_bins)
    shares = counts[counts > 0] / counts.sum()
    return -(shares * np.log(shares)).sum()


def energy_twin(matrix, top_k):
    covariance = np.cov(np.asarray(matrix, np.float64), rowvar=False)
    variances = np.sort(np.linalg.eigvalsh(np.atleast_2d(covariance)))[::-1]
    return variances[:top_k].sum() / variances.sum()


def spectrum_twin(matrix):
    wide = np.asarray(matrix, np.float64)
    gram = wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
    return np.sort(np.linalg.eigvalsh(gram))[::-1]


def pareto(alpha, n, seed, xmin=1.0):
    uniform = np.random.default_rng(seed).random(n)
    return (xmin * (1 - uniform) ** (-1 / (alpha - 1))).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [2, 3, 40, 300])
def test_fit_against_its_twin(seed, n):
    sample = np.random.default_rng(seed).lognormal(sigma=1.5, size=n).astype(np.float32)
    fit, twin = power_law_fit(sample), power_law_twin(sample)
    # float32 logarithms of up to 300 values, none of which ties in distance.
    assert float(fit.alpha) == pytest.approx(twin[0], rel=1e-4)
    assert float(fit.xmin) == pytest.approx(twin[1], rel=1e-6)
    assert float(fit.distance) == pytest.approx(twin[2], abs=1e-5)
    assert int(fit.num_tail) == twin[3]


def test_fit_with_ties_and_values_that_take_no_part():
    sample = np.array([0, 0, -3, 1, 1, 2, 2, 2, 5, 9, 9], np.float32)
    fit, twin = power_law_fit(sample), power_law_twin(sample)
    assert float(fit.alpha) == pytest.approx(twin[0], rel=1e-5)
    assert (float(fit.xmin), int(fit.num_tail)) == (twin[1], twin[3])


@pytest.mark.parametrize("alpha", [1.8, 2.5, 4.0])
def test_exponent_of_a_pareto_sample(alpha):
    fit = power_law_fit(pareto(alpha, 4000, seed=0, xmin=0.3))
    # The standard error of the maximum-likelihood exponent (Clauset et al., eq. 3.2).
    error = (alpha - 1) / np.sqrt(int(fit.num_tail))
    assert int(fit.num_tail) > 400
    assert float(fit.alpha) == pytest.approx(alpha, abs=4 * error)
    assert float(fit.distance) < 0.03


def test_the_tail_is_found_above_a_body_that_is_not_a_power_law():
    body = np.random.default_rng(0).uniform(0.5, 3.0, 1000).astype(np.float32)
    tail = pareto(2.5, 1000, seed=1, xmin=3.0)
    fit = power_law_fit(np.concatenate([body, tail]))
    assert float(fit.xmin) > 2.5
    assert float(fit.alpha) == pytest.approx(2.5, abs=0.25)


def test_exponent_does_not_change_with_scale():
    sample = pareto(3.0, 500, seed=2)
    one, other = power_law_fit(sample), power_law_fit(sample * np.float32(1e-4))
    assert float(one.alpha) == pytest.approx(float(other.alpha), rel=1e-4)  # float32


@pytest.mark.parametrize(
    "sample", [[], [1.0], [2.0, 2.0], [0.0, 3.0], [1.0, 2.0, np.nan], [1.0, np.inf]]
)
def test_samples_without_a_fit(sample):
    fit = power_law_fit(np.array(sample, np.float32))
    assert np.isnan([float(v) for v in fit[:3]]).all()
    assert int(fit.num_tail) == 0


def test_fit_under_vmap():
    samples = np.stack([pareto(2.0, 50, seed) for seed in range(3)])
    together = jax.jit(jax.vmap(power_law_fit))(samples)
    for i, sample in enumerate(samples):
        alone = power_law_fit(sample)
        assert float(together.alpha[i]) == pytest.approx(float(alone.alpha), rel=1e-5)


@pytest.mark.parametrize("num_bins", [1, 7, 256])
def test_entropy_against_its_twin(num_bins):
    sample = np.random.default_rng(3).standard_normal(5000).astype(np.float32)
    found = float(value_entropy(sample, num_bins=num_bins))
    # A value on a bin's edge may fall to either side in float32.
    assert found == pytest.approx(entropy_twin(sample, num_bins), abs=2e-3)
    assert 0 <= found <= np.log(num_bins) + 1e-6


def test_entropy_of_known_samples():
    assert float(value_entropy(np.arange(64, dtype=np.float32), num_bins=64)) == (
        pytest.approx(np.log(64), rel=1e-6)
    )
    assert float(value_entropy(np.full(9, 0.3, np.float32))) == 0.0
    coin = np.array([0, 0, 0, 1], np.float32)
    wanted = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert float(value_entropy(coin)) == pytest.approx(wanted, rel=1e-6)
    for bad in ([], [1.0, np.nan], [1.0, np.inf]):
        assert np.isnan(float(value_entropy(np.array(bad, np.float32))))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (12, 12), (30, 1)])
@pytest.mark.parametrize("top_k", [1, 3, 100])
def test_energy_against_its_twin(shape, top_k):
    rng = np.random.default_rng(4)
    matrix = (rng.standard_normal(shape) * rng.random(shape[1]) + 5).astype(np.float32)
    found = float(pca_energy(matrix, top_k=top_k))
    assert found == pytest.approx(energy_twin(matrix, top_k), rel=1e-4)  # float32


@pytest.mark.parametrize(
    "matrix", [np.full((5, 3), 0.1), np.ones((1, 4)), np.zeros((4, 4))]
)
def test_equal_rows_have_no_energy(matrix):
    assert np.isnan(float(pca_energy(matrix.astype(np.float32), top_k=1)))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_spectrum_against_its_twin(shape):
    matrix = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(spectrum(matrix), spectrum_twin(matrix), rtol=1e-4)


def test_rounding_of_a_singular_matrix_is_zero():
    rng = np.random.default_rng(6)
    low_rank = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 30))
    found = np.asarray(spectrum(low_rank.astype(np.float32)))
    assert (found > 0).sum() == 4


def some_network():
    rng = np.random.default_rng(7)

    def normal(*shape):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    return {
        "stem.kernel": normal(3, 3, 4, 16),
        "stem.bias": normal(16),
        "blocks.0.fc.kernel": normal(36, 16),
        "blocks.1.fc.kernel": normal(16, 36),
        "blocks.1.norm.scale": normal(16),
        "pos_embed": normal(1, 9, 16),
        "blocks.2.conv_dw.kernel": normal(3, 3, 1, 36),
        "head.kernel": normal(16, 10),
    }


def test_table_against_the_twins():
    params = some_network()
    table = weight_statistics(params, top_k=3, num_bins=20)
    assert list(table) == [
        *("stem", "blocks.0.fc", "blocks.1.fc", "blocks.2.conv_dw", "head")
    ]
    for layer, row in table.items():
        kernel = params[f"{layer}.kernel"]
        matrix = kernel.reshape(-1, kernel.shape[-1])
        twin = (
            power_law_twin(spectrum_twin(matrix))[0],
            entropy_twin(kernel.ravel(), 20),
            np.sqrt((kernel.astype(np.float64) ** 2).sum()),
            energy_twin(matrix, 3),
        )
        # float32 eigenvalues; a weight on a bin's edge may fall to either side.
        assert row == pytest.approx(twin, rel=2e-3)


def test_one_program_a_shape():
    params = some_network()
    layers = {f"more.{i}.kernel": params["head.kernel"] for i in range(30)}
    before, fits = _measure_stack._cache_size(), _tail_exponents._cache_size()
    table = weight_statistics(params | layers, top_k=2, num_bins=11)
    # [36, 16] twice (one of them a convolution), [16, 36], [9, 36] and 31 of [16, 10].
    assert _measure_stack._cache_size() - before == 4
    assert _tail_exponents._cache_size() - fits == 1
    assert table["more.7"] == table["head"]


def test_a_layer_that_is_not_finite_is_nan_alone():
    params = some_network()
    params["head.kernel"][2, 3] = np.nan
    params["stem.kernel"][0, 0, 0, 0] = np.inf
    table = weight_statistics(params, top_k=2)
    assert np.isnan(table["head"]).all()
    assert np.isnan(table["stem"]).all()
    assert np.isfinite(table["blocks.0.fc"]).all()


def test_kernels_of_one_value():
    rows = weight_statistics({"kernel": np.full((4, 4), 0.5, np.float32)}, top_k=1)
    assert list(rows) == ["kernel"]
    row = rows["kernel"]
    assert np.isnan([row.alpha, row.pca_energy]).all()
    assert (row.entropy, row.norm) == (0.0, 2.0)


def test_half_precision_is_measured_in_single():
    params = {"fc.kernel": jax.numpy.asarray(some_network()["head.kernel"], "bfloat16")}
    single = {"fc.kernel": params["fc.kernel"].astype("float32")}
    assert weight_statistics(params, top_k=2) == weight_statistics(single, top_k=2)


def test_a_backbone_of_the_zoo():
    model = create_model("vit_mini", num_classes=10)
    table = weight_statistics(model.init(jax.random.key(0)), top_k=10)
    values = np.array(list(table.values()))
    assert len(table) == 18
    assert np.isfinite(values).all()
    assert (values[:, 0] > 1).all()
    assert (values[:, 3] <= 1).all()


def test_settings_and_networks_that_are_refused():
    params = some_network()
    with pytest.raises(ValueError, match="top_k is 0"):
        weight_statistics(params, top_k=0)
    with pytest.raises(ValueError, match="num_bins is 0"):
        weight_statistics(params, top_k=1, num_bins=0)
    with pytest.raises(ValueError, match="none of the 1 parameters is a kernel"):
        weight_statistics({"norm.scale": np.ones(3, np.float32)}, top_k=1)
