"""One optimizer step of one member, as pure functions of arrays.

The step is written for a single member and in two halves, the gradient and the update.
The strategies of `loop.py` and `stacked.py` call, vmap, unroll, scan or shard them;
nothing here knows which.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt

from jaxbench.training.inputs import Batches, StepInputs, seen_by, step_inputs
from jaxbench.training.losses import LOSSES, distillation
from jaxbench.training.members import MemberScalars
from jaxbench.training.optimizers import Hyper
from jaxbench.training.schedules import warmup_cosine
from jaxbench.training.specs import (
    SOUND,
    Gradient,
    GradientSpec,
    Horizon,
    MemberState,
    Shared,
    StepSpec,
    UpdateSpec,
)


def start(spec: StepSpec, variables: dict[str, Any]) -> MemberState:
    """The state before the first step."""
    parameters, statistics, _ = spec.split(variables)
    # The state's shapes and values do not depend on these, see `Optimizer.build`.
    zero = jnp.zeros(())
    options = {n: jnp.float32(v) for n, v in spec.update.optimizer.options.items()}
    hyper = Hyper(zero, zero, options)
    with jax.numpy_dtype_promotion("standard"):
        optimizer = spec.update.transformation(hyper, parameters).init(parameters)
    return MemberState(
        parameters,
        statistics,
        {**parameters, **statistics} if spec.update.averages else {},
        optimizer,
        step=jnp.zeros((), jnp.int32),
        diverged_step=jnp.full((), SOUND, jnp.int32),
        loss_sum=jnp.zeros((), jnp.float32),
    )


def gradient(
    spec: GradientSpec,
    parameters: dict[str, Any],
    statistics: dict[str, Any],
    step: Int[Array, ""],
    batches: Batches,
    shared: Shared,
    seed: UInt[Array, ""],
    label_smoothing: Float[Array, ""],
) -> Gradient:
    """Gathers, augments and normalises the step's batch and differentiates the loss.

    Args:
        spec: What to differentiate.
        parameters: Where.
        statistics: BatchNorm statistics before the step.
        step: Steps since the start.
        batches: The training images.
        shared: What is not trained.
        seed: The member's.
        label_smoothing: The member's.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    augment_key, network_key, drawn_key = jax.random.split(key, 3)
    classifier = spec.classifier
    inputs = step_inputs(
        spec.augmentation, classifier.input_spec, batches, step, augment_key
    )
    others = {**statistics, **shared.frozen}

    def logits_of(parameters):
        outputs, updated = classifier.apply_train(
            {**parameters, **others}, inputs.images, network_key
        )
        return outputs.logits, updated

    def mean_loss(parameters):
        logits, updated = logits_of(parameters)
        losses = _losses(spec, logits, inputs, shared, label_smoothing)
        return losses.mean(), (updated, logits)

    (loss, (updated, logits)), slope = jax.value_and_grad(mean_loss, has_aux=True)(
        parameters
    )
    curvature = {}
    if spec.curvature:
        curvature = _curvature(logits_of, parameters, logits, drawn_key)
    kept = {name: updated[name].astype(old.dtype) for name, old in statistics.items()}
    return Gradient(loss, slope, kept, curvature)


def _losses(
    spec: GradientSpec,
    logits: Float[Array, "b k"],
    inputs: StepInputs,
    shared: Shared,
    label_smoothing: Float[Array, ""],
) -> Float[Array, " b"]:
    """The recipe's loss, with the teacher's part, for each image."""
    loss = LOSSES[spec.loss]
    losses = loss(logits, inputs.labels, label_smoothing=label_smoothing)
    if spec.augmentation.mixes:
        other = loss(logits, inputs.other_labels, label_smoothing=label_smoothing)
        losses = inputs.weight * losses + (1 - inputs.weight) * other
    distilled = spec.distillation
    if distilled is None:
        return losses
    seen = seen_by(
        inputs.images, spec.classifier.input_spec, distilled.teacher.input_spec
    )
    taught = distilled.teacher.apply(shared.teacher, seen).logits
    apart = distillation(
        logits, taught, kind=distilled.kind, temperature=distilled.temperature
    )
    return (1 - distilled.weight) * losses + distilled.weight * apart


def _curvature(logits_of, parameters, logits, key) -> dict[str, Any]:
    """The diagonal of the Gauss-Newton-Bartlett estimator, Liu et al. (2023), alg. 3.

    The gradient of the cross-entropy against labels that the network itself draws,
    squared, times the batch size. https://arxiv.org/abs/2305.14342
    """
    drawn = jax.random.categorical(key, jax.lax.stop_gradient(logits))
    slope = jax.grad(lambda p: LOSSES["cross_entropy"](logits_of(p)[0], drawn).mean())(
        parameters
    )
    return jax.tree.map(lambda g: len(drawn) * jnp.square(g), slope)


