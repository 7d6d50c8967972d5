"""A limit to what XLA for CPUs computes over and over.

Along a residual stream the gradient is a sum to which every layer adds. XLA for CPUs
fuses that sum, from the last layer on, into every operation that reads it, so each
reads and adds all of it again: a third of the time of a training step of a small ViT.
Where the sum is made once and kept, that time is gone. An optimization barrier does not
help: it is taken out before fusion. A branch that depends on a number is not.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def joined(x: Float[Array, "n ..."], rngs: nnx.Rngs | None) -> Float[Array, "n ..."]:
    """A residual stream to which a branch was just added.

    In training (`rngs` is not None) its gradient is made once, see the module.
    """
    return x if rngs is None else gradient_made_once(x)


@jax.custom_vjp
def gradient_made_once(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The argument itself; on CPUs its gradient is computed into memory.

    A gradient whose first number is not finite becomes NaN as a whole.
    """
    return x


def _forward(x: Array) -> tuple[Array, None]:
    return x, None


def _backward(_: None, gradient: Array) -> tuple[Array]:
    kept = jax.lax.platform_dependent(
        gradient, cpu=_behind_a_branch, default=lambda gradient: gradient
    )
    return (kept,)


def _behind_a_branch(gradient: Array) -> Array:
    return jax.lax.cond(
        jnp.isfinite(gradient.ravel()[0]),
        lambda gradient: gradient,
        lambda gradient: jnp.full_like(gradient, jnp.nan),
        gradient,
    )


gradient_made_once.defvjp(_forward, _backward)
