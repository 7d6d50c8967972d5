"""A classifier's promises: purity, modes, hashing, and behaviour under transforms."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from model_zoo import (
    Outputs,
    check_variables,
    classifier_from_function,
    create_model,
)
from model_zoo.backbones.convnext import ConvNeXtArchitecture
from model_zoo.backbones.mixer import MixerArchitecture
from model_zoo.backbones.resnet import ResNetArchitecture
from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.input_spec import InputSpec
from tests.model_zoo import twins

FAMILIES = {
    "resnet": ResNetArchitecture("basic", (1, 1), (4, 6), stem="small"),
    "vit": ViTArchitecture(8, 1, 2, patch_size=4),
    "convnext": ConvNeXtArchitecture((1, 1), (4, 6), patch_size=2, kernel_size=3),
    "mixer": MixerArchitecture(8, 1, patch_size=4),
}


def assert_close(got, want, *, scale=1):
    """The same sums in another order, in float32."""
    atol = scale * 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=scale * 1e-4, atol=atol)


@pytest.fixture(scope="module", params=FAMILIES)
def classifier(request):
    return twins.tiny(FAMILIES[request.param], drop_rate=0.2, drop_path_rate=0.2)


@pytest.fixture(scope="module")
def variables(classifier):
    return twins.random_variables(classifier)


@pytest.fixture(scope="module")
def images(classifier):
    return twins.random_images(classifier, 4)


@pytest.fixture(scope="module")
def evaluate(classifier):
    return jax.jit(classifier.apply)


@pytest.fixture(scope="module")
def train(classifier):
    return jax.jit(classifier.apply_train)


def test_jit_equals_eager():
    # One family: eagerly every operation is compiled alone, which takes seconds.
    classifier = twins.tiny(FAMILIES["mixer"])
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 2)
    eager = classifier.apply(variables, images)
    jitted = jax.jit(classifier.apply)(variables, images)
    assert_close(jitted.logits, eager.logits)
    assert_close(jitted.features, eager.features)


def test_logits_are_the_head_of_the_features(evaluate, variables, images):
    outputs = evaluate(variables, images)
    head = next(n for n in ("fc", "head", "head.fc") if f"{n}.kernel" in variables)
    logits = outputs.features @ variables[f"{head}.kernel"]
    assert_close(outputs.logits, logits + variables[f"{head}.bias"][None])


@pytest.mark.parametrize("name", twins.MICRO)
def test_gradients_reach_every_parameter(name):
    classifier = create_model(name, num_classes=8)
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 2)

    @jax.jit
    def gradients(parameters, state):
        def loss(parameters):
            key = jax.random.key(5)
            outputs, _ = classifier.apply_train({**parameters, **state}, images, key)
            return (outputs.logits**2).mean()

        return jax.grad(loss)(parameters)

    parameters = {n: variables[n] for n in classifier.parameter_names}
    state = {n: variables[n] for n in classifier.state_names}
    found = gradients(parameters, state)
    assert found.keys() == parameters.keys()
    for name, gradient in found.items():
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient).max() > 0, name


def test_training_needs_its_key_and_evaluation_none(train, variables, images):
    first, _ = train(variables, images, jax.random.key(0))
    again, _ = train(variables, images, jax.random.key(0))
    other, _ = train(variables, images, jax.random.key(1))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert not np.allclose(first.logits, other.logits)


def test_a_raw_key_is_as_good_as_a_typed_one():
    classifier = twins.tiny(FAMILIES["mixer"], drop_rate=0.2, drop_path_rate=0.2)
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 2)

    @jax.jit
    def both(key):
        kinds = key, jax.random.key_data(key)
        return [classifier.apply_train(variables, images, k)[0] for k in kinds]

    typed, raw = both(jax.random.key(0))
    np.testing.assert_array_equal(typed.logits, raw.logits)


def test_training_returns_the_statistics_and_nothing_else(
    classifier, train, variables, images
):
    before = {name: leaf.copy() for name, leaf in variables.items()}
    _, updated = train(variables, images, jax.random.key(0))
    assert updated.keys() == classifier.state_names
    for name, leaf in updated.items():
        assert leaf.shape == classifier.shapes[name].shape
        assert not np.allclose(leaf, variables[name]), name
    for name, leaf in before.items():
        np.testing.assert_array_equal(leaf, variables[name])


def test_without_noise_and_batch_norm_training_is_evaluation():
    classifier = twins.tiny(FAMILIES["vit"])
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 2)
    train = jax.jit(classifier.apply_train)
    trained, updated = train(variables, images, jax.random.key(0))
    assert updated == {}
    evaluated = jax.jit(classifier.apply)(variables, images)
    np.testing.assert_array_equal(trained.logits, evaluated.logits)


def test_vmap_over_variables_and_keys_equals_a_loop(classifier, train, images):
    members = [twins.random_variables(classifier, seed) for seed in range(2)]
    keys = jax.random.split(jax.random.key(0), 2)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *members)
    vmapped = jax.jit(jax.vmap(classifier.apply_train, (0, None, 0)))
    together, states = vmapped(stacked, images, keys)
    for i, member in enumerate(members):
        outputs, state = train(member, images, keys[i])
        # Batch statistics of four images amplify the order of sums a little.
        assert_close(together.logits[i], outputs.logits, scale=10)
        for name in state:
            assert_close(states[name][i], state[name])


def test_shard_map_over_images_equals_one_device(classifier, evaluate, variables):
    images = twins.random_images(classifier, 8)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.shard_map(
        classifier.apply,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
    )
    got = jax.jit(sharded)(variables, images)
    want = [evaluate(variables, half).logits for half in np.split(images, 2)]
    assert_close(got.logits, np.concatenate(want))


def test_bfloat16_computes_coarsely_and_returns_float32(classifier, evaluate, images):
    coarse = twins.tiny(classifier.architecture, dtype=jnp.bfloat16)
    assert coarse.shapes == classifier.shapes
    variables = coarse.init(jax.random.key(0))
    exact = evaluate(variables, images)
    got = jax.jit(coarse.apply)(variables, images)
    trained = jax.eval_shape(coarse.apply_train, variables, images, jax.random.key(0))
    for leaf in jax.tree.leaves((got, trained)):
        assert leaf.dtype == jnp.float32
    # bfloat16 keeps 8 bits: half a per cent an operation, a few operations deep.
    error = np.abs(got.features - exact.features).max()
    assert 0 < error < 0.05 * np.abs(exact.features).max() + 0.02


@pytest.mark.parametrize("name", twins.MICRO)
def test_equal_arguments_make_equal_classifiers(name):
    def make(**changes):
        arguments = {"num_classes": 8, "drop_rate": 0.2, "drop_path_rate": 0.2}
        return create_model(name, **{**arguments, **changes})

    assert make() == make()
    assert hash(make()) == hash(make())
    for change in (
        {"num_classes": 9},
        {"image_size": 16},
        {"dtype": jnp.bfloat16},
        {"drop_rate": 0.1},
        {"drop_path_rate": 0.1},
    ):
        assert make(**change) != make()


def test_a_classifier_is_a_static_argument():
    traces = []

    def logits(classifier, variables, images):
        traces.append(classifier)
        return classifier.apply(variables, images).logits

    step = jax.jit(logits, static_argnums=0)
    for _ in range(2):
        classifier = create_model("mixer_micro", num_classes=8)
        images = twins.random_images(classifier, 2)
        step(classifier, classifier.init(jax.random.key(0)), images)
    assert len(traces) == 1


def test_apply_refuses_other_names_and_sizes(classifier, variables):
    wrong = {**variables, "extra.kernel": np.zeros(3, np.float32)}
    gone = min(variables)
    del wrong[gone]
    images = np.zeros((2, 6, 10, 3), np.float32)
    with pytest.raises(ValueError, match=classifier.name) as error:
        classifier.apply(wrong, images)
    message = str(error.value)
    assert f"variables lack {gone}" in message
    assert "variables hold unknown extra.kernel" in message
    assert "images have shape (2, 6, 10, 3), wanted (n, 8, 8, 3)" in message


@pytest.fixture
def users_types():
    """Runs as a user does: without the checks of annotations that the tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_apply_refuses_bytes(users_types):
    classifier = create_model("mixer_micro", num_classes=8)
    variables = classifier.init(jax.random.key(0))
    with pytest.raises(ValueError, match="mixer_micro: images are uint8, wanted float"):
        classifier.apply(variables, np.zeros((2, 8, 8, 3), np.uint8))


