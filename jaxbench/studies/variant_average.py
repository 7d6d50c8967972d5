"""The average accuracy over variants of a dataset, with an interval."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from jaxbench.errors import UserError
from jaxbench.studies.shape_bias import Share

# Ids of a variant's images, each once, and a value of each.
Values = tuple[np.ndarray, Float[np.ndarray, " n"]]


def variant_average(variants: Mapping[str, Values], *, level: float = 0.95) -> Share:
    """The mean of means over variants, all of the same weight.

    An image that several variants have (ImageNet under other labels or corruptions) is
    one draw: the variance is that of the sum of its parts in all of them, over images
    as independent draws: sum_i (sum_j (v_ij - mean_j) / n_j)^2 / k^2.

    Args:
        variants: Name to ids and values in [0, 1]. Images of one id are the same.
        level: Coverage of the normal interval, in (0, 1).

    Raises:
        UserError: If `variants` is empty, or one has no images.
    """
    if not variants or not all(len(ids) for ids, _ in variants.values()):
        raise UserError("an average needs variants, each with images")
    means = [float(np.mean(values)) for _, values in variants.values()]
    parts = [
        (np.asarray(values, np.float64) - mean) / len(values)
        for mean, (_, values) in zip(means, variants.values(), strict=True)
    ]
    names = np.concatenate([np.asarray(ids, str) for ids, _ in variants.values()])
    _, place = np.unique(names, return_inverse=True)
    total = np.bincount(place.ravel(), weights=np.concatenate(parts))
    deviation = float(np.sqrt((total**2).sum())) / len(variants)
    mean = sum(means) / len(means)
    half = NormalDist().inv_cdf((1 + level) / 2) * deviation
    return Share(mean, max(0.0, mean - half), min(1.0, mean + half))
