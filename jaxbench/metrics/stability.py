"""Which places of a ranking would hold on other images? Resampled ranks of a zoo."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from jaxbench.metrics.checks import is_known, refuse, require_arrays, require_rows
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float
from jaxbench.metrics.records import record
from jaxbench.metrics.resampling import (
    check_key,
    check_settings,
    draw_weights,
    map_many,
    percentile_interval,
)
from jaxbench.metrics.types import AnyArray, Flags, Scalar

# Drawn images of all resamples in flight together: some 10 MB.
_DRAWS_IN_FLIGHT = 1 << 21


@record
class RankStability(NamedTuple):
    """The places of m models in a ranking, and in the rankings of resamples.

    Place 1 is the best. Models of equal value share the mean of their places: two
    that lead together are both in place 1.5. The models' order changes nothing.

    Attributes:
        rank: The place of each model.
        keep_place: Share of resamples in which the model has the same place.
        low: Lower end of the percentile interval of its place.
        high: Upper end.
        win: Share of resamples in which the model of the row beats that of the
            column, a draw counted one half: win + win.T is 1, and 1/2 the diagonal.
        top: Share of resamples in which the model is first; k that lead together
            count 1/k each, so the shares sum to 1.
    """

    rank: Float[jax.Array, " m"]
    keep_place: Float[jax.Array, " m"]
    low: Float[jax.Array, " m"]
    high: Float[jax.Array, " m"]
    win: Float[jax.Array, "m m"]
    top: Float[jax.Array, " m"]


def rank_stability(
    values: Float[AnyArray, "m n"],
    *,
    key: Key[Array, ""],
    higher_is_better: bool,
    num_resamples: int = 1000,
    level: float = 0.95,
    mask: Flags | None = None,
) -> RankStability:
    """How far models' ranks by a mean metric would move on other images.

    Resamples the images with replacement, the same draw for all models, so that what
    the models have in common (hard images) moves none of them. Hall and Miller (2009):
    https://doi.org/10.1214/09-AOS699.

    For models of nearly equal value the bootstrap flatters the ranking observed: of two
    that are truly equal, the leader stays ahead in 3/4 of the resamples on average, but
    only on 1/2 of new test sets. And it knows nothing of training: another seed may
    move a model more.

    Time: a matrix product of [resamples, n] and [n, m], and m^2 comparisons a resample;
    1,000 models on 50,000 images take seconds on two CPU cores. Memory: about four
    times that of the values, and 100 MB.

    Args:
        values: For each model a row of values of the same images: `nll`, `brier`, or
            `correct` as floats.
        key: Chooses the resamples.
        higher_is_better: True for `correct`, False for losses.
        num_resamples: Number of resamples.
        level: Coverage of the intervals, in (0, 1).
        mask: Images that count; None counts all.

    Returns:
        Places and shares. The same for every order of the images; in another order
        of the models other resamples are drawn. All NaN under jit if a value that
        counts is NaN or infinite, or no image counts.

    Raises:
        ValueError: If values has another shape than [models, n] or no models, the mask
            another than [n], num_resamples < 1, the level is outside (0, 1), no image
            counts, or a value that counts is NaN or infinite (the last two outside
            jit).
    """
    check_settings(num_resamples, level)
    check_key(key)
    _check_values(values, mask)
    valid = jnp.ones(values.shape[1], bool) if mask is None else jnp.asarray(mask)
    return _stability(
        jnp.asarray(values, jnp.float32),
        valid,
        key,
        jnp.float32(level),
        num_resamples,
        _sign(higher_is_better),
    )


def rank_stability_of_resamples(
    resampled: Float[AnyArray, "resamples m"],
    estimate: Float[AnyArray, " m"],
    *,
    higher_is_better: bool,
    level: float = 0.95,
) -> RankStability:
    """How far models' ranks move, by any metric that the caller has resampled.

    For metrics that are not means (AURC, ECE, AUROC): measure every model under the
    same draws of the images, one row of `resampled` for each draw.

    Args:
        resampled: The metric of each model in each resample.
        estimate: The metric of each model on all images.
        higher_is_better: False for losses and risks.
        level: Coverage of the intervals, in (0, 1).

    Returns:
        Places and shares. A resample in which the metric of some model is NaN (AUROC
        without a wrong image) is left out for all; if every one is, all but `rank` are
        NaN. Infinite values are compared as such. All NaN under jit if an estimate is
        NaN.

    Raises:
        ValueError: If resamples or models are missing, the shapes do not match, the
            level is outside (0, 1), or an estimate is NaN (outside jit).
    """
    require_arrays(resampled=resampled, estimate=estimate)
    require_rows(estimate.size, None, "estimate")
    check_settings(resampled.shape[0], level)
    if resampled.shape[1:] != estimate.shape or not estimate.shape[0]:
        raise ValueError(
            f"resampled has shape {resampled.shape} and estimate {estimate.shape}; "
            "wanted [resamples, models] and [models], at least one model"
        )
    if is_known(estimate):
        missing = np.isnan(np.asarray(estimate, np.float32))
        _refuse_models("estimate", "NaN", missing[:, None])
    return _compare(
        jnp.asarray(resampled, jnp.float32),
        jnp.asarray(estimate, jnp.float32),
        jnp.float32(level),
        _sign(higher_is_better),
    )


def _sign(higher_is_better: bool) -> Scalar:
    return jnp.float32(1 if higher_is_better else -1)


@partial(compiled, static_argnames="num_resamples")
def _stability(
    values: Float[jax.Array, "m n"],
    valid: Bool[jax.Array, " n"],
    key: Key[Array, ""],
    level: Scalar,
    num_resamples: int,
    sign: Scalar,
) -> RankStability:
    values, valid = _sort_images(values, valid)
    num_images, num_valid = valid.shape[0], as_float(jnp.sum(valid, dtype=jnp.int32))

    def means(weights: Int[jax.Array, "b n"]) -> Float[jax.Array, "b m"]:
        # Equal rows have equal sums, and those of whole numbers are exact.
        total = jnp.matmul(
            as_float(weights), values.T, precision=jax.lax.Precision.HIGHEST
        )
        return total / num_valid

    estimate = means(valid.astype(jnp.int32)[None, :])[0]
    # A value that is not finite spoils its model's place, and so the others' as well.
    known = jnp.all(jnp.isfinite(estimate))

    def block(keys: Key[Array, " b"]) -> Float[jax.Array, "b m"]:
        return means(map_many(lambda key: draw_weights(key, valid), keys, num_images))

    # Blocks larger than draws are best made in: each product reads all values.
    num_blocks = -(-num_resamples * num_images // _DRAWS_IN_FLIGHT)
    size = -(-num_resamples // num_blocks)
    # Whole blocks only (the last key fills up): a ragged one compiles a second body.
    index = jnp.minimum(jnp.arange(num_blocks * size), num_resamples - 1)
    keys = jax.random.split(key, num_resamples)[index].reshape(num_blocks, size)
    blocks = jax.lax.map(block, keys)
    resampled = blocks.reshape(-1, values.shape[0])[:num_resamples]
    estimate = jnp.where(known, estimate, jnp.nan)
    return _compare(resampled, estimate, level, sign)


def _sort_images(
    values: Float[jax.Array, "m n"], valid: Bool[jax.Array, " n"]
) -> tuple[Float[jax.Array, "m n"], Bool[jax.Array, " n"]]:
    """Images in an order that does not depend on theirs; those that do not count last.

    A sort by all models' values has too many keys. Two fingerprints of an image's
    values decide instead: 64 bits, which two different ones of a million images share
    with a probability of 3e-8.
    """
    values = jnp.where(valid[None, :], values, 0.0)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    model = jnp.arange(values.shape[0], dtype=jnp.uint32)
    keys = []
    for salt in (0x9E3779B9, 0x7F4A7C15):
        salted = _scramble(model + jnp.uint32(salt))
        keys.append(jnp.sum(_scramble(bits ^ salted[:, None]), axis=0, dtype="uint32"))
    index = jnp.arange(valid.shape[0], dtype=jnp.int32)
    invalid, *_, order = jax.lax.sort([~valid, *keys, index], num_keys=3)
    return values[:, order], ~invalid


def _scramble(bits: UInt32[jax.Array, "..."]) -> UInt32[jax.Array, "..."]:
    """A bijection in which every bit depends on all: the finalizer of MurmurHash3."""
    bits = (bits ^ (bits >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> jnp.uint32(16))


@compiled
def _compare(
    resampled: Float[jax.Array, "r m"],
    estimate: Float[jax.Array, " m"],
    level: Scalar,
    sign: Scalar,
) -> RankStability:
    resampled, estimate = sign * resampled, sign * estimate
    defined = ~jnp.any(jnp.isnan(estimate))
    kept = ~jnp.any(jnp.isnan(resampled), axis=1) & defined
    num_kept = as_float(jnp.sum(kept, dtype=jnp.int32))

    def against_all(column: Float[jax.Array, " r"]):
        """A model's place in each resample, and its share of wins over each model."""
        points = _points(column[:, None], resampled)
        places = _place(points)
        won = jnp.sum(jnp.where(kept[:, None], points, 0), axis=0, dtype=jnp.int32)
        return jnp.where(kept, places, jnp.nan), as_float(won) / (2 * num_kept)

    places, win = map_many(against_all, resampled.T, resampled.size)
    rank = _place(_points(estimate[:, None], estimate[None, :]))
    rank = jnp.where(defined, rank, jnp.nan)
    same = jnp.sum(places == rank[:, None], axis=1, dtype=jnp.int32)
    low, high = jax.vmap(percentile_interval, (0, None))(places, level)
    first = resampled == jnp.max(resampled, axis=1, keepdims=True)
    first = first.astype(jnp.float32)
    share = first / jnp.sum(first, axis=1, keepdims=True)
    top = jnp.sum(jnp.where(kept[:, None], share, 0.0), axis=0) / num_kept
    return RankStability(rank, as_float(same) / num_kept, low, high, win, top)


