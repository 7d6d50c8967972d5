"""Sums of very many floats that lose nothing."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxbench.metrics.records import record

State = TypeVar("State")


@record
class ExactSum(NamedTuple):
    """A float sum and what its roundings lost, so that 10^8 terms add up to 1e-7.

    Both leaves are sums, and a `psum` of each is the sum over devices.
    """

    value: Float[jax.Array, "..."]
    lost: Float[jax.Array, "..."]

    def add(self, other: "ExactSum") -> "ExactSum":
        """Knuth's two-sum: the rounding error of an addition is itself a float."""
        value = self.value + other.value
        back = value - self.value
        error = (self.value - (value - back)) + (other.value - back)
        # An infinite sum has lost nothing that could be told.
        error = jnp.where(jnp.isfinite(value), error, 0.0)
        return ExactSum(value, self.lost + other.lost + error)

    @property
    def total(self) -> Float[jax.Array, "..."]:
        """The sum."""
        return self.value + self.lost


def add_states(one: State, other: State) -> State:
    """Adds two pytrees of sums, leaf by leaf."""
    return jax.tree.map(_add, one, other, is_leaf=_is_sum)


def _is_sum(node: object) -> bool:
    return isinstance(node, ExactSum)


def _add(one, other):
    return one.add(other) if isinstance(one, ExactSum) else one + other
