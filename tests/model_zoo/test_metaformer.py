"""What goldens cannot see of the MetaFormers: starts, old files, refusals."""

import re

import jax
import numpy as np
import pytest

from model_zoo.backbones.metaformer import MetaFormerArchitecture
from model_zoo.weights.metaformer import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported, convert
from tests.model_zoo import twins

_TINY = {"depths": (2, 1), "widths": (8, 16), "token_mixers": ("sep_conv", "pooling")}
_POOLFORMER = {
    "depths": (1, 1),
    "widths": (8, 16),
    "token_mixers": ("pooling", "pooling"),
    "norm": "group",
    "norm_bias": True,
    "downsample_norm": False,
    "activation": "gelu",
    "mlp_bias": True,
    "layer_scale": 1e-5,
    "num_res_scaled": 0,
}


def test_branches_start_small_and_shortcuts_unscaled():
    architecture = MetaFormerArchitecture(**_TINY, layer_scale=1e-5, num_res_scaled=1)
    variables = twins.tiny(architecture, (16, 16)).init(jax.random.key(0))
    assert np.all(variables["stages.0.blocks.0.layer_scale1.gamma"] == np.float32(1e-5))
    assert np.all(variables["stages.1.blocks.0.res_scale2.gamma"] == 1)
    assert "stages.0.blocks.0.res_scale1.gamma" not in variables
    assert variables["stages.0.blocks.0.mlp.act.scale"] == 1
    assert variables["stages.0.blocks.0.mlp.act.bias"] == 0
    assert np.std(variables["stages.1.blocks.0.mlp.fc1.kernel"]) == pytest.approx(
        0.02, rel=0.1
    )


def test_drop_rates_grow_through_all_stages():
    settings = twins.tiny(MetaFormerArchitecture(**_TINY), drop_path_rate=0.2).settings
    network = MetaFormerArchitecture(**_TINY).build(settings)
    rates = [block.drop_path.rate for stage in network.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, [0, 0.1, 0.2])


def test_the_small_stem_keeps_every_pixel():
    small = {"patch_size": 3, "patch_stride": 1, "patch_padding": 1}
    architecture = MetaFormerArchitecture(**_TINY, **small)
    assert architecture.check_size((1, 1)) is None
    assert "at least 3 pixels" in MetaFormerArchitecture(**_TINY).check_size((2, 9))
    classifier = twins.tiny(architecture, (2, 2))
    assert classifier.shapes["stem.conv.kernel"].shape == (3, 3, 3, 8)
    variables = twins.random_variables(classifier)
    images = np.repeat(twins.random_images(classifier, 1), 5, axis=0)
    for k, (i, j) in enumerate(np.ndindex(2, 2)):
        images[k + 1, i, j] += 1
    logits = jax.jit(classifier.apply)(variables, images).logits
    assert np.all(np.abs(logits[1:] - logits[:1]).max(1) > 1e-3)


@pytest.mark.parametrize(
    ("options", "renames"),
    [
        (
            _POOLFORMER,
            [
                (r"^stem\.conv", "patch_embed.proj"),
                (r"^stages\.0\.blocks", "network.0"),
                (r"^stages\.1\.downsample\.conv", "network.1.proj"),
                (r"^stages\.1\.blocks", "network.2"),
                (r"layer_scale(\d)\.scale", r"layer_scale_\1"),
                (r"^head\.norm", "norm"),
                (r"^head\.fc", "head"),
            ],
        ),
        (
            _TINY | {"mlp_head": True},
            [
                (r"^stem\.conv", "downsample_layers.0.conv"),
                (r"^stem\.norm", "downsample_layers.0.post_norm"),
                (r"^stages\.1\.downsample\.conv", "downsample_layers.1.conv"),
                (r"^stages\.1\.downsample\.norm", "downsample_layers.1.pre_norm"),
                (r"\.blocks\.", "."),
                (r"^head\.norm", "norm"),
                (r"^head\.fc", "head"),
            ],
        ),
    ],
)
def test_files_of_the_original_repositories_are_read(options, renames):
    classifier = twins.tiny(MetaFormerArchitecture(**options), (16, 16))
    variables = twins.random_variables(classifier)
    tensors = {}
    for leaf, array in variables.items():
        name = RULES.source_name(leaf)
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        if leaf.endswith("kernel"):
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        tensors[name] = array
    converted = convert(tensors, classifier, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(converted[leaf], array)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"token_mixers": ("sep_conv",)}, "one of each a stage"),
        ({"token_mixers": ("sep_conv", "attention")}, "multiple of head_dim 32"),
    ],
)
def test_impossible_architectures_are_refused(changes, wanted):
    with pytest.raises(ValueError, match=wanted):
        MetaFormerArchitecture(**_TINY | changes)


@pytest.mark.parametrize(
    "keywords",
    [
        {"norm_layers": ["GroupNorm1", "LayerNorm2dNoBias"]},
        {"token_mixers": "RandomMixing"},
        {"res_scale_init_values": [1.0, None, None, None]},
        {"downsample_norm": "GroupNorm1"},
        {"pool_size": 5},
    ],
)
def test_originals_with_other_options_are_refused(keywords):
    with pytest.raises(Unsupported):
        arguments_from_timm("poolformerv3", keywords)
