"""Curves of contrastive runs over the draws, means over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

# Points of a curve: more would be drawn over each other.
_POINTS = 200
Recorded = Sequence[Mapping[str, np.ndarray]]
Line = tuple[list[float], list[float]]


def mean_curve(curves: Recorded, name: str) -> Line:
    """Draws and the mean over seeds and over neighbouring draws where there are many.

    Args:
        curves: Of each seed; what goes on beyond the shortest is left out.
        name: Of the curve.
    """
    values = _common(curves, name).mean(axis=0)
    parts = np.array_split(np.arange(len(values)), min(_POINTS, len(values)))
    x = [float(part.mean() + 1) for part in parts]
    return x, [float(values[part].mean()) for part in parts]


def rejected_curve(curves: Recorded) -> Line:
    """Draws and the share of them that was rejected so far."""
    used = _common(curves, "used").mean(axis=0)
    share = np.cumsum(1 - used) / np.arange(1, len(used) + 1)
    places = np.unique(np.linspace(0, len(share) - 1, _POINTS).round().astype(int))
    return (places + 1.0).tolist(), share[places].tolist()


def distance_quantiles(curves: Recorded) -> Line:
    """Shares, and the distance that as many of all draws do not exceed."""
    values = np.concatenate([curve["distance"] for curve in curves])
    shares = np.linspace(0, 1, 101)
    return shares.tolist(), np.quantile(values[np.isfinite(values)], shares).tolist()


def _common(curves: Recorded, name: str) -> Float[np.ndarray, "seeds draws"]:
    length = min(len(curve[name]) for curve in curves)
    return np.stack([curve[name][:length] for curve in curves])
