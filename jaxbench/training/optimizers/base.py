"""What a row of the table is, and the pieces that most builders share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

Parameters = dict[str, Any]


class Hyper(NamedTuple):
    """The hyper-parameters of one step, float32 scalars that may be traced.

    Attributes:
        learning_rate: As scheduled for this step.
        weight_decay: Of the parameters that decay.
        options: A value for every name in `Optimizer.options`.
    """

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]
    options: Mapping[str, Float[Array, ""]]


class Leaves(NamedTuple):
    """What an optimizer may know of the parameters besides their shapes, by name.

    Attributes:
        decay: Whether it decays (kernels; no norms, biases, tokens, positions, scales).
        output: Whether it is a kernel of the output layer.
        rates: Factor of the learning rate, where it is not 1. The step multiplies
            every update by it; only a builder whose update is not in proportion to the
            rate looks at it.
    """

    decay: Mapping[str, bool]
    output: Mapping[str, bool]
    rates: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Optimizer:
    """One row of the table.

    Attributes:
        name: Its name in `OPTIMIZERS`.
        build: From the step's hyper-parameters and what is known of the leaves to the
            transformation of a flat dict of float32 arrays. Its state must depend on
            the parameters only: neither shapes nor initial values may come from the
            hyper-parameters.
        reference: Address of the paper that defines it.
        defaults: `learning_rate` and `weight_decay` to start a search from.
        options: Its further hyper-parameters, with the values they have if not given.
        title: Its name in tables that people read.
        decoupled: Whether arXiv 2410.06373 counts its decay as decoupled. Where exactly
            the decay enters is for the builder's docstring to say: LARS and NovoGrad
            count as decoupled, and pass theirs through the momentum.
        evaluated: From hyper-parameters, optimizer state and parameters to the
            parameters to evaluate with; None where those are the trained ones.
        curvature_every: Every that many steps, beginning with the first, `update` must
            be given `curvature`: the squared gradient of the loss against labels drawn
            from the model, times the batch size. What it is given in other steps is
            ignored. None where the optimizer needs no curvature.
        single_rate: Why all parameters must share one learning rate, for an optimizer
            whose state is in the unit of the rate; None where each may have its own.
    """

    name: str
    build: Callable[[Hyper, Leaves], optax.GradientTransformation]
    reference: str
    defaults: Mapping[str, float] = field(compare=False)
    options: Mapping[str, float] = field(
        compare=False, default_factory=lambda: MappingProxyType({})
    )
    title: str = ""
    decoupled: bool = True
    evaluated: Callable[[Hyper, Any, Parameters], Parameters] | None = None
    curvature_every: int | None = None
    single_rate: str | None = None


def transformation(
    init: Callable[..., Any], update: Callable[..., Any]
) -> optax.GradientTransformation:
    """Optax's pair, of functions whose arguments have names of their own."""
    return optax.GradientTransformation(init, update)


def descend(hyper: Hyper) -> optax.GradientTransformation:
    """Turns a direction of ascent into a step of the traced learning rate."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: -hyper.learning_rate * u, updates)
    )


def add_decay(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adds lambda p to the updates of the parameters that decay.

    Before the moments this is an L2 penalty (coupled), after them decoupled decay.
    """

    def decay(updates, parameters):
        return {
            name: u + hyper.weight_decay * parameters[name] if leaves.decay[name] else u
            for name, u in updates.items()
        }

    return optax.stateless(decay)


def clip_by_global_norm(max_norm: Float[Array, ""]) -> optax.GradientTransformation:
    """Scales all updates together, so that their norm is at most `max_norm`."""

    def clip(updates, _):
        # In one piece: a reduction for each leaf is much to compile.
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(updates)])
        scale = 1 / jnp.maximum(jnp.linalg.norm(flat) / max_norm, 1)
        return jax.tree.map(lambda u: u * scale, updates)

    return optax.stateless(clip)


def average(old: Any, new: Any, beta: Float[Array, ""]) -> Any:
    """Leaf by leaf beta old + (1 - beta) new."""
    return jax.tree.map(lambda a, b: beta * a + (1 - beta) * b, old, new)


def complement(beta: Float[Array, ""], step: Float[Array, ""]) -> Float[Array, ""]:
    """1 - beta^step without the cancellation that a beta near one brings."""
    return -jnp.expm1(step * jnp.log(beta))
