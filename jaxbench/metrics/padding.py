"""Rows of padding, so that a new number of rows needs no new compilation.

A compiled program is for one shape. Every function of the package takes a mask and
ignores the rows that it excludes, so different numbers of rows can share a shape.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxbench.metrics.checks import check_count, is_known, refuse, require_arrays


def pad_examples(
    *examples: PyTree[Any, "..."], num_rows: int | None = None
) -> tuple[Any, ...]:
    """Appends rows that do not count, and returns the mask of those that do.

    Works on the host.

        logits, labels, mask = pad_examples(logits, labels)
        scores = score_examples(logits, labels, mask=mask)

    Columns that are kept without padding are padded before they are measured; the
    padded mask of `ExampleScores` is False in the new rows:

        summarize(*pad_examples(scores)[:1])

    Args:
        *examples: Arrays, or pytrees of arrays, with the same number of rows along the
            first axis. Arrays on devices are copied to the host.
        num_rows: Rows of the results, at least as many as there are. None rounds up to
            a multiple of 32 below 256 rows, and of an eighth of the next power of two
            above: at most a quarter more rows, and four shapes between a power of two
            and the next.

    Returns:
        The arguments as NumPy arrays, with rows of zeros (False) appended, and then the
        mask, [num_rows], which is True for the rows that were there before.

    Raises:
        ValueError: If an argument is not an array or a pytree of them, the numbers of
            rows differ, there are more than `num_rows`, or values are not known because
            of a transformation such as jit.
    """
    named = {
        f"examples[{place}]{jax.tree_util.keystr(path)}": leaf
        for place, tree in enumerate(examples)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
    rows = _check(named)
    if num_rows is None:
        num_rows = padded_length(rows)
    check_count("num_rows", num_rows)
    if num_rows < rows:
        raise ValueError(f"num_rows is {num_rows}; wanted at least the {rows} rows")

    def padded(leaf: Any) -> np.ndarray:
        widths = [(0, num_rows - rows)] + [(0, 0)] * (leaf.ndim - 1)
        return np.pad(jax.device_get(leaf), widths)

    return *jax.tree.map(padded, examples), np.arange(num_rows) < rows


def padded_length(rows: int) -> int:
    """Rows rounded up, as by `pad_examples`."""
    step = max(32, 2 ** max(0, (rows - 1).bit_length() - 3))
    return -(-max(rows, 1) // step) * step


def _check(named: dict[str, Any]) -> int:
    """The number of rows that all arrays have.

    Raises:
        ValueError: See `pad_examples`.
    """
    if not named:
        raise ValueError("pad_examples got no arrays; wanted at least one")
    require_arrays(**named)
    if not is_known(*named.values()):
        raise ValueError(
            "pad_examples works on the host, and the values are not known here; pad "
            "before the call of the jitted function"
        )
    refuse(
        [
            f"{name} is a scalar; wanted an array with a row an example"
            for name, leaf in named.items()
            if not leaf.ndim
        ]
    )
    lengths = {name: leaf.shape[0] for name, leaf in named.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{n} {length}" for n, length in lengths.items())
        raise ValueError(f"different numbers of rows: {listed}; wanted the same")
    return next(iter(lengths.values()))
