"""Models that are a user's own: Linen, Equinox, a function, a registered NNX module."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_zoo import (
    InputSpec,
    Outputs,
    classifier_from_function,
    create_model,
    list_models,
    load_pretrained,
    register_model,
    registry,
    save_variables,
)
from model_zoo.own import ModuleClassifier

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


def images(count=3):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype(np.float32)


def test_a_function():
    def apply(variables, images):
        return images.mean((1, 2)) @ variables["w"]

    classifier = classifier_from_function(
        apply, name="means", num_classes=2, input_spec=SPEC
    )
    weights = np.eye(3, 2, dtype=np.float32)
    outputs = jax.jit(classifier.apply)({"w": weights}, images())
    np.testing.assert_allclose(
        outputs.logits, images().mean((1, 2))[:, :2], rtol=1e-5, atol=1e-6
    )
    assert outputs.features is None


def test_a_linen_module():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = nn.Conv(4, (3, 3))(x)
            x = nn.BatchNorm(use_running_average=not train)(x)
            return nn.Dense(5)(nn.relu(x).mean((1, 2)))

    net = Net()
    variables = net.init(jax.random.key(0), images())
    classifier = classifier_from_function(
        net.apply, name="linen", num_classes=5, input_spec=SPEC
    )
    outputs = jax.jit(classifier.apply)(variables, images())
    expected = net.apply(variables, images())
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-5, atol=1e-6)


def test_an_equinox_module():
    import equinox as eqx

    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        dropout: eqx.nn.Dropout
        head: eqx.nn.Linear

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.conv = eqx.nn.Conv2d(3, 4, 3, key=first)
            self.dropout = eqx.nn.Dropout(0.5)
            self.head = eqx.nn.Linear(4, 5, key=second)

        def __call__(self, image):  # one image, channels first
            x = jax.nn.relu(self.conv(image)).mean((1, 2))
            return self.head(self.dropout(x))

    net = eqx.nn.inference_mode(Net(jax.random.key(0)))
    arrays, rest = eqx.partition(net, eqx.is_array)

    def apply(arrays, images):
        return jax.vmap(eqx.combine(arrays, rest))(images.transpose(0, 3, 1, 2))

    classifier = classifier_from_function(
        apply, name="equinox", num_classes=5, input_spec=SPEC
    )
    outputs = jax.jit(classifier.apply)(arrays, images())
    expected = jnp.stack([net(image.transpose(2, 0, 1)) for image in images()])
    np.testing.assert_allclose(outputs.logits, expected, rtol=1e-5, atol=1e-6)


class Net(nnx.Module):
    """What a user would write with Flax alone."""

    def __init__(self, num_classes, dtype, rngs):
        self.conv = nnx.Conv(3, 6, (3, 3), dtype=dtype, rngs=rngs)
        self.norm = nnx.BatchNorm(6, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)
        self.head = nnx.Linear(6, num_classes, rngs=rngs)

    def __call__(self, images, rngs=None):
        features = nnx.relu(self.norm(self.conv(images))).mean((1, 2))
        features = features.astype(jnp.float32)
        return Outputs(self.head(self.dropout(features, rngs=rngs)), features)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    register_model(
        "my_net",
        lambda settings, rngs: Net(settings.num_classes, settings.dtype, rngs),
        input_spec=SPEC,
        num_features=6,
    )
    return create_model("my_net", num_classes=5)


def test_a_registered_module_is_one_of_the_zoo(registered):
    assert "my_net" in list_models("my_*")
    assert isinstance(registered, ModuleClassifier)
    assert registered.state_names == {"norm.mean", "norm.var"}
    assert registered.num_features == 6
    assert registered.decay_names == {"conv.kernel", "head.kernel"}
    assert registered == create_model("my_net", num_classes=5)


def test_it_starts_as_its_own_initialisers_say(registered):
    variables = registered.init(jax.random.key(3))
    assert {k: v.shape for k, v in variables.items()} == {
        k: v.shape for k, v in registered.shapes.items()
    }
    again = registered.init(jax.random.key(3))
    other = registered.init(jax.random.key(4))
    np.testing.assert_array_equal(variables["conv.kernel"], again["conv.kernel"])
    assert not np.array_equal(variables["conv.kernel"], other["conv.kernel"])


def test_its_logits_are_the_modules(registered):
    net = Net(5, jnp.float32, nnx.Rngs(1))
    state = nnx.to_flat_state(nnx.state(net))
    variables = {".".join(path): leaf.get_value() for path, leaf in state}
    net = nnx.view(net, deterministic=True, use_running_average=True)
    outputs = jax.jit(registered.apply)(variables, images())
    expected = net(images())
    np.testing.assert_allclose(outputs.logits, expected.logits, rtol=1e-5, atol=1e-6)
    train = jax.jit(registered.apply_train)
    first, updated = train(variables, images(), jax.random.key(0))
    second, _ = train(variables, images(), jax.random.key(1))
    assert updated.keys() == registered.state_names
    assert not np.allclose(first.logits, second.logits)  # dropout has its key


def test_its_weights_come_from_a_file(registered, tmp_path):
    variables = registered.init(jax.random.key(0))
    save_variables(tmp_path / "my_net.best.safetensors", variables)
    found, loaded = load_pretrained("my_net.best", source=tmp_path, num_classes=5)
    assert found.name == "my_net.best"
    for leaf, array in variables.items():
        np.testing.assert_array_equal(loaded[leaf], array)


def test_what_cannot_be_registered(registered):
    with pytest.raises(ValueError, match="the zoo has a model called 'resnet_micro'"):
        register_model("resnet_micro", lambda *_: None, input_spec=SPEC)
    with pytest.raises(ValueError, match="wanted one without a dot"):
        register_model("my.net", lambda *_: None, input_spec=SPEC)

    class Stateful(nnx.Module):
        def __init__(self, rngs):
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    register_model("stateful", lambda _, rngs: Stateful(rngs), input_spec=SPEC)
    with pytest.raises(ValueError, match="keeps random state"):
        _ = create_model("stateful").shapes


def test_logits_of_another_number_of_classes(registered):
    register_model(
        "seven", lambda settings, rngs: Net(7, settings.dtype, rngs), input_spec=SPEC
    )
    classifier = create_model("seven", num_classes=3)
    variables = classifier.init(jax.random.key(0))
    for call in (
        lambda: classifier.apply(variables, images()),
        lambda: classifier.apply_train(variables, images(), jax.random.key(0)),
    ):
        with pytest.raises(
            ValueError, match=r"logits of shape \(3, 7\), wanted \(3, 3\)"
        ):
            call()


class Counter(Net):
    """Keeps a variable of a kind of its own."""

    def __init__(self, num_classes, dtype, rngs):
        super().__init__(num_classes, dtype, rngs)
        self.steps = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, images, rngs=None):
        if rngs is not None:
            self.steps.set_value(self.steps.get_value() + 1)
        return super().__call__(images, rngs)


def test_state_of_any_kind_is_updated_and_keeps_its_dtype(registered, tmp_path):
    register_model(
        "counter",
        lambda settings, rngs: Counter(settings.num_classes, settings.dtype, rngs),
        input_spec=SPEC,
    )
    classifier = create_model("counter", num_classes=5)
    variables = classifier.init(jax.random.key(0))
    for _ in range(2):
        _, updated = classifier.apply_train(variables, images(), jax.random.key(0))
        assert updated.keys() == classifier.state_names
        variables |= updated
    save_variables(tmp_path / "counter.safetensors", variables)
    _, loaded = load_pretrained("counter", source=tmp_path, num_classes=5)
    assert loaded["steps"].dtype == np.int32
    assert loaded["steps"] == 2
