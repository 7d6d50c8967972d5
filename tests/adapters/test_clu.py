"""The CLU look-alike in training loops, on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxbench.adapters.clu import ClassificationMetric
from tests.adapters.conftest import CLASSES, FEATURES, SIZES

Metric = ClassificationMetric.configured(**SIZES)
optimizer = optax.sgd(0.5)
merge = jax.jit(lambda one, two: one.merge(two))


def loss_of(params, batch):
    """A sum over the rows that count, and the model's outputs."""
    logits = batch.images @ params["kernel"] + params["bias"][None, :]
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    loss = jnp.where(batch.mask, nll, 0.0)
    # What padding gives must not matter: here, NaN.
    shown = jnp.where(batch.mask[:, None], logits, jnp.nan)
    return loss.sum(), {"loss": loss, "logits": shown}


def descend(params, optimizer_state, grads, rows):
    grads = jax.tree.map(lambda g: g / rows, grads)
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    return optax.apply_updates(params, updates), optimizer_state


@jax.jit
def train_step(params, optimizer_state, batch):
    grads, outputs = jax.grad(loss_of, has_aux=True)(params, batch)
    params, optimizer_state = descend(
        params, optimizer_state, grads, batch.mask.sum(dtype=jnp.float32)
    )
    metric = Metric.from_model_output(**outputs, **batch._asdict())
    return params, optimizer_state, metric, outputs["logits"]


def spread(mesh):
    """The same step over the devices of a mesh, each with its part of the batch."""

    def local_step(params, optimizer_state, batch):
        # Gradients of what all devices share arrive summed over them.
        grads, outputs = jax.grad(loss_of, has_aux=True)(params, batch)
        rows = jax.lax.psum(batch.mask.sum(dtype=jnp.float32), "batch")
        params, optimizer_state = descend(params, optimizer_state, grads, rows)
        outputs |= batch._asdict()
        summed = Metric.gather_from_model_output(**outputs)
        # The same by CLU's way, as each device sees it.
        own = Metric.from_model_output(**outputs)
        reduced = jax.lax.all_gather(own, "batch").reduce()
        reduced = jax.tree.map(lambda leaf: leaf[None], reduced)
        return params, optimizer_state, (summed, reduced), outputs["logits"]

    inputs = P(), P(), P("batch")
    results = P(), P(), (P(), P("batch")), P("batch")
    return jax.jit(
        jax.shard_map(local_step, mesh=mesh, in_specs=inputs, out_specs=results)
    )


def train(step, batches, epochs=2):
    """The metrics of each epoch's steps, and the logits that they saw."""
    params = {"kernel": jnp.zeros((FEATURES, CLASSES)), "bias": jnp.zeros(CLASSES)}
    optimizer_state = optimizer.init(params)
    history = []
    for _ in range(epochs):
        updates, logits = [], []
        for batch in batches:
            params, optimizer_state, update, seen = step(params, optimizer_state, batch)
            updates.append(update)
            logits.append(seen)
        history.append((updates, logits))
    return history


@pytest.fixture(scope="module")
def history(batches):
    return train(train_step, batches)


def merged(updates):
    metric = Metric.empty()
    for update in updates:
        metric = merge(metric, update)
    return metric


def assert_same(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        if a.dtype == jnp.int32:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_epochs_of_a_training_loop_equal_the_summary(history, batches, assert_agrees):
    losses = []
    for updates, logits in history:
        metric = merged(updates)
        values = metric.compute()
        assert_agrees(values, metric.error_bounds(), batches, logits)
        losses.append(float(values["nll"]))
    assert losses[1] < losses[0]  # each epoch began with an empty metric


def test_eight_devices_give_the_metric_of_one(history, batches, assert_agrees):
    # Of the last batch's 64 rows 11 count: six devices hold padding only.
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=auto)
    ((updates, logits),) = train(spread(mesh), batches, epochs=1)
    alone = history[0][0]
    for (summed, reduced), one in zip(updates, alone, strict=True):
        assert summed.state.num_examples.sharding.is_fully_replicated
        assert int(summed.state.num_examples) == int(one.state.num_examples)
        for device in range(8):
            assert_same(
                summed, jax.tree.map(lambda x, at=device: np.asarray(x)[at], reduced)
            )
    metric = merged([jax.device_get(summed) for summed, _ in updates])
    values = metric.compute()
    assert_agrees(values, metric.error_bounds(), batches, logits)
    expected = merged(alone).compute()
    for name, value in values.items():
        # The two runs' gradients, and so their logits, round differently.
        assert float(value) == pytest.approx(float(expected[name]), abs=1e-3), name


