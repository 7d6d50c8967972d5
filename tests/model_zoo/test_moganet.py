"""What goldens cannot see of MogaNet: starts and refusals."""

import jax
import numpy as np
import pytest

from model_zoo.backbones.moganet import MogaNetArchitecture
from tests.model_zoo import twins


def test_depthwise_kernels_start_by_their_area():
    architecture = MogaNetArchitecture((1,), (64,), (2,))
    variables = twins.tiny(architecture, (8, 8)).init(jax.random.key(0))
    for name, area in (("value.DW_conv0", 25), ("value.DW_conv2", 49)):
        kernel = variables[f"blocks1.0.attn.{name}.kernel"]
        assert np.std(kernel) == pytest.approx((2 / area) ** 0.5, rel=0.1)
    assert np.all(variables["blocks1.0.layer_scale_1.gamma"] == np.float32(1e-5))
    assert np.all(variables["blocks1.0.mlp.sigma.gamma"] == np.float32(1e-5))


@pytest.mark.parametrize(
    ("widths", "wanted"), [((12,), "multiples of 8"), ((8, 8), "one of each a stage")]
)
def test_impossible_architectures_are_refused(widths, wanted):
    with pytest.raises(ValueError, match=wanted):
        MogaNetArchitecture((1,), widths, (2,))
