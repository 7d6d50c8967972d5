"""Convex functions brought to their minimum, inside a compiled program.

`jax.scipy.optimize` has BFGS alone, whose matrix has the square of the number of
parameters, and whose line search compares values: in float32 those stop changing well
before the gradient is small.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.types import Scalar

# On the gradient, each parameter in the unit in which its own second derivative is 1:
# the objective is then within about TOLERANCE^2 a parameter of its minimum. Float32
# sums get to 3e-6.
TOLERANCE = 1e-5
MAX_STEPS = 300

_MEMORY = 10
_MAX_TRIALS = 20


class Point(NamedTuple):
    """The objective at some parameters.

    Attributes:
        value: The objective.
        nll: The objective without its ridge.
        gradient: Its derivatives, in the shape of the parameters.
        curvature: Its second derivatives, each by one parameter alone.
        cross: The mixed ones by a class's scale and bias, where both are fitted.
    """

    value: Scalar
    nll: Scalar
    gradient: Float[jax.Array, "..."]
    curvature: Float[jax.Array, "..."]
    cross: Float[jax.Array, " k"] | None


class Search(NamedTuple):
    """State of L-BFGS; the newest move stands last.

    Attributes:
        theta: The parameters.
        point: The objective there.
        moves: The last changes of theta.
        turns: The changes of the gradient along them.
        weights: 1 / <move, turn>, or 0 for a move that tells nothing.
        step: Moves so far.
        stuck: Whether the last line search found nothing better.
    """

    theta: Float[jax.Array, "..."]
    point: Point
    moves: Float[jax.Array, "m ..."]
    turns: Float[jax.Array, "m ..."]
    weights: Float[jax.Array, " m"]
    step: Int[jax.Array, ""]
    stuck: Bool[jax.Array, ""]


class _Trial(NamedTuple):
    """A length along a direction, and whether it will do."""

    length: Scalar
    point: Point
    accepted: Bool[jax.Array, ""]
    number: Int[jax.Array, ""]


Evaluate = Callable[[Float[jax.Array, "..."]], Point]


def has_converged(point: Point) -> Bool[jax.Array, ""]:
    """Whether the gradient is within `TOLERANCE` of 0."""
    slopes = jnp.abs(point.gradient) / jnp.sqrt(point.curvature)
    return jnp.max(slopes) <= TOLERANCE


def minimise(evaluate: Evaluate, start: Float[jax.Array, "..."]) -> Search:
    """L-BFGS on a convex function with one minimum.

    Nocedal and Wright (2006), "Numerical Optimization", algorithm 7.4, with the
    curvature at the current point as the initial matrix. Works under jit and vmap.

    Args:
        evaluate: The objective at parameters of the shape of `start`.
        start: Where to begin; returned as it is if it is good enough.

    Returns:
        The last state. It is at the minimum if `has_converged` says so of its point:
        the loop also ends after `MAX_STEPS`, where no step helps any more, and where
        the objective is not finite.
    """

    def unfinished(search: Search) -> Bool[jax.Array, ""]:
        going = ~search.stuck & (search.step < MAX_STEPS)
        return going & ~has_converged(search.point) & jnp.isfinite(search.point.value)

    def improve(search: Search) -> Search:
        direction = _direction(search)
        trial = _line_search(evaluate, search, direction)
        move = trial.length * direction
        turn = trial.point.gradient - search.point.gradient
        bend = dot(move, turn)
        weight = jnp.where(bend > 0, 1.0 / jnp.where(bend > 0, bend, 1.0), 0.0)

        def push(history, newest):
            return jnp.concatenate([history[1:], newest[None]])

        moved = Search(
            theta=search.theta + move,
            point=trial.point,
            moves=push(search.moves, move),
            turns=push(search.turns, turn),
            weights=push(search.weights, weight),
            step=search.step + 1,
            stuck=jnp.bool(False),
        )
        stuck = search._replace(stuck=jnp.bool(True))
        return jax.tree.map(partial(jnp.where, trial.accepted), moved, stuck)

    history = jnp.zeros((_MEMORY, *start.shape), jnp.float32)
    begin = Search(
        theta=start,
        point=evaluate(start),
        moves=history,
        turns=history,
        weights=jnp.zeros(_MEMORY, jnp.float32),
        step=jnp.int32(0),
        stuck=jnp.bool(False),
    )
    return jax.lax.while_loop(unfinished, improve, begin)


def _direction(search: Search) -> Float[jax.Array, "..."]:
    """Where L-BFGS goes: downhill, seen through the curvature met so far."""
    history = search.moves, search.turns, search.weights

    def back(vector, entry):
        move, turn, weight = entry
        share = weight * dot(move, vector)
        return vector - share * turn, share

    def forth(vector, entry):
        (move, turn, weight), share = entry
        return vector + (share - weight * dot(turn, vector)) * move, None

    gradient = search.point.gradient
    vector, shares = jax.lax.scan(back, gradient, history, reverse=True)
    vector = _precondition(search.point, vector)
    vector, _ = jax.lax.scan(forth, vector, (history, shares))
    plain = _precondition(search.point, gradient)
    return -jnp.where(dot(vector, gradient) > 0, vector, plain)


def _precondition(
    point: Point, vector: Float[jax.Array, "..."]
) -> Float[jax.Array, "..."]:
    """The vector over the curvature, class by class."""
    if point.cross is None:
        return vector / point.curvature
    # A little less than the true coupling: the 2 x 2 blocks stay positive definite
    # where a class's logits are all alike.
    cross = 0.999 * point.cross
    scale, bias = point.curvature
    along_scale = bias * vector[0] - cross * vector[1]
    along_bias = scale * vector[1] - cross * vector[0]
    return jnp.stack([along_scale, along_bias]) / (scale * bias - cross**2)[None, :]


def _line_search(
    evaluate: Evaluate, search: Search, direction: Float[jax.Array, "..."]
) -> _Trial:
    """A length that goes down, and not far past the lowest place.

    Slopes decide, which float32 resolves where it no longer does the values. On a
    convex function whatever still goes down at its end has gone down all along.
    """
    slope = dot(search.point.gradient, direction)
    slack = 1e-6 * jnp.abs(search.point.value)

    def tried(length, number) -> _Trial:
        point = evaluate(search.theta + length * direction)
        end = dot(point.gradient, direction)
        lower = (end <= 0) | (point.value <= search.point.value + slack)
        return _Trial(length, point, lower & (end <= -0.5 * slope), number)

    def unfinished(trial: _Trial) -> Bool[jax.Array, ""]:
        return ~trial.accepted & (trial.number < _MAX_TRIALS)

    def shorten(trial: _Trial) -> _Trial:
        end = dot(trial.point.gradient, direction)
        factor = jnp.clip(slope / (slope - end), 0.1, 0.5)
        return tried(trial.length * factor, trial.number + 1)

    return jax.lax.while_loop(unfinished, shorten, tried(jnp.float32(1), jnp.int32(1)))


def dot(a: Float[jax.Array, "..."], b: Float[jax.Array, "..."]) -> Scalar:
    """The inner product, in full float32 on every backend."""
    return jnp.sum(a * b)
