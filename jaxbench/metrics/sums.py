"""Sums of very many floats that lose nothing."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxbench.metrics.records import record

State = TypeVar("State")

# Up to here float32 sums are good to 1e-7 as they are: XLA adds in several lanes.
FEW = 1 << 16
# Neighbours that are added up first, side by side with all other runs.
_RUN = 1024
_RUN_OF_LANE = 64


@record
class ExactSum(NamedTuple):
    """A float sum and what its roundings lost, so that 10^8 terms add up to 1e-7.

    Both leaves are sums, and a `psum` of each is the sum over devices.
    """

    value: Float[jax.Array, "..."]
    lost: Float[jax.Array, "..."]

    @classmethod
    def zeros(cls, *shape: int) -> "ExactSum":
        """The sums of nothing, each leaf in a buffer of its own."""
        return cls(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, jnp.float32))

    def add(self, other: "ExactSum") -> "ExactSum":
        """Knuth's two-sum: the rounding error of an addition is itself a float."""
        value = self.value + other.value
        back = value - self.value
        error = (self.value - (value - back)) + (other.value - back)
        # An infinite sum has lost nothing.
        error = jnp.where(jnp.isfinite(value), error, 0.0)
        return ExactSum(value, self.lost + other.lost + error)

    @property
    def total(self) -> Float[jax.Array, "..."]:
        """The sum."""
        return self.value + self.lost


@jax.custom_jvp
def accurate_sum(values: Float[jax.Array, "*lead n"]) -> Float[jax.Array, "*lead"]:
    """The sum along the last axis, rounded once however much of it cancels.

    Up to 65,536 values it is XLA's own sum, a tree of float32 additions.
    """
    if values.shape[-1] <= FEW:
        return jnp.sum(values, axis=-1)
    return exact_sum(values).total


@accurate_sum.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]):
    (values,), (changes,) = primals, tangents
    return accurate_sum(values), jnp.sum(changes, axis=-1)


def exact_sum(values: Float[jax.Array, "*lead n"]) -> ExactSum:
    """The sum along the last axis, as a pair of floats."""
    sums = ExactSum(values, jnp.zeros_like(values))
    # In levels: what is lost is a float32 sum itself, and must not grow long.
    while sums.value.shape[-1] > _RUN:
        sums = _reduced(ExactSum(*map(_in_runs, sums)))
    return _reduced(sums)


def _in_runs(values: Float[jax.Array, "*lead n"]) -> Float[jax.Array, "*lead runs m"]:
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % _RUN)]
    return jnp.pad(values, padding).reshape(*values.shape[:-1], -1, _RUN)


def _reduced(sums: ExactSum) -> ExactSum:
    """The sum of sums along the last axis."""

    def add(one: tuple[jax.Array, ...], other: tuple[jax.Array, ...]):
        return tuple(ExactSum(*one).add(ExactSum(*other)))

    zero = jnp.float32(0.0)
    return ExactSum(
        *jax.lax.reduce(tuple(sums), (zero, zero), add, (sums.value.ndim - 1,))
    )


def add_states(one: State, other: State) -> State:
    """Adds two pytrees of sums, leaf by leaf."""
    return jax.tree.map(_add, one, other, is_leaf=_is_sum)


def _is_sum(node: object) -> bool:
    return isinstance(node, ExactSum)


def _add(one, other):
    return one.add(other) if isinstance(one, ExactSum) else one + other


def sum_by_pieces(function: Callable[[Any], State], rows: Any) -> State:
    """function(rows), a pytree of sums over rows, of at most 65,536 rows at a time.

    Each piece is a plain float32 sum, and `ExactSum` keeps what adding pieces loses.

    Args:
        function: Takes arrays that lead with rows and gives sums over them.
        rows: A pytree of such arrays.
    """
    num_rows = jax.tree.leaves(rows)[0].shape[0]
    if num_rows <= FEW:
        return function(rows)
    num_pieces = num_rows // FEW
    whole = num_pieces * FEW
    pieces = jax.tree.map(
        lambda x: x[:whole].reshape(num_pieces, FEW, *x.shape[1:]), rows
    )

    def add(total, piece):
        return add_states(total, function(piece)), None

    first = function(jax.tree.map(lambda x: x[0], pieces))
    total, _ = jax.lax.scan(add, first, jax.tree.map(lambda x: x[1:], pieces))
    if whole == num_rows:
        return total
    return add_states(total, function(jax.tree.map(lambda x: x[whole:], rows)))


def scatter_sum(
    place: Int[jax.Array, " n"], values: Float[jax.Array, " n"], num_places: int
) -> Float[jax.Array, " places"]:
    """Sums of values by place; a value whose place is past the last is dropped.

    A scatter adds one after the other: 50,000 equal numbers in one place come out 5e-4
    off. So values are dealt out to lanes, 64 to each, and the lanes added as a tree.
    """

    def scatter(rows: tuple[jax.Array, jax.Array]) -> ExactSum:
        place, values = rows
        num_lanes = -(-values.shape[0] // _RUN_OF_LANE)
        lane = jnp.arange(values.shape[0], dtype=jnp.int32) % num_lanes
        table = jnp.zeros((num_lanes, num_places), values.dtype)
        total = jnp.sum(table.at[lane, place].add(values, mode="drop"), axis=0)
        return ExactSum(total, jnp.zeros_like(total))

    return sum_by_pieces(scatter, (place, values)).total