def _points(
    own: Float[jax.Array, "r 1"], others: Float[jax.Array, "#r m"]
) -> Int[jax.Array, "r m"]:
    """2 for a win, 1 for a draw, 0 for a defeat."""
    return (own > others).astype(jnp.int32) + (own >= others).astype(jnp.int32)


def _place(points: Int[jax.Array, "r m"]) -> Float[jax.Array, " r"]:
    """1 + defeats + (draws with others) / 2, from points that hold one against itself.

    m models give m - points / 2 = defeats + draws / 2, the draw with itself among them.
    """
    total = jnp.sum(points, axis=1, dtype=jnp.int32)
    return points.shape[1] + 0.5 - as_float(total) / 2


def _check_values(values: Float[AnyArray, "m n"], mask: Flags | None) -> None:
    require_arrays(values=values, mask=mask)
    problems = []
    if values.ndim != 2 or not values.shape[0]:
        problems.append(
            f"values of shape {values.shape}; wanted [models, images], a model or more"
        )
    if not jnp.issubdtype(values.dtype, jnp.floating):
        problems.append(
            f"values of dtype {values.dtype}; wanted floating point numbers"
        )
    if mask is not None and mask.shape != values.shape[1:]:
        problems.append(
            f"mask of shape {mask.shape}; wanted {values.shape[1:]}, a flag an image"
        )
    if mask is not None and not jnp.issubdtype(mask.dtype, jnp.bool_):
        problems.append(f"mask of dtype {mask.dtype}; wanted booleans")
    refuse(problems)
    require_rows(values.shape[1], mask, "values")
    if is_known(values, mask):
        rows = np.asarray(values)
        counted = np.ones(rows.shape[1], bool) if mask is None else np.asarray(mask)
        _refuse_models("values", "NaN or infinite", counted & ~np.isfinite(rows))


def _refuse_models(name: str, what: str, broken: Bool[np.ndarray, "m n"]) -> None:
    models = np.flatnonzero(broken.any(axis=1))
    if models.size:
        raise ValueError(
            f"{name} of {models.size} of {len(broken)} models are {what}, the first in "
            f"row {models[0]}; a ranking needs them all: leave these models out"
        )
