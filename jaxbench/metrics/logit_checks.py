"""Checks of logits and labels, before anything is computed from them.

What an array means is never guessed from its shape: one label an image is `labels`, a
set of right labels is `label_sets`, and probabilities are said to be such.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jaxbench.metrics.checks import (
    check_choice,
    is_known,
    misfits,
    refuse,
    require_arrays,
    require_rows,
)
from jaxbench.metrics.types import AnyArray


def check_scored(
    logits: AnyArray,
    labels: AnyArray | None,
    mask: AnyArray | None,
    class_mask: AnyArray | None,
    temperature: object,
    inputs: str | None,
    label_sets: AnyArray | None = None,
) -> None:
    """Refuses arguments of `score_examples` and of what is built on it.

    Raises:
        ValueError: See `score_examples`.
    """
    check_choice("inputs", inputs, (None, "logits", "probabilities"))
    arrays = {"logits": logits, "labels": labels, "label_sets": label_sets}
    require_arrays(**arrays, mask=mask, class_mask=class_mask)
    if (labels is None) == (label_sets is None):
        raise ValueError(
            "labels and label_sets are both given; wanted one of them"
            if labels is not None
            else "labels are missing; wanted labels [n], or label_sets [n, m]"
        )
    problems = logit_misfits(logits, labels, mask, class_mask)
    if label_sets is not None and logits.ndim == 2:
        problems += _set_misfits(label_sets, *logits.shape)
    refuse(problems)
    require_rows(logits.shape[0], None, "logits")
    if isinstance(temperature, float | int) and not 0.0 < temperature < np.inf:
        problems.append(f"temperature is {temperature}; wanted a number in (0, inf)")
    if is_known(logits, labels, label_sets, mask, class_mask):
        problems += _bad_logits(logits, mask, class_mask, inputs)
        classes = logits.shape[1]
        if labels is not None:
            problems += _bad_labels("labels", labels, mask, classes)
        elif label_sets is not None:
            outside = _bad_labels("label_sets", label_sets, mask, classes)
            problems += outside or _bad_sets(label_sets, mask, classes)
    refuse(problems)


def logit_misfits(
    logits: AnyArray,
    labels: AnyArray | None,
    mask: AnyArray | None = None,
    class_mask: AnyArray | None = None,
) -> list[str]:
    """What is wrong with the shapes and dtypes of arrays that belong to logits."""
    if logits.ndim != 2 or not logits.shape[1]:
        return [f"logits of shape {logits.shape}; wanted [n, k] with k >= 1 classes"]
    problems = []
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        problems.append(
            f"logits of dtype {logits.dtype}; wanted floating point numbers"
        )
    if labels is not None:
        problems += _label_misfits(labels, *logits.shape)
    for name, flags, length in (
        ("mask", mask, logits.shape[0]),
        ("class_mask", class_mask, logits.shape[1]),
    ):
        if flags is None:
            continue
        problems += misfits(name, flags, "booleans")
        if flags.shape != (length,):
            problems.append(f"{name} of shape {flags.shape}; wanted ({length},)")
    return problems


def _label_misfits(labels: AnyArray, num_rows: int, num_classes: int) -> Iterator[str]:
    """`labels` are [n] integers; a matrix of any dtype is another thing."""
    if labels.ndim == 1 and labels.shape[0] == num_rows:
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            yield f"labels of dtype {labels.dtype}; wanted integers: the class numbers"
        return
    hint = ""
    if labels.ndim == 2:
        sets = "score_examples(logits, label_sets=...) takes a set of labels an image"
        hint = f"; {_way_out(labels, num_classes)}{sets}"
    yield (
        f"labels of shape {labels.shape} and dtype {labels.dtype}; wanted integers of "
        f"shape ({num_rows},), a class number an image{hint}"
    )


def _way_out(labels: AnyArray, num_classes: int) -> str:
    """What a matrix of labels probably is, and what to give instead."""
    if labels.shape[1] == 1 and num_classes > 1:
        return "of one column, give labels[:, 0]; "
    if labels.shape[1] != num_classes:
        return ""
    if not is_known(labels):
        return "of one-hot rows, give labels.argmax(-1); "
    if _is_one_hot(np.asarray(labels)):
        return "these look like one-hot rows: give labels.argmax(-1); "
    return ""


def _is_one_hot(rows: np.ndarray) -> bool:
    """Whether each row is 0 but for a single 1."""
    values = rows.astype(np.float32)
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all())


def _set_misfits(sets: AnyArray, num_rows: int, num_classes: int) -> Iterator[str]:
    if not jnp.issubdtype(sets.dtype, jnp.integer):
        yield f"label_sets of dtype {sets.dtype}; wanted integers: the class numbers"
    if sets.ndim != 2 or sets.shape[0] != num_rows or not sets.shape[1]:
        yield (
            f"label_sets of shape {sets.shape}; wanted ({num_rows}, m), the right "
            "labels of each image, filled up with -1"
        )


def _counted_rows(num_rows: int, mask: AnyArray | None) -> np.ndarray:
    return np.ones(num_rows, bool) if mask is None else np.asarray(mask)


def refuse_probabilities(logits: AnyArray, mask: AnyArray | None) -> None:
    """Raises if what is given as logits looks like probabilities; silent while tracing.

    Raises:
        ValueError: If every row that counts lies in [0, 1] and sums to 1.
    """
    if is_known(logits, mask):
        values = np.asarray(logits, np.float32)
        refuse(_unsaid_probabilities(values, _counted_rows(len(values), mask)))


def _unsaid_probabilities(values: np.ndarray, counted: np.ndarray) -> list[str]:
    if values.shape[1] == 1 or not counted.any():
        return []
    # One row is enough to recognise most logits.
    for rows in (values[counted.argmax()][None], values[counted]):
        if rows.min() < 0.0 or rows.max() > 1.0 or not _sum_to_one(rows).all():
            return []
    return [
        f"logits of all {len(rows)} rows lie in [0, 1] and sum to 1, as probabilities "
        'do; say which they are with inputs="probabilities" or inputs="logits" where '
        "there is such an argument, or give logits: the logarithm of a probability is "
        "one, and a constant that is added to a row of logits changes no probability"
    ]


def _sum_to_one(rows: np.ndarray) -> np.ndarray:
    """To 1e-2: bfloat16 probabilities of 1000 classes miss one by up to 4e-3."""
    return np.abs(rows.sum(axis=1) - 1.0) <= 1e-2


def _bad_logits(logits, mask, class_mask, inputs: str | None) -> list[str]:
    values = np.asarray(logits, np.float32)
    counted = _counted_rows(len(values), mask)
    allowed = slice(None) if class_mask is None else np.asarray(class_mask)
    sound = np.isfinite(values if class_mask is None else values[:, allowed])
    broken = counted & ~sound.all(axis=1)
    if broken.any():
        return [
            f"rows of logits with NaN or infinity: {broken.sum()}, the first is row "
            f"{broken.argmax()}; mask these rows, or find out why the model gave them"
        ]
    if inputs is None:
        return _unsaid_probabilities(values, counted)
    if inputs == "probabilities":
        return _bad_probabilities(values, counted, class_mask)
    return []


def _bad_labels(name: str, labels, mask, num_classes: int) -> list[str]:
    rows = np.asarray(labels)
    outside = ((rows < -1) | (rows >= num_classes)).reshape(len(rows), -1).any(axis=1)
    outside &= _counted_rows(len(rows), mask)
    if not outside.any():
        return []
    return [
        f"rows of {name} outside [0, {num_classes}): {outside.sum()}, the "
        f"first is row {outside.argmax()}: {rows[outside.argmax()]}; "
        + (
            "-1 says that an image belongs to no class"
            if name == "labels"
            else "-1 fills a row up"
        )
    ]


def _bad_sets(sets, mask, num_classes: int) -> list[str]:
    rows, counted = np.asarray(sets), _counted_rows(len(sets), mask)
    hint = "name each right label once, and fill the row up with -1"
    if rows.shape[1] == num_classes and counted.any():
        if _is_one_hot(rows[counted]):
            return [
                f"label_sets of shape {rows.shape} look like one-hot rows; give "
                "labels=label_sets.argmax(-1)"
            ]
        if np.isin(rows[counted], (0, 1)).all():
            hint = "a 0 or 1 for each class is not a set: give the classes' numbers"
    ordered = np.sort(rows, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    twice = counted & again.any(axis=1)
    if not twice.any():
        return []
    return [
        f"label_sets of {twice.sum()} rows hold a label twice, the first in row "
        f"{twice.argmax()}: {rows[twice.argmax()]}; {hint}"
    ]


def _bad_probabilities(values, counted, class_mask) -> list[str]:
    outside = (values < 0.0) | (values > 1.0)
    off = ~_sum_to_one(values)
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
