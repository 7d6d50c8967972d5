"""The description of an input."""

import subprocess
import sys

import numpy as np
import pytest

from jaxbench.data import preprocess
from model_zoo.input_spec import InputSpec


def test_is_a_value():
    assert InputSpec() == InputSpec(size=(224, 224), crop_fraction=1.0)
    assert len({InputSpec(), InputSpec(), InputSpec(size=(8, 8))}) == 2


def test_case_06_nothing_is_cropped_unless_asked():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(preprocess(image, InputSpec(size=(32, 32))), image)
    # An eighth is cut, and what is left is between the pixels of the image.
    cropped = preprocess(image, InputSpec(size=(32, 32), crop_fraction=0.875))
    assert (cropped != image).mean() > 0.9


def test_case_18_another_crop_and_filter_of_the_same_input():
    spec = InputSpec((8, 8), 0.9, mean=(0.1, 0.2, 0.3))
    assert spec.adjusted() == spec
    assert spec.adjusted(0.5, "bilinear") == InputSpec(
        (8, 8), 0.5, interpolation="bilinear", mean=(0.1, 0.2, 0.3)
    )
    with pytest.raises(ValueError, match=r"crop_fraction is 1\.5, wanted"):
        spec.adjusted(1.5)


def test_everything_wrong_is_reported_at_once():
    with pytest.raises(ValueError, match="InputSpec") as error:
        InputSpec(size=(0, 8), crop_fraction=1.5, std=(1.0, 0.0, 1.0))
    for part in (
        "size is (0, 8), wanted two positive integers",
        "crop_fraction is 1.5, wanted a number in (0, 1]",
        "std is (1.0, 0.0, 1.0), wanted three positive numbers",
    ):
        assert part in str(error.value)


def test_values_of_the_wrong_type_without_a_type_checker():
    # In a process of its own: here beartype would refuse them first.
    code = """
from model_zoo.input_spec import InputSpec
InputSpec(size=8, crop_mode="middle", interpolation="cubic", mean=(0.5, 0.5))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    for part in (
        "ValueError: InputSpec: size is 8, wanted two positive integers",
        "crop_mode is 'middle', wanted one of 'center', 'squash'",
        "interpolation is 'cubic', wanted one of 'nearest'",
        "mean is (0.5, 0.5), wanted three numbers",
    ):
        assert part in result.stderr
