"""What a population's members become, under the default strategy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import OPTIMIZERS, HyperParameters, Optimizer, Recipe
from jaxbench.training.loop import LoopRunner
from jaxbench.training.members import epoch_order
from tests.training.conftest import MEMBERS
from tests.training.doubles import SPEC, ConvNet, DenseNet, make_images

PLAIN = Recipe(epochs=2, batch_size=16, warmup_epochs=0.5)


def reference_run(network, member, images, labels, recipe):
    """Two dense layers by SGD in NumPy float64, gradients by hand."""
    p = {
        n: v.astype(np.float64)
        for n, v in network.init(jax.random.key(member.seed)).items()
    }
    momentum = dict.fromkeys(p, 0.0)
    steps = len(labels) // recipe.batch_size
    warmup, total = round(recipe.warmup_epochs * steps), recipe.epochs * steps
    losses = np.zeros((recipe.epochs, steps))
    for epoch in range(recipe.epochs):
        order = epoch_order(
            member.seed, epoch, num_images=len(labels), batch_size=recipe.batch_size
        )
        for at, rows in enumerate(order):
            x = (images[rows] / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
            x = x.reshape(len(rows), -1)
            z = x @ p["hidden.kernel"] + p["hidden.bias"]
            h = np.maximum(z, 0)
            logits = h @ p["head.kernel"] + p["head.bias"]
            prob = np.exp(logits - logits.max(1, keepdims=True))
            prob /= prob.sum(1, keepdims=True)
            truth = np.eye(prob.shape[1])[labels[rows]]
            losses[epoch, at] = -np.log((prob * truth).sum(1)).mean()
            d = (prob - truth) / len(rows)
            dz = d @ p["head.kernel"].T * (z > 0)
            g = {
                "hidden.kernel": x.T @ dz,
                "hidden.bias": dz.sum(0),
                "head.kernel": h.T @ d,
                "head.bias": d.sum(0),
            }
            s = epoch * steps + at
            if s < warmup:
                eta = member.learning_rate * (s + 1) / (warmup + 1)
            else:
                part = (s - warmup) / (total - warmup)
                eta = member.learning_rate * (1 + np.cos(np.pi * part)) / 2
            for n in p:
                decay = member.weight_decay * p[n] if n.endswith("kernel") else 0
                momentum[n] = 0.9 * momentum[n] + g[n] + decay
                p[n] = p[n] - eta * momentum[n]
    return p, losses.mean(1)


def test_members_follow_a_float64_run_written_out_by_hand(train):
    network = DenseNet("dense")
    images, labels = make_images()
    members = (HyperParameters(0.01, 0.01, seed=7), HyperParameters(0.002, seed=8))
    result = train(network, members=members, recipe=PLAIN)
    for index, member in enumerate(members):
        expected, losses = reference_run(network, member, images, labels, PLAIN)
        for name, value in expected.items():
            # Eight float32 steps, inputs of 192 numbers.
            np.testing.assert_allclose(
                result.variables[index][name], value, rtol=1e-4, atol=2e-6
            )
        np.testing.assert_allclose(
            result.curves["train_loss"][index], losses, rtol=1e-5
        )


def test_a_member_alone_is_bit_for_bit_the_member_in_company(train, assert_same):
    together = train(strategy="loop")
    for index, member in enumerate(MEMBERS):
        alone = train(members=(member,), strategy="loop")
        assert_same(alone, only(together, index))


def only(result, index):
    """The result that one member has in a population."""
    return dataclasses.replace(
        result,
        variables=[result.variables[index]],
        curves={name: curve[[index]] for name, curve in result.curves.items()},
        diverged_step=(result.diverged_step[index],),
        stopped_step=(result.stopped_step[index],),
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns_the_pictures(train, name):
    rate = OPTIMIZERS[name].defaults["learning_rate"]
    # The study's rate for AdaGrad is the best of those with which it failed.
    member = HyperParameters(20 * rate if name == "adagrad" else rate, seed=3)
    recipe = Recipe(epochs=60, batch_size=16, warmup_epochs=1.0)
    result = train(DenseNet("dense"), name, (member,), recipe)
    losses = result.curves["train_loss"][0]
    assert losses[-1] < 0.7 * losses[0]


def test_one_trace_serves_the_grid_and_the_next_population(train):
    network = DenseNet("counted")
    members = tuple(
        HyperParameters(rate, decay, seed)
        for rate in (1e-3, 0.1)
        for decay in (0.0, 0.1)
        for seed in (0, 1)
    )
    first = train(network, members=members)
    assert network.traces.count == 1
    assert first.timing["compile_seconds"] > 0
    longer = dataclasses.replace(PLAIN, epochs=3)
    train(network, members=members[:1], recipe=PLAIN)
    assert network.traces.count == 2  # another recipe: no augmentation, no smoothing
    again = train(network, members=members[:3], recipe=longer)
    assert network.traces.count == 2
    assert again.timing["compile_seconds"] == 0


def test_optimizers_share_the_gradient_program(train):
    network = DenseNet("shared")
    plain = [name for name, row in OPTIMIZERS.items() if not row.curvature_every]
    for name in plain:
        train(network, name, recipe=PLAIN)
    assert network.traces.count == 1


def test_seeds_change_everything_and_rates_only_the_outcome(train):
    members = [HyperParameters(0.05, seed=s) for s in (0, 0, 1)]
    result = train(members=members)
    same, again, other = (v["conv.kernel"] for v in result.variables)
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()


@pytest.mark.parametrize(
    ("drop_rate", "change"),
    [
        (0.5, {}),
        (0.0, {"augmentations": ("flip",)}),
        (0.0, {"label_smoothing": 0.3}),
        (0.0, {"clip_norm": 0.01}),
        (0.0, {"warmup_epochs": 2.0}),
    ],
)
def test_every_part_of_the_recipe_acts(train, drop_rate, change):
    plain = train(DenseNet("dense"), recipe=PLAIN)
    network = DenseNet("dense", drop_rate=drop_rate)
    changed = train(network, recipe=dataclasses.replace(PLAIN, **change))
    ours, theirs = plain.variables[0], changed.variables[0]
    assert (ours["head.kernel"] != theirs["head.kernel"]).any()


def test_statistics_are_trained_and_initial_variables_left_alone(train, monkeypatch):
    network = ConvNet("net", drop_rate=0.2)
    drawn = network.init(jax.random.key(0))
    copies = {name: value.copy() for name, value in drawn.items()}
    monkeypatch.setattr(ConvNet, "init", lambda *_: drawn)
    result = train(network)
    for name, value in copies.items():
        np.testing.assert_array_equal(drawn[name], value)
        assert (result.variables[0][name] != value).any()
        assert result.variables[0][name].dtype == np.float32


def test_no_copy_between_host_and_device_is_hidden_in_the_steps(train, monkeypatch):
    run = LoopRunner.run

    def guarded(*arguments):
        # Of the process, not of this thread: members are trained in others.
        jax.config.update("jax_transfer_guard", "disallow")
        try:
            run(*arguments)
        finally:
            jax.config.update("jax_transfer_guard", "allow")

    monkeypatch.setattr(LoopRunner, "run", guarded)
    train(strategy="loop")


def test_validation_and_progress_see_every_epoch(train):
    seen, calls = [], []

    def validate(variables):
        assert variables.keys() == ConvNet("net").shapes.keys()
        calls.append(float(np.abs(variables["head.bias"]).sum()))
        return {"accuracy": len(calls) / 10}

    def on_point(epoch, curves):
        seen.append((epoch, {name: curve.shape for name, curve in curves.items()}))

    result = train(validate=validate, on_point=on_point)
    np.testing.assert_allclose(
        result.curves["val_accuracy"], [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]]
    )
    shapes = [
        dict.fromkeys(("step", "train_loss", "seconds", "val_accuracy"), (3, e))
        for e in (1, 2)
    ]
    assert seen == [(0, shapes[0]), (1, shapes[1])]
    last = [float(np.abs(v["head.bias"]).sum()) for v in result.variables]
    np.testing.assert_allclose(calls[3:], last)


def test_timing_counts_steps_and_images(train):
    timing = train().timing
    assert timing["steps"] == 3 * 2 * 4
    assert timing["images_per_second"] == pytest.approx(
        3 * 2 * 4 * 16 / timing["train_seconds"]
    )
    assert timing["validate_seconds"] == 0


def test_interrupt_passes_through(train):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(on_point=interrupt)


def test_an_optimizer_of_your_own_needs_no_row(train):
    import optax

    def build(hyper, mask):
        del mask
        return optax.stateless(
            lambda g, _: jax.tree.map(lambda u: -hyper.learning_rate * jnp.sign(u), g)
        )

    own = Optimizer("sign", build, "https://arxiv.org/abs/1802.04434", {})
    result = train(DenseNet("dense"), own, recipe=PLAIN)
    assert np.isfinite(result.curves["train_loss"]).all()


def test_all_problems_are_named_at_once(train):
    images, labels = make_images(10, size=(9, 8))
    mesh = jax.make_mesh((1,), ("members",), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(UserError) as caught:
        train(members=(), data=(images, labels + 4), strategy="loop", mesh=mesh)
    message = str(caught.value)
    for part in (
        "members is empty",
        "images are (9, 8)",
        "batch_size is 16 and there are 10 images",
        "labels span 4 to 7",
        "takes no mesh",
    ):
        assert part in message


def test_an_unknown_optimizer_is_refused(train):
    with pytest.raises(UserError, match="did you mean 'lion'"):
        train(optimizer="lino")
