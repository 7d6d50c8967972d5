import jax
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import OPTIMIZERS, Hyper, HyperParameters, Recipe
from jaxbench.training.members import (
    MemberScalars,
    epoch_order,
    initial_variables,
    member_problems,
    member_scalars,
)
from tests.training.doubles import ConvNet


def test_an_epoch_shows_no_image_twice_and_fills_every_batch():
    order = epoch_order(3, 0, num_images=70, batch_size=16)
    assert order.shape == (4, 16)
    assert order.dtype == np.int32
    assert len(np.unique(order)) == 64
    assert order.min() >= 0
    assert order.max() < 70


def test_order_depends_on_seed_and_epoch_and_nothing_else():
    def draw(seed, epoch):
        return epoch_order(seed, epoch, num_images=64, batch_size=16)

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    others = [draw(1, 3), draw(2, 2), draw(2, 1), draw(0, 0)]
    assert all((draw(1, 2) != other).any() for other in others)


def test_seed_decides_the_initial_weights():
    first, again, other = (initial_variables(ConvNet("net"), s) for s in (5, 5, 6))
    for name, value in first.items():
        assert isinstance(value, np.ndarray)
        np.testing.assert_array_equal(value, again[name])
    assert (first["conv.kernel"] != other["conv.kernel"]).any()


def test_scalars_have_the_dtypes_that_programs_are_compiled_for():
    member = HyperParameters(0.1, 1.0, seed=2**32 - 1, options={"beta1": 0.5})
    adamw = OPTIMIZERS["adamw"]
    scalars = member_scalars(member, adamw, Recipe(label_smoothing=0.25))
    types = jax.tree.map(lambda scalar: str(scalar.dtype), scalars)
    options = dict.fromkeys(adamw.options, "float32")
    hyper = Hyper("float32", "float32", options)
    assert types == MemberScalars(hyper, "float32", "float32", "uint32")
    assert int(scalars.seed) == 2**32 - 1
    assert float(scalars.label_smoothing) == 0.25
    assert float(scalars.hyper.options["beta1"]) == 0.5
    assert float(scalars.hyper.options["beta2"]) == np.float32(0.999)


def test_a_members_own_smoothing_and_decay_go_before_the_recipes():
    recipe = Recipe(label_smoothing=0.25, ema_decay=0.5)
    own = HyperParameters(0.1, label_smoothing=0.0, ema_decay=0.75)
    for member, expected in ((HyperParameters(0.1), (0.25, 0.5)), (own, (0.0, 0.75))):
        scalars = member_scalars(member, OPTIMIZERS["sgd"], recipe)
        assert (scalars.label_smoothing, scalars.ema_decay) == expected


def test_settings_hold_what_was_given_and_equal_members_are_equal():
    member = HyperParameters(0.1, options={"b": 1.0, "a": 2.0})
    assert member == HyperParameters(0.1, options={"a": 2.0, "b": 1.0})
    assert list(member.settings()) == [
        "learning_rate",
        "weight_decay",
        "seed",
        "a",
        "b",
    ]


def test_all_values_out_of_range_are_named_at_once():
    with pytest.raises(UserError) as caught:
        HyperParameters(
            np.nan, -1.0, -1, label_smoothing=1.0, options={"beta1": np.inf}
        )
    for name in ("learning_rate", "weight_decay", "seed", "label_smoothing", "beta1"):
        assert f"{name} is" in str(caught.value)


def test_what_an_optimizer_or_recipe_does_not_have_is_named():
    options = {"beta": 0.9, "beta1": 1.5, "epsilon": -1.0}
    members = [HyperParameters(0.1, options=options, ema_decay=0.9)]
    problems = list(member_problems(members, OPTIMIZERS["adamw"], Recipe()))
    for problem, part in zip(
        problems,
        (
            "did you mean 'beta",
            "beta1 of adamw is 1.5, wanted a number in [0, 1)",
            "epsilon of adamw is -1, wanted 0 or more",
            "averages no weights",
        ),
        strict=True,
    ):
        assert part in problem
