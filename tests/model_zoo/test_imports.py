"""What importing the package pulls in."""

import subprocess
import sys

import pytest

import model_zoo


def modules_after(statement):
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_input_spec_needs_neither_flax_nor_jax():
    loaded = modules_after("from model_zoo.input_spec import InputSpec")
    assert not {"flax", "jax", "numpy", "safetensors"} & loaded
    loaded = modules_after("from model_zoo import InputSpec")
    assert not {"flax", "jax"} & loaded


def test_the_zoo_stands_alone():
    loaded = modules_after("import model_zoo; model_zoo.load_variables")
    assert "flax" in loaded
    assert "jaxbench" not in loaded


def test_public_names():
    for name in model_zoo.__all__:
        assert getattr(model_zoo, name) is not None
    assert dir(model_zoo) == sorted(model_zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        model_zoo.nothing  # noqa: B018
