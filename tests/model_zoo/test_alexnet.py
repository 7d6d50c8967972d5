"""What the golden cannot see of AlexNet: pooling, initial values, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo.architecture import Settings
from model_zoo.backbones.alexnet import AlexNetArchitecture
from model_zoo.layers.pooling import adaptive_avg_pool
from model_zoo.weights.alexnet import arguments_from_timm
from model_zoo.weights.rules import Unsupported
from tests.model_zoo import twins

_TINY = AlexNetArchitecture((2, 3, 4, 3, 2), (5, 7))


@pytest.mark.parametrize("size", [(7, 6), (4, 13), (1, 2), (12, 6)])
def test_adaptive_pooling_averages_nearly_equal_windows(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    wanted = np.zeros((2, 6, 6, 3))
    for i, j in np.ndindex(6, 6):
        rows, columns = (
            slice(int(np.floor(k * n / 6)), int(np.ceil((k + 1) * n / 6)))
            for k, n in zip((i, j), size, strict=True)
        )
        wanted[:, i, j] = x[:, rows, columns].mean((1, 2), dtype=np.float64)
    got = adaptive_avg_pool(jnp.asarray(x), (6, 6))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_layers_start_as_torchs_do():
    architecture = AlexNetArchitecture(hidden_widths=(100, 200))
    variables = twins.tiny(architecture, (63, 63)).init(jax.random.key(0))
    for layer, fan_in in (
        ("features.0", 3 * 121),
        ("features.3", 64 * 25),
        ("features.10", 256 * 9),
        ("classifier.1", 256 * 36),
        ("classifier.4", 100),
    ):
        for leaf in ("kernel", "bias"):
            largest = np.abs(variables[f"{layer}.{leaf}"]).max()
            assert 0.9 * fan_in**-0.5 < largest <= fan_in**-0.5 * (1 + 1e-6)


def test_dropout_acts_before_hidden_layers_alone():
    classifier = twins.tiny(_TINY, (63, 63), drop_rate=0.5)
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 1)
    train = jax.jit(classifier.apply_train)
    outputs, _ = train(variables, images, jax.random.key(1))
    still = jax.jit(classifier.apply)(variables, images)
    assert np.abs(outputs.features - still.features).max() > 1e-3
    last = outputs.features @ variables["classifier.6.kernel"]
    wanted = last + variables["classifier.6.bias"][None]
    np.testing.assert_allclose(outputs.logits, wanted, rtol=1e-4, atol=1e-5)


def test_what_an_alexnet_cannot_do_is_refused():
    settings = Settings(5, (63, 63), jnp.dtype("float32"), drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"drop_path_rate=0\.1"):
        _TINY.build(settings)
    assert "at least 63 " in _TINY.check_size((62, 90))
    assert _TINY.check_size((63, 90)) is None
    with pytest.raises(Unsupported):
        arguments_from_timm("alexnet", {})
