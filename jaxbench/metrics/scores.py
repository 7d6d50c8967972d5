"""Logits and labels to per-example columns: the only place that sees the class axis.

Every metric of the package is a function of these columns, which are O(n) where the
logits are O(n k). Store the columns, and a new metric, an interval or a paired test
needs no new pass over the images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.types import AnyArray, ClassMask, Flags, Labels, Logits

TOP_K = 5


class ExampleScores(NamedTuple):
    """One row an image: what its logits say, and whether that is right.

    A pytree of columns of length n (JAX or NumPy arrays). Statistics are float32
    whatever the logits' dtype.

    Attributes:
        label: The class, int32; -1 where the image belongs to none of them.
        prediction: First class with the largest logit, int32; -1 where the row is
            not finite.
        correct: Whether the prediction is the label.
        correct_top5: Whether fewer than five classes beat the label. A class beats
            it with a larger logit, or with an equal one and a lower index.
        confidence: Probability of the prediction, in (0, 1].
        log_one_minus_confidence: log(1 - confidence), computed without forming the
            difference, so that it ranks images whose confidence rounds to 1.
        nll: Negative log-likelihood of the label, nats; NaN without a label.
        brier: Squared distance of the probabilities to the one-hot label, summed
            over classes, in [0, 2]; NaN without a label.
        entropy: Entropy of the probabilities, nats.
        margin: Probability of the prediction less that of the runner-up.
        max_logit: The largest logit (after the temperature).
        energy: logsumexp of the logits (after the temperature): the negative free
            energy, higher for in-distribution images.
        finite: Whether all logits of the row are finite. Where they are not, every
            float column is NaN and the row counts as wrong.
        mask: Whether the row counts; False for padding.
    """

    label: Int[AnyArray, " n"]
    prediction: Int[AnyArray, " n"]
    correct: Bool[AnyArray, " n"]
    correct_top5: Bool[AnyArray, " n"]
    confidence: Float[AnyArray, " n"]
    log_one_minus_confidence: Float[AnyArray, " n"]
    nll: Float[AnyArray, " n"]
    brier: Float[AnyArray, " n"]
    entropy: Float[AnyArray, " n"]
    margin: Float[AnyArray, " n"]
    max_logit: Float[AnyArray, " n"]
    energy: Float[AnyArray, " n"]
    finite: Bool[AnyArray, " n"]
    mask: Bool[AnyArray, " n"]


class _TopSplit(NamedTuple):
    """A row's softmax, split into the prediction and the others.

    All of it is relative to the largest logit, so nothing overflows, and the sums
    over the others are relative to the runner-up, so nothing of them underflows.
    """

    prediction: Int[jax.Array, " n"]
    top: Float[jax.Array, " n"]  # the largest logit
    gap: Float[jax.Array, " n"]  # runner-up less largest, <= 0; -inf without one
    log_odds: Float[jax.Array, " n"]  # log((1 - confidence) / confidence)
    others: Float[jax.Array, " n"]  # sum of exp(z - runner-up)
    others_squared: Float[jax.Array, " n"]  # sum of exp(2 (z - runner-up))
    others_moment: Float[jax.Array, " n"]  # sum of exp(z - runner-up) (z - runner-up)


def score_examples(
    logits: Logits,
    labels: Labels,
    *,
    mask: Flags | None = None,
    class_mask: ClassMask | None = None,
    temperature: float | Float[AnyArray, ""] = 1.0,
) -> ExampleScores:
    """Reduces each row of logits to the statistics that every metric is made of.

    With p = softmax(logits / temperature) over the classes of `class_mask`. One
    compiled program; works under jit, vmap, scan and shard_map, and has gradients.
    A row depends on no other, so rows may be sharded.

    log(1 - confidence) is the logsumexp over the other classes less the logsumexp
    over all: at a gap of 30 between two logits a float32 confidence is exactly 1, and
    its order against other such images is lost; this one keeps it.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k). Any other value (by convention -1) says that no
            class is right: nll and brier are NaN and the row counts as wrong.
        mask: Rows that count; None counts all. A masked row may hold anything.
        class_mask: Classes the images may belong to; the rest get probability zero
            before the softmax, and may hold anything. A label outside it has
            probability zero too, so its nll is infinite. None allows all.
        temperature: Divides the logits; may be traced. In (0, inf).

    Returns:
        Columns of length n.

    Raises:
        ValueError: If the logits have no classes.
    """
    if not logits.shape[1]:
        raise ValueError(
            f"score_examples: logits of shape {logits.shape} have no classes; "
            "wanted [n, k] with k >= 1"
        )
    return _score(
        logits, labels, mask, class_mask, jnp.asarray(temperature, jnp.float32)
    )


@jax.jit
def _score(
    logits: Logits,
    labels: Labels,
    mask: Flags | None,
    class_mask: ClassMask | None,
    temperature: Float[jax.Array, ""],
) -> ExampleScores:
    num_rows, num_classes = logits.shape
    label = jnp.asarray(labels, jnp.int32)
    z = jnp.asarray(logits, jnp.float32) / temperature
    allowed = jnp.ones((1, num_classes), bool)
    if class_mask is not None:
        allowed = jnp.asarray(class_mask)[None, :]
    finite = jnp.all(jnp.isfinite(z) | ~allowed, axis=1)
    # Broken rows are computed as zeros and overwritten, so that no NaN leaks into
    # the gradients of the others.
    z = jnp.where(finite[:, None] & allowed, z, jnp.where(allowed, 0.0, -jnp.inf))

    split = _split_top(z, allowed)
    known = (label >= 0) & (label < num_classes)
    label_logit, rank = _rank_of_label(z, jnp.clip(label, 0, num_classes - 1))
    reachable = known & finite & (label_logit > -jnp.inf)
    correct = known & finite & (split.prediction == label)

    def or_nan(values, where=finite):
        return jnp.where(where, values, jnp.float32(jnp.nan))

    log_normaliser = jax.nn.softplus(split.log_odds)  # logsumexp less largest logit
    confidence = jax.nn.sigmoid(-split.log_odds)
    return ExampleScores(
        label=label,
        prediction=jnp.where(finite, split.prediction, -1),
        correct=correct,
        correct_top5=reachable & (rank < TOP_K),
        confidence=or_nan(confidence),
        log_one_minus_confidence=or_nan(jax.nn.log_sigmoid(split.log_odds)),
        nll=or_nan((split.top - label_logit) + log_normaliser, finite & known),
        brier=or_nan(_brier(split, label_logit, correct), finite & known),
        entropy=or_nan(_entropy(split)),
        margin=or_nan(-confidence * jnp.expm1(split.gap)),
        max_logit=or_nan(split.top),
        energy=or_nan(split.top + log_normaliser),
        finite=finite,
        mask=jnp.ones(num_rows, bool) if mask is None else jnp.asarray(mask),
    )


def _split_top(
    z: Float[jax.Array, "n k"], allowed: Bool[jax.Array, "1 k"]
) -> _TopSplit:
    prediction = jnp.argmax(z, axis=1).astype(jnp.int32)
    top = jnp.take_along_axis(z, prediction[:, None], axis=1)[:, 0]
    classes = jnp.arange(z.shape[1], dtype=jnp.int32)[None, :]
    other = allowed & (classes != prediction[:, None])
    runner_up = jnp.max(jnp.where(other, z, -jnp.inf), axis=1)
    # With a single class there is no runner-up: the sums below are empty, the
    # confidence 1 and its complement's logarithm -inf.
    origin = jnp.where(runner_up > -jnp.inf, runner_up, 0.0)
    below = jnp.where(other, z - origin[:, None], 0.0)
    power = jnp.where(other, jnp.exp(below), 0.0)
    others = jnp.sum(power, axis=1)
    return _TopSplit(
        prediction=prediction,
        top=top,
        gap=runner_up - top,
        log_odds=(runner_up - top) + jnp.log(others),
        others=others,
        others_squared=jnp.sum(power * power, axis=1),
        others_moment=jnp.sum(power * below, axis=1),
    )


def _rank_of_label(
    z: Float[jax.Array, "n k"], label: Int[jax.Array, " n"]
) -> tuple[Float[jax.Array, " n"], Int[jax.Array, " n"]]:
    """The label's logit, and how many classes beat it: a count, not a sort."""
    logit = jnp.take_along_axis(z, label[:, None], axis=1)
    earlier = jnp.arange(z.shape[1], dtype=jnp.int32)[None, :] < label[:, None]
    beats = (z > logit) | ((z == logit) & earlier)
    return logit[:, 0], jnp.sum(beats, axis=1, dtype=jnp.int32)


