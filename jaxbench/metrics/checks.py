"""Checks of arguments: every problem at once, each by the argument's name.

Shapes and dtypes are known when tracing and are always checked. Values are known on the
host only; under jit the metrics are NaN where a value makes no sense.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxbench.metrics.types import AnyArray

P = ParamSpec("P")
R = TypeVar("R")


def is_known(*arrays: object) -> bool:
    """Whether all values can be read now.

    They cannot while tracing, nor where other processes hold a part of them.
    """
    return all(_is_readable(leaf) for leaf in jax.tree.leaves(arrays))


def _is_readable(leaf: object) -> bool:
    if isinstance(leaf, Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.is_fully_addressable or leaf.is_fully_replicated
    return True


def refuse(problems: list[str]) -> None:
    """Raises all problems as one error.

    Raises:
        ValueError: If there is any.
    """
    if problems:
        raise ValueError("\n".join(problems))


def require_arrays(**arguments: object) -> None:
    """Raises if an argument is not an array; None stands for one that was left out.

    A list has no dtype of its own: [0, 1] may be labels or flags, [1, 0.5] floats of
    any width. The caller says which by making an array of it.

    Raises:
        ValueError: If one is not, with the names of all of them.
    """
    refuse(
        [
            f"{name} is of type {type(value).__name__}; wanted a JAX or NumPy array, "
            f"e.g. numpy.asarray({name})"
            for name, value in arguments.items()
            if value is not None and not isinstance(value, jax.Array | np.ndarray)
        ]
    )


def takes_scores(function: Callable[P, R]) -> Callable[P, R]:
    """Words the call of a function of one column with logits and labels.

    Raises:
        TypeError: If there is more than one positional argument.
    """
    column = next(iter(inspect.signature(function).parameters))
    name = function.__name__

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        if len(args) > 1:
            raise TypeError(
                f"{name} takes the column {column}, and other arguments by name; for "
                f"logits and labels: {name}(score_examples(logits, labels).{column})"
            )
        return function(*args, **options)

    return checked


def check_columns(
    mask: AnyArray | None,
    *,
    probabilities: dict[str, AnyArray] | None = None,
    floats: dict[str, AnyArray] | None = None,
    flags: dict[str, AnyArray] | None = None,
    integers: dict[str, AnyArray] | None = None,
) -> None:
    """Refuses columns that no metric is defined on.

    Args:
        mask: Rows that count, or None for all.
        probabilities: Columns in [0, 1], by the name of the argument.
        floats: Columns of ordered numbers; infinities are, NaN is not.
        flags: Boolean columns.
        integers: Integer columns.

    Raises:
        ValueError: If a column is not an array, not one-dimensional, of another length
            or dtype than wanted, or no row counts; and, outside jit, if a row that
            counts holds NaN or a probability outside [0, 1].
    """
    every = {**(probabilities or {}), **(floats or {}), **(flags or {})}
    require_arrays(**every, **(integers or {}), mask=mask)
    kinds = {
        "floating point numbers": {**(probabilities or {}), **(floats or {})},
        "booleans": flags or {},
        "integers": integers or {},
    }
    columns = {n: c for named in kinds.values() for n, c in named.items()}
    problems = [
        problem
        for wanted, named in kinds.items()
        for name, column in named.items()
        for problem in misfits(name, column, wanted)
    ]
    if mask is not None:
        columns["mask"] = mask
        problems += misfits("mask", mask, "booleans")
    lengths = {name: column.shape[:1] for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} {length}" for n, length in lengths.items())
        problems.append(f"columns of different lengths: {listed}; wanted one row each")
    refuse(problems)
    name, first = next(iter(columns.items()))
    require_rows(first.shape[0], mask, name)
    checked = {**(probabilities or {}), **(floats or {})}
    if is_known(mask, checked):
        refuse(list(_bad_values(checked, set(probabilities or ()), mask)))


def require_rows(num_rows: int, mask: AnyArray | None, name: str = "scores") -> None:
    """Refuses an empty measurement: its mean is undefined, and not 0.

    Under jit the mask's values are unknown; the metrics are NaN there.

    Args:
        num_rows: Rows of the argument.
        mask: Rows that count; None counts all.
        name: The argument's.

    Raises:
        ValueError: If rows are missing, or the mask is known and all false.
    """
    if not num_rows:
        raise ValueError(
            f"{name} has 0 rows; metrics need at least one example: "
            "check the split, the limit or the filter that chose them"
        )
    if mask is None or not is_known(mask):
        return
    if not np.asarray(mask).any():
        raise ValueError(
            f"mask excludes all {num_rows} rows; metrics need at least one example: "
            "check which rows were marked valid"
        )


def check_classes(
    name: str, column: AnyArray, mask: AnyArray | None, num_classes: int
) -> None:
    """Refuses class numbers out of range in rows that count; silent while tracing.

    Raises:
        ValueError: If one is outside [0, num_classes).
    """
    if not is_known(column, mask):
        return
    values = np.asarray(column)
    values = values if mask is None else values[np.asarray(mask)]
    if values.min() < 0 or values.max() >= num_classes:
        raise ValueError(
            f"{name} lie in [{values.min()}, {values.max()}]; wanted classes in "
            f"[0, {num_classes})"
        )


def check_fraction(
    name: str, value: float, *, low_open: bool = False, high_open: bool = False
) -> None:
    """Refuses a parameter outside the unit interval.

    Raises:
        ValueError: If it is, with the interval that was wanted.
    """
    above = value > 0.0 if low_open else value >= 0.0
    below = value < 1.0 if high_open else value <= 1.0
    if not (above and below):
        wanted = f"{'(' if low_open else '['}0, 1{')' if high_open else ']'}"
        raise ValueError(f"{name} is {value}; wanted a fraction in {wanted}")


def check_count(name: str, value: int) -> None:
    """Refuses a number of things below one.

    Raises:
        ValueError: If it is below one, or no integer.
    """
    if isinstance(value, bool) or value != int(value) or value < 1:
        raise ValueError(f"{name} is {value}; wanted an integer >= 1")


def check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    """Refuses a word that is none of those known.

    Raises:
        ValueError: If it is none of them, with the list.
    """
    if value not in choices:
        known = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} is {value!r}; wanted one of {known}")


def misfits(name: str, column: AnyArray, wanted: str) -> Iterator[str]:
    """What is wrong with the shape and dtype of a column.

    Args:
        name: The argument's.
        column: Its value, an array.
        wanted: "floating point numbers", "booleans" or "integers".
    """
    families = {
        "floating point numbers": jnp.floating,
        "booleans": jnp.bool_,
        "integers": jnp.integer,
    }
    if column.ndim != 1:
        hint = ""
        if column.ndim == 2:
            hint = "; score_examples(logits, labels) makes such columns of logits"
        yield (
            f"{name} of shape {column.shape}; wanted one dimension, a row an example"
            + hint
        )
    if not jnp.issubdtype(column.dtype, families[wanted]):
        yield f"{name} of dtype {column.dtype}; wanted {wanted}"


def _bad_values(
    columns: dict[str, AnyArray], probabilities: set[str], mask: AnyArray | None
) -> Iterator[str]:
    for name, column in columns.items():
        values = np.asarray(column, np.float32)
        if mask is not None:
            values = values[np.asarray(mask)]
        missing = int(np.isnan(values).sum())
        if missing:
            yield f"{name} is NaN in {missing} of {len(values)} rows; mask them"
        elif name in probabilities and (values.min() < 0.0 or values.max() > 1.0):
            yield (
                f"{name} lies in [{values.min():g}, {values.max():g}]; "
                "wanted probabilities in [0, 1]"
            )
