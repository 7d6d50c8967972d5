"""What goldens cannot see of EfficientNet and its kin: strings, starts, refusals."""

import jax
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.efficientnet import EfficientNetArchitecture
from model_zoo.backbones.efficientnet_blocks import decode, round_width
from model_zoo.layers.stochastic import DropPath
from model_zoo.weights.efficientnet import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported
from tests.model_zoo import twins

FLOAT32 = np.dtype("float32")
STAGES = (("ds_k3_c8",), ("ir_r2_k3_s2_e2_c16_se0.25", "er_k3_e2_c16_gs8"))


def block(text, num_in=24):
    return decode([[text]], num_in, "silu")[0][0]


def test_a_string_holds_repetitions_whose_first_has_the_stride():
    first, *others = decode([["ir_r4_k3.5_s2_e6_c40_se0.25"]], 24, "silu")[0]
    assert (first.num_in, first.num_expanded, first.num_out) == (24, 144, 40)
    assert (first.stride, first.skip, first.num_squeezed) == (2, False, 6)
    assert first.kernel_size == (3, 5)
    assert len(others) == 3
    for other in others:
        assert (other.num_in, other.num_expanded, other.num_squeezed) == (40, 240, 10)
        assert (other.stride, other.skip) == (1, True)


def test_widths_may_be_numbers_or_ratios():
    assert block("ir_k3_m100_c24_se7").num_expanded == 100
    assert block("ir_k3_m100_c24_se7").num_squeezed == 7
    assert block("ir_k3_e3.67_c24").num_expanded == 88
    assert block("ds_k3_c16_d1").num_expanded == 96


def test_shortcuts_and_groups_by_type():
    assert block("ir_k3_e2_c24").skip
    assert not block("ir_k3_e2_c24_noskip").skip
    assert not block("dsa_k3_c24").skip
    assert not block("cn_k3_c24").skip
    assert block("cn_k3_c24_skip").skip
    assert not block("ds_k3_c24_d1").skip
    assert [block(f"{k}_k3_c24").group_size for k in ("ir", "er", "cn")] == [1, 0, 0]
    assert block("er_k3_e2_c24_gs8").group_size == 8
    assert block("ir_k3_c24_nre").activation == "relu"
    assert block("ir_k3_c24").activation == "silu"


def test_rounding_never_loses_more_than_a_tenth():
    widths = [1, 8, 11, 12, 19.2, 26, 38.4, 1280.0]
    assert [round_width(w) for w in widths] == [8, 8, 16, 16, 24, 24, 40, 1280]
    assert round_width(26, least=0.95) == 32
    assert round_width(11.2, least=0.0) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xx_k3_c8", "type 'xx', wanted one of"),
        ("ir_k3_c8_q4", "cannot read 'q4'"),
        ("ir_k3_k5_c8", "once at most"),
        ("cn_k3_c8_se0.25", "cannot read 'se0.25'"),
        ("ir_e6_k3", "lacks c"),
        ("ds_k3_e6_c8", "does not expand"),
        ("ir_k3_c8_nxx", "activation 'xx'"),
        ("ir_k3_c8_gs7", "in groups of 7"),
    ],
)
def test_strings_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetArchitecture((("ds_k3_c8",), (text,)))


def test_impossible_combinations():
    with pytest.raises(ValueError, match="wanted a block in each"):
        EfficientNetArchitecture(((),))
    with pytest.raises(ValueError, match="head_width=0"):
        EfficientNetArchitecture(STAGES, head="pool_conv", head_width=0)


def test_means_of_pixels_need_pixels():
    averaged = EfficientNetArchitecture(STAGES, anti_alias="average")
    assert averaged.check_size((3, 3)) is None
    assert "at least 3" in str(averaged.check_size((2, 8)))
    assert EfficientNetArchitecture(STAGES).check_size((1, 1)) is None


def test_stochastic_depth_is_shared_among_all_blocks():
    settings = Settings(5, (32, 32), FLOAT32, drop_path_rate=0.2)
    network = EfficientNetArchitecture(STAGES, head_width=8).build(settings)
    rates = [m.rate for _, m in nnx.iter_modules(network) if isinstance(m, DropPath)]
    assert sorted(rates) == pytest.approx([0.0, 0.05, 0.1, 0.15])


def test_initial_values():
    stages = (*STAGES, ("ir_k3_e2_c16_cc2", "mqa_k3_h2_d8_c16", "uir_a3_e1_c16"))
    architecture = EfficientNetArchitecture(
        stages, head_width=2000, layer_scale=1e-5, squeeze_activation="relu"
    )
    variables = twins.tiny(architecture, (32, 32)).init(jax.random.key(0))
    # A group's fan-out: kernel pixels times outputs of one group.
    wanted = {
        "conv_stem": 2 / (9 * 32),
        "conv_head": 2 / 2000,
        "blocks.0.0.conv_dw": 2 / 9,
        "blocks.1.0.conv_pw": 2 / 16,
        "blocks.1.2.conv_exp": 2 / (9 * 8),
        "blocks.2.0.conv_pw": 2 / 32,
        "blocks.2.0.conv_dw": 2 / 9,
        "blocks.2.1.attn.query.proj": 2 / (16 + 16),
        "blocks.2.2.dw_start.conv": 2 / 9,
    }
    for name, variance in wanted.items():
        kernel = variables[f"{name}.kernel"]
        # The spread of a sample variance, four times over.
        assert kernel.var() == pytest.approx(variance, rel=6 / kernel.size**0.5), name
    classes = variables["classifier.kernel"]
    assert np.abs(classes).max() <= classes.shape[1] ** -0.5
    assert np.abs(variables["blocks.2.0.routing_fn.kernel"]).max() <= 18**-0.5
    assert np.all(variables["blocks.2.1.layer_scale.gamma"] == np.float32(1e-5))
    assert np.all(variables["blocks.1.0.se.fc1.bias"] == 0)


