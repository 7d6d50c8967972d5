"""Variables to a file and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_zoo import create_model, load_variables, save_variables
from model_zoo.weights.files import load_metadata


@pytest.fixture
def classifier():
    return create_model("convnext_micro", num_classes=8)


def test_round_trip(classifier, tmp_path):
    variables = classifier.init(jax.random.key(0))
    path = tmp_path / "weights.safetensors"
    save_variables(path, variables, {"model": classifier.name})
    loaded = load_variables(path, classifier=classifier)
    assert loaded.keys() == variables.keys()
    for name, leaf in variables.items():
        assert loaded[name].dtype == leaf.dtype
        np.testing.assert_array_equal(loaded[name], leaf)
    assert load_metadata(path) == {"model": "convnext_micro"}
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_arrays_of_any_layout(tmp_path):
    path = tmp_path / "x.safetensors"
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    variables = {
        "t": matrix.T,
        "d": jnp.asarray(matrix),
        "s": np.float32(3).reshape(()),
    }
    save_variables(path, variables)
    loaded = load_variables(path)
    np.testing.assert_array_equal(loaded["t"], matrix.T)
    np.testing.assert_array_equal(loaded["d"], matrix)
    assert loaded["s"].shape == ()
    assert load_metadata(path) == {}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.safetensors"
    save_variables(path, {"a": np.zeros(2, np.float32)})
    save_variables(path, {"a": np.ones(2, np.float32)})
    np.testing.assert_array_equal(load_variables(path)["a"], [1, 1])
    with pytest.raises(Exception, match="str"):
        save_variables(path, {"a": np.zeros(2, np.float32)}, {"epoch": 3})
    np.testing.assert_array_equal(load_variables(path)["a"], [1, 1])
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_of_another_model_are_refused(classifier, tmp_path):
    path = tmp_path / "x.safetensors"
    other = create_model("convnext_micro", num_classes=9)
    save_variables(path, other.init(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"x\.safetensors: ") as error:
        load_variables(path, classifier=classifier)
    assert "head.fc.kernel has shape (48, 9), wanted (48, 8)" in str(error.value)
    assert "head.fc.bias has shape (9,), wanted (8,)" in str(error.value)


def test_unreadable_files(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_variables(path)
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_metadata(path)
    with pytest.raises(FileNotFoundError):
        load_variables(tmp_path / "missing.safetensors")
