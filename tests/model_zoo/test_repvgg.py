"""What goldens cannot see of RepVGG: merged branches, starts, refusals."""

import jax
import numpy as np
import pytest

from model_zoo.backbones.convnext import ConvNeXtArchitecture
from model_zoo.backbones.repvgg import RepVGGArchitecture
from model_zoo.reparametrisation import fuse
from model_zoo.weights.repvgg import arguments_from_timm
from model_zoo.weights.rules import Unsupported
from tests.model_zoo import twins

_TINY = {"depths": (2, 1), "widths": (8, 16), "stem_width": 8}


@pytest.mark.parametrize("options", [{}, {"groups": 4}, {"squeeze_ratio": 0.5}])
def test_merged_branches_give_the_same_logits(options):
    classifier = twins.tiny(RepVGGArchitecture(**_TINY, **options), (12, 9))
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 3)
    fused, merged = fuse(classifier, variables)
    assert fused.architecture.reparametrised
    assert merged.keys() == fused.shapes.keys()
    assert not fused.state_names
    wanted = jax.jit(classifier.apply)(variables, images)
    got = jax.jit(fused.apply)(merged, images)
    scale = np.abs(wanted.logits).max()
    np.testing.assert_allclose(got.logits, wanted.logits, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(got.features, wanted.features, rtol=1e-4, atol=1e-5)


def test_what_has_no_branches_is_refused():
    classifier = twins.tiny(RepVGGArchitecture(**_TINY), (12, 9))
    fused, merged = fuse(classifier, twins.random_variables(classifier))
    with pytest.raises(ValueError, match="fused already"):
        fuse(fused, merged)
    with pytest.raises(ValueError, match=r"variables lack .*conv_kxk"):
        fuse(classifier, merged)
    other = twins.tiny(ConvNeXtArchitecture((1,), (8,)))
    with pytest.raises(ValueError, match="no branches to merge; wanted RepVGG"):
        fuse(other, {})


def test_norms_and_grouped_convolutions_start_as_timm_starts_them():
    architecture = RepVGGArchitecture((2,), (64,), groups=4)
    variables = twins.tiny(architecture).init(jax.random.key(0))
    scales = np.concatenate([v for n, v in variables.items() if n.endswith("scale")])
    assert np.mean(scales) == pytest.approx(0.1, abs=0.02)
    assert np.std(scales) == pytest.approx(0.1, abs=0.02)
    for block, fan_out in ((0, 9 * 64), (1, 9 * 64 / 4)):
        kernel = variables[f"stages.0.{block}.conv_kxk.conv.kernel"]
        assert np.std(kernel) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    "changes",
    [
        {"stem_type": "3x3"},
        {"attn_layer": "eca"},
        {"num_features": 64},
        {"aa_layer": "blur"},
        {"blocks": [{"type": "rep", "d": 1, "c": 12.0, "s": 2, "gs": 0, "br": 1.0}]},
        {"blocks": [{"type": "basic", "d": 1, "c": 8.0, "s": 2, "gs": 0, "br": 1.0}]},
        {"blocks": [{"type": "rep", "d": 1, "c": 8.0, "s": 2, "gs": 4, "br": 1.0}]},
        {"drop_block_rate": 0.1},
    ],
)
def test_other_networks_are_refused(changes):
    blocks = [{"type": "rep", "d": 1, "c": 8.0, "s": 2, "gs": 0, "br": 1.0}]
    config = {"blocks": blocks, "stem_type": "rep", "stem_chs": 8}
    assert arguments_from_timm("repvgg", {"model_cfg": config}) == {
        "depths": [1],
        "widths": [8],
        "stem_width": 8,
    }
    with pytest.raises(Unsupported):
        arguments_from_timm("repvgg", {"model_cfg": config | changes})
