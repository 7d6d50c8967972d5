"""One optimizer step of one member, as pure functions of arrays.

The step is written for a single member and in two halves, the gradient and the update.
The strategies of `runners.py` call, vmap, scan or shard them; nothing here knows which.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt, UInt8

from jaxbench.data.augment import augment
from jaxbench.data.preprocess import normalize
from jaxbench.training.losses import cross_entropy
from jaxbench.training.members import MemberScalars, Trainable
from jaxbench.training.optimizers import Hyper, Optimizer
from jaxbench.training.schedules import warmup_cosine

# Value of `diverged_step` while a member is sound.
SOUND = -1


class Images(NamedTuple):
    """The whole training set, resident on the device.

    Attributes:
        images: Pixels in [0, 255].
        labels: Classes.
    """

    images: UInt8[Array, "n h w 3"]
    labels: Int[Array, " n"]


class Horizon(NamedTuple):
    """Lengths that the schedule needs; traced, so that they ask for no compilation."""

    warmup_steps: Int[Array, ""]
    total_steps: Int[Array, ""]


class MemberState(NamedTuple):
    """Everything that changes while a member trains.

    Attributes:
        parameters: What the optimizer changes, flat.
        statistics: What the forward pass updates (BatchNorm), flat.
        optimizer: The optimizer's own state.
        step: Steps gone by, frozen ones too.
        diverged_step: The first step whose loss or result was not finite, or `SOUND`.
        loss_sum: Over the steps of the current epoch that were applied.
    """

    parameters: dict[str, Any]
    statistics: dict[str, Any]
    optimizer: Any
    step: Int[Array, "*members"]
    diverged_step: Int[Array, "*members"]
    loss_sum: Float[Array, "*members"]


class Gradient(NamedTuple):
    """What the first half of a step hands to the second."""

    loss: Float[Array, "*members"]
    gradient: dict[str, Any]
    statistics: dict[str, Any]


@dataclass(frozen=True)
class GradientSpec:
    """What decides the first half's program, besides shapes."""

    classifier: Trainable
    label_smoothing: float
    augmentations: tuple[str, ...]


@dataclass(frozen=True)
class UpdateSpec:
    """What decides the second half's program, besides shapes."""

    optimizer: Optimizer
    clip_norm: float | None
    decay_names: frozenset[str]

    def transformation(self, hyper: Hyper, parameters: dict[str, Any]):
        """The optimizer for these hyper-parameters."""
        mask = {name: name in self.decay_names for name in parameters}
        return optax.with_extra_args_support(self.optimizer.build(hyper, mask))


@dataclass(frozen=True)
class StepSpec:
    """Both halves."""

    gradient: GradientSpec
    update: UpdateSpec


def start(spec: StepSpec, variables: dict[str, Any]) -> MemberState:
    """The state before the first step."""
    classifier = spec.gradient.classifier
    parameters = {name: variables[name] for name in sorted(classifier.parameter_names)}
    statistics = {name: variables[name] for name in sorted(classifier.state_names)}
    # The state's shapes and values do not depend on these, see `Optimizer.build`.
    hyper = Hyper(jnp.zeros(()), jnp.zeros(()))
    return MemberState(
        parameters,
        statistics,
        spec.update.transformation(hyper, parameters).init(parameters),
        step=jnp.zeros((), jnp.int32),
        diverged_step=jnp.full((), SOUND, jnp.int32),
        loss_sum=jnp.zeros((), jnp.float32),
    )