def test_check_variables_reports_everything_at_once():
    classifier = create_model("resnet_micro", num_classes=8)
    variables = classifier.init(jax.random.key(0))
    check_variables(classifier, variables)
    del variables["bn1.mean"]
    variables["stray"] = np.zeros(1, np.float32)
    variables["fc.bias"] = np.zeros(9, np.float32)
    variables["bn1.scale"] = variables["bn1.scale"].astype(np.float16)
    with pytest.raises(ValueError, match="resnet_micro with 8 classes") as error:
        check_variables(classifier, variables)
    for part in (
        "variables lack bn1.mean",
        "variables hold unknown stray",
        "fc.bias has shape (9,), wanted (8,)",
        "bn1.scale is float16, wanted float32",
    ):
        assert part in str(error.value)


class TestFunction:
    SPEC = InputSpec(size=(4, 4))

    def make(self, function):
        return classifier_from_function(
            function, name="mine", num_classes=3, input_spec=self.SPEC
        )

    def test_logits_or_outputs(self):
        images = np.ones((2, 4, 4, 3), np.float32)

        def logits(variables, images):
            return (images.mean((1, 2)) * variables["w"]).astype(jnp.bfloat16)

        variables = {"w": jnp.float32(2)}
        got = jax.jit(self.make(logits).apply)(variables, images)
        assert got.features is None
        assert got.logits.dtype == jnp.float32
        np.testing.assert_array_equal(got.logits, np.full((2, 3), 2.0))

        def outputs(variables, images):
            return Outputs(logits(variables, images), jnp.ones((2, 5)))

        got = self.make(outputs).apply(variables, images)
        assert got.features.shape == (2, 5)

    def test_wrong_logits(self):
        classifier = self.make(lambda variables, images: jnp.zeros((2, 4)))
        with pytest.raises(ValueError, match=r"\(2, 4\), wanted \(2, 3\)"):
            classifier.apply({}, np.ones((2, 4, 4, 3), np.float32))

    def test_what_a_function_cannot_do(self):
        classifier = self.make(lambda variables, images: images)
        assert classifier.num_parameters is None
        assert classifier.num_features is None
        key = jax.random.key(0)
        for call in (
            lambda: classifier.init(key),
            lambda: classifier.apply_train({}, np.ones((2, 4, 4, 3), np.float32), key),
            lambda: classifier.shapes,
            lambda: classifier.state_names,
            lambda: classifier.decay_names,
        ):
            with pytest.raises(ValueError, match=r"mine: .* user's own function"):
                call()
