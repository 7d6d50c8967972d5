"""What goldens cannot see of the ResNets: initial values, sizes, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.resnet import ResNetArchitecture
from model_zoo.layers.stochastic import DropPath
from model_zoo.weights.resnet import arguments_from_timm
from model_zoo.weights.rules import Unsupported
from tests.model_zoo import twins


def test_each_branch_starts_at_zero_whatever_its_block():
    architecture = ResNetArchitecture(
        ("basic", "bottleneck"), (1, 1), (4, 8), attention="se", stem="deep"
    )
    variables = twins.tiny(architecture).init(jax.random.key(0))
    zero = {name for name, leaf in variables.items() if "scale" in name and not leaf[0]}
    assert zero == {"layer1.0.bn2.scale", "layer2.0.bn3.scale"}


def test_gates_start_as_torchs_layers_do():
    se = ResNetArchitecture("basic", (1, 1), (256, 512), attention="se")
    variables = twins.tiny(se).init(jax.random.key(0))
    # Kaiming-normal weights as of any convolution there, default biases.
    assert np.std(variables["layer2.0.se.fc1.kernel"]) == pytest.approx(0.25, rel=0.05)
    for name, fan_in in (("fc1", 512), ("fc2", 32)):
        largest = np.abs(variables[f"layer2.0.se.{name}.bias"]).max()
        assert 0.8 * fan_in**-0.5 < largest <= fan_in**-0.5
    eca = ResNetArchitecture("basic", (1, 1), (64, 256), attention="eca")
    variables = twins.tiny(eca).init(jax.random.key(0))
    assert variables["layer1.0.se.kernel"].shape == (3,)
    assert variables["layer2.0.se.kernel"].shape == (5,)
    assert 0 < np.abs(variables["layer2.0.se.kernel"]).max() <= 5**-0.5


def test_stochastic_depth_grows_across_stages():
    settings = Settings(5, (8, 8), jnp.dtype("float32"), drop_path_rate=0.3)
    network = ResNetArchitecture("basic", (1, 2, 1), (4, 4, 4)).build(settings)
    rates = [m.rate for _, m in nnx.iter_modules(network) if isinstance(m, DropPath)]
    assert sorted(rates) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_pruned_widths_take_the_place_of_regular_ones():
    architecture = ResNetArchitecture(
        "bottleneck",
        (1, 2),
        (16, 32),
        attention="eca",
        pruned_inner=((5, 3), (7, 4), (9, 6)),
        pruned_outputs=(11, 64),
    )
    shapes = {k: v.shape for k, v in twins.tiny(architecture).shapes.items()}
    assert architecture.num_features == 64
    assert shapes["layer1.0.conv1.kernel"] == (1, 1, 16, 5)
    assert shapes["layer1.0.conv2.kernel"] == (3, 3, 5, 3)
    assert shapes["layer2.0.downsample.0.kernel"] == (1, 1, 11, 64)
    assert shapes["layer2.1.conv3.kernel"] == (1, 1, 6, 64)
    # Gates see as many neighbours as before; only first blocks project.
    assert shapes["layer2.1.se.kernel"] == (5,)
    assert "layer2.1.downsample.0.kernel" not in shapes


@pytest.mark.parametrize(
    ("options", "allowed", "refused"),
    [
        ({"anti_alias": "avg"}, [(8, 15), (9, 25)], [(8, 11), (3, 8), (20, 8)]),
        ({"anti_alias": "avg", "stem": "small"}, [(2, 6)], [(2, 5), (1, 2)]),
        ({"anti_alias": "blur"}, [(5, 6)], [(4, 9)]),
        ({"anti_alias": "blur", "stem": "small"}, [(2, 3)], [(1, 9)]),
        ({"avg_down": True}, [(1, 2), (7, 9)], []),
    ],
)
def test_sizes_are_allowed_that_the_network_can_take(options, allowed, refused):
    architecture = ResNetArchitecture("basic", (1, 1), (4, 4), **options)
    for size in allowed:
        assert architecture.check_size(size) is None
        classifier = twins.tiny(architecture, size)
        images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        outputs = jax.eval_shape(classifier.apply, classifier.shapes, images)
        assert outputs.logits.shape == (2, 5)
    for size in refused:
        assert "height and width" in architecture.check_size(size)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block": "basic", "cardinality": 2}, "bottlenecks"),
        ({"block": ("basic", "basic", "basic")}, "3 blocks"),
        ({"block": "bottleneck", "pruned_outputs": (4,)}, "1 entries; wanted 2"),
        ({"block": "basic", "stem_pool": "conv", "stem": "small"}, "pools"),
        ({"block": "basic", "stem_pool": "conv", "anti_alias": "blur"}, "anti_alias"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ResNetArchitecture(depths=(1, 1), widths=(4, 4), **options)


def test_arguments_that_have_no_counterpart_are_refused():
    known = {"block": "BasicBlock", "layers": [1, 1], "model_class": "ResNet"}
    assert arguments_from_timm("x", known) == {"block": "basic", "depths": [1, 1]}
    for unknown in (
        {"output_stride": 8},
        {"stem_type": "other"},
        {"aa_layer": {"partial": "BlurPool2d", "pad_mode": "constant"}},
        {"block_args": {"attn_layer": "cbam"}},
        {"block_args": {"attn_layer": {"partial": "SEModule", "bias": False}}},
        {"norm_layer": "evonorms0"},
        {"pruned": True},
    ):
        with pytest.raises(Unsupported):
            arguments_from_timm("x", {**known, **unknown})
