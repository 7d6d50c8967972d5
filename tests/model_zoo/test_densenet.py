"""What goldens cannot see of the DenseNets: sizes, files of old, refusals."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo.architecture import Settings
from model_zoo.backbones.densenet import DenseNetArchitecture
from model_zoo.weights.densenet import RULES, arguments_from_timm
from model_zoo.weights.rules import Unsupported, convert
from tests.model_zoo import twins

_TINY = {"growth_rate": 4, "depths": (1, 2), "bottleneck_ratio": 2}


@pytest.mark.parametrize(
    ("options", "smallest"),
    [({}, 5), ({"stem": "deep"}, 5), ({"stem": "small"}, 2), ({"blur": True}, 5)],
)
def test_the_smallest_image_is_the_smallest_that_works(options, smallest):
    architecture = DenseNetArchitecture(**_TINY, **options)
    assert f"at least {smallest} " in architecture.check_size((smallest - 1, 9))
    for size in ((smallest, smallest), (smallest, 9)):
        assert architecture.check_size(size) is None
        classifier = twins.tiny(architecture, size)
        images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        outputs = jax.eval_shape(classifier.apply, classifier.shapes, images)
        assert outputs.features.shape == (2, architecture.num_features)


def test_the_small_stem_keeps_every_pixel():
    architecture = DenseNetArchitecture(**_TINY, stem="small")
    classifier = twins.tiny(architecture, (2, 2))
    assert classifier.shapes["features.conv0.kernel"].shape == (3, 3, 3, 8)
    variables = twins.random_variables(classifier)
    images = np.repeat(twins.random_images(classifier, 1), 5, axis=0)
    for k, (i, j) in enumerate(np.ndindex(2, 2)):
        images[k + 1, i, j] += 1
    logits = jax.jit(classifier.apply)(variables, images).logits
    assert np.all(np.abs(logits[1:] - logits[:1]).max(1) > 1e-3)


def test_convolutions_start_by_their_fan_in():
    architecture = DenseNetArchitecture(depths=(2,), stem="small")
    variables = twins.tiny(architecture).init(jax.random.key(0))
    kernel = variables["features.denseblock1.denselayer2.conv2.kernel"]
    assert np.std(kernel) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    limit = np.abs(variables["classifier.kernel"]).max()
    assert limit == pytest.approx(128**-0.5, rel=0.02)


def test_names_of_old_files_are_read():
    classifier = twins.tiny(DenseNetArchitecture(**_TINY), (5, 5))
    variables = twins.random_variables(classifier)
    tensors = {}
    for leaf, array in variables.items():
        name = RULES.source_name(leaf)
        order = (3, 2, 0, 1) if array.ndim == 4 else None
        tensors[re.sub(r"(denselayer\d+\.[a-z]+)(\d)", r"\1.\2", name)] = (
            array.transpose(order)
        )
    assert "features.denseblock1.denselayer1.norm.1.weight" in tensors
    read = convert(tensors, classifier, RULES)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(read[leaf], array)


def test_what_a_densenet_cannot_do_is_refused():
    settings = Settings(5, (8, 8), jnp.dtype("float32"), drop_path_rate=0.1)
    with pytest.raises(ValueError, match=r"drop_path_rate=0\.1"):
        DenseNetArchitecture(**_TINY).build(settings)
    with pytest.raises(ValueError, match="small"):
        DenseNetArchitecture(stem="small", blur=True)
    for unknown in ({"aa_stem_only": False}, {"stem_type": "deep_tiered"}):
        with pytest.raises(Unsupported):
            arguments_from_timm("x", unknown)
