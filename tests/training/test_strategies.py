"""Divergence, and the agreement of all ways to run a population."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxbench.training import HyperParameters, Recipe
from jaxbench.training.loop import LoopRunner
from jaxbench.training.stacked import StackedRunner
from tests.training.conftest import MEMBERS
from tests.training.doubles import ConvNet, DenseNet, make_images

# One batch: a single step.
ONE_STEP = Recipe(epochs=1, batch_size=16, warmup_epochs=0.0, clip_norm=1.0)
ONE_BATCH = make_images(16)
AUGMENTED = {
    "classifier": ConvNet("conv", drop_rate=0.2),
    "recipe": dataclasses.replace(ONE_STEP, augmentations=("flip",)),
    "data": ONE_BATCH,
}


def make_mesh(count):
    return jax.make_mesh(
        (count,),
        ("members",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:count],
    )


# All others are vmapped in `test_optimizers`; these also ask something of the step.
@pytest.mark.parametrize(
    "optimizer", ["sgd", "adamw", "sophia", "schedule_free_adamw", "soap"]
)
def test_vmap_agrees_with_the_loop_after_a_step(train, assert_same, optimizer):
    network = DenseNet("dense")
    first, second = (
        train(network, optimizer, recipe=ONE_STEP, data=ONE_BATCH, strategy=strategy)
        for strategy in ("loop", "vmap")
    )
    # The design's bound between strategies; parameters are of order one.
    assert_same(first, second, atol=1e-6)


def test_members_cut_over_a_mesh_agree_with_the_loop(train, assert_same):
    loop = train(**AUGMENTED, strategy="loop")
    # Three members on two devices: one slot is padding.
    cut = train(**AUGMENTED, mesh=make_mesh(2))
    assert_same(loop, cut, atol=1e-6)


@pytest.mark.parametrize("devices", [None, 4])
def test_several_steps_in_a_call_agree_and_stop_at_the_end_of_the_epoch(
    train, assert_same, devices
):
    # Five steps an epoch in two calls of three: the sixth must not happen.
    recipe = Recipe(epochs=2, batch_size=16, warmup_epochs=0.5)
    mesh = make_mesh(devices) if devices else None
    data = make_images(80)
    loop = train(DenseNet("dense"), recipe=recipe, data=data, strategy="loop")
    scan = train(
        DenseNet("dense"),
        recipe=recipe,
        data=data,
        strategy="vmap",
        mesh=mesh,
        steps_per_call=4,
    )
    # Ten steps let the rounding of the first grow.
    assert_same(loop, scan, atol=1e-5)


def test_the_default_is_the_loop_on_a_cpu_and_vmap_over_a_mesh(train, monkeypatch):
    ran = []
    for runner in (LoopRunner, StackedRunner):
        original = runner.run

        def spy(self, *arguments, original=original):
            ran.append(type(self))
            original(self, *arguments)

        monkeypatch.setattr(runner, "run", spy)
    train(**AUGMENTED)
    train(**AUGMENTED, mesh=make_mesh(2))
    assert ran == [LoopRunner, StackedRunner]


WILD = HyperParameters(1e30, 0.0, seed=5)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_diverged_member_is_frozen_and_the_others_go_on(train, assert_same, strategy):
    recipe = Recipe(epochs=3, batch_size=16, warmup_epochs=0.0)
    validated = []

    def validate(variables):
        assert all(np.isfinite(value).all() for value in variables.values())
        validated.append(1)
        return {"accuracy": 0.5}

    def run(members):
        return train(
            DenseNet("dense"),
            members=members,
            recipe=recipe,
            strategy=strategy,
            validate=validate,
        )

    result = run((MEMBERS[0], WILD, MEMBERS[1]))
    step = result.diverged_step[1]
    assert result.diverged_step == (None, step, None)
    assert 0 < step < 4
    assert all(np.isfinite(v).all() for v in result.variables[1].values())
    assert np.isnan(result.curves["train_loss"][1]).all()
    assert np.isnan(result.curves["val_accuracy"][1]).all()
    assert len(validated) == 3 * 2
    assert np.isfinite(result.curves["train_loss"][[0, 2]]).all()
    assert result.timing["steps"] == (3 + 1 + 3) * 4
    sound = run(MEMBERS)
    for ours, theirs in zip(result.variables[::2], sound.variables[:2], strict=True):
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-6)


def test_the_frozen_variables_are_those_before_the_offending_step(train):
    """The same run, cut off by its data one step before the divergence."""
    images, labels = make_images(16)
    recipe = Recipe(epochs=6, batch_size=16, warmup_epochs=0.0)
    seen = []

    def run(self, begin, stop, active, original=LoopRunner.run):
        original(self, begin, stop, active)
        seen.append(jax.device_get(self.variables(0)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LoopRunner, "run", run)
        result = train(
            DenseNet("dense"), members=(WILD,), recipe=recipe, data=(images, labels)
        )
    # An epoch is a step: divergence at step s leaves the variables of epoch s - 1.
    (step,) = result.diverged_step
    assert step >= 1
    assert len(seen) == step + 1
    for name, value in result.variables[0].items():
        np.testing.assert_array_equal(value, seen[step - 1][name])


def test_a_population_that_has_all_diverged_stops(train):
    recipe = Recipe(epochs=50, batch_size=16, warmup_epochs=0.0)
    epochs = []
    result = train(
        DenseNet("dense"),
        members=(WILD, WILD),
        recipe=recipe,
        on_point=lambda epoch, _: epochs.append(epoch),
    )
    assert epochs == [0]
    assert None not in result.diverged_step
    assert result.curves["train_loss"].shape == (2, 50)