def _brier(
    split: _TopSplit,
    label_logit: Float[jax.Array, " n"],
    correct: Bool[jax.Array, " n"],
) -> Float[jax.Array, " n"]:
    log_normaliser = jax.nn.softplus(split.log_odds)
    runner_up = jnp.exp(split.gap - log_normaliser)
    others_squared = split.others_squared * runner_up * runner_up
    confidence = jax.nn.sigmoid(-split.log_odds)
    doubt = jax.nn.sigmoid(split.log_odds)
    p_label = jnp.exp((label_logit - split.top) - log_normaliser)
    # (1 - p)^2 of a right prediction from its own complement: 1 - p would cancel.
    right = doubt * doubt + others_squared
    wrong = confidence * confidence + others_squared + 1.0 - 2.0 * p_label
    return jnp.where(correct, right, wrong)


def _entropy(split: _TopSplit) -> Float[jax.Array, " n"]:
    log_normaliser = jax.nn.softplus(split.log_odds)
    confidence = jax.nn.sigmoid(-split.log_odds)
    has_others = split.gap > -jnp.inf
    log_runner_up = jnp.where(has_others, split.gap, 0.0) - log_normaliser
    others = jnp.where(has_others, jnp.exp(log_runner_up), 0.0)
    moment = split.others_moment + split.others * log_runner_up
    return confidence * log_normaliser - others * moment
