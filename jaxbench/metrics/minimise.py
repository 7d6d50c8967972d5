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
MAX_EVALUATIONS = 1000

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
    """State of L-BFGS.

    Attributes:
        theta: The best parameters so far.
        point: The objective there.
        moves: The last changes of theta, the newest last.
        turns: The changes of the gradient along them.
        weights: 1 / <move, turn>, or 0 for a move without information.
        direction: Where to look next, from theta.
        length: How far.
        trials: Lengths along this direction that did not do.
        evaluations: Of the objective, so far.
    """

    theta: Float[jax.Array, "..."]
    point: Point
    moves: Float[jax.Array, "m ..."]
    turns: Float[jax.Array, "m ..."]
    weights: Float[jax.Array, " m"]
    direction: Float[jax.Array, "..."]
    length: Scalar
    trials: Int[jax.Array, ""]
    evaluations: Int[jax.Array, ""]


Evaluate = Callable[[Float[jax.Array, "..."]], Point]


def has_converged(point: Point) -> Bool[jax.Array, ""]:
    """Whether the gradient is within `TOLERANCE` of 0."""
    slopes = jnp.abs(point.gradient) / jnp.sqrt(point.curvature)
    return jnp.max(slopes) <= TOLERANCE


def minimise(evaluate: Evaluate, start: Float[jax.Array, "..."]) -> Search:
    """L-BFGS on a convex function with one minimum.

    Nocedal and Wright (2006), "Numerical Optimization", algorithm 7.4, with the
    curvature at the current point as the initial matrix. One evaluation a turn of one
    loop, line search included: so it compiles fast, and under vmap no problem waits
    for another's line search.

    Args:
        evaluate: The objective at parameters of the shape of `start`.
        start: Where to begin; returned as it is if it is good enough.

    Returns:
        The last state. It is at the minimum if `has_converged` says so of its point:
        the loop also ends after `MAX_EVALUATIONS`, where no step helps any more, and
        where the objective is not finite.
    """

    def unfinished(search: Search) -> Bool[jax.Array, ""]:
        able = (search.trials < _MAX_TRIALS) & jnp.isfinite(search.point.value)
        going = able & (search.evaluations < MAX_EVALUATIONS)
        return (search.evaluations == 0) | (going & ~has_converged(search.point))

    def advance(search: Search) -> Search:
        theta = search.theta + search.length * search.direction
        point = evaluate(theta)
        slope = dot(search.point.gradient, search.direction)
        end = dot(point.gradient, search.direction)
        # Slopes decide, which float32 resolves where it no longer does the values: on
        # a convex function, what still goes down at its end has gone down all along.
        # Past the lowest place a value within rounding will do, but not far past it.
        slack = 1e-6 * jnp.abs(search.point.value)
        lower = (end <= 0) | (point.value <= search.point.value + slack)
        accepted = (search.evaluations == 0) | (lower & (end <= -0.5 * slope))
        shorter = search._replace(
            length=search.length * jnp.clip(slope / (slope - end), 0.1, 0.5),
            trials=search.trials + 1,
        )
        moved = _moved(search, theta, point)
        chosen = jax.tree.map(partial(jnp.where, accepted), moved, shorter)
        return chosen._replace(evaluations=search.evaluations + 1)

    def zeros(shape=(), dtype=jnp.float32):
        # In the image of the start: a loop inside shard_map wants its state to vary
        # over devices from the start if it does so at the end.
        return jnp.zeros_like(start, dtype, shape)

    unknown = jax.eval_shape(evaluate, start)
    begin = Search(
        theta=start,
        point=jax.tree.map(lambda leaf: zeros(leaf.shape, leaf.dtype), unknown),
        moves=zeros((_MEMORY, *start.shape)),
        turns=zeros((_MEMORY, *start.shape)),
        weights=zeros((_MEMORY,)),
        direction=zeros(start.shape),
        length=zeros(),
        trials=zeros(dtype=jnp.int32),
        evaluations=jnp.int32(0),
    )
    return jax.lax.while_loop(unfinished, advance, begin)


def _moved(search: Search, theta: Float[jax.Array, "..."], point: Point) -> Search:
    """The state at a better point, looking into the next direction."""
    move = theta - search.theta
    turn = point.gradient - search.point.gradient
    bend = dot(move, turn)
    weight = jnp.where(bend > 0, 1.0 / jnp.where(bend > 0, bend, 1.0), 0.0)

    def push(history, newest):
        return jnp.concatenate([history[1:], newest[None]])

    moved = search._replace(
        theta=theta,
        point=point,
        moves=push(search.moves, move),
        turns=push(search.turns, turn),
        weights=push(search.weights, weight),
        length=jnp.float32(1),
        trials=jnp.int32(0),
    )
    return moved._replace(direction=_direction(moved))


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


def dot(a: Float[jax.Array, "..."], b: Float[jax.Array, "..."]) -> Scalar:
    """The inner product, in full float32 on every backend."""
    return jnp.sum(a * b)
