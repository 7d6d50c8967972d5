"""What goldens cannot see of MLP-Mixers: beginnings, refusals, the authors' files."""

import jax
import numpy as np
import pytest

from model_zoo.backbones.mixer import MixerArchitecture
from model_zoo.weights.mixer import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported, convert
from tests.model_zoo import twins


def start(**options):
    return twins.tiny(MixerArchitecture(40, 1, 2, **options)).init(jax.random.key(0))


def test_gates_start_open():
    gate = start(block="gmlp")
    assert np.all(gate["blocks.0.mlp_channels.gate.proj.bias"] == 1)
    assert 0 < np.abs(gate["blocks.0.mlp_channels.gate.proj.kernel"]).max() < 1e-5
    variables = start(mlp="glu", token_ratio=1.0)
    for name in ("mlp_tokens", "mlp_channels"):
        plain, gate = np.split(variables[f"blocks.0.{name}.fc1.kernel"], 2, axis=1)
        assert plain.std() > 0.05
        assert np.abs(gate).max() < 1e-5
        plain, gate = np.split(variables[f"blocks.0.{name}.fc1.bias"], 2)
        assert np.abs(plain).max() < 1e-5
        assert np.all(gate == 1)


def test_affine_maps_start_as_the_identity_and_branches_small():
    variables = start(block="resmlp", layer_scale=0.3)
    assert np.all(variables["blocks.0.norm1.alpha"] == 1)
    assert np.all(variables["norm.beta"] == 0)
    assert np.all(variables["blocks.0.ls2.gamma"] == np.float32(0.3))
    assert np.all(variables["blocks.0.linear_tokens.bias"] == 0)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"unheard_of": 1}, "unheard_of"),
        ({"act_layer": "Mish"}, "Mish is none of"),
        ({"norm_layer": "Affine"}, "norm Affine"),
        ({"block_layer": "ResBlock"}, "norm None"),
        ({"block_layer": "SpatialGatingBlock"}, "'gmlp', 'Mlp'"),
    ],
)
def test_unknown_options_of_timm_are_refused(keywords, message):
    with pytest.raises(Unsupported, match=message):
        arguments_from_timm("mixer", keywords)


def stored(architecture):
    """A classifier, random variables, and the same by timm's names and layouts."""
    classifier = twins.tiny(architecture)
    variables = twins.random_variables(classifier)
    tensors = {}
    for leaf, array in variables.items():
        if leaf.endswith(".kernel"):
            array = np.moveaxis(array, (-1, -2), (0, 1))
        tensors[RULES.source_name(leaf)] = array
    return classifier, variables, tensors


def test_resmlp_of_its_authors_is_read():
    classifier, variables, tensors = stored(MixerArchitecture(6, 1, 4, block="resmlp"))
    table = {
        "stem.": "patch_embed.",
        "linear_tokens": "attn",
        "mlp_channels": "mlp",
        "ls1": "gamma_1",
        "ls2": "gamma_2",
    }
    for ours, theirs in table.items():
        assert any(ours in name for name in tensors)
        tensors = {k.replace(ours, theirs): v for k, v in tensors.items()}
    got = convert(tensors, classifier, RULES)
    for name, leaf in variables.items():
        np.testing.assert_array_equal(got[name], leaf, err_msg=name)


def test_weights_of_another_image_size_are_refused():
    _, _, tensors = stored(MixerArchitecture(6, 1, 4))
    larger = twins.tiny(MixerArchitecture(6, 1, 4), (12, 8))
    with pytest.raises(ValueError, match="image_size that the weights were made with"):
        convert(tensors, larger, RULES)
