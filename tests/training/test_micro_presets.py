"""The zoo's own micro presets, in place of the doubles."""

import jax
import numpy as np
import pytest

from jaxbench.training import HyperParameters, Recipe
from model_zoo import create_model
from tests.training.doubles import make_images

MEMBERS = (HyperParameters(0.02, 1e-3, seed=0), HyperParameters(0.01, seed=1))


# The two without BatchNorm; `resnet_micro` trains in the test below.
@pytest.mark.parametrize("name", ["convnext_micro", "vit_micro"])
def test_a_micro_preset_learns_the_pictures(train, name):
    network = create_model(name, num_classes=4, drop_rate=0.1, drop_path_rate=0.1)
    data = make_images(48, size=network.input_spec.size)
    recipe = Recipe(epochs=8, batch_size=16, warmup_epochs=1.0, augmentations=("flip",))
    result = train(network, members=MEMBERS[:1], recipe=recipe, data=data)
    losses = result.curves["train_loss"][0]
    assert losses[-1] < losses[0]
    assert result.variables[0].keys() == network.shapes.keys()
    scores = jax.jit(network.apply)(
        result.variables[0], np.zeros((1, *network.input_spec.size, 3), np.float32)
    )
    assert np.isfinite(scores.logits).all()


def test_strategies_agree_on_a_convolutional_preset(train, assert_same):
    network = create_model("resnet_micro", num_classes=4, drop_path_rate=0.1)
    recipe = Recipe(epochs=1, batch_size=16, warmup_epochs=0.0)
    loop, vmap = (
        train(
            network,
            members=MEMBERS,
            recipe=recipe,
            data=make_images(16, size=network.input_spec.size),
            strategy=strategy,
        )
        for strategy in ("loop", "vmap")
    )
    # The design's bound after one step; parameters are of order one.
    assert_same(loop, vmap, atol=1e-6)
