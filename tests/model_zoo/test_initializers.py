"""Initial values: their distributions, and what they depend on."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo import create_model
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule, draw
from tests.model_zoo import twins


def sample(initializer, shape):
    return initializer(np.random.default_rng(0), shape)


@pytest.mark.parametrize(
    ("initializer", "std", "largest"),
    [
        (init.normal(0.02), 0.02, np.inf),
        (init.he_normal_fan_out, (2 / (9 * 128)) ** 0.5, np.inf),
        # A cut at two of the uncut normal's standard deviations.
        (init.lecun_normal, (9 * 64) ** -0.5, 2 / 0.8796 * (9 * 64) ** -0.5),
        (init.xavier_uniform, (2 / (9 * 192)) ** 0.5, (6 / (9 * 192)) ** 0.5),
        (init.uniform(0.3), 0.3 / 3**0.5, 0.3),
    ],
    ids=["normal", "he", "lecun", "xavier", "uniform"],
)
def test_moments(initializer, std, largest):
    values = sample(initializer, (3, 3, 64, 128))
    assert values.dtype == np.float32
    # 73,728 draws: the standard error of the deviation is 0.3 per cent.
    assert values.std() == pytest.approx(std, rel=0.015)
    assert values.mean() == pytest.approx(0, abs=0.02 * std)
    assert np.abs(values).max() <= largest * 1.0001


@pytest.mark.parametrize("name", twins.MICRO)
def test_the_key_and_nothing_else_decides(name):
    classifier = create_model(name, num_classes=8)
    first = classifier.init(jax.random.key(1))
    again = create_model(name, num_classes=8).init(jax.random.key(1))
    other = classifier.init(jax.random.key(2))
    raw = classifier.init(jax.random.PRNGKey(1))
    for leaf, shape in classifier.shapes.items():
        assert isinstance(first[leaf], np.ndarray)
        assert first[leaf].shape == shape.shape
        assert first[leaf].dtype == np.float32
        np.testing.assert_array_equal(first[leaf], again[leaf])
        np.testing.assert_array_equal(first[leaf], raw[leaf])
    differing = {n for n in first if not np.array_equal(first[n], other[n])}
    kernels = classifier.decay_names - {"head.kernel"}  # the Mixer's head is zero
    assert kernels <= differing


def test_leaves_do_not_depend_on_their_company():
    rules = (Rule(".*", init.normal(1.0)),)
    shapes = {n: jax.ShapeDtypeStruct((4,), jnp.float32) for n in "abc"}
    together = draw(rules, shapes, [7])
    alone = draw(rules, {"b": shapes["b"]}, [7])
    np.testing.assert_array_equal(together["b"], alone["b"])
    assert not np.array_equal(together["a"], together["b"])


def test_leaves_without_a_rule_are_all_named():
    shapes = {n: jax.ShapeDtypeStruct((4,), jnp.float32) for n in ("a", "b", "c")}
    with pytest.raises(ValueError, match="no initialisation rule matches a, c"):
        draw((Rule("b", init.zeros),), shapes, [0])


def test_families_start_as_timm_starts_them():
    key = jax.random.key(0)
    resnet = create_model("resnet18", num_classes=10).init(key)
    assert resnet["layer4.1.conv2.kernel"].std() == pytest.approx(
        (2 / (9 * 512)) ** 0.5, rel=0.01
    )
    assert np.abs(resnet["fc.kernel"]).max() <= 512**-0.5
    assert np.all(resnet["layer1.0.bn2.scale"] == 0)
    assert np.all(resnet["bn1.var"] == 1)
    assert np.all(resnet["bn1.mean"] == 0)
    vit = create_model("vit_tiny_patch16_224", num_classes=10).init(key)
    assert vit["blocks.3.attn.qkv.kernel"].std() == pytest.approx(0.02, rel=0.01)
    assert vit["pos_embed"].std() == pytest.approx(0.02, rel=0.02)
    assert np.abs(vit["cls_token"]).max() < 1e-5
    assert np.all(vit["blocks.3.attn.qkv.bias"] == 0)
    convnext = create_model("convnext_atto", num_classes=10).init(key)
    assert np.all(convnext["stages.0.blocks.0.gamma"] == np.float32(1e-6))
    mixer = create_model("mixer_micro", num_classes=10).init(key)
    assert np.all(mixer["head.kernel"] == 0)
    assert 0 < np.abs(mixer["blocks.0.mlp_tokens.fc1.bias"]).max() < 1e-5


def test_init_refuses_a_traced_key():
    classifier = create_model("mixer_micro", num_classes=8)
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(classifier.init)(jax.random.key(0))


def test_a_large_network_is_drawn_at_once():
    classifier = create_model("resnet50")
    start = time.perf_counter()
    classifier.init(jax.random.key(0))
    # Half a second on two quiet cores; compiling an initialiser takes twenty and more.
    assert time.perf_counter() - start < 8
