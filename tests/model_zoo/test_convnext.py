"""What goldens cannot see of ConvNeXt: initial values, refusals, other layouts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo.architecture import Settings
from model_zoo.backbones.convnext import ConvNeXtArchitecture, ResponseNorm
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.weights.convnext import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported, convert

TINY = ConvNeXtArchitecture((1, 1), (4, 6), response_norm=True)


def classifier(architecture, num_classes=5):
    settings = Settings(num_classes, (32, 32), np.dtype("float32"))
    return NetworkClassifier("tiny", num_classes, InputSpec(), architecture, settings)


def originals(mine, variables):
    """A classifier's variables as a file of timm's."""
    return {
        RULES.source_name(leaf): np.moveaxis(array, (-1, -2), (0, 1))
        if leaf.endswith("kernel")
        else array
        for leaf, array in variables.items()
        if leaf in mine.shapes
    }


def test_response_norm_starts_as_the_identity_and_survives_a_silent_channel():
    variables = classifier(TINY).init(jax.random.key(0))
    assert np.all(variables["stages.0.blocks.0.mlp.norm.scale"] == 0)
    assert np.all(variables["stages.0.blocks.0.gamma"] == np.float32(1e-6))

    def total(x):
        norm = ResponseNorm(3, dtype=jnp.float32)
        norm.scale.set_value(jnp.ones(3))
        norm.bias.set_value(jnp.zeros(3))
        return norm(x).sum()

    x = jnp.ones((1, 2, 2, 3)).at[..., 1].set(0)
    assert jnp.isfinite(jax.grad(total)(x)).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stem_width": 8, "patch_size": 2}, "patch_size 4"),
        ({"norm_first": True, "head_width": 8}, "exclude"),
        ({"kernel_size": (7, 5, 3)}, "3 sides for 2 stages"),
    ],
)
def test_options_that_exclude_one_another_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        ConvNeXtArchitecture((1, 1), (4, 6), **options)


def test_unknown_options_are_refused():
    with pytest.raises(Unsupported, match="conv_bias"):
        arguments_from_timm("convnext", {"conv_bias": False})


def test_overlapping_stems_take_smaller_images():
    sizes = {None: 32, 8: 29}
    for stem_width, smallest in sizes.items():
        architecture = ConvNeXtArchitecture(
            (1, 1, 1, 1), (4, 4, 4, 4), stem_width=stem_width
        )
        assert architecture.check_size((smallest, smallest)) is None
        assert architecture.check_size((smallest, smallest - 1)) is not None


def test_the_authors_files_are_read():
    mine = classifier(TINY)
    variables = mine.init(jax.random.key(1))
    authors = {"norms.3.weight": np.ones(6, np.float32)}
    for name, array in originals(mine, variables).items():
        for pattern, replacement in (
            (r"^stem\.", "downsample_layers.0."),
            (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
            (r"\.blocks\.", "."),
            (r"\.conv_dw\.", ".dwconv."),
            (r"\.mlp\.fc", ".pwconv"),
            (r"\.mlp\.grn\.weight", ".grn.gamma"),
            (r"\.mlp\.grn\.bias", ".grn.beta"),
            (r"^head\.norm\.", "norm."),
            (r"^head\.fc\.", "head."),
        ):
            name = re.sub(pattern, replacement, name)
        authors[name] = array[None, None] if ".grn." in name else array
    read = convert(authors, mine, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def test_a_masked_autoencoder_gets_a_new_last_norm():
    mine = classifier(TINY, num_classes=0)
    tensors = originals(mine, mine.init(jax.random.key(1)))
    for name in [n for n in tensors if n.startswith("head.")]:
        del tensors[name]
    read = convert(tensors, mine, RULES)
    assert np.all(read["head.norm.scale"] == 1)
    assert np.all(read["head.norm.bias"] == 0)


def test_the_image_tower_of_a_clip_model_is_read():
    mine = classifier(ConvNeXtArchitecture((1, 1), (4, 6), head_width=8))
    variables = mine.init(jax.random.key(1))
    tensors = originals(mine, variables)
    clip = {f"visual.trunk.{n}": a for n, a in tensors.items() if "head." not in n}
    clip |= {
        f"visual.trunk.{n}": a for n, a in tensors.items() if n.startswith("head.norm")
    }
    clip["visual.head.mlp.fc1.weight"] = tensors["head.pre_logits.fc.weight"]
    clip["visual.head.mlp.fc1.bias"] = tensors["head.pre_logits.fc.bias"]
    clip["visual.head.mlp.fc2.weight"] = tensors["head.fc.weight"]
    clip["text.token_embedding.weight"] = np.ones((7, 3), np.float32)
    read = convert(clip, mine, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)
