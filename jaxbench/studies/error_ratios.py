"""Error ratios: on which kinds of images does a classifier fail more than usual?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxbench.errors import UserError
from jaxbench.studies.resampling import Resampling

_SHOWN = 3


class ErrorRatios(NamedTuple):
    """Errors of one classifier by factor.

    Attributes:
        factors: Names, in the order of their first image.
        num_images: Images with each factor.
        accuracy: On these.
        ratio: Error rate on these over the error rate on all annotated images: 1 is
            no harder than the average; NaN if the classifier never fails.
        low: Lower ends of the ratios' percentile intervals over resampled images.
        high: Upper ends.
        num_annotated: All annotated images, those without a factor included.
        average: Accuracy on these.
    """

    factors: tuple[str, ...]
    num_images: Int[np.ndarray, " factors"]
    accuracy: Float[np.ndarray, " factors"]
    ratio: Float[np.ndarray, " factors"]
    low: Float[np.ndarray, " factors"]
    high: Float[np.ndarray, " factors"]
    num_annotated: int
    average: float


def model_error_ratios(
    correct: Mapping[str, Mapping[str, bool]],
    factors: Mapping[str, Sequence[str]],
    resampling: Resampling,
) -> dict[str, ErrorRatios]:
    """`error_ratios` of several models on the same images.

    Args:
        correct: Label of a model to the outcome of every image.
        factors: Name of an image to its factors.
        resampling: Of the images.

    Raises:
        UserError: As `error_ratios`; all models are named.
    """
    found, problems = {}, []
    for label, one in correct.items():
        try:
            found[label] = error_ratios(
                one,
                factors,
                key=resampling.key("factors"),
                num_resamples=resampling.num_resamples,
            )
        except UserError as error:
            problems.append(f"{label}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return found


def error_ratios(
    correct: Mapping[str, bool],
    factors: Mapping[str, Sequence[str]],
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> ErrorRatios:
    """(1 - accuracy of a factor) / (1 - average accuracy), for each factor.

    The average is over all annotated images, not over the whole test set. Idrissi et
    al. (2022), section 4: https://arxiv.org/abs/2211.01866. Where every image has one
    factor, the mean of the ratios, weighted by images, is 1.

    Args:
        correct: Name of an image to whether the classifier is right on it. Images that
            are not annotated do not count.
        factors: Name of an image to its factors, as `read_imagenet_x` and
            `read_factors` return them.
        key: Chooses the resamples.
        num_resamples: Resamples of the images behind the intervals, 1 or more.
        level: Coverage of the intervals, in (0, 1).

    Raises:
        UserError: If annotated images are unknown, or none has a factor.
    """
    if strangers := [name for name in factors if name not in correct]:
        more = ", ..." if len(strangers) > _SHOWN else ""
        raise UserError(
            f"{len(strangers)} of {len(factors)} annotated images were not evaluated: "
            f"{', '.join(strangers[:_SHOWN])}{more}"
        )
    names = tuple(dict.fromkeys(f for found in factors.values() for f in found))
    if not names:
        raise UserError(f"none of {len(factors)} annotated images has a factor")
    # Images of the same factors and outcome are exchangeable: resampling images is
    # drawing how many there are of each kind.
    kinds = Counter((frozenset(f), bool(correct[n])) for n, f in factors.items())
    counts = np.array(list(kinds.values()))
    wrong = np.array([not right for _, right in kinds], np.float64)
    member = np.array([[name in kind for name in names] for kind, _ in kinds], float)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=num_resamples)
    tail = (1 - level) / 2
    ratio = _ratios(counts[None], wrong, member)[0]
    known = np.isfinite(ratio)
    resampled = np.where(known, _ratios(drawn, wrong, member), 0.0)
    ends = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    totals = counts @ member
    return ErrorRatios(
        names,
        totals.astype(np.int64),
        1 - (counts * wrong) @ member / totals,
        ratio,
        np.where(known, ends[0], np.nan),
        np.where(known, ends[1], np.nan),
        int(counts.sum()),
        float(1 - (counts @ wrong) / counts.sum()),
    )


def _ratios(
    counts: np.ndarray, wrong: np.ndarray, member: np.ndarray
) -> Float[np.ndarray, "resamples factors"]:
    """Ratios of rows of counts; NaN where a draw lacks the factor or any error."""
    images = counts @ member
    rate = np.divide(
        (counts * wrong) @ member,
        images,
        out=np.full(images.shape, np.nan),
        where=images > 0,
    )
    average = (counts @ wrong / counts.sum(axis=1))[:, None]
    return np.divide(rate, average, out=np.full(rate.shape, np.nan), where=average > 0)
