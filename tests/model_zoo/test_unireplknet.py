"""What goldens cannot see of UniRepLKNet: merged branches, starts, refusals."""

import jax
import numpy as np
import pytest

from model_zoo.backbones.unireplknet import UniRepLKNetArchitecture
from model_zoo.reparametrisation import fuse
from tests.model_zoo import twins


@pytest.mark.parametrize("sides", [(3, 13), (5, 17)])
def test_merged_branches_give_the_same_logits(sides):
    kernel_sizes = tuple((side,) for side in sides)
    architecture = UniRepLKNetArchitecture((8, 8), kernel_sizes)
    classifier = twins.tiny(architecture, (24, 19))
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 2)
    fused, merged = fuse(classifier, variables)
    assert merged.keys() == fused.shapes.keys()
    assert not fused.state_names
    wanted = jax.jit(classifier.apply)(variables, images).logits
    got = jax.jit(fused.apply)(merged, images).logits
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_branches_start_small_and_without_response_norm():
    architecture = UniRepLKNetArchitecture((8,), ((3,),))
    variables = twins.tiny(architecture).init(jax.random.key(0))
    assert np.all(variables["stages.0.0.layer_scale.gamma"] == np.float32(1e-6))
    assert not variables["stages.0.0.act.scale"].any()
    assert np.all(variables["stages.0.0.norm.scale"] == 1)


@pytest.mark.parametrize(
    ("kernel_sizes", "wanted"),
    [(((3,),), "one of each a stage"), (((3,), (19,)), r"hold \[19\]")],
)
def test_impossible_architectures_are_refused(kernel_sizes, wanted):
    with pytest.raises(ValueError, match=wanted):
        UniRepLKNetArchitecture((8, 8), kernel_sizes)
