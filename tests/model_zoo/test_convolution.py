"""Every form of a convolution against XLA's own, under every transformation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from model_zoo.layers.convolution import convolve

# Kernel, groups and the rest.
CASES = {
    "depthwise": ((3, 3, 1, 6), 6, {"padding": (1, 1)}),
    "strided": ((5, 5, 1, 6), 6, {"padding": (2, 2), "stride": 2}),
    "dilated": ((3, 2, 1, 6), 6, {"padding": (2, 1), "dilation": 2}),
    "multiplied": ((3, 3, 1, 12), 6, {"padding": "SAME", "stride": 2}),
    "grouped": ((3, 3, 2, 6), 3, {"padding": (1, 1)}),
    "blocks of ten groups": ((3, 3, 2, 80), 40, {"padding": (1, 1)}),
    "groups as wide as a block": ((1, 3, 32, 4), 2, {"padding": (0, 1)}),
    "widening": ((1, 3, 3, 8), 2, {"padding": (0, 1), "stride": 2}),
    "dense": ((3, 3, 6, 5), 1, {"padding": "SAME", "dilation": 2}),
}
# Sums of at most 60 products near 1, in another order.
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def plain(x, kernel, groups, *, padding, stride=1, dilation=1):
    if padding != "SAME":
        padding = [(side, side) for side in padding]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


@pytest.fixture(params=CASES)
def case(request):
    """Images, kernel, the function and its twin."""
    shape, groups, options = CASES[request.param]
    draw = np.random.default_rng(0)
    channels = shape[2] * groups
    x = jnp.asarray(draw.normal(size=(8, 7, 6, channels)), jnp.float32)
    kernel = jnp.asarray(draw.normal(size=shape), jnp.float32)
    return (
        x,
        kernel,
        partial(convolve, groups=groups, **options),
        partial(plain, groups=groups, **options),
    )


def gradients(function):
    return jax.grad(lambda x, kernel: jnp.sin(function(x, kernel)).mean(), (0, 1))


def test_values(case):
    x, kernel, ours, twin = case
    close(jax.jit(ours)(x, kernel), twin(x, kernel))
    close(ours(x, kernel), twin(x, kernel))


def test_gradients_both_ways(case):
    x, kernel, ours, twin = case
    for got, want in zip(
        jax.jit(gradients(ours))(x, kernel), gradients(twin)(x, kernel), strict=True
    ):
        close(got, want)
    tangents = (x[::-1], kernel[::-1])
    got = jax.jit(partial(jax.jvp, ours))((x, kernel), tangents)[1]
    close(got, jax.jvp(twin, (x, kernel), tangents)[1])


def test_vmap_over_kernels(case):
    x, kernel, ours, twin = case
    kernels = jnp.stack([kernel, 2 * kernel, kernel[::-1]])
    for transform in (lambda f: f, gradients):
        got = jax.jit(jax.vmap(transform(ours), (None, 0)))(x, kernels)
        want = [transform(twin)(x, one) for one in kernels]
        jax.tree.map(close, got, jax.tree.map(lambda *a: jnp.stack(a), *want))


def test_shards_of_a_batch(case):
    x, kernel, ours, twin = case
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows, all_of_it = PartitionSpec("data"), PartitionSpec()
    shard = partial(jax.shard_map, mesh=mesh, in_specs=(rows, all_of_it))
    got = jax.jit(shard(ours, out_specs=rows))(x, kernel)
    close(got, twin(x, kernel))

    def step(x, kernel):
        return jax.grad(
            lambda kernel: jax.lax.pmean(jnp.sin(ours(x, kernel)).mean(), "data")
        )(kernel)

    got = jax.jit(shard(step, out_specs=all_of_it))(x, kernel)
    close(got, gradients(twin)(x, kernel)[1])


def test_kernels_of_several_members_on_the_same_images(case):
    x, kernel, ours, twin = case
    mesh = jax.make_mesh((2,), ("member",), axis_types=(jax.sharding.AxisType.Auto,))
    members, all_of_it = PartitionSpec("member"), PartitionSpec()

    def step(x, kernels):
        gradient = jax.grad(lambda kernel: jnp.sin(ours(x, kernel)).mean())
        return gradient(kernels[0])[None]

    specs = {"in_specs": (all_of_it, members), "out_specs": members}
    kernels = jnp.stack([kernel, -0.5 * kernel])
    got = jax.jit(jax.shard_map(step, mesh=mesh, **specs))(x, kernels)
    for found, of_one in zip(got, kernels, strict=True):
        close(found, gradients(twin)(x, of_one)[1])


def test_bfloat16_is_rounded_once(case):
    x, kernel, ours, twin = case
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    got = jax.jit(ours)(x, kernel)
    assert got.dtype == jnp.bfloat16
    want = twin(x.astype(jnp.float32), kernel.astype(jnp.float32))
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=2**-8, atol=1e-6)


def test_broken_numbers_of_a_group_are_kept_and_reach_no_other_block():
    draw = np.random.default_rng(1)
    x, kernel = draw.normal(size=(2, 4, 4, 80)), draw.normal(size=(3, 3, 2, 80))
    clean = convolve(jnp.asarray(x), jnp.asarray(kernel), groups=40)
    for broken in (np.nan, np.inf):
        damaged = kernel.copy()
        damaged[0, 0, 0, 3] = broken
        got = convolve(jnp.asarray(x), jnp.asarray(damaged), groups=40)
        assert not np.isfinite(got[..., 3]).any()
        close(np.delete(got, 3, 3), np.delete(clean, 3, 3))
        damaged = x.copy()
        damaged[0, 0, 0, 3] = broken
        got = convolve(jnp.asarray(damaged), jnp.asarray(kernel), groups=40)
        assert not np.isfinite(got[0, 0, 0, 2:4]).any()
        close(got[..., 20:], clean[..., 20:])
        close(got[1], clean[1])


def test_every_backend_has_its_form_in_one_export():
    x, kernel = jnp.ones((1, 5, 5, 4)), jnp.ones((3, 3, 1, 4))
    program = jax.jit(partial(convolve, groups=4))
    exported = jax.export.export(program, platforms=("cpu", "cuda"))(x, kernel)
    close(exported.call(x, kernel), np.full((1, 3, 3, 4), 9.0))
    on_gpus = jax.export.export(program, platforms=("cuda",))(x, kernel)
    assert "feature_group_count = 4" in on_gpus.mlir_module()
