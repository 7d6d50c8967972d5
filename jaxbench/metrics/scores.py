"""Logits and labels to per-example columns: the only place that sees the class axis.

Every metric of the package is a function of these columns, which are O(n) where the
logits are O(n k). Store the columns, and a new metric, an interval or a paired test
needs no new pass over the images.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.checks import refuse, require_arrays, require_rows
from jaxbench.metrics.chunks import by_chunks
from jaxbench.metrics.logit_checks import check_scored
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.records import record
from jaxbench.metrics.softmax import split_softmax
from jaxbench.metrics.types import AnyArray, ClassMask, Flags, Labels, LabelSets, Logits

# The rank of a label that no number of guesses reaches.
UNRANKED = 2**31 - 1

Inputs = Literal["logits", "probabilities"]

# Logits that a CPU scores at a time: what passes over them need stays in its cache. An
# array of 50,000 x 1,000 takes a fifth of the time that one piece would.
_CHUNK = 1 << 21


@record
class ExampleScores(NamedTuple):
    """One row an image: what its logits say, and whether that is right.

    A pytree of columns of length n (JAX or NumPy arrays). Statistics are float32
    whatever the logits' dtype.

    Attributes:
        label: The class, int32; -1 where the image belongs to none of them. Of a set
            of labels, the one with the largest logit.
        prediction: First class with the largest logit, int32; -1 where the row is
            not finite.
        correct: Whether the prediction is the label.
        label_rank: How many classes beat the label, int32; 0 is right. A class beats it
            with a larger logit, or with an equal one and a lower index. 2^31 - 1 for a
            label that is not a class, or outside the class mask, or in a row that is
            not finite.
        confidence: Probability of the prediction, in (0, 1].
        log_one_minus_confidence: log(1 - confidence), computed without forming the
            difference, so that it ranks images whose confidence rounds to 1.
        nll: Negative log-likelihood of the label, nats; NaN without a label, or with
            a set of them.
        brier: Squared distance of the probabilities to the one-hot label, summed
            over classes, in [0, 2]; NaN as `nll` is.
        entropy: Entropy of the probabilities, nats.
        margin: Probability of the prediction less that of the runner-up.
        max_logit: The largest logit (after the temperature).
        energy: logsumexp of the logits (after the temperature): the negative free
            energy, higher for in-distribution images.
        finite: Whether all logits of the row are finite (with probabilities, whether
            they are a distribution). Where they are not, every float column is NaN and
            the row counts as wrong.
        mask: Whether the row counts; False for padding, and for an empty set of
            labels.
    """

    label: Int[AnyArray, " n"]
    prediction: Int[AnyArray, " n"]
    correct: Bool[AnyArray, " n"]
    label_rank: Int[AnyArray, " n"]
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


def score_examples(
    logits: Logits,
    labels: Labels | None = None,
    *,
    label_sets: LabelSets | None = None,
    mask: Flags | None = None,
    class_mask: ClassMask | None = None,
    temperature: float | Float[AnyArray, ""] = 1.0,
    inputs: Inputs | None = None,
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
        labels: [n], classes in [0, k), or -1 for an image of none of them: nll and
            brier are NaN and the row counts as wrong. Of one-hot rows, give
            `labels.argmax(-1)`: no matrix is taken for labels.
        label_sets: In place of `labels`, [n, m]: the right labels of each image
            (ImageNet ReaL, ImageNet-Hard), each once, filled up with -1. The
            prediction is right if it is any of them, and an image with an empty set
            does not count (Beyer et al. 2020: https://arxiv.org/abs/2006.07159).
        mask: Rows that count; None counts all. A masked row may hold anything.
        class_mask: Classes the images may belong to (ImageNet-A, -O, -R); the rest
            get probability zero before the softmax, and may hold anything. A label
            outside it has probability zero too, so its nll is infinite. None allows
            all.
        temperature: Divides the logits; may be traced. In (0, inf).
        inputs: "probabilities" if `logits` holds probabilities instead: rows in
            [0, 1] that sum to 1. Their order is only as fine as their own rounding:
            logits keep more. Never guessed: None takes logits, and outside jit raises
            where all rows look like probabilities; "logits" takes these, too.

    Returns:
        Columns of length n.

    Raises:
        ValueError: If an argument is not an array, rows are missing, shapes or dtypes
            do not fit, both or neither of `labels` and `label_sets` are given,
            `inputs` is unknown, or, outside jit, a row that counts holds a label
            outside [-1, k), a label twice, a NaN or an infinite logit, or all rows
            look like probabilities and `inputs` does not say what they are. Under jit a
            label outside [-1, k) is as -1, and a row that is not finite, or whose set
            holds a label twice, is marked as not finite and has NaN in every float
            column.
    """
    check_scored(logits, labels, mask, class_mask, temperature, inputs, label_sets)
    truth = labels if label_sets is None else label_sets
    assert truth is not None  # One of the two is, by check_scored.
    # Divisions of every logit by one would cost a tenth of the pass.
    warmed = None
    if not (isinstance(temperature, float) and temperature == 1.0):
        warmed = jnp.asarray(temperature, jnp.float32)
    return _score(logits, truth, mask, class_mask, warmed, inputs or "logits")


