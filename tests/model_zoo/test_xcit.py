"""What goldens cannot see of XCiT: initial values, stochastic depth, layouts."""

import jax
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.xcit import XCiTArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.layers.stochastic import DropPath
from model_zoo.weights.rules import Unsupported, convert
from model_zoo.weights.xcit import RULES, arguments_from_timm

TINY = XCiTArchitecture(16, 2, 2, patch_size=8, layer_scale=1e-5)
SETTINGS = Settings(5, (16, 24), np.dtype("float32"), drop_path_rate=0.2)
CLASSIFIER = NetworkClassifier("tiny", 5, InputSpec(), TINY, SETTINGS)


def test_layers_start_as_in_timm():
    variables = CLASSIFIER.init(jax.random.key(0))
    assert np.all(variables["blocks.1.gamma3"] == np.float32(1e-5))
    assert np.all(variables["blocks.0.attn.temperature"] == 1)
    for leaf, limit in (
        ("patch_embed.proj.0.0.kernel", 27**-0.5),
        ("patch_embed.proj.2.0.kernel", (9 * 8) ** -0.5),
        ("blocks.0.local_mp.conv1.kernel", 1 / 3),
        ("blocks.0.local_mp.conv2.bias", 1 / 3),
        ("pos_embed.token_projection.bias", 1 / 8),
    ):
        largest = np.abs(variables[leaf]).max()
        assert 0.7 * limit < largest <= np.float32(limit), leaf


def test_stochastic_depth_is_the_same_in_every_block_and_spares_class_attention():
    network = TINY.build(SETTINGS)
    rates = [m.rate for _, m in nnx.iter_modules(network) if isinstance(m, DropPath)]
    assert rates == [0.2, 0.2]


def test_the_authors_files_are_read():
    variables = CLASSIFIER.init(jax.random.key(1))
    authors, class_attention = {}, {}
    for leaf, array in variables.items():
        name = RULES.source_name(leaf)
        if leaf.endswith("kernel"):
            array = np.moveaxis(array, (-1, -2), (0, 1))
        module, _, last = name.rpartition(".")
        if name.startswith("cls_attn") and module[-2:] in (".q", ".k", ".v"):
            class_attention[module[:-1], module[-1], last] = array
        else:
            authors[name.replace("pos_embed.", "pos_embeder.")] = array
    for stem, letter, last in class_attention:
        if letter == "q":
            parts = [class_attention[stem, part, last] for part in "qkv"]
            authors[f"{stem}qkv.{last}"] = np.concatenate(parts)
    read = convert(authors, CLASSIFIER, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def test_unknown_options_are_refused():
    with pytest.raises(Unsupported, match="use_pos_embed"):
        arguments_from_timm("xcit", {"use_pos_embed": False})
