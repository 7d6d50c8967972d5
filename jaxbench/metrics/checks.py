"""What a caller may have got wrong, told by the argument's name, all of it at once.

Shapes and dtypes are known when tracing and are always checked. Values are known on the
host only; under jit the metrics are NaN where a value makes no sense.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxbench.metrics.types import AnyArray


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
        ValueError: If a column is not one-dimensional, is of another length or dtype
            than wanted, or no row counts; and, outside jit, if a row that counts
            holds NaN or a probability outside [0, 1].
    """
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
        for problem in _misfits(name, column, wanted)
    ]
    if mask is not None:
        columns["mask"] = mask
        problems += _misfits("mask", mask, "booleans")
    lengths = {name: column.shape[:1] for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{n} {length}" for n, length in lengths.items())
        problems.append(f"columns of different lengths: {told}; wanted one row each")
    refuse(problems)
    require_rows(next(iter(columns.values())).shape[0], mask)
    checked = {**(probabilities or {}), **(floats or {})}
    if is_known(mask, checked):
        refuse(list(_bad_values(checked, set(probabilities or ()), mask)))


def require_rows(num_rows: int, mask: AnyArray | None) -> None:
    """Refuses an empty measurement: the mean of nothing is no number, and not 0.

    Under jit the mask's values are unknown; the metrics are NaN there.

    Raises:
        ValueError: If there are no rows, or the mask is known and all false.
    """
    if not num_rows:
        raise ValueError(
            "metrics need at least one example and got 0 rows; "
            "check the split, the limit or the filter that chose them"
        )
    if mask is None or not is_known(mask):
        return
    if not np.asarray(mask).any():
        raise ValueError(
            f"metrics need at least one example and the mask excludes all {num_rows} "
            "rows; check which rows were marked valid"
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


def check_scored(
    logits: AnyArray,
    labels: AnyArray,
    mask: AnyArray | None,
    class_mask: AnyArray | None,
    temperature: object,
    inputs: str,
) -> None:
    """Refuses arguments of `score_examples` and of what is built on it.

    Raises:
        ValueError: See `score_examples`.
    """
    check_choice("inputs", inputs, ("logits", "probabilities"))
    refuse(list(_misfits_of_logits(logits, labels, mask, class_mask)))
    problems = []
    if isinstance(temperature, float | int) and not 0.0 < temperature < np.inf:
        problems.append(f"temperature is {temperature}; wanted a number in (0, inf)")
    if is_known(logits, labels, mask, class_mask):
        problems += _bad_logits(logits, labels, mask, class_mask, inputs)
    refuse(problems)


def _misfits_of_logits(
    logits: AnyArray,
    labels: AnyArray,
    mask: AnyArray | None,
    class_mask: AnyArray | None,
) -> Iterator[str]:
    if logits.ndim != 2 or not logits.shape[1]:
        yield f"logits of shape {logits.shape}; wanted [n, k] with k >= 1 classes"
        return
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        yield f"logits of dtype {logits.dtype}; wanted floating point numbers"
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        yield f"labels of dtype {labels.dtype}; wanted integers: the class numbers"
    if labels.ndim not in (1, 2) or labels.shape[0] != logits.shape[0]:
        wanted = f"[{logits.shape[0]}] or [{logits.shape[0]}, m]"
        yield f"labels of shape {labels.shape}; wanted {wanted}, a row for each image"
    for name, flags, length in (
        ("mask", mask, logits.shape[0]),
        ("class_mask", class_mask, logits.shape[1]),
    ):
        if flags is None:
            continue
        yield from _misfits(name, flags, "booleans")
        if flags.shape != (length,):
            yield f"{name} of shape {flags.shape}; wanted ({length},)"


def _bad_logits(logits, labels, mask, class_mask, inputs: str) -> list[str]:
    values, rows = np.asarray(logits, np.float32), np.asarray(labels)
    counted = np.ones(len(rows), bool) if mask is None else np.asarray(mask)
    allowed = slice(None) if class_mask is None else np.asarray(class_mask)
    # One sum tells whether there is anything to look for.
    sound = np.isfinite(values if class_mask is None else values[:, allowed])
    problems = []
    broken = counted & ~sound.all(axis=1)
    if broken.any():
        problems.append(
            f"logits of {broken.sum()} rows are NaN or infinite, the first in row "
            f"{broken.argmax()}; mask these rows, or find out why the model gave them"
        )
    outside = counted & ((rows < -1) | (rows >= values.shape[1])).reshape(
        len(rows), -1
    ).any(axis=1)
    if outside.any():
        problems.append(
            f"labels of {outside.sum()} rows are outside [0, {values.shape[1]}), the "
            f"first in row {outside.argmax()}: {rows[outside.argmax()]}; "
            "-1 says that an image belongs to no class"
        )
    if inputs == "probabilities" and not problems:
        problems += _bad_probabilities(values, counted, class_mask)
    return problems


def _bad_probabilities(values, counted, class_mask) -> list[str]:
    outside = (values < 0.0) | (values > 1.0)
    off = np.abs(values.sum(axis=1) - 1.0) > 1e-2
    if class_mask is not None:
        kept = np.asarray(class_mask)
        outside, off = outside[:, kept], values[:, kept].sum(axis=1) <= 0.0
    wrong = counted & (outside.any(axis=1) | off)
    if not wrong.any():
        return []
    return [
        f"logits were said to be probabilities, and {wrong.sum()} rows are none, the "
        f"first row {wrong.argmax()}; wanted rows in [0, 1] that sum to 1, "
        'or inputs="logits"'
    ]


def _misfits(name: str, column: AnyArray, wanted: str) -> Iterator[str]:
    families = {
        "floating point numbers": jnp.floating,
        "booleans": jnp.bool_,
        "integers": jnp.integer,
    }
    if column.ndim != 1:
        yield f"{name} of shape {column.shape}; wanted one dimension, a row an example"
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