def update(
    spec: UpdateSpec,
    state: MemberState,
    found: Gradient,
    scalars: MemberScalars,
    horizon: Horizon,
) -> MemberState:
    """Applies a gradient, unless the member has diverged or does so here.

    A step whose loss, parameters or statistics are not finite is not applied: the
    member keeps what it had, for good, and `diverged_step` says when that was.
    """
    updates, optimizer = _updates(spec, state, found, scalars, horizon)
    parameters: Any = optax.apply_updates(state.parameters, updates)
    variables = (parameters, found.statistics)
    average = state.average
    if spec.averages:
        average = _averaged(state, {**parameters, **found.statistics}, scalars)
    new = (*variables, average, optimizer)
    finite = _all_finite((found.loss, *variables))
    sound = state.diverged_step == SOUND
    apply = sound & finite
    old = (state.parameters, state.statistics, state.average, state.optimizer)
    kept = jax.tree.map(
        lambda after, before: jnp.where(apply, after.astype(before.dtype), before),
        new,
        old,
    )
    first = state.step == horizon.window_start
    return MemberState(
        *kept,
        step=state.step + 1,
        diverged_step=jnp.where(sound & ~finite, state.step, state.diverged_step),
        loss_sum=jnp.where(first, 0.0, state.loss_sum)
        + jnp.where(apply, found.loss, 0.0),
    )


def _updates(
    spec: UpdateSpec,
    state: MemberState,
    found: Gradient,
    scalars: MemberScalars,
    horizon: Horizon,
) -> tuple[dict[str, Any], Any]:
    """What to add to the parameters, and the optimizer's next state."""
    rate = warmup_cosine(
        state.step,
        peak=scalars.hyper.learning_rate,
        warmup_steps=horizon.warmup_steps,
        total_steps=horizon.total_steps,
    )
    hyper = scalars.hyper._replace(learning_rate=rate)
    transformation = spec.transformation(hyper, state.parameters)
    slope = found.gradient
    if spec.clip_norm is not None:
        clip = optax.clip_by_global_norm(spec.clip_norm)
        slope, _ = clip.update(slope, clip.init(slope))
    # Optax raises a float to an integer count, which JAX's strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer = transformation.update(
            slope,
            state.optimizer,
            state.parameters,
            value=found.loss,
            curvature=found.curvature,
        )
    rates = dict(spec.rates)
    given: Any = updates
    return {n: rates[n] * u if n in rates else u for n, u in given.items()}, optimizer


def _averaged(
    state: MemberState, variables: dict[str, Any], scalars: MemberScalars
) -> dict[str, Any]:
    """The next moving average, of parameters and statistics alike.

    After t steps the decay is at most (1 + t) / (10 + t), so that a short training is
    not an average of its first steps.
    """
    gone = state.step.astype(jnp.float32)
    decay = jnp.minimum(scalars.ema_decay, (1 + gone) / (10 + gone))
    return jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, state.average, variables
    )


def whole_step(
    spec: StepSpec,
    curved: Bool[Array, ""],
    state: MemberState,
    batches: Batches,
    shared: Shared,
    scalars: MemberScalars,
    horizon: Horizon,
) -> MemberState:
    """Both halves as one function.

    `curved` says whether this is a step in which the optimizer wants the curvature; it
    is the same for all members, so that it stays a branch when they are vmapped.
    """
    half = (
        state.parameters,
        state.statistics,
        state.step,
        batches,
        shared,
        scalars.seed,
        scalars.label_smoothing,
    )
    if spec.update.optimizer.curvature_every is None:
        return update(
            spec.update, state, gradient(spec.gradient, *half), scalars, horizon
        )

    def plain():
        return gradient(spec.gradient, *half)._replace(
            curvature=jax.tree.map(jnp.zeros_like, state.parameters)
        )

    found = jax.lax.cond(curved, lambda: gradient(spec.curved, *half), plain)
    return update(spec.update, state, found, scalars, horizon)


def evaluated_variables(
    spec: StepSpec, state: MemberState, scalars: MemberScalars
) -> dict[str, Any]:
    """What a member is measured by, without what is frozen.

    The moving average where there is one; what the optimizer wants evaluated where that
    is not what it differentiates at; else what is trained.
    """
    if spec.update.averages:
        return state.average
    evaluated, parameters = spec.update.optimizer.evaluated, state.parameters
    if evaluated is not None:
        parameters = evaluated(scalars.hyper, state.optimizer, parameters)
    return {**parameters, **state.statistics}


def _all_finite(tree: Any) -> Array:
    """Whether no float of the tree is infinite or NaN."""
    # In one piece: a reduction for each leaf doubles what there is to compile.
    flat = [
        leaf.astype(jnp.float32).ravel()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, np.inexact)
    ]
    return jnp.isfinite(jnp.concatenate(flat)).all()
