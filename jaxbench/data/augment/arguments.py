"""What the augmentations share: types of arguments, keys of rows, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

Images = UInt8[Array, "n h w 3"]
Normalized = Float[Array, "n h w c"]
PRNGKey = Key[Array, ""]
Number = float | int
Range = tuple[Number, Number]


def row_keys(key: PRNGKey, num_rows: int) -> Key[Array, " n"]:
    """A key for each row, whatever the number of rows."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(num_rows))


def demand(function: str, *demands: tuple[bool, str]) -> None:
    """Raises one ValueError that names every demand that does not hold.

    Args:
        function: Whose arguments they are.
        *demands: Whether it holds, and what came and what was wanted.
    """
    problems = [problem for holds, problem in demands if not holds]
    if problems:
        raise ValueError(f"{function}: " + "; ".join(problems))


def share_demand(name: str, value: Number) -> tuple[bool, str]:
    """The demand that a number is a fraction."""
    return 0 <= value <= 1, f"{name} is {value}, wanted 0 to 1"


def box_demands(
    area_name: str, area: Range, ratio: Range
) -> tuple[tuple[bool, str], ...]:
    """The demands on the ranges of area and aspect ratio of a random rectangle."""
    return (
        (
            len(area) == 2 and 0 < area[0] <= area[-1] <= 1,
            f"{area_name} is {area}, wanted (low, high) with 0 < low <= high <= 1",
        ),
        (
            len(ratio) == 2 and 0 < ratio[0] <= ratio[-1] < float("inf"),
            f"ratio is {ratio}, wanted (low, high) with 0 < low <= high",
        ),
    )
