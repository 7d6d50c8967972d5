"""A row's softmax, split into its largest logit and the others, in few passes.

The class axis is the long one: 50,000 images of 1,000 classes are 200 MB of logits, and
a pass over them is what a metric costs. So the reductions here are plain sums and
maxima, which compilers fuse and vectorise on every backend, where an argmax or a
reduction of several operands at once is 15 times slower on CPUs.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

# exp(z - top + SHIFT): the sum over the other classes stays a normal float32 up to a
# gap of 119 between the two largest logits, and its square for 10^10 classes.
SHIFT = 32.0
# Below it the sum has lost digits to underflow: gaps beyond 100 are computed again,
# relative to the runner-up.
_TINY = 1e-30
_RAISED_ONE = math.exp(SHIFT)
# Two counts up to this fit into one integer.
_HALF = 2**15 - 1


class SplitSoftmax(NamedTuple):
    """What the rows' softmax says of its largest logit, the rest, and the label.

    Attributes:
        finite: Whether every allowed logit of the row is finite.
        prediction: First class with the largest logit.
        top: The largest logit.
        gap: Runner-up less largest, at most 0; -inf with a single class.
        log_odds: log((1 - confidence) / confidence); -inf with a single class.
        label_logit: The label's logit.
        label_rank: How many classes beat the label.
        reachable: Whether the label is among the allowed classes.
        others_squared: Sum of squared odds of the other classes to the largest.
        others_moment: Sum over the other classes of odds times (top - logit).
    """

    finite: Bool[jax.Array, " n"]
    prediction: Int[jax.Array, " n"]
    top: Float[jax.Array, " n"]
    gap: Float[jax.Array, " n"]
    log_odds: Float[jax.Array, " n"]
    label_logit: Float[jax.Array, " n"]
    label_rank: Int[jax.Array, " n"]
    reachable: Bool[jax.Array, " n"]
    others_squared: Float[jax.Array, " n"]
    others_moment: Float[jax.Array, " n"]

    @property
    def log_normaliser(self) -> Float[jax.Array, " n"]:
        """Logsumexp of the row less its largest logit."""
        return jax.nn.softplus(self.log_odds)

    @property
    def confidence(self) -> Float[jax.Array, " n"]:
        """Probability of the prediction."""
        return jax.nn.sigmoid(-self.log_odds)

    @property
    def nll(self) -> Float[jax.Array, " n"]:
        """-log p[label], nats."""
        return (self.top - self.label_logit) + self.log_normaliser

    @property
    def entropy(self) -> Float[jax.Array, " n"]:
        """-sum p log p, nats: a sum of positive terms, so that nothing cancels."""
        return self.log_normaliser + self.confidence * self.others_moment

    def brier(self, correct: Bool[jax.Array, " n"]) -> Float[jax.Array, " n"]:
        """Squared distance to the one-hot label."""
        confidence, doubt = self.confidence, jax.nn.sigmoid(self.log_odds)
        others = self.others_squared * confidence * confidence
        p_label = jnp.exp(-self.nll)
        # (1 - p)^2 of a right prediction from its own complement: 1 - p would cancel.
        right = doubt * doubt + others
        wrong = confidence * confidence + others + 1.0 - 2.0 * p_label
        return jnp.where(correct, right, wrong)


class _Others(NamedTuple):
    """Sums over the classes below the top, relative to exp(top - shift)."""

    power: Float[jax.Array, " n"]
    squared: Float[jax.Array, " n"]
    moment: Float[jax.Array, " n"]


def split_softmax(
    z: Float[jax.Array, "n k"],
    label: Int[jax.Array, " n"],
    allowed: Bool[jax.Array, " k"] | None,
    *,
    log_space: bool = False,
) -> SplitSoftmax:
    """Splits rows of logits.

    Args:
        z: Logits, float32.
        label: Classes in [0, k).
        allowed: Classes that take part; None for all.
        log_space: Whether -inf is a logit like any other: the logarithm of zero.

    Returns:
        The parts, one an image. Rows that are not finite hold anything, and have no
        gradient: NaN of theirs does not leak into the gradients of other rows.
    """
    return _guarded_split(z, label, allowed, log_space)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _guarded_split(z, label, allowed, log_space):
    return _split(z, label, allowed, log_space)


@_guarded_split.defjvp
def _(log_space, primals, tangents):
    # Sanitising costs a select in every pass, so only gradients pay for it.
    z, label, allowed = primals
    change = tangents[0]
    keep = _guarded_split(z, label, allowed, log_space).finite[:, None]
    if allowed is not None:
        keep = keep & allowed[None, :]
    clean, change = jnp.where(keep, z, 0.0), jnp.where(keep, change, 0.0)
    parts, changes = jax.jvp(
        lambda z: _split(z, label, allowed, log_space), (clean,), (change,)
    )
    # Rows that are not finite have become zeros, which are.
    return parts._replace(finite=jnp.any(keep, axis=1)), changes


def _split(
    z: Float[jax.Array, "n k"],
    label: Int[jax.Array, " n"],
    allowed: Bool[jax.Array, " k"] | None,
    log_space: bool,
) -> SplitSoftmax:
    lowest = jnp.zeros(z.shape[0])
    if allowed is not None:
        # What the mask leaves out is -inf from here on; what it keeps may not be.
        lowest = jnp.min(jnp.where(allowed[None, :], z, jnp.inf), axis=1)
        z = jnp.where(allowed[None, :], z, -jnp.inf)
    label_logit = jnp.take_along_axis(z, label[:, None], axis=1)[:, 0]
    top = jnp.max(z, axis=1)
    rank, num_ties = _count(z, label, label_logit, top)
    # Classes that tie with the prediction are others, too, at odds of one.
    tied = jnp.maximum(num_ties - 1, 0).astype(jnp.float32)
    may_be_zero = log_space or allowed is not None
    others, shift = _sum_others(z, top, tied, may_be_zero)
    scale = jnp.exp(-shift)
    gap = jnp.where(tied > 0.0, 0.0, _runner_up(z, top) - top)
    log_odds = jnp.log(others.power + tied * _RAISED_ONE) - shift
    classes = jnp.arange(z.shape[1], dtype=jnp.float32)[None, :]
    first = jnp.min(jnp.where(z == top[:, None], classes, jnp.inf), axis=1)
    finite = jnp.isfinite(others.power) & jnp.isfinite(top)
    return SplitSoftmax(
        finite=finite & (log_space | (lowest > -jnp.inf)),
        prediction=jnp.where(jnp.isfinite(first), first, 0.0).astype(jnp.int32),
        top=top,
        gap=gap,
        log_odds=log_odds,
        label_logit=label_logit,
        label_rank=rank,
        reachable=label_logit > -jnp.inf if allowed is None else allowed[label],
        others_squared=others.squared * scale * scale + tied,
        others_moment=others.moment * scale,
    )


def _sum_others(
    z: Float[jax.Array, "n k"],
    top: Float[jax.Array, " n"],
    tied: Float[jax.Array, " n"],
    may_be_zero: bool,
) -> tuple[_Others, Float[jax.Array, " n"]]:
    """The sums over the classes below the top, and the shift they are relative to."""

    def sums(shift: Float[jax.Array, " n"]) -> _Others:
        at_top = z == top[:, None]
        # The minimum binds at the top only, where exp would overflow if its gap is
        # large; every other class is below it.
        raised = jnp.minimum(z - top[:, None] + shift[:, None], SHIFT)
        # 0 where a logit is finite, NaN elsewhere, so that the sum is NaN too.
        zero = jnp.where(z == -jnp.inf, 0.0, z * 0.0) if may_be_zero else z * 0.0
        power = jnp.where(at_top, 0.0, jnp.exp(raised)) + zero
        distance = jnp.where(at_top | (z == -jnp.inf), 0.0, top[:, None] - z)
        return _Others(
            power=jnp.sum(power, axis=1),
            squared=jnp.einsum("nk,nk->n", power, power),
            moment=jnp.sum(power * distance, axis=1),
        )

    usual = jnp.where(jnp.isnan(top), top, SHIFT)
    found = sums(usual)
    deep = (found.power < _TINY) & (tied == 0.0)

    def again(usual: Float[jax.Array, " n"]) -> tuple[_Others, Float[jax.Array, " n"]]:
        runner_up = _runner_up(z, top)
        exists = deep & (runner_up > -jnp.inf)
        shift = jnp.where(exists, jax.lax.stop_gradient(top - runner_up), usual)
        return sums(shift), shift

    # With a single class there is nothing to look for.
    if z.shape[1] == 1:
        return found, usual
    return jax.lax.cond(jnp.any(deep), again, lambda usual: (found, usual), usual)


def _runner_up(
    z: Float[jax.Array, "n k"], top: Float[jax.Array, " n"]
) -> Float[jax.Array, " n"]:
    """The largest logit below the top; -inf without one."""
    return jnp.max(jnp.where(z < top[:, None], z, -jnp.inf), axis=1)


def _count(
    z: Float[jax.Array, "n k"],
    label: Int[jax.Array, " n"],
    label_logit: Float[jax.Array, " n"],
    top: Float[jax.Array, " n"],
) -> tuple[Int[jax.Array, " n"], Int[jax.Array, " n"]]:
    """How many classes beat the label, and how many are at the top: counts, no sort."""
    num_rows, num_classes = z.shape
    # Cut into a few long pieces, whose sum is a sum of vectors: a loop along the
    # classes of one row is not vectorised.
    pieces = next(g for g in (8, 5, 4, 3, 2, 1) if num_classes % g == 0)
    shape = (num_rows, pieces, num_classes // pieces)
    cut = jax.lax.stop_gradient(z).reshape(shape)

    def along(column: jax.Array) -> jax.Array:
        return jax.lax.stop_gradient(column)[:, None, None]

    def total(counts: Int[jax.Array, "..."]) -> Int[jax.Array, " n"]:
        # The barrier keeps the compiler from making one sum of two.
        parts = jax.lax.optimization_barrier(jnp.sum(counts, axis=1, dtype=jnp.int32))
        return jnp.sum(parts, axis=1, dtype=jnp.int32)

    index = jnp.arange(num_classes, dtype=jnp.int32).reshape(1, *shape[1:])
    logit = along(label_logit)
    beats = (cut > logit) | ((cut == logit) & (index < along(label)))
    at_top = cut == along(top)
    one, none = jnp.int32(1), jnp.int32(0)
    if num_classes > _HALF:
        return (
            total(jnp.where(beats, one, none)),
            total(jnp.where(at_top, one, none)),
        )
    # Both counts in one pass, one in the lower and one in the upper half of a word.
    upper = jnp.int32(_HALF + 1)
    both = total(jnp.where(beats, one, none) + jnp.where(at_top, upper, none))
    return both & _HALF, both >> _HALF.bit_length()
