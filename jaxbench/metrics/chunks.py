"""Row by row functions of large arrays, computed on CPUs a few rows at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def by_chunks(
    function: Callable[..., Any], arrays: tuple[Any, ...], *, most: int
) -> Any:
    """function(*arrays), on a CPU at most `most` rows at a time.

    What passes over a large array leave in between is as large as the array: on CPUs
    it misses every cache, and the system hands out its pages anew each time.
    Accelerators want the whole at once.

    Args:
        function: Takes arrays that lead with rows and gives a pytree of such, each row
            from its own row alone.
        arrays: Inputs with the same number of rows.
        most: Rows of a chunk.

    Returns:
        What the function gives for the whole.
    """
    num_rows = arrays[0].shape[0]
    if num_rows <= most:
        return function(*arrays)
    num_chunks = -(-num_rows // most)
    size = -(-num_rows // num_chunks)

    def chunked(*arrays):
        def one(start):
            # The last chunk starts early enough to be a whole one.
            rows = [jax.lax.dynamic_slice_in_dim(a, start, size) for a in arrays]
            return function(*rows)

        starts = jnp.minimum(jnp.arange(num_chunks) * size, num_rows - size)
        done = jax.lax.map(one, starts)
        return jax.tree.map(lambda pieces: _join(pieces, num_rows), done)

    return jax.lax.platform_dependent(*arrays, cpu=chunked, default=function)


def _join(pieces: jax.Array, num_rows: int) -> jax.Array:
    """[chunks, size, ...] to [num_rows, ...]; the last chunk ends on the last row."""
    num_chunks, size, *rest = pieces.shape
    whole = pieces[:-1].reshape((num_chunks - 1) * size, *rest)
    return jnp.concatenate([whole, pieces[-1, num_chunks * size - num_rows :]])