def gradient(
    spec: GradientSpec,
    parameters: dict[str, Any],
    statistics: dict[str, Any],
    step: Int[Array, ""],
    data: Images,
    order: Int[Array, "steps batch"],
    seed: UInt[Array, ""],
) -> Gradient:
    """Gathers, augments and normalises the step's batch and differentiates the loss.

    Args:
        spec: What to differentiate.
        parameters: Where.
        statistics: BatchNorm statistics before the step.
        step: Steps since the start; row `step % steps` of `order` is the batch.
        data: The training set.
        order: Rows of the images for each step of the epoch.
        seed: The member's.
    """
    rows = jax.lax.dynamic_index_in_dim(order, step % order.shape[0], keepdims=False)
    # "clip": the rows are in bounds by construction, so nothing needs filling.
    images = jnp.take(data.images, rows, axis=0, mode="clip")
    labels = jnp.take(data.labels, rows, axis=0, mode="clip")
    key = jax.random.fold_in(jax.random.key(seed), step)
    augment_key, network_key = jax.random.split(key)
    if spec.augmentations:
        images = augment(images, augment_key, spec.augmentations)
    inputs = spec.classifier.input_spec
    normalized = normalize(images, inputs.mean, inputs.std)

    def mean_loss(parameters):
        outputs, updated = spec.classifier.apply_train(
            {**parameters, **statistics}, normalized, network_key
        )
        losses = cross_entropy(
            outputs.logits, labels, label_smoothing=spec.label_smoothing
        )
        return losses.mean(), updated

    (loss, updated), slope = jax.value_and_grad(mean_loss, has_aux=True)(parameters)
    kept = {name: updated[name].astype(old.dtype) for name, old in statistics.items()}
    return Gradient(loss, slope, kept)


def update(
    spec: UpdateSpec,
    steps_per_epoch: int,
    state: MemberState,
    found: Gradient,
    scalars: MemberScalars,
    horizon: Horizon,
) -> MemberState:
    """Applies a gradient, unless the member has diverged or does so here.

    A step whose loss, parameters or statistics are not finite is not applied: the
    member keeps what it had, for good, and `diverged_step` tells when that was.
    """
    rate = warmup_cosine(state.step, peak=scalars.learning_rate, **horizon._asdict())
    transformation = spec.transformation(
        Hyper(rate, scalars.weight_decay), state.parameters
    )
    slope = found.gradient
    if spec.clip_norm is not None:
        clip = optax.clip_by_global_norm(spec.clip_norm)
        slope, _ = clip.update(slope, clip.init(slope))
    # Optax raises a float to an integer count, which JAX's strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer = transformation.update(
            slope, state.optimizer, state.parameters, value=found.loss
        )
    new = (optax.apply_updates(state.parameters, updates), found.statistics, optimizer)
    finite = _all_finite((found.loss, *new[:2]))
    sound = state.diverged_step == SOUND
    apply = sound & finite
    old = (state.parameters, state.statistics, state.optimizer)
    parameters, statistics, optimizer = jax.tree.map(
        lambda after, before: jnp.where(apply, after.astype(before.dtype), before),
        new,
        old,
    )
    first = state.step % steps_per_epoch == 0
    return MemberState(
        parameters,
        statistics,
        optimizer,
        step=state.step + 1,
        diverged_step=jnp.where(sound & ~finite, state.step, state.diverged_step),
        loss_sum=jnp.where(first, 0.0, state.loss_sum)
        + jnp.where(apply, found.loss, 0.0),
    )


def whole_step(
    spec: StepSpec,
    state: MemberState,
    data: Images,
    order: Int[Array, "steps batch"],
    scalars: MemberScalars,
    horizon: Horizon,
) -> MemberState:
    """Both halves as one function."""
    found = gradient(
        spec.gradient,
        state.parameters,
        state.statistics,
        state.step,
        data,
        order,
        scalars.seed,
    )
    return update(spec.update, order.shape[0], state, found, scalars, horizon)


def _all_finite(tree: Any) -> Array:
    """Whether no float of the tree is infinite or NaN."""
    # In one piece: a reduction for each leaf doubles what there is to compile.
    flat = [
        leaf.astype(jnp.float32).ravel()
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, np.inexact)
    ]
    return jnp.isfinite(jnp.concatenate(flat)).all()