def require_scores(**arguments: ExampleScores) -> None:
    """Refuses what is not the columns of examples that count.

    Args:
        **arguments: From `score_examples`, by the argument's name.

    Raises:
        ValueError: If one is anything else, has a column that is not an array or is not
            one-dimensional, or has no rows; or, outside jit, if none of them counts.
    """
    for name, scores in arguments.items():
        if not isinstance(scores, ExampleScores):
            raise ValueError(
                f"{name} is of type {type(scores).__name__}; wanted the ExampleScores "
                "of score_examples(logits, labels)"
            )
        columns = {f"{name}.{n}": column for n, column in scores._asdict().items()}
        require_arrays(**columns)
        refuse(
            [
                f"{n} of shape {column.shape}; wanted [n], one row an example"
                for n, column in columns.items()
                if column.ndim != 1
            ]
        )
        require_rows(scores.mask.shape[0], scores.mask, name)


@partial(compiled, static_argnames="inputs", by_row=True)
def _score(
    logits: Logits,
    labels: Labels | LabelSets,
    mask: Flags | None,
    class_mask: ClassMask | None,
    temperature: Float[jax.Array, ""] | None,
    inputs: Inputs,
) -> ExampleScores:
    rows = (logits, labels) if mask is None else (logits, labels, mask)

    def score(logits, labels, mask=None) -> ExampleScores:
        return _score_rows(logits, labels, mask, class_mask, temperature, inputs)

    return by_chunks(score, rows, most=max(1, _CHUNK // logits.shape[1]))


def _score_rows(
    logits: Logits,
    labels: Labels | LabelSets,
    mask: Flags | None,
    class_mask: ClassMask | None,
    temperature: Float[jax.Array, ""] | None,
    inputs: Inputs,
) -> ExampleScores:
    num_rows, num_classes = logits.shape
    z = jnp.asarray(logits, jnp.float32)
    broken = None
    if inputs == "probabilities":
        z, broken = _log_probabilities(z, class_mask)
    if temperature is not None:
        z = z / temperature
    allowed = None if class_mask is None else jnp.asarray(class_mask)
    counted = jnp.ones(num_rows, bool) if mask is None else jnp.asarray(mask)
    # Which of the two it is was said by the argument's name.
    label, several = jnp.asarray(labels, jnp.int32), labels.ndim == 2
    if several:
        twice = _holds_twice(label)
        broken = twice if broken is None else broken | twice
        label = _best_label(z, label, allowed)
        counted &= label >= 0

    known = (label >= 0) & (label < num_classes)
    label = jnp.where(known, label, -1)
    index = jnp.maximum(label, 0)
    split = split_softmax(z, index, allowed, log_space=inputs == "probabilities")
    finite = split.finite if broken is None else split.finite & ~broken
    rank = jnp.where(known & finite & split.reachable, split.label_rank, UNRANKED)
    single = finite & known & (not several)

    def or_nan(values, where=finite):
        return jnp.where(where, values, jnp.float32(jnp.nan))

    return ExampleScores(
        label=label,
        prediction=jnp.where(finite, split.prediction, -1),
        correct=rank == 0,
        label_rank=rank,
        confidence=or_nan(split.confidence),
        log_one_minus_confidence=or_nan(jax.nn.log_sigmoid(split.log_odds)),
        nll=or_nan(split.nll, single),
        brier=or_nan(split.brier(rank == 0), single),
        entropy=or_nan(split.entropy),
        margin=or_nan(-split.confidence * jnp.expm1(split.gap)),
        max_logit=or_nan(split.top),
        energy=or_nan(split.top + split.log_normaliser),
        finite=finite,
        mask=counted,
    )


def _log_probabilities(
    p: Float[jax.Array, "n k"], class_mask: ClassMask | None
) -> tuple[Float[jax.Array, "n k"], Bool[jax.Array, " n"]]:
    """Logarithms, and the rows that are not a distribution."""
    fits = (p >= 0.0) & (p <= 1.0)
    shares = p
    if class_mask is not None:
        # The mask renormalises, so only what it leaves must be probabilities.
        fits |= ~jnp.asarray(class_mask)[None, :]
        shares = jnp.where(jnp.asarray(class_mask)[None, :], p, 0.0)
    total = jnp.sum(shares, axis=1)
    # bfloat16 probabilities of 1000 classes miss one by up to 4e-3.
    sums_up = jnp.abs(total - 1.0) < 1e-2
    if class_mask is not None:
        sums_up = total > 0.0
    return jnp.log(p), ~(jnp.all(fits, axis=1) & sums_up)


def _holds_twice(labels: Int[jax.Array, "n m"]) -> Bool[jax.Array, " n"]:
    """Sets that hold a label more than once, as a one-hot row holds 0."""
    ordered = jnp.sort(labels, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    return jnp.any(again, axis=1)


def _best_label(
    z: Float[jax.Array, "n k"],
    labels: Int[jax.Array, "n m"],
    allowed: Bool[jax.Array, " k"] | None,
) -> Int[jax.Array, " n"]:
    """The label of each set that the fewest classes beat; -1 of an empty set."""
    num_classes = z.shape[1]
    known = (labels >= 0) & (labels < num_classes)
    index = jnp.clip(labels, 0, num_classes - 1)
    logit = jnp.take_along_axis(z, index, axis=1)
    usable = known if allowed is None else known & allowed[index]
    logit = jnp.where(usable, logit, -jnp.inf)
    best = jnp.max(logit, axis=1, keepdims=True, initial=-jnp.inf)
    # The lowest class among equal logits, as in a prediction.
    candidates = jnp.where(known & (logit == best), labels, num_classes)
    label = jnp.min(candidates, axis=1, initial=num_classes)
    # A NaN equals nothing; such a row is reported as not finite, under any label.
    first = jnp.max(jnp.where(known, labels, -1), axis=1, initial=-1)
    return jnp.where(label < num_classes, label, first).astype(jnp.int32)
