"""Randomness in training: dropout's whole-branch relative.

`nnx.Dropout(rate)` gets its `nnx.Rngs` at the call, and so does `DropPath`: neither
then adds a leaf to the network's state.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo.layers.fusion import joined


class DropPath(nnx.Module):
    """Stochastic depth: drops a residual branch for whole examples.

    Each example's branch is zero with probability `rate`, otherwise divided by
    `1 - rate`, so that its expectation stays. Huang et al. (2016):
    https://arxiv.org/abs/1603.09382.

    Args:
        rate: Probability of dropping, in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        # An array while `stack.apply_blocks` runs one block's program for all of them.
        self.rate: float | Array = rate
        self.deterministic = True

    def set_view(self, deterministic: bool | None = None) -> None:
        """Sets the mode; called by `nnx.view`."""
        if deterministic is not None:
            self.deterministic = deterministic

    def __call__(
        self, x: Float[Array, "n ..."], rngs: nnx.Rngs | None
    ) -> Float[Array, "n ..."]:
        """Returns x, in training with some rows zero.

        Raises:
            ValueError: If rows are to be dropped and no `rngs` came.
        """
        known = not isinstance(self.rate, Array)
        if self.deterministic or (known and self.rate == 0):
            return x
        if rngs is None:
            raise ValueError("DropPath in training mode needs rngs; got None")
        keep = 1 - self.rate
        mask = jax.random.bernoulli(
            rngs.dropout(), keep, (x.shape[0],) + (1,) * (x.ndim - 1)
        )
        return jnp.where(mask, x / jnp.asarray(keep, x.dtype), jnp.zeros_like(x))

    def add(
        self,
        stream: Float[Array, "n ..."],
        branch: Float[Array, "n ..."],
        rngs: nnx.Rngs | None,
    ) -> Float[Array, "n ..."]:
        """The residual stream with a branch added, which may be dropped."""
        return joined(stream + self(branch, rngs), rngs)


def linear_rates(rate: float, depth: int) -> list[float]:
    """Drop rates growing from 0 in the first block to `rate` in the last."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]
