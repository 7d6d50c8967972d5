"""Averages, teachers, halving, streams and points: each against its definition."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.data import ArraySource
from jaxbench.errors import UserError
from jaxbench.training import (
    OPTIMIZERS,
    Halving,
    HyperParameters,
    ImageStream,
    Recipe,
    Teacher,
    TrainingImages,
    train_population,
)
from jaxbench.training.stacked import StackedRunner
from tests.training.conftest import MEMBERS
from tests.training.doubles import SPEC, ConvNet, DenseNet, make_images

PLAIN = Recipe(epochs=4, batch_size=16, warmup_epochs=0.5)
STRATEGIES = ("loop", "vmap", "unroll")


# -- moving averages ---------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_average_is_that_of_the_trajectory(train, strategy):
    """Points after every step show the trajectory; the average is taken by hand."""
    recipe = dataclasses.replace(PLAIN, epochs=2)
    seen = []
    member = HyperParameters(0.05, seed=4)
    options = {"members": (member,), "strategy": strategy, "validate_every": 1}
    train(
        ConvNet("net"),
        recipe=recipe,
        validate=lambda v: seen.append(jax.device_get(v)) or {},
        **options,
    )
    averaging = dataclasses.replace(recipe, ema_decay=0.3)
    result = train(ConvNet("net"), recipe=averaging, **options)
    expected = ConvNet("net").init(jax.random.key(4))
    for step, variables in enumerate(seen):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = {
            name: decay * expected[name] + (1 - decay) * value
            for name, value in variables.items()
        }
    for name, value in expected.items():
        np.testing.assert_allclose(
            result.variables[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name
        )


def test_an_average_beside_an_averaging_optimizer_is_refused(train):
    recipe = dataclasses.replace(PLAIN, ema_decay=0.9)
    with pytest.raises(UserError, match="averages its weights itself"):
        train(DenseNet("dense"), "schedule_free_adamw", recipe=recipe)


def test_schedule_free_is_measured_at_its_average(train):
    """Its statistics are those of training images under the averaged weights."""
    loop, vmap = (
        train(
            ConvNet("net"),
            "schedule_free_adamw",
            members=(HyperParameters(0.01, seed=1),),
            recipe=PLAIN,
            strategy=strategy,
        ).variables[0]
        for strategy in ("loop", "vmap")
    )
    for name, value in loop.items():
        np.testing.assert_allclose(value, vmap[name], rtol=1e-4, atol=1e-6)
    images, _ = make_images()
    pixels = (images / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    hidden = jax.lax.conv_general_dilated(
        jnp.asarray(pixels, jnp.float32),
        loop["conv.kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    # Fifty steps leave half a percent of the statistics of the trajectory (0.2 off);
    # batches of 16 scatter by a few hundredths around those of all images.
    mean = np.asarray(hidden.mean((0, 1, 2)))
    np.testing.assert_allclose(loop["norm.mean"], mean, atol=0.05)


# -- teachers ----------------------------------------------------------------------


def teacher_of(network, seed=7):
    return Teacher(network, network.init(jax.random.key(seed)), f"seed {seed}")


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_student_of_nothing_but_its_teacher_comes_to_agree(train, strategy, kind):
    network = DenseNet("dense")
    teacher = teacher_of(DenseNet("teacher", width=12))
    recipe = Recipe(
        epochs=30,
        batch_size=16,
        distillation=1.0,
        distillation_kind=kind,
        distillation_temperature=2.0,
    )
    images, _ = data = make_images()
    result = train(
        network,
        members=(HyperParameters(0.05),),
        recipe=recipe,
        teacher=teacher,
        strategy=strategy,
        data=data,
    )
    pixels = (images / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    pixels = jnp.asarray(pixels, jnp.float32)
    theirs = teacher.classifier.apply(teacher.variables, pixels).logits.argmax(1)
    ours = network.apply(result.variables[0], pixels).logits.argmax(1)
    drawn = network.init(jax.random.key(0))
    before = network.apply(drawn, pixels).logits.argmax(1)
    assert (before == theirs).mean() < 0.4
    assert (ours == theirs).mean() > 0.7


def test_a_teacher_that_does_not_fit_is_refused(train):
    network = DenseNet("dense")
    other = teacher_of(dataclasses.replace(network, num_classes=9))
    with pytest.raises(UserError) as caught:
        train(network, recipe=PLAIN, teacher=other)
    assert "distillation is 0" in str(caught.value)
    assert "9 classes" in str(caught.value)
    with pytest.raises(UserError, match="without a teacher"):
        train(network, recipe=dataclasses.replace(PLAIN, distillation=0.5))


# -- points ------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_points_every_few_steps_change_nothing_but_the_curves(
    train, assert_same, strategy
):
    network = DenseNet("dense")
    epochs = train(network, recipe=PLAIN, strategy=strategy)
    steps = train(network, recipe=PLAIN, strategy=strategy, validate_every=3)
    assert epochs.stops == (4, 8, 12, 16)
    assert steps.stops == (3, 6, 9, 12, 15, 16)
    for ours, theirs in zip(epochs.variables, steps.variables, strict=True):
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name])
    # The mean losses of both, weighted by their steps, are those of the whole.
    totals = [
        (r.curves["train_loss"] * np.diff(r.stops, prepend=0)).sum(1)
        for r in (epochs, steps)
    ]
    np.testing.assert_allclose(*totals, rtol=1e-5)


# -- halving -----------------------------------------------------------------------

SIX = tuple(HyperParameters(0.01 * (1 + i), seed=i) for i in range(6))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_halving_stops_the_worst_and_the_others_notice_nothing(train, strategy):
    network = DenseNet("dense")

    def merit(variables):
        # Known beforehand: each seed's initial head has another sum.
        return {"accuracy": float(np.asarray(variables["head.bias"]).sum())}

    whole = train(network, members=SIX, recipe=PLAIN, strategy="loop", validate=merit)
    result = train(
        network,
        members=SIX,
        recipe=PLAIN,
        strategy=strategy,
        validate=merit,
        halving=Halving(first_epoch=1, factor=2),
    )
    at_first = np.argsort(-whole.curves["val_accuracy"][:, 0], kind="stable")[:3]
    among = sorted(at_first.tolist())
    at_second = among[int(np.argmax(whole.curves["val_accuracy"][among, 1]))]
    expected = [4] * 6
    for member in among:
        expected[member] = 8
    assert [s for i, s in enumerate(result.stopped_step) if i != at_second] == [
        s for i, s in enumerate(expected) if i != at_second
    ]
    assert result.stopped_step[at_second] is None
    for name, value in result.variables[at_second].items():
        np.testing.assert_allclose(
            value, whole.variables[at_second][name], rtol=1e-5, atol=1e-6
        )
    losses = result.curves["train_loss"]
    assert np.isfinite(losses[at_second]).all()
    for member, step in enumerate(result.stopped_step):
        if step is not None:
            assert np.isfinite(losses[member]).sum() == step // 4


def test_a_stopped_member_keeps_its_weights_where_it_cannot_be_packed_away(train):
    """Two members on two devices: the one that goes on needs both rows."""
    mesh = jax.make_mesh(
        (2,),
        ("members",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:2],
    )

    def run(**options):
        return train(
            DenseNet("dense"),
            members=SIX[:2],
            recipe=PLAIN,
            validate=lambda v: {"accuracy": float(np.asarray(v["head.bias"]).sum())},
            halving=Halving(first_epoch=1),
            **options,
        )

    loop, cut = run(strategy="loop"), run(mesh=mesh)
    assert loop.stopped_step == cut.stopped_step
    assert set(loop.stopped_step) == {4, None}
    for ours, theirs in zip(loop.variables, cut.variables, strict=True):
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-6)


def test_a_stacked_population_is_packed_once_half_of_it_is_gone(train, monkeypatch):
    sizes = []
    run = StackedRunner.run

    def spy(self, *arguments):
        run(self, *arguments)
        sizes.append(len(self._rows))

    monkeypatch.setattr(StackedRunner, "run", spy)
    wild = [HyperParameters(1e30, seed=i) for i in range(3)]
    result = train(
        DenseNet("dense"), members=(*wild, *MEMBERS), recipe=PLAIN, strategy="vmap"
    )
    assert sizes == [6, 3, 3, 3]
    assert [step is None for step in result.diverged_step] == [False] * 3 + [True] * 3
    alone = train(DenseNet("dense"), recipe=PLAIN, strategy="vmap")
    for ours, theirs in zip(result.variables[3:], alone.variables, strict=True):
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-6)


def test_survivors_are_the_best_and_nan_is_worst():
    values = np.array([0.1, np.nan, 0.7, 0.7, 0.3])
    members = [3, 5, 6, 8, 9]
    assert Halving().survivors(members, values) == [6, 8]
    assert Halving(maximize=False).survivors(members, values) == [3, 9]
    assert Halving(factor=9).survivors(members, values) == [6]
    assert Halving(2, 3).rungs(20) == (2, 6, 18)
    with pytest.raises(UserError, match=r"first_epoch is 0.*factor is 1"):
        Halving(0, 1)


def test_halving_that_cannot_decide_is_refused(train):
    with pytest.raises(UserError, match="there is none; give `validate`"):
        train(recipe=PLAIN, halving=Halving())
    with pytest.raises(UserError, match="would stop nobody"):
        train(recipe=PLAIN, halving=Halving(4), validate=lambda _: {"accuracy": 0.5})
    with pytest.raises(UserError, match="unknown halving metric 'accuracy'"):
        train(
            DenseNet("dense"),
            recipe=PLAIN,
            halving=Halving(),
            validate=lambda _: {"nll": 0.5},
        )


# -- streams -----------------------------------------------------------------------


def make_stream(seed=0):
    images, labels = make_images()
    names = tuple("abcd")
    spec = dataclasses.replace(SPEC, crop_fraction=1.0)
    source = ArraySource("stream", images, labels, class_names=names)
    return ImageStream(source, spec, seed=seed, num_threads=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stream_trains_as_the_same_images_in_memory(strategy):
    """A stream has one order for all members: that of members with its seed."""
    network, member = DenseNet("dense"), HyperParameters(0.02, 0.01, seed=3)
    images = TrainingImages(*make_images())
    resident = train_population(network, "adamw", (member,), images, PLAIN)
    streamed = train_population(
        network, "adamw", (member,), make_stream(seed=3), PLAIN, strategy=strategy
    )
    for name, value in resident.variables[0].items():
        np.testing.assert_allclose(
            streamed.variables[0][name], value, rtol=1e-5, atol=1e-6
        )


def test_several_steps_of_a_stream_in_a_call(assert_same):
    runs = [
        train_population(
            DenseNet("dense"),
            "sgd",
            MEMBERS,
            make_stream(),
            PLAIN,
            strategy="vmap",
            steps_per_call=calls,
        )
        for calls in (1, 3)
    ]
    assert_same(*runs, atol=1e-5)


def test_statistics_that_must_be_taken_anew_need_images_in_memory():
    with pytest.raises(UserError, match="do not stream them"):
        train_population(
            ConvNet("net"), "schedule_free_adamw", MEMBERS, make_stream(), PLAIN
        )


# -- curvature ---------------------------------------------------------------------


def test_curvature_is_that_of_drawn_labels_and_comes_every_tenth_step(train):
    """Seen from the outside by an optimizer that only writes down what it is given."""
    import optax

    def build(hyper, leaves):
        del leaves

        def init(parameters):
            return {"sum": jax.tree.map(jnp.zeros_like, parameters), "n": jnp.zeros(())}

        def update(updates, state, params=None, *, curvature, **_):
            del params
            used = state["n"] % 3 == 0
            total = jax.tree.map(
                lambda old, new: jnp.where(used, old + new, old),
                state["sum"],
                curvature,
            )
            steps = jax.tree.map(
                lambda g, h: -hyper.learning_rate * g / (1 + h), updates, total
            )
            return steps, {"sum": total, "n": state["n"] + 1}

        return optax.GradientTransformationExtraArgs(init, update)

    row = dataclasses.replace(
        OPTIMIZERS["sophia"], name="own", build=build, curvature_every=3, options={}
    )
    results = [
        train(DenseNet("dense"), row, recipe=PLAIN, strategy=strategy)
        for strategy in STRATEGIES
    ]
    plain = train(DenseNet("dense"), "sgd", recipe=PLAIN)
    for name, value in results[0].variables[0].items():
        for other in results[1:]:
            np.testing.assert_allclose(
                value, other.variables[0][name], rtol=1e-5, atol=1e-6
            )
        assert (value != plain.variables[0][name]).any()
