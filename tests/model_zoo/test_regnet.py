"""What goldens cannot see of RegNet: initial values, the rule for widths, layouts."""

import jax
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.regnet import RegNetArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.layers.stochastic import DropPath
from model_zoo.weights.regnet import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported, convert

TINY = RegNetArchitecture((1, 2), (16, 32), 8, squeeze_ratio=0.25)


def classifier(architecture):
    settings = Settings(5, (32, 32), np.dtype("float32"))
    return NetworkClassifier("tiny", 5, InputSpec(), architecture, settings)


def test_grouped_convolutions_start_by_the_fan_out_of_a_group():
    variables = classifier(TINY).init(jax.random.key(0))
    for name in ("s1.b1", "s2.b1", "s2.b2"):
        kernel = variables[f"{name}.conv2.conv.kernel"]
        assert np.std(kernel) == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.1)
        assert np.all(variables[f"{name}.conv3.bn.scale"] == 0)
    assert np.std(variables["head.fc.kernel"]) == pytest.approx(0.01, rel=0.2)


def test_stochastic_depth_grows_from_block_to_block():
    settings = Settings(5, (32, 32), np.dtype("float32"), drop_path_rate=0.2)
    modules = nnx.iter_modules(TINY.build(settings))
    rates = sorted(m.rate for _, m in modules if isinstance(m, DropPath))
    assert rates == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("rule", "depths", "widths"),
    [
        # The paper's table 5: RegNetX-3.2GF and RegNetY-400MF.
        ((25, 88, 26.31, 2.25, 48), [2, 6, 15, 2], [96, 192, 432, 1008]),
        ((16, 48, 27.89, 2.09, 8), [1, 3, 6, 6], [48, 104, 208, 440]),
    ],
)
def test_the_papers_rule_gives_the_papers_widths(rule, depths, widths):
    names = ("depth", "w0", "wa", "wm", "group_size")
    config = dict(zip(names, rule, strict=True))
    arguments = arguments_from_timm("regnet", {"model_cfg": config})
    assert arguments["depths"] == depths
    assert arguments["widths"] == widths


def test_torchvision_rounds_widths_its_own_way():
    # torchvision's RegNetX-400MF ends with 400 channels where the paper has 384.
    config = {"depth": 22, "w0": 24, "wa": 24.48, "wm": 2.54, "group_size": 16}
    theirs = {**config, "group_min_ratio": 0.9}
    for model_cfg, last in ((config, 384), (theirs, 400)):
        arguments = arguments_from_timm("regnet", {"model_cfg": model_cfg})
        assert arguments["widths"] == [32, 64, 160, last]


def test_unknown_options_are_refused():
    with pytest.raises(Unsupported, match="output_stride"):
        arguments_from_timm("regnet", {"model_cfg": {}, "output_stride": 8})


def test_torchvisions_files_are_read():
    mine = classifier(TINY)
    variables = mine.init(jax.random.key(1))
    original = {"stem.1.num_batches_tracked": np.zeros((), np.int64)}
    for leaf, array in variables.items():
        layout = array
        if leaf.endswith("kernel"):
            layout = array.transpose(
                *range(array.ndim)[::-1][:2], *range(array.ndim - 2)
            )
        original[torchvision_name(RULES.source_name(leaf))] = layout
    assert "trunk_output.block2.block2-1.f.se.fc1.weight" in original
    read = convert(original, mine, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def torchvision_name(name):
    """torchvision's name of one of timm's tensors."""
    layers = {"conv1": "a", "conv2": "b", "conv3": "c"}
    first, *rest = name.split(".")
    if first == "head":
        return ".".join(rest)
    index = {"conv": "0", "bn": "1"}
    if first == "stem":
        return f"stem.{index[rest[0]]}.{rest[1]}"
    stage, (block, layer, part, *last) = first[1:], rest
    where = f"trunk_output.block{stage}.block{stage}-{int(block[1:]) - 1}"
    if layer == "downsample":
        return f"{where}.proj.{index[part]}.{last[0]}"
    if layer == "se":
        return f"{where}.f.se.{part}.{last[0]}"
    return f"{where}.f.{layers[layer]}.{index[part]}.{last[0]}"
