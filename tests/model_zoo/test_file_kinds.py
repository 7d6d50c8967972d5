"""Files that are not what they are called, and weights in several of them."""

import io
import json
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save, save_file

from model_zoo import create_model, find_pretrained, load_pretrained
from model_zoo.weights.files import read_tensors
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original, write_repository

PLAIN = save({"conv1.weight": np.ones((2, 3), np.float32)})


def header(dtype, count=4, width=2):
    """A safetensors file of one tensor of a dtype that NumPy lacks."""
    row = {"dtype": dtype, "shape": [count], "data_offsets": [0, count * width]}
    text = json.dumps({"a": row, "__metadata__": {"format": "pt"}}).encode()
    return len(text).to_bytes(8, "little") + text


def torch_zip():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/version", "3")
    return held.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 102170000\n"
WRONG = {
    "lfs": (
        POINTER,
        r"Git LFS pointer, not the file of 102,170,000 bytes.*git lfs pull",
    ),
    "html": (b"\n<!DOCTYPE html><title>Sign in</title>", r"web page \(Sign in\), not"),
    "xml": (b"<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page"),
    "json": (b'{"error": "Repository not found"}', "is JSON .*Repository not found"),
    "empty": (b"", "is empty: a download or copy broke off"),
    "gzip": (b"\x1f\x8b\x08\x00aaaaaaaaaaaa", "is a gzip archive; unpack it"),
    "keras": (b"\x89HDF\r\n\x1a\n0000000000", "is an HDF5 file"),
    "pickle": (pickle.dumps({}, protocol=2), "is a pickle.*jaxbench convert"),
    "torch": (torch_zip(), "is a pickle.*jaxbench convert"),
    "cut zip": (torch_zip()[:60], "is a zip file that is cut off"),
    "cut": (PLAIN[:-5], "it is cut off at .* bytes, wanted"),
    "cut in its header": (PLAIN[:20], "its header alone has"),
    "damaged": (PLAIN[:9] + b"]" + PLAIN[10:], "its header is damaged"),
    "fp8": (
        header("F8_E4M3", width=1) + bytes(4),
        r"1 tensors of F8_E4M3 \(a, \.\.\.\)",
    ),
    "text": (b"hello, world", "is not a readable safetensors file"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth", ".th", ".pyth"])
@pytest.mark.parametrize("kind", WRONG)
def test_case_24_each_file_is_named_for_what_it_is(tmp_path, kind, suffix):
    data, said = WRONG[kind]
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(data)
    if (kind, suffix) == ("text", ".npz"):
        said = "is not a readable .npz"
    with pytest.raises(ValueError, match=said) as raised:
        load_pretrained("resnet_micro", source=path)
    assert str(path) in str(raised.value)


def test_case_24_the_command_that_converts_writes_another_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(torch_zip())
    with pytest.raises(ValueError, match=r"weights\.converted\.safetensors$"):
        read_tensors(path)


def test_case_24_contents_decide_and_not_the_suffix(tmp_path):
    for suffix in (".npz", ".pth", ".bin"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(PLAIN)
        np.testing.assert_array_equal(read_tensors(path)["conv1.weight"], 1)
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:
        np.savez(file, a=np.arange(3))
    assert read_tensors(path)["a"].tolist() == [0, 1, 2]


def test_case_24_bfloat16_is_read_as_float32(tmp_path):
    values = np.asarray([1.0, -2.5, 3e-5, 1e30], jnp.bfloat16)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(header("BF16") + values.tobytes())
    found = read_tensors(path)["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.fixture(scope="module")
def trained():
    classifier = create_model("vit_micro", num_classes=5)
    variables = twins.random_variables(classifier)
    return classifier, variables, to_original(classifier, variables)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "timm_model."])
def test_case_24_prefixes_in_safetensors(tmp_path, trained, prefix):
    _, variables, tensors = trained
    path = tmp_path / "vit_micro.safetensors"
    stored = {prefix + name: array for name, array in tensors.items()}
    save_file(stored, path)
    _, loaded = load_pretrained("vit_micro", source=path, num_classes=5)
    for leaf, array in variables.items():
        np.testing.assert_array_equal(loaded[leaf], array)
    save_file(stored | {"criterion.weight": np.ones(5, np.float32)}, path)
    with pytest.raises(ValueError, match=r"unknown: criterion\.weight"):
        load_pretrained("vit_micro", source=path, num_classes=5)


def in_parts(folder, tensors):
    """Replaces a repository's file by two and their index."""
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, name in enumerate(names):
        save_file(dict(list(tensors.items())[i::2]), folder / name)
    listed = {name: names[i % 2] for i, name in enumerate(tensors)}
    (folder / "model.safetensors").unlink(missing_ok=True)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return index, names


def test_case_24_weights_in_parts(tmp_path, trained):
    classifier, variables, tensors = trained
    home = tmp_path / "vit_micro.mine"
    write_repository(home, classifier, variables)
    index, names = in_parts(home, tensors)
    for source in (tmp_path, home, index):
        name = "vit_micro.mine" if source == tmp_path else "vit_micro"
        found = find_pretrained(name, source=source)
        assert found.path == index
        assert found.declared_classes == 5  # the config.json beside it is read
        for leaf, array in found.load().items():
            np.testing.assert_array_equal(array, variables[leaf])
    (home / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match=f"of which {names[1]} are missing"):
        load_pretrained("vit_micro.mine", source=tmp_path)


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"weight_map": {"a": "../b.safetensors"}}', "{"]
)
def test_case_24_a_damaged_index(tmp_path, text):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not an index of weights in several files"):
        read_tensors(path)