@pytest.mark.parametrize(
    "modules",
    [
        "features.0.0 features.0.1 features.1.conv.0.0 features.1.conv.0.1 "
        "features.1.conv.1 features.1.conv.2 features.2.conv.0.0 features.2.conv.0.1 "
        "features.2.conv.1.0 features.2.conv.1.1 features.2.conv.2 features.2.conv.3 "
        "features.10.0 features.10.1 classifier.1",
        "layers.0 layers.1 layers.3 layers.4 layers.6 layers.7 layers.8.0.layers.0 "
        "layers.8.0.layers.1 layers.8.0.layers.3 layers.8.0.layers.4 "
        "layers.8.0.layers.6 layers.8.0.layers.7 layers.14 layers.15 classifier.1",
    ],
    ids=["mobilenet", "mnasnet"],
)
def test_modules_of_torchvision_are_named_by_their_order(modules):
    architecture = EfficientNetArchitecture((("ds_k3_c8",), ("ir_k3_e2_c16",)))
    classifier = twins.tiny(architecture)
    tensors = {f"{m}.weight": np.array(i) for i, m in enumerate(modules.split())}
    shuffled = dict(sorted(tensors.items()))
    assert RULES.legacy is not None
    renamed = RULES.legacy(shuffled, classifier)
    in_order = sorted(renamed, key=lambda name: int(renamed[name]))
    wanted = "conv_stem bn1 0.0.conv_dw 0.0.bn1 0.0.conv_pw 0.0.bn2 1.0.conv_pw "
    wanted += (
        "1.0.bn1 1.0.conv_dw 1.0.bn2 1.0.conv_pwl 1.0.bn3 conv_head bn2 classifier"
    )
    assert [n.removeprefix("blocks.") for n in in_order] == [
        f"{module}.weight" for module in wanted.split()
    ]
    assert set(renamed) <= {RULES.source_name(leaf) for leaf in classifier.shapes}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"pruned": True}, "pruned"),
        ({"norm_layer": {"partial": "EvoNorm2dS0", "group_size": 8}}, "EvoNorm2dS0"),
        ({"se_layer": "eca"}, "gate eca"),
        ({"act_layer": "Mish"}, "activation Mish"),
        ({"round_chs_fn": "floor"}, "rounding floor"),
        ({"output_stride": 16}, "output_stride"),
        ({"block_args": [[{"block_type": "mha", "stride": 1}]]}, "block type mha"),
    ],
)
def test_options_of_timm_that_are_refused(keywords, message):
    given = {"block_args": [], **keywords}
    with pytest.raises(Unsupported, match=message):
        arguments_from_timm("some_net", given)


def test_timms_blocks_become_strings_of_widths():
    decoded = {
        "block_type": "ir",
        "out_chs": 24,
        "stride": 2,
        "act_layer": None,
        "dw_kernel_size": 3,
        "exp_kernel_size": 1,
        "pw_kernel_size": 1,
        "exp_ratio": 4.0,
        "se_ratio": 0.25,
        "noskip": False,
        "s2d": False,
    }
    keywords = {
        "block_args": [[decoded, decoded, {**decoded, "stride": 1}]],
        "round_chs_fn": {"partial": "round_channels", "multiplier": 2.0},
        "act_layer": "SiLU",
    }
    efficient = arguments_from_timm("efficientnet", dict(keywords))
    assert efficient == {
        "stages": [["ir_r3_k3_s2_e4_c48_se0.25"]],
        "stem_width": 64,
    }
    late = arguments_from_timm("mobile", {**keywords, "model_class": "MobileNetV3"})
    assert late == {
        "stages": [["ir_k3_s2_e4_c48_se32", "ir_r2_k3_e4_c48_se48"]],
        "head": "pool_conv_bias",
    }


def test_pruned_widths_are_read_off_the_convolutions():
    block = {
        "block_type": "ir",
        "out_chs": 16,
        "stride": 1,
        "act_layer": None,
        "dw_kernel_size": 3,
        "exp_kernel_size": 1,
        "pw_kernel_size": 1,
        "exp_ratio": 2.0,
        "se_ratio": 0.25,
        "noskip": False,
        "s2d": False,
    }
    pruned = {
        "conv_stem": 12,
        "conv_head": 20,
        "blocks.0.0.conv_dw": 30,
        "blocks.0.0.conv_pwl": 12,
        "blocks.0.0.se.conv_reduce": 3,
        "blocks.0.1.conv_dw": 24,
        "blocks.0.1.conv_pwl": 12,
        "blocks.0.1.se.conv_reduce": 5,
    }
    arguments = arguments_from_timm(
        "pruned_net", {"block_args": [[block, dict(block)]], "pruned": pruned}
    )
    assert arguments == {
        "stages": [["ir_k3_m30_c12_se0.25_noskip", "ir_k3_e2_c12_se5"]],
        "stem_width": 12,
        "head_width": 20,
        "activation": "relu",
    }
