"""Conversion is a bijection: what breaks it is named, all of it at once."""

import jax
import numpy as np
import pytest

from model_zoo import create_model
from model_zoo.weights import mixer, resnet
from model_zoo.weights.rules import Rules, convert
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original


@pytest.fixture(scope="module")
def classifier():
    return create_model("resnet_micro", num_classes=5)


@pytest.fixture(scope="module")
def variables(classifier):
    return twins.random_variables(classifier)


@pytest.fixture
def tensors(classifier, variables):
    return to_original(classifier, variables)


def read(tensors, classifier):
    return convert(tensors, classifier, resnet.RULES)


def test_there_and_back(classifier, variables, tensors):
    found = read(tensors, classifier)
    assert found.keys() == variables.keys()
    for leaf, array in variables.items():
        np.testing.assert_array_equal(found[leaf], array)


def test_half_precision_and_counters_are_read(classifier, variables, tensors):
    halves = {k: v.astype(np.float16) for k, v in tensors.items()}
    halves["bn1.num_batches_tracked"] = np.array(3)
    found = read(halves, classifier)
    for leaf, array in variables.items():
        assert found[leaf].dtype == np.float32
        np.testing.assert_allclose(found[leaf], array, rtol=1e-3, atol=1e-6)


def test_every_violation_is_named(classifier, tensors):
    del tensors["conv1.weight"]
    del tensors["layer1.0.bn1.running_var"]
    tensors["extra.weight"] = np.zeros(3, np.float32)
    tensors["fc.weight"] = np.zeros((7, 32), np.float32)
    tensors["bn1.bias"] = np.full(16, np.nan, np.float32)
    with pytest.raises(ValueError, match="resnet_micro with 5 classes at 8x8") as error:
        read(tensors, classifier)
    for part in (
        "missing: conv1.weight, layer1.0.bn1.running_var",
        "unknown: extra.weight",
        "fc.weight has shape (7, 32); fc.kernel wants (32, 5)",
        "bn1.bias holds 16 values that are not finite",
        "num_classes and image_size",
    ):
        assert part in str(error.value)


def test_a_long_list_is_cut_short(classifier):
    with pytest.raises(ValueError, match=r"and \d+ more") as error:
        read({}, classifier)
    assert len(str(error.value)) < 2000


def test_two_leaves_may_not_claim_one_tensor(classifier, tensors):
    rules = Rules(renames=((r"layer1\.0\.bn2\.", "layer1.0.bn1."),))
    with pytest.raises(ValueError, match=r"layer1\.0\.bn1\.weight is claimed by"):
        convert(tensors, classifier, rules)


def test_a_backbone_without_classes_leaves_the_head_out(variables, tensors):
    classifier = create_model("resnet_micro", num_classes=0)
    found = read(tensors, classifier)
    assert found["fc.kernel"].shape == (32, 0)
    images = twins.random_images(classifier, 2)
    outputs = jax.jit(classifier.apply)(found, images)
    assert outputs.logits.shape == (2, 0)
    assert outputs.features.shape == (2, 32)
    # The head may be absent from the file too.
    headless = {k: v for k, v in tensors.items() if not k.startswith("fc.")}
    np.testing.assert_array_equal(
        read(headless, classifier)["conv1.kernel"], variables["conv1.kernel"]
    )


def test_matrices_and_1x1_convolutions_read_each_other():
    classifier = create_model("mixer_micro", num_classes=5)
    variables = twins.random_variables(classifier)
    tensors = to_original(classifier, variables)
    name = "blocks.0.mlp_tokens.fc1.weight"
    tensors[name] = tensors[name][:, :, None, None]
    found = convert(tensors, classifier, mixer.RULES)
    leaf = "blocks.0.mlp_tokens.fc1.kernel"
    np.testing.assert_array_equal(found[leaf], variables[leaf])
