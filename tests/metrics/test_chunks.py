import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.metrics.chunks import by_chunks


def rows_of(matrix, offset):
    """Each row from its own row alone."""
    total = jnp.sum(jnp.exp(matrix), axis=1) + offset
    return {"total": total, "wide": matrix * total[:, None]}


def chunked(matrix, offset, most):
    return by_chunks(rows_of, (matrix, offset), most=most)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(23, 5)).astype(np.float32)
    return matrix, np.arange(23, dtype=np.float32)


@pytest.mark.parametrize("most", [1, 7, 8, 22, 23, 100])
def test_chunks_are_the_whole(arrays, most):
    found = jax.jit(chunked, static_argnums=2)(*arrays, most)
    for name, expected in rows_of(*arrays).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, err_msg=name)


def test_large_arrays_are_cut_on_cpus(arrays):
    text = str(jax.make_jaxpr(lambda *a: chunked(*a, 7))(*arrays))
    assert "f32[4,6,5]" in text  # four chunks of six rows


def test_chunks_under_gradients_vmap_and_shards(arrays, mesh):
    matrix, offset = arrays

    def loss(matrix, function):
        return jnp.sum(function(matrix, offset)["wide"] ** 2)

    gradient = jax.grad(loss)(matrix, lambda *a: chunked(*a, 7))
    np.testing.assert_allclose(gradient, jax.grad(loss)(matrix, rows_of), rtol=1e-5)

    twice = jnp.stack([matrix, 2 * matrix])
    found = jax.vmap(lambda m: chunked(m, offset, 7)["total"])(twice)
    np.testing.assert_allclose(found[1], rows_of(2 * matrix, offset)["total"], 1e-6)

    tall = np.tile(matrix, (8, 1)), np.tile(offset, 8)
    sharded = jax.shard_map(
        lambda *a: chunked(*a, 7), mesh=mesh, in_specs=P("data"), out_specs=P("data")
    )
    found = jax.jit(sharded)(*tall)["total"]
    np.testing.assert_allclose(found, rows_of(*tall)["total"], rtol=1e-6)
