"""Shape bias: is an object known by its outline or by its surface?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxbench.data.known.imagenet_classes import shape_categories
from jaxbench.metrics import wilson_interval
from jaxbench.studies.predictions import Responses


class Share(NamedTuple):
    """A share with its Wilson interval; NaN without trials."""

    value: float
    low: float
    high: float


class ShapeBias(NamedTuple):
    """One observer's answers to cue-conflict images, counted.

    Attributes:
        num_images: All images.
        num_conflicts: Images whose shape and texture differ.
        num_shape: Of these, answers that name the shape.
        num_texture: Answers that name the texture.
        bias: num_shape / (num_shape + num_texture), in [0, 1]; NaN where neither was
            ever named.
        accuracy: Share of all images whose shape was answered: of the 16 classes.
    """

    num_images: int
    num_conflicts: int
    num_shape: int
    num_texture: int
    bias: Share
    accuracy: Share


def shape_bias(responses: Responses, *, level: float = 0.95) -> ShapeBias:
    """How often an observer goes by shape where it goes by shape or texture.

    Images whose shape is their texture say nothing about the bias and count for the
    accuracy alone. Geirhos et al. (2019): https://arxiv.org/abs/1811.12231.

    Args:
        responses: Answers to cue-conflict images.
        level: Coverage of the Wilson intervals, in (0, 1). They are about other images
            of this kind.
    """
    conflicting = responses.of(responses.conflicting)
    num_shape = int(conflicting.correct.sum())
    num_texture = int((conflicting.answer == conflicting.texture).sum())
    return ShapeBias(
        num_images=len(responses.images),
        num_conflicts=len(conflicting.images),
        num_shape=num_shape,
        num_texture=num_texture,
        bias=share(num_shape, num_shape + num_texture, level=level),
        accuracy=share(
            int(responses.correct.sum()), len(responses.images), level=level
        ),
    )


def shape_bias_by_category(
    responses: Responses, *, level: float = 0.95
) -> dict[str, ShapeBias]:
    """`shape_bias` of the images of each shape, the 16 categories by name.

    Categories without images are left out.
    """
    present = np.unique(responses.shape)
    return {
        category: shape_bias(responses.of(responses.shape == number), level=level)
        for number, category in enumerate(shape_categories())
        if number in present
    }


def share(successes: int, trials: int, *, level: float = 0.95) -> Share:
    """A share of trials with its Wilson interval; NaN without trials."""
    if trials == 0:
        return Share(math.nan, math.nan, math.nan)
    low, high = wilson_interval(successes, trials, level=level)
    return Share(successes / trials, float(low), float(high))


def accuracy_shares(
    accuracy: Sequence[float] | Float[np.ndarray, " models"], trials: int
) -> list[Share]:
    """Accuracies on the same number of images with their 95 % Wilson intervals.

    Args:
        accuracy: In [0, 1]; NaN stays NaN.
        trials: Images, one or more.
    """
    values = np.asarray(accuracy, np.float64)
    right = np.nan_to_num(np.round(values * trials)).astype(np.int32)
    ends = wilson_interval(right, trials, level=0.95)
    low, high = (np.asarray(end, np.float64) for end in ends)
    rows = np.stack([values, low, high], axis=1)
    rows[np.isnan(values)] = np.nan
    return [Share(*row) for row in rows.tolist()]