def test_stands_beside_other_metrics_of_a_collection(batches):
    # An entry is handed all outputs of the model, and has no mask where there is none.
    outputs = {"logits": batches[0].images[:, :CLASSES], "labels": batches[0].labels}
    others = {"loss": 1.0, "images": None, "learning_rate": np.float32(0.1)}
    update = jax.eval_shape(
        lambda seen: Metric.from_model_output(**seen, **others), outputs
    )
    assert type(update) is Metric
    assert jax.tree.structure(update) == jax.tree.structure(Metric.empty())


def test_order_of_merging_does_not_matter(history):
    a, b, c, d = updates = history[0][0]
    whole = merged(updates)
    assert_same(whole, merged([d, b, a, c]))
    assert_same(whole, merge(merge(a, b), merge(c, d)))
    assert_same(whole, merge(whole, Metric.empty()))
    reduce = jax.jit(Metric.reduce)
    assert_same(whole, reduce(jax.tree.map(lambda *xs: np.stack(xs), *updates)))
    assert_same(a, reduce(jax.tree.map(lambda leaf: np.asarray(leaf)[None], a)))


def test_size_is_constant(history):
    def layout(metric):
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(metric)]

    empty, whole = Metric.empty(), merged(history[0][0])
    assert layout(empty) == layout(whole)
    assert jax.tree.structure(empty) == jax.tree.structure(whole)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(whole)) < 96_000


def test_steps_are_traced_once(history):
    traces = []

    @jax.jit
    def add(one, two):
        traces.append(one)
        return one.merge(two)

    metric = Metric.empty()
    for updates, _ in history:
        for update in updates:
            metric = add(metric, update)
        metric = add(Metric.empty(), metric)
    assert len(traces) == 1


def test_sizes_belong_to_the_class():
    assert ClassificationMetric.configured() is ClassificationMetric
    assert ClassificationMetric.configured(**SIZES) is Metric
    assert Metric.configured(**SIZES) is Metric
    assert Metric.empty().state.class_gap.value.shape == (15, CLASSES)
    coarse = ClassificationMetric.configured(num_bins=5)
    assert issubclass(coarse, ClassificationMetric)
    assert coarse.empty().state.bin_count.shape == (5,)
    assert ClassificationMetric.empty().state.bin_count.shape == (15,)
    assert type(jax.tree.map(lambda leaf: leaf, coarse.empty())) is coarse
    with pytest.raises(ValueError, match="num_bins is 0"):
        ClassificationMetric.configured(num_bins=0)
    with pytest.raises(ValueError, match="num_classes is 0; wanted the number"):
        ClassificationMetric.configured(classwise=True)


def test_case_29_an_empty_metric_is_the_carry_of_a_scan_inside_shard_map():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(32, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES, 32).astype(np.int32)

    def local(logits, labels):
        def step(metric, batch):
            new = Metric.from_model_output(logits=batch[0], labels=batch[1])
            return metric.merge(new), None

        rows = logits.reshape(2, 2, CLASSES), labels.reshape(2, 2)
        metric, _ = jax.lax.scan(step, Metric.empty(varying="batch"), rows)
        return jax.lax.psum(metric, "batch")

    mesh = jax.make_mesh((8,), ("batch",))
    mapped = jax.shard_map(local, mesh=mesh, in_specs=P("batch"), out_specs=P())
    rows = jax.sharding.NamedSharding(mesh, P("batch"))
    total = jax.jit(mapped)(*jax.device_put((logits, labels), rows))
    assert_same(total, Metric.from_model_output(logits=logits, labels=labels))


def test_misuse_is_reported(history, batches):
    update = history[0][0][0]
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], update)
    with pytest.raises(ValueError, match="no example counts so far"):
        Metric.empty().compute()
    with pytest.raises(ValueError, match="no example counts so far"):
        Metric.empty().error_bounds()
    with pytest.raises(ValueError, match=r"stacked to \(1,\); call reduce"):
        stacked.compute()
    with pytest.raises(ValueError, match=r"\(1,\) and \(\) do not merge"):
        stacked.merge(update)
    with pytest.raises(ValueError, match="wanted a leading axis"):
        update.reduce()
    with pytest.raises(ValueError, match="do not merge; make both with the same"):
        update.merge(ClassificationMetric.empty())


def test_nothing_seen_is_not_a_error_under_jit():
    # The values are NaN there: see the tests of the state.
    values = jax.eval_shape(Metric.compute, Metric.empty())
    assert values.keys() >= {"accuracy", "aurc", "classwise_ece"}
