"""One draw: two views, their distance, the decision, and the update if it is used."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxbench.metrics.frechet import frechet_distance
from jaxbench.training.contrastive.curation import (
    CurationState,
    Limits,
    Method,
    decide,
)
from jaxbench.training.contrastive.encoder import Encoder
from jaxbench.training.contrastive.losses import huber_term, nt_xent, unit_length
from jaxbench.training.contrastive.recipes import Budget
from jaxbench.training.contrastive.views import Views, two_views
from jaxbench.training.inputs import Batches
from jaxbench.training.members import MemberScalars
from jaxbench.training.specs import Gradient, Horizon, MemberState, StepSpec
from jaxbench.training.steps import update


@dataclass(frozen=True)
class DrawSpec:
    """What decides the program of a draw, besides shapes.

    Attributes:
        encoder: The network.
        step: How it is updated.
        views: How views are drawn.
        method: How a draw is judged.
        measures: Whether the Frechet distance is computed.
        normalized: See `ContrastiveRecipe`.
        budget: What the schedule counts.
        branches: Whether a rejected draw is spared the backward pass. On CPUs XLA runs
            the weight gradient of a convolution within a branch some fifty times slower
            than outside, so there every draw is differentiated and the outcome dropped.
    """

    encoder: Encoder
    step: StepSpec
    views: Views
    method: Method
    measures: bool
    normalized: bool
    budget: Budget
    branches: bool


class Scalars(NamedTuple):
    """The numbers of a run that ask for no compilation."""

    member: MemberScalars
    temperature: Float[Array, ""]
    huber_weight: Float[Array, ""]
    huber_delta: Float[Array, ""]
    limits: Limits


class ContrastiveState(NamedTuple):
    """Everything that changes from draw to draw."""

    member: MemberState
    curation: CurationState


class Draw(NamedTuple):
    """What is written down of a draw.

    Attributes:
        loss: NT-Xent and the weighted Huber term.
        nt_xent: The first.
        huber: The second, unweighted.
        distance: Frechet distance of the two views' projections; NaN where it is not
            measured.
        threshold: That it had to stay below; infinity where there was none.
        used: Whether the draw was used for an update.
        batch: Number of the batch of images, from the start of training.
        attempt: New views of the same images before this draw.
    """

    loss: Float[Array, ""]
    nt_xent: Float[Array, ""]
    huber: Float[Array, ""]
    distance: Float[Array, ""]
    threshold: Float[Array, ""]
    used: Bool[Array, ""]
    batch: Int[Array, ""]
    attempt: Int[Array, ""]


def draw_step(
    spec: DrawSpec,
    state: ContrastiveState,
    batches: Batches,
    scalars: Scalars,
    horizon: Horizon,
) -> tuple[ContrastiveState, Draw]:
    """Draws views of the present batch, judges them, and updates where they pass.

    A draw that is rejected leaves parameters, statistics and the optimizer's state as
    they were, to the bit.

    Args:
        spec: What to do.
        state: Before the draw.
        batches: The training images, and the batches of the present epoch.
        scalars: The run's numbers.
        horizon: Lengths of the schedule.
    """
    place = state.curation
    key = jax.random.fold_in(jax.random.key(scalars.member.seed), place.batch)
    view_key, network_key = jax.random.split(jax.random.fold_in(key, place.attempt))
    images = _images(batches, place.batch)
    inputs = two_views(images, view_key, spec.views, spec.encoder.input_spec)

    def losses(parameters):
        variables = {**parameters, **state.member.statistics}
        projections, updated = spec.encoder.apply_train(variables, inputs, network_key)
        # The batch holds both views, one after the other.
        first, second = jnp.split(projections, 2)
        contrast = nt_xent(first, second, temperature=scalars.temperature)
        if spec.normalized:
            first, second = unit_length(first), unit_length(second)
        apart = huber_term(first, second, delta=scalars.huber_delta)
        loss = contrast + scalars.huber_weight * apart
        return loss, (contrast, apart, first, second, updated)

    loss, backward, found = jax.vjp(losses, state.member.parameters, has_aux=True)
    contrast, apart, first, second, updated = found
    distance = jnp.full((), jnp.nan, jnp.float32)
    if spec.measures:
        distance = frechet_distance(
            *(jax.lax.stop_gradient(view) for view in (first, second))
        )
    used, threshold, curation = decide(spec.method, scalars.limits, place, distance)

    def after() -> MemberState:
        (slope,) = backward(jnp.ones((), loss.dtype))
        old = state.member.statistics
        kept = {name: updated[name].astype(old[name].dtype) for name in old}
        outcome = Gradient(loss, slope, kept, {})
        return update(spec.step.update, state.member, outcome, scalars.member, horizon)

    member = _where(spec, used, after, state.member)
    count = curation.draws if spec.budget == "draws" else curation.updates
    member = member._replace(step=count)
    record = Draw(
        loss, contrast, apart, distance, threshold, used, place.batch, place.attempt
    )
    return ContrastiveState(member, curation), record


def _images(batches: Batches, batch: Int[Array, ""]) -> Any:
    rows = jax.lax.dynamic_index_in_dim(
        batches.rows, batch - batches.first, keepdims=False
    )
    # "clip": the rows are in bounds by construction, so nothing needs filling.
    return jnp.take(batches.images, rows, axis=0, mode="clip")


def _where(spec: DrawSpec, used: Bool[Array, ""], after, before: MemberState):
    if spec.method == "none":
        return after()
    if spec.branches:
        return jax.lax.cond(used, after, lambda: before)
    return jax.tree.map(lambda a, b: jnp.where(used, a, b), after(), before)
