"""The description of an input."""

import subprocess
import sys

import pytest

from model_zoo.input_spec import InputSpec


def test_is_a_value():
    assert InputSpec() == InputSpec(size=(224, 224), crop_fraction=0.875)
    assert len({InputSpec(), InputSpec(), InputSpec(size=(8, 8))}) == 2


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
