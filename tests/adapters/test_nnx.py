"""The NNX metric in a training loop of NNX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxbench.adapters.nnx import ClassificationMetric
from tests.adapters.conftest import BATCH, CLASSES, FEATURES, ROWS, SIZES

MetricState = nnx.metrics.MetricState


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(FEATURES, 24, rngs=rngs)
        self.head = nnx.Linear(24, CLASSES, rngs=rngs)

    def __call__(self, images):
        return self.head(nnx.relu(self.hidden(images)))


def loss_of(model, batch):
    logits = model(batch.images)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    losses = jnp.where(batch.mask, nll, 0.0)
    rows = batch.mask.sum(dtype=jnp.float32)
    # What padding gives must not matter: here, NaN.
    shown = jnp.where(batch.mask[:, None], logits, jnp.nan)
    return losses.sum() / rows, (losses, shown)


@pytest.fixture(scope="module")
def trained(batches):
    """What two epochs measured, the logits they saw, and how often they traced."""
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.3), wrt=nnx.Param)
    metrics = nnx.MultiMetric(
        loss=nnx.metrics.Average("loss"), classification=ClassificationMetric(**SIZES)
    )
    traces, history = [], []

    @nnx.jit
    def train_step(model, optimizer, metrics, batch):
        traces.append(batch)
        grads, (losses, logits) = nnx.grad(loss_of, has_aux=True)(model, batch)
        optimizer.update(model, grads)
        metrics.update(loss=losses, logits=logits, **batch._asdict())
        return logits

    for _ in range(2):
        metrics.reset()
        logits = [train_step(model, optimizer, metrics, batch) for batch in batches]
        # Flax's own average divides a float by an integer.
        with jax.numpy_dtype_promotion("standard"):
            values = metrics.compute()
        history.append((values, metrics.classification.error_bounds(), logits))
    return metrics.classification, history, traces


def state_of(metric):
    return metric.state.get_value()


def assert_same(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        if a.dtype == jnp.int32:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@partial(jax.jit, static_argnums=0)
def add_batch(graph, state, logits, batch):
    metric = nnx.merge(graph, state)
    metric.update(logits=logits, **batch._asdict())
    return nnx.state(metric, MetricState)


def update(metric, logits, batch):
    """As a loop does it that keeps to pure functions of a split metric."""
    graph, state = nnx.split(metric, MetricState)
    nnx.update(metric, add_batch(graph, state, logits, batch))


def test_epochs_of_a_training_loop_equal_the_summary(trained, batches, assert_agrees):
    losses = []
    for values, bounds, logits in trained[1]:
        measured = values["classification"]
        assert_agrees(measured, bounds, batches, logits)
        # Two accounts of the same loss, by Flax and by us.
        assert float(values["loss"]) == pytest.approx(float(measured["nll"]), rel=1e-5)
        losses.append(float(values["loss"]))
    assert losses[1] < losses[0]


def test_steps_are_traced_once(trained):
    # A reset metric is the program's input as an updated one is.
    assert len(trained[2]) == 1


def test_order_of_batches_does_not_matter(trained, batches):
    whole, history, _ = trained
    again = ClassificationMetric(**SIZES)
    for at in (3, 1, 0, 2):
        update(again, history[-1][2][at], batches[at])
    assert_same(state_of(again), state_of(whole))


def test_size_is_constant_and_reset_forgets(trained, batches):
    metric = ClassificationMetric(**SIZES)
    empty = state_of(metric)
    update(metric, trained[1][0][2][0], batches[0])
    full = state_of(metric)
    assert int(full.num_examples) == BATCH
    for a, b in zip(jax.tree.leaves(empty), jax.tree.leaves(full), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(full)) < 96_000
    metric.reset()
    assert_same(state_of(metric), empty)


def test_splits_and_merges(trained):
    whole = trained[0]
    graph, state = nnx.split(whole, MetricState)
    assert len(nnx.to_flat_state(state)) == 1
    other = nnx.merge(graph, state, copy=True)
    assert (other.num_bins, other.num_classes, other.classwise) == (15, CLASSES, True)
    assert_same(state_of(other), state_of(whole))
    other.reset()
    assert int(state_of(other).num_examples) == 0
    assert int(state_of(whole).num_examples) == ROWS


def test_misuse_is_reported():
    metric = ClassificationMetric()
    with pytest.raises(ValueError, match="no example counts so far"):
        metric.compute()
    with pytest.raises(ValueError, match="no example counts so far"):
        metric.error_bounds()
    stack = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state_of(metric))
    metric.state.set_value(stack)
    with pytest.raises(ValueError, match=r"jax.vmap\(ClassificationState.compute\)"):
        metric.compute()
    with pytest.raises(ValueError, match="num_bins is 0"):
        ClassificationMetric(num_bins=0)
    with pytest.raises(ValueError, match="num_classes is 0; wanted the number"):
        ClassificationMetric(classwise=True)


def test_nothing_seen_is_not_a_error_under_jit():
    # The values are NaN there: see the tests of the state.
    values = nnx.eval_shape(lambda m: m.compute(), ClassificationMetric(**SIZES))
    assert values.keys() >= {"accuracy", "aurc", "classwise_ece"}
