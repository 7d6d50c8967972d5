"""Layers alone, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_zoo.layers.linear import Conv
from model_zoo.layers.norms import BatchNorm, LayerNorm
from model_zoo.layers.patch_embed import PatchEmbed
from model_zoo.layers.stochastic import DropPath, linear_rates

FLOAT32 = jnp.dtype("float32")


def filled(module, seed=0, **view):
    """The module with random leaves, and those leaves in float64."""
    rng = np.random.default_rng(seed)
    graph, state = nnx.split(nnx.view(module, raise_if_not_found=False, **view))
    arrays = jax.tree.map(
        lambda leaf: rng.uniform(0.2, 1.5, leaf.shape).astype(np.float32), state
    )
    leaves = {
        path[-1]: np.asarray(leaf.get_value(), np.float64)
        for path, leaf in nnx.to_flat_state(arrays)
    }
    return nnx.merge(graph, jax.tree.map(jnp.asarray, arrays)), leaves


def convolve(x, kernel, stride, padding, groups):
    """One output number at a time."""
    x = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    side, _, num_in, num_out = kernel.shape
    rows = (x.shape[1] - side) // stride + 1
    columns = (x.shape[2] - side) // stride + 1
    out = np.zeros((len(x), rows, columns, num_out))
    for n, i, j, o in np.ndindex(out.shape):
        group = o // (num_out // groups)
        window = x[n, i * stride : i * stride + side, j * stride : j * stride + side]
        channels = window[..., group * num_in : (group + 1) * num_in]
        out[n, i, j, o] = (channels * kernel[..., o]).sum()
    return out


@pytest.mark.parametrize(
    ("side", "stride", "padding", "groups", "size"),
    [
        (3, 1, 1, 1, (5, 4)),
        (3, 2, 1, 1, (6, 5)),
        (7, 2, 3, 1, (8, 9)),
        (7, 1, 3, 4, (5, 6)),
        (1, 1, 0, 1, (3, 4)),
        (1, 2, 0, 1, (5, 4)),
        (2, 2, 0, 1, (5, 4)),
        (4, 4, 0, 1, (8, 11)),
    ],
)
def test_convolution(side, stride, padding, groups, size):
    conv = Conv(
        4,
        8 if groups == 1 else 4,
        side,
        stride=stride,
        padding=padding,
        groups=groups,
        dtype=FLOAT32,
    )
    conv, leaves = filled(conv)
    x = np.random.default_rng(1).normal(size=(2, *size, 4)).astype(np.float32)
    want = convolve(x.astype(np.float64), leaves["kernel"], stride, padding, groups)
    # float32 sums of up to 196 products.
    np.testing.assert_allclose(conv(jnp.asarray(x)), want + leaves["bias"], atol=1e-4)


def test_layer_norm():
    norm, leaves = filled(LayerNorm(6, dtype=FLOAT32))
    # A mean far from zero: a difference of moments would lose most digits.
    x = np.random.default_rng(0).normal(1000, 1, (3, 4, 6)).astype(np.float32)
    y = x - x.astype(np.float64).mean(-1, keepdims=True)
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)
    want = y * leaves["scale"] + leaves["bias"]
    # Float32 numbers near 1000 are 6e-5 apart.
    np.testing.assert_allclose(norm(jnp.asarray(x)), want, atol=1e-3)


def test_batch_norm_trains_with_the_batch_and_moves_a_tenth():
    norm, leaves = filled(BatchNorm(3, dtype=FLOAT32), use_running_average=False)
    x = np.random.default_rng(0).normal(2, 3, (4, 2, 5, 3)).astype(np.float32)
    rows = x.astype(np.float64).reshape(-1, 3)
    got = norm(jnp.asarray(x))
    want = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    want = want * leaves["scale"] + leaves["bias"]
    np.testing.assert_allclose(got.reshape(-1, 3), want, rtol=1e-4, atol=1e-5)
    mean = 0.9 * leaves["mean"] + 0.1 * rows.mean(0)
    variance = 0.9 * leaves["var"] + 0.1 * rows.var(0, ddof=1)
    np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], variance, rtol=1e-5)


def test_batch_norm_evaluates_with_the_running_statistics():
    norm, leaves = filled(BatchNorm(3, dtype=FLOAT32), use_running_average=True)
    x = np.random.default_rng(0).normal(2, 3, (1, 2, 2, 3)).astype(np.float32)
    want = (x - leaves["mean"]) / np.sqrt(leaves["var"] + 1e-5)
    want = want * leaves["scale"] + leaves["bias"]
    np.testing.assert_allclose(norm(jnp.asarray(x)), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.mean[...], leaves["mean"], rtol=1e-6)


def test_batch_norm_refuses_to_train_on_one_value():
    norm, _ = filled(BatchNorm(3, dtype=FLOAT32), use_running_average=False)
    with pytest.raises(ValueError, match="one value per channel"):
        norm(jnp.ones((1, 1, 1, 3)))


def test_batch_norm_keeps_float32_statistics_under_bfloat16():
    norm, leaves = filled(
        BatchNorm(3, dtype=jnp.dtype("bfloat16")), use_running_average=True
    )
    x = jnp.ones((1, 1, 1, 3), jnp.bfloat16)
    assert norm(x).dtype == jnp.bfloat16
    want = (1 - leaves["mean"]) / np.sqrt(leaves["var"] + 1e-5)
    want = want * leaves["scale"] + leaves["bias"]
    # One rounding to bfloat16, at the very end.
    np.testing.assert_allclose(norm(x)[0, 0, 0].astype(jnp.float32), want, rtol=2**-8)


def test_patches_come_row_by_row():
    embed, _ = filled(PatchEmbed(2, 5, dtype=FLOAT32))
    images = jnp.zeros((1, 4, 6, 3)).at[0, 2:, :2].set(1.0)  # second row, first column
    tokens = embed(images)
    assert tokens.shape == (1, 6, 5)
    changed = np.abs(tokens - embed(jnp.zeros_like(images))).max((0, 2)) > 0
    np.testing.assert_array_equal(changed, [False, False, False, True, False, False])


class TestDropPath:
    def call(self, rate, x, *, training=True, seed=0):
        module = nnx.view(DropPath(rate), deterministic=not training)
        return module(x, nnx.Rngs(dropout=jax.random.key(seed)))

    def test_rows_are_dropped_whole_and_the_rest_scaled(self):
        x = jnp.ones((4000, 2, 3))
        y = np.asarray(self.call(0.25, x))
        rows = y.reshape(4000, -1)
        assert (rows == rows[:, :1]).all()
        np.testing.assert_allclose(np.unique(rows), [0, 1 / 0.75], rtol=1e-6)

    def test_the_expectation_stays(self):
        y = self.call(0.25, jnp.ones((4000, 1)))
        # Standard error sqrt(0.25 / 0.75 / 4000) = 0.009; five of them.
        assert np.asarray(y).mean() == pytest.approx(1, abs=0.046)

    def test_evaluation_and_rate_zero_change_nothing(self):
        x = jnp.arange(6.0).reshape(3, 2)
        np.testing.assert_array_equal(self.call(0.9, x, training=False), x)
        np.testing.assert_array_equal(self.call(0.0, x), x)

    def test_adds_no_leaf(self):
        assert not nnx.to_flat_state(nnx.state(DropPath(0.5)))
        assert not nnx.to_flat_state(nnx.state(nnx.Dropout(0.5)))

    def test_training_without_randomness_is_an_error(self):
        module = nnx.view(DropPath(0.5), deterministic=False)
        with pytest.raises(ValueError, match="needs rngs"):
            module(jnp.ones((2, 2)), None)


def test_rates_grow_linearly():
    assert linear_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert linear_rates(0.3, 1) == [0]
