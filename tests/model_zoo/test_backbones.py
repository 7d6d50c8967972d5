"""Each family's forward pass against its float64 twin, and what timm fixes about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_zoo.architecture import Settings
from model_zoo.backbones.convnext import ConvNeXtArchitecture
from model_zoo.backbones.mixer import MixerArchitecture
from model_zoo.backbones.resnet import ResNetArchitecture
from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.layers.stochastic import DropPath
from tests.model_zoo import twins

FLOAT32 = jnp.dtype("float32")


# Name: architecture, image height and width, twin. Sizes that leave odd maps and
# rectangles are here on purpose: padding and flattening errors hide in even squares.
CASES = {
    "vit": (
        ViTArchitecture(12, 2, 3, patch_size=4),
        (8, 12),
        lambda v, x: twins.vit(v, x, patch=4, depth=2, num_heads=3),
    ),
    "mixer": (
        MixerArchitecture(8, 2, patch_size=2),
        (4, 6),
        lambda v, x: twins.mixer(v, x, patch=2, depth=2),
    ),
    "convnext": (
        ConvNeXtArchitecture((1, 2), (6, 8), patch_size=2, kernel_size=7),
        (9, 14),
        lambda v, x: twins.convnext(v, x, patch=2, depths=(1, 2)),
    ),
    "convnext with 1x1 convolutions": (
        ConvNeXtArchitecture((1, 1), (6, 8), True, patch_size=2, kernel_size=3),
        (8, 8),
        lambda v, x: twins.convnext(v, x, patch=2, depths=(1, 1)),
    ),
    "resnet basic": (
        ResNetArchitecture("basic", (1, 2), (4, 6), stem="small"),
        (9, 8),
        lambda v, x: twins.resnet(v, x, block="basic", depths=(1, 2), stem="small"),
    ),
    "resnet bottleneck": (
        ResNetArchitecture("bottleneck", (1, 2), (4, 6)),
        (18, 25),
        lambda v, x: twins.resnet(
            v, x, block="bottleneck", depths=(1, 2), stem="imagenet"
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_forward_matches_its_float64_twin(case):
    architecture, size, twin = CASES[case]
    classifier = twins.tiny(architecture, size)
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 3)
    logits, features = twin(variables, images)
    outputs = jax.jit(classifier.apply)(variables, images)
    assert np.std(logits) > 0.1  # the comparison has something to see
    # float32 sums over at most a few hundred terms of order one.
    np.testing.assert_allclose(outputs.features, features, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-4, atol=2e-5)


def test_resnet_branches_start_at_zero_by_default():
    for zero, value in ((True, 0.0), (False, 1.0)):
        architecture = ResNetArchitecture(
            "bottleneck", (1, 1), (4, 6), zero_init_last=zero
        )
        variables = twins.tiny(architecture, (32, 32)).init(jax.random.key(0))
        assert np.all(variables["layer2.0.bn3.scale"] == value)
        assert np.all(variables["layer2.0.bn2.scale"] == 1)
        assert np.all(variables["layer2.0.downsample.1.scale"] == 1)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (ResNetArchitecture("basic", (1, 1, 1), (4, 4, 4)), [0.0, 0.1, 0.2]),
        (ViTArchitecture(8, 3, 2, patch_size=4), [0.0, 0.1, 0.2]),
        (ConvNeXtArchitecture((1, 2), (4, 4), patch_size=2), [0.0, 0.1, 0.2]),
        (MixerArchitecture(8, 3, patch_size=4), [0.2, 0.2, 0.2]),
    ],
    ids=["resnet", "vit", "convnext", "mixer"],
)
def test_stochastic_depth_grows_as_in_timm(architecture, expected):
    settings = Settings(5, (8, 8), FLOAT32, drop_path_rate=0.2)
    network = architecture.build(settings)
    rates = [m.rate for _, m in nnx.iter_modules(network) if isinstance(m, DropPath)]
    assert sorted(rates) == pytest.approx(expected)
