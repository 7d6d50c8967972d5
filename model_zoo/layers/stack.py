"""Equal blocks one after the other: in training one block in a loop over weights.

A network of equal blocks written out is a program whose size grows with its depth, and
XLA's time for a gradient grows faster than that: on CPUs a ViT-S of 24 blocks took
three times as long to compile as one of 12. As a `scan` over stacked weights it is
compiled once for all depths. Evaluation stays written out: it compiles quickly, and
stacking the weights costs it more than it saves.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from model_zoo.layers.stochastic import DropPath

# Up to here writing blocks out compiles as fast; stacking takes memory for the weights
# and their gradients once more.
_WRITTEN_OUT = 7


def apply_blocks(
    blocks: Sequence[nnx.Module], x: Float[Array, "n ..."], rngs: nnx.Rngs | None
) -> Float[Array, "n ..."]:
    """Applies blocks in turn; each is called with what the last gave, and `rngs`.

    Blocks may differ in their weights and in the rates of their stochastic depth. Those
    that differ in more, or that keep statistics, are written out in training too.

    Args:
        blocks: Modules that keep the shape and the dtype of their input. Convolutions
            in them train slowly on CPUs, whose XLA has no fast weight gradient of a
            convolution inside a loop.
        x: Input of the first.
        rngs: None in evaluation.
    """
    if rngs is None or len(blocks) <= _WRITTEN_OUT:
        return _in_turn(blocks, x, rngs)
    rates = [[layer.rate for layer in _drop_paths(block)] for block in blocks]
    for block in blocks:
        _set_rates(block, [0.0] * len(rates[0]))
    graphs, weights = zip(*(nnx.split(block) for block in blocks), strict=True)
    stateful = jax.tree.leaves([nnx.state(block, nnx.BatchStat) for block in blocks])
    for block, own in zip(blocks, rates, strict=True):
        _set_rates(block, own)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(own)] for own in weights]
    equal = all(graph == graphs[0] for graph in graphs)
    if stateful or not equal or any(own != shapes[0] for own in shapes):
        return _in_turn(blocks, x, rngs)
    random = any(rate for own in rates for rate in own)

    def apply_one(x: Array, step: tuple) -> tuple[Array, None]:
        weights, own, key = step
        block = nnx.merge(graphs[0], weights)
        if random:
            _set_rates(block, list(own))
        return block(x, nnx.Rngs(dropout=key)), None

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
    keys = jax.random.split(rngs.dropout(), len(blocks))
    # Inside shard_map the input must vary over devices as what is added to it does.
    added = jax.random.key_data(keys), *jax.tree.leaves(stacked)
    zeros = (jnp.zeros_like(leaf.ravel()[0], x.dtype) for leaf in added)
    x = x + sum(zeros, jnp.zeros((), x.dtype))
    return jax.lax.scan(apply_one, x, (stacked, jnp.asarray(rates), keys))[0]


def _in_turn(blocks: Sequence[nnx.Module], x: Array, rngs: nnx.Rngs | None) -> Array:
    for block in blocks:
        x = block(x, rngs)
    return x


def _drop_paths(block: nnx.Module) -> list[DropPath]:
    return [m for _, m in nnx.iter_modules(block) if isinstance(m, DropPath)]


def _set_rates(block: nnx.Module, rates: Sequence[float | Array]) -> None:
    for layer, rate in zip(_drop_paths(block), rates, strict=True):
        layer.rate = rate
