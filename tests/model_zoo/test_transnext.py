"""What goldens cannot see of TransNeXt: starts, sizes, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo.backbones.transnext import TransNeXtArchitecture
from tests.model_zoo import twins

_TINY = {"depths": (1, 1), "widths": (8, 16), "num_heads": (1, 2), "mlp_ratios": (2, 1)}


def test_temperatures_start_at_the_papers():
    classifier = twins.tiny(TransNeXtArchitecture(**_TINY), (16, 16))
    variables = classifier.init(jax.random.key(0))
    started = jax.nn.softplus(variables["block1.0.attn.temperature"])
    np.testing.assert_allclose(started, 1 / 0.24, rtol=1e-6)
    assert not variables["block1.0.attn.learnable_bias"].any()
    assert 0 < np.std(variables["block1.0.attn.relative_pos_bias_local"]) < 1e-3


def test_sizes_have_whole_regions_and_two_of_them():
    architecture = TransNeXtArchitecture(**_TINY)
    assert architecture.check_size((16, 24)) is None
    assert "multiples of 8" in architecture.check_size((16, 20))
    assert "two times or more" in architecture.check_size((8, 16))
    pretrained = TransNeXtArchitecture(**_TINY, pretrain_size=16)
    assert pretrained.check_size((8, 16)) is None
    classifier = twins.tiny(pretrained, (8, 16))
    images = twins.random_images(classifier, 2)
    variables = twins.random_variables(classifier)
    outputs = jax.jit(classifier.apply)(variables, images)
    assert jnp.isfinite(outputs.logits).all()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [({"widths": (8,)}, "one of each a stage"), ({"num_heads": (1, 3)}, "a multiple")],
)
def test_impossible_architectures_are_refused(changes, wanted):
    with pytest.raises(ValueError, match=wanted):
        TransNeXtArchitecture(**_TINY | changes)
