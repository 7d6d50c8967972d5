"""Named tuples that hold arrays, and what Python does with any tuple.

A `NamedTuple` is a pytree with names, which is why states and results are one. It is
also a sequence: `+` would join two of them into one tuple of all their arrays, `*`
would repeat it, and `<` would compare the first fields. None of these is a number that
anybody asks for, and none is an error.
"""

from typing import TypeVar

import jax
from jaxtyping import Int

from jaxbench.metrics.types import AnyArray

T = TypeVar("T")

_OPERATORS = {
    "__add__": "+",
    "__radd__": "+",
    "__mul__": "*",
    "__rmul__": "*",
    "__lt__": "<",
    "__le__": "<=",
    "__gt__": ">",
    "__ge__": ">=",
}


def record(cls: type[T]) -> type[T]:
    """Refuses the operators of sequences on a `NamedTuple`, but those of its own."""
    for name, symbol in _OPERATORS.items():
        if name not in vars(cls):
            setattr(cls, name, _refusal(cls.__name__, symbol))
    return cls


def _refusal(name: str, symbol: str):
    def refused(self: object, other: object):
        raise TypeError(
            f"{symbol} is not defined for {name}, a record of arrays; take the fields "
            "that you mean, or map over all of them with jax.tree.map"
        )

    return refused


def from_zero(state: T, other: object) -> T:
    """The sum of a state and what stands left of it: the 0 that `sum` starts from.

    Raises:
        TypeError: If it is anything else, a tuple above all.
    """
    if isinstance(other, int) and other == 0:
        return state
    raise TypeError(
        f"+ is not defined for {type(other).__name__} and {type(state).__name__}"
    )


def require_single(method: str, count: Int[AnyArray, "..."]) -> None:
    """Refuses states that were stacked, by vmap or over devices, where one is wanted.

    Args:
        method: Class and method, as in "ClassificationState.compute".
        count: The state's number of examples: a scalar, unless states are stacked.

    Raises:
        ValueError: If they are.
    """
    if count.ndim:
        raise ValueError(
            f"{method} wanted one state and got states stacked to {count.shape}; "
            f"jax.vmap({method}) takes each of them"
        )


def varying_over(state: T, axes: str | tuple[str, ...]) -> T:
    """The same values on every device, of a type that may differ between them.

    A loop inside `jax.shard_map` wants the type of its state from the start.
    """
    if not axes:
        return state
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axes, to="varying"), state)
