"""What goldens cannot see of the VGGs: torchvision's files, dropout, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo.architecture import Settings
from model_zoo.backbones.vgg import VGGArchitecture
from model_zoo.weights.rules import Unsupported, convert
from model_zoo.weights.vgg import RULES, arguments_from_timm
from tests.model_zoo import twins

_TINY = VGGArchitecture((1, 1), (3, 4), (6, 5))


def test_files_of_torchvision_are_read():
    classifier = twins.tiny(_TINY)
    variables = twins.random_variables(classifier)
    dense = {
        "pre_logits.fc1": "classifier.0",
        "pre_logits.fc2": "classifier.3",
        "head.fc": "classifier.6",
    }
    tensors = {}
    for leaf, array in variables.items():
        module, _, last = leaf.rpartition(".")
        if last == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        if module in dense and last == "kernel":
            array = array.reshape(len(array), -1)
        last = "bias" if last == "bias" else "weight"
        tensors[f"{dense.get(module, module)}.{last}"] = array
    assert tensors["classifier.0.weight"].shape == (6, 4 * 49)
    read = convert(tensors, classifier, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def test_dropout_acts_on_both_hidden_layers():
    classifier = twins.tiny(_TINY, drop_rate=0.5)
    variables = twins.random_variables(classifier)
    images = twins.random_images(classifier, 1)
    train = jax.jit(classifier.apply_train)
    drawn = [train(variables, images, jax.random.key(seed))[0] for seed in range(8)]
    # Features stand before the last dropout: only the first can change them.
    assert len({tuple(outputs.features[0].tolist()) for outputs in drawn}) > 1
    kernel, bias = variables["head.fc.kernel"], variables["head.fc.bias"]
    undropped = drawn[0].features @ kernel + bias[None]
    assert np.abs(undropped - drawn[0].logits).max() > 1e-3


def test_what_a_vgg_cannot_do_is_refused():
    settings = Settings(5, (8, 8), jnp.dtype("float32"), drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"drop_path_rate=0\.1"):
        _TINY.build(settings)
    assert "at least 32 " in VGGArchitecture((1,) * 5).check_size((31, 64))
    for cfg in ([4, 6, "M"], [4, "M", 6]):
        with pytest.raises(Unsupported):
            arguments_from_timm("x", {"model_cfg": cfg})
