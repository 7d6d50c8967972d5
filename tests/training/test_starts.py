"""Fine-tuning: a new head, frozen parts, and rates that fall with depth."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import HyperParameters, Recipe, Start
from jaxbench.training.depth import depth_rates, first_uses
from jaxbench.training.starts import starting_variables
from model_zoo import create_model
from tests.training.doubles import ConvNet

PLAIN = Recipe(epochs=2, batch_size=16, warmup_epochs=0.5)
NETWORK = ConvNet("net")
TRAINED = NETWORK.init(jax.random.key(99))


def test_training_starts_from_the_given_weights(train):
    still = HyperParameters(1e-20)
    result = train(
        NETWORK, members=(still,), recipe=PLAIN, begin=Start(TRAINED, name="given")
    )
    for name in NETWORK.parameter_names:
        np.testing.assert_allclose(
            result.variables[0][name], TRAINED[name], rtol=0, atol=1e-15
        )


def test_a_head_for_other_classes_is_drawn_from_the_seed():
    other = dataclasses.replace(NETWORK, num_classes=9)
    begin = Start(other.init(jax.random.key(99)), name="nine classes")
    found = starting_variables(NETWORK, begin, seed=5)
    np.testing.assert_array_equal(found["conv.kernel"], TRAINED["conv.kernel"])
    drawn = NETWORK.init(jax.random.key(5))
    np.testing.assert_array_equal(found["head.kernel"], drawn["head.kernel"])
    headless = {n: v for n, v in TRAINED.items() if not n.startswith("head")}
    again = starting_variables(NETWORK, Start(headless), seed=5)
    np.testing.assert_array_equal(again["head.kernel"], drawn["head.kernel"])


def test_another_networks_weights_are_refused_with_every_difference():
    wrong = dict(TRAINED) | {"conv.kernel": np.zeros((3, 3, 3, 5), np.float32)}
    del wrong["norm.scale"]
    with pytest.raises(UserError, match="cannot start from theirs") as caught:
        starting_variables(NETWORK, Start(wrong, name="theirs"), seed=0)
    assert "conv.kernel is (3, 3, 3, 5), wanted (3, 3, 3, 8)" in str(caught.value)
    assert "norm.scale is missing" in str(caught.value)


@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_frozen_parts_stay_and_the_others_are_trained(train, strategy):
    begin = Start(TRAINED, frozen=("*", "!head.*"))
    result = train(
        NETWORK,
        members=(HyperParameters(0.1), HyperParameters(0.1, seed=1)),
        recipe=PLAIN,
        begin=begin,
        strategy=strategy,
    )
    for variables in result.variables:
        assert variables.keys() == TRAINED.keys()
        for name, value in variables.items():
            same = (value == TRAINED[name]).all()
            assert same != name.startswith("head"), name


def test_what_cannot_be_frozen_is_refused(train):
    with pytest.raises(UserError) as caught:
        train(NETWORK, begin=Start(None, layer_decay=2.0, frozen=("haed.*",)))
    for part in ("layer_decay is 2.0", "without weights to start from", "frozen part"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match="nothing is left to train"):
        train(NETWORK, begin=Start(TRAINED, frozen=("*",)))


def test_a_network_without_blocks_has_no_rates_by_depth(train):
    with pytest.raises(UserError, match="cannot be found by the names"):
        train(NETWORK, begin=Start(TRAINED, layer_decay=0.5))
    with pytest.raises(UserError, match="iterate behind its average moves by one rate"):
        train(NETWORK, "schedule_free_adamw", begin=Start(TRAINED, layer_decay=0.5))


def test_case_20_prodigy_is_refused_with_rates_by_layer(train):
    with pytest.raises(UserError, match="prodigy cannot have rates by layer"):
        train(NETWORK, "prodigy", begin=Start(TRAINED, layer_decay=0.5))


@pytest.mark.parametrize(
    "model",
    ["regnety_002", "transnext_micro", "xcit_nano_12_p16_224", "efficientnet_b0"],
)
def test_no_parameter_stands_deeper_than_one_that_is_read_before_it(model):
    network = create_model(model, num_classes=4)
    rates, uses = depth_rates(network, 0.5), first_uses(network)
    in_order = [rates[name] for name in sorted(rates, key=uses.__getitem__)]
    assert in_order == sorted(in_order)
    assert len(set(in_order)) > 5


@pytest.mark.parametrize(
    ("model", "depths"),
    [
        (
            "vit_micro",
            {
                "patch_embed.proj.kernel": 3,
                "cls_token": 3,
                "pos_embed": 3,
                "blocks.0.attn.qkv.kernel": 2,
                "blocks.1.mlp.fc1.kernel": 1,
                "norm.scale": 0,
                "head.kernel": 0,
            },
        ),
        (
            "resnet_micro",
            {
                "conv1.kernel": 3,
                "layer1.0.conv1.kernel": 2,
                "layer2.0.downsample.0.kernel": 1,
                "fc.kernel": 0,
            },
        ),
        (
            "convnext_micro",
            {
                "stem.0.kernel": 3,
                "stages.0.blocks.0.conv_dw.kernel": 2,
                "stages.1.blocks.0.conv_dw.kernel": 1,
                "head.fc.kernel": 0,
            },
        ),
    ],
)
def test_depth_is_the_order_of_use(model, depths):
    rates = depth_rates(create_model(model, num_classes=4), 0.5)
    assert {name: rates[name] for name in depths} == {
        name: 0.5**depth for name, depth in depths.items()
    }


def test_rates_fall_in_a_network_with_blocks(train):
    network = create_model("mixer_micro", num_classes=4)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), np.uint8)
    data = (images, np.arange(16, dtype=np.int32) % 4)
    one = Recipe(epochs=1, batch_size=16, warmup_epochs=0.0)
    start = network.init(jax.random.key(1))
    changes = []
    for decay in (1.0, 0.5):
        begin = Start(start, layer_decay=decay)
        members = (HyperParameters(0.1),)
        result = train(network, members=members, recipe=one, data=data, begin=begin)
        changes.append({n: v - start[n] for n, v in result.variables[0].items()})
    for name, rate in depth_rates(network, 0.5).items():
        # Differences of float32 parameters of order 0.1.
        np.testing.assert_allclose(
            changes[1][name], rate * changes[0][name], atol=3e-8, rtol=1e-4
        )
