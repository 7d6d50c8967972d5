"""Tables of relative-position biases for windows of another size than trained with."""

import numpy as np


def resize_bias_table(table: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Resizes a square table as timm and BEiT do.

    Offsets of the table are spread in a geometric progression, finest at zero, so that
    the farthest fall on the farthest of the new window; between them the table is
    interpolated linearly, beyond them it is constant.

    Args:
        table: [offsets, heads], an odd square number of offsets, rows first.
        sides: Vertical and horizontal offsets wanted, odd: 2 * window - 1.

    Returns:
        [sides[0] * sides[1], heads] in the table's dtype.

    Raises:
        ValueError: If the number of offsets is not a square.
    """
    side = round(table.shape[0] ** 0.5)
    if side**2 != table.shape[0]:
        raise ValueError(
            f"a table of {table.shape[0]} relative positions is not square: its window "
            "is unknown"
        )
    rows, columns = (_interpolation(side, wanted) for wanted in sides)
    square = table.reshape(side, side, -1).astype(np.float64)
    resized = np.einsum("ia,jb,abh->ijh", rows, columns, square)
    return resized.reshape(sides[0] * sides[1], -1).astype(table.dtype)


def _interpolation(source: int, target: int) -> np.ndarray:
    """Weights [target, source] of linear interpolation along one axis."""
    places = np.concatenate([[0.0], np.cumsum(_steps(source // 2, target // 2))])
    places = np.concatenate([-places[:0:-1], places])
    wanted = np.arange(target) - target // 2
    return np.stack([np.interp(wanted, places, one) for one in np.eye(source)], axis=1)


def _steps(count: int, reach: int) -> np.ndarray:
    """Steps 1, q, q**2, ... whose sum is `reach`, with q from 1.01 to 1.5."""
    low, high = 1.01, 1.5
    ratio = low
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**count) / (1 - ratio) > reach:
            high = ratio
        else:
            low = ratio
    return ratio ** np.arange(count)
