"""Models by name, without allocating a weight."""

import functools

import jax
import jax.numpy as jnp
import pytest

from model_zoo import create_model, list_models, registry
from model_zoo.counting import count_macs
from model_zoo.layers.initializers import draw
from tests.model_zoo import twins

ENTRIES = registry.architectures()
# Building all takes minutes: the cheapest of each family, and the presets that tests
# and tutorials use. The slow tests take every architecture.
CHEAPEST = {
    min(
        (e for e in ENTRIES.values() if e.family == family),
        key=lambda e: e.num_macs,
    ).name
    for family in {entry.family for entry in ENTRIES.values()}
}
SAMPLE = sorted({*CHEAPEST, *twins.MICRO, *twins.MINI})
everything = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SAMPLE else pytest.mark.slow)
        for name in ENTRIES
    ],
)


@functools.cache
def model(name):
    """The model at its defaults, built once for all tests of this file."""
    return create_model(name)


@everything
def test_shapes(name):
    classifier = model(name)
    height, width = classifier.input_spec.size
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    outputs = jax.eval_shape(classifier.apply, classifier.shapes, images)
    assert outputs.logits.shape == (2, 1000)
    assert outputs.features.shape == (2, classifier.num_features)
    assert outputs.logits.dtype == outputs.features.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in classifier.shapes.values())
    assert classifier.parameter_names | classifier.state_names == set(classifier.shapes)
    assert classifier.parameter_names.isdisjoint(classifier.state_names)


@everything
def test_weight_decay_is_for_kernels(name):
    classifier = model(name)
    shapes = classifier.shapes
    assert classifier.decay_names < classifier.parameter_names
    # Matrices and filters; of the vectors only the gates across channels.
    for leaf in classifier.decay_names:
        assert len(shapes[leaf].shape) > 1 or leaf.endswith("se.kernel"), leaf
    # All that is left out are vectors, tokens, tables of positions and scales.
    rest = classifier.parameter_names - classifier.decay_names
    tables = {n for n in rest if len(shapes[n].shape) > 1}
    for leaf in tables:
        last = leaf.rpartition(".")[2]
        assert any(word in last for word in NO_DECAY), leaf


NO_DECAY = (
    "token",
    "pos",
    "bias",
    "embedding",
    "temperature",
    "latent",
    "scale",
    "gamma",
)


@everything
def test_every_leaf_has_an_initialisation_rule(name):
    shapes = {n: jax.ShapeDtypeStruct((1, 1), jnp.float32) for n in model(name).shapes}
    values = draw(ENTRIES[name].build().init_rules(), shapes, [0, 1])
    assert values.keys() == shapes.keys()


@everything
def test_parameters_are_as_many_as_timms(name):
    assert model(name).num_parameters == ENTRIES[name].num_parameters


@everything
def test_multiply_accumulates_are_as_many_as_timms(name):
    if model(name).num_classes == 1000:
        counted = count_macs(model(name))
        assert counted == pytest.approx(ENTRIES[name].num_macs, rel=5e-3)


def test_small_presets_are_small():
    for name in twins.MICRO:
        classifier = create_model(name, num_classes=8)
        assert classifier.input_spec.size == (8, 8)
        assert 15_000 < classifier.num_parameters < 80_000
    for name in twins.MINI:
        classifier = create_model(name, num_classes=10)
        assert classifier.input_spec.size == (32, 32)
        assert 200_000 < classifier.num_parameters < 1_000_000


def test_leaves_carry_timm_names():
    def names(name):
        return {n.rpartition(".")[0] for n in model(name).shapes}

    assert {"conv1", "bn1", "layer3.5.conv2", "layer4.0.downsample.1", "fc"} <= names(
        "resnet50"
    )
    assert {"patch_embed.proj", "blocks.11.attn.qkv", "blocks.0.mlp.fc2", "norm"} <= (
        names("vit_tiny_patch16_224")
    )
    assert {"stem.1", "stages.1.downsample.0", "stages.2.blocks.8.conv_dw"} <= names(
        "convnext_tiny"
    )
    assert {"head.norm", "head.fc", "stages.0.blocks.0.mlp.fc1"} <= names(
        "convnext_tiny"
    )
    assert {"stem.proj", "blocks.7.mlp_tokens.fc1", "blocks.0.mlp_channels.fc2"} <= (
        names("mixer_s16_224")
    )
    assert "stages.0.blocks.0.gamma" in model("convnext_atto").shapes
    assert model("convnext_atto").shapes["stages.0.blocks.0.mlp.fc1.kernel"].shape == (
        1,
        1,
        40,
        160,
    )


def test_patterns():
    assert list_models("resnet?0_cifar") == ("resnet50_cifar",)
    assert list_models("nothing*") == ()
    assert list_models() == tuple(sorted(ENTRIES))


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"'resnet51'; did you mean 'resnet50'"):
        create_model("resnet51")
    with pytest.raises(ValueError, match=r"list_models\(\) names all"):
        create_model("????")


def test_wrong_arguments_are_all_reported():
    with pytest.raises(ValueError, match="vit_micro") as error:
        create_model(
            "vit_micro",
            num_classes=-1,
            image_size=1,
            dtype=jnp.float16,
            drop_rate=1.0,
            drop_path_rate=-0.1,
        )
    message = str(error.value)
    for part in (
        "num_classes=-1, wanted 0 or a positive integer",
        "image_size=1, wanted height and width of at least 2 pixels",
        "dtype=float16, wanted float32 or bfloat16",
        "drop_rate=1.0, wanted a number in [0, 1)",
        "drop_path_rate=-0.1, wanted a number in [0, 1)",
    ):
        assert part in message


def test_image_sizes_that_cannot_be():
    with pytest.raises(ValueError, match=r"image_size=8, wanted .* at least 32 pixels"):
        create_model("convnext_tiny", image_size=8)
    with pytest.raises(ValueError, match="image_size=0, wanted a positive integer"):
        create_model("resnet18", image_size=0)


@pytest.mark.parametrize("name", ["resnet_micro", "vit_mini", "convnext_mini"])
@pytest.mark.parametrize("size", [16, 64])
def test_other_image_sizes(name, size):
    classifier = create_model(name, image_size=size)
    assert classifier.input_spec.size == (size, size)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    jax.eval_shape(classifier.apply, classifier.shapes, images)
