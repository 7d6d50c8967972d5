"""Weights from files, folders and the hub, and what is said when they are wrong."""

import dataclasses
import json

import huggingface_hub
import jax
import numpy as np
import pytest
from huggingface_hub import errors

from model_zoo import (
    create_model,
    find_pretrained,
    list_pretrained,
    load_pretrained,
    registry,
    save_variables,
)
from model_zoo.weights.files import read_tensors
from tests.model_zoo import twins
from tests.model_zoo.originals import to_original, write_repository


@pytest.fixture(scope="module")
def classifier():
    return create_model("vit_micro", num_classes=5)


@pytest.fixture(scope="module")
def variables(classifier):
    return twins.random_variables(classifier)


def same(got, want):
    assert got.keys() == want.keys()
    for leaf in want:
        np.testing.assert_array_equal(got[leaf], want[leaf])


def test_a_folder_in_timms_layout(tmp_path, classifier, variables):
    write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    found, loaded = load_pretrained("vit_micro.mine", source=tmp_path)
    same(loaded, variables)
    assert (found.name, found.num_classes) == ("vit_micro.mine", 5)
    # What config.json says of the input holds.
    assert found.input_spec.mean == (0.5, 0.4, 0.3)
    assert found.input_spec.interpolation == "bilinear"
    # The repository itself may be the source, and a lone tag need not be named.
    same(load_pretrained("vit_micro", source=tmp_path / "vit_micro.mine")[1], variables)
    same(load_pretrained("vit_micro", source=tmp_path)[1], variables)


def test_the_hub_caches_own_layout(tmp_path, classifier, variables):
    repository = tmp_path / "models--timm--vit_micro.mine"
    write_repository(repository / "snapshots" / "0a1b", classifier, variables)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0a1b")
    same(load_pretrained("vit_micro.mine", source=tmp_path)[1], variables)


@pytest.mark.parametrize("layout", ["ours", "theirs"])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_plain_file(tmp_path, classifier, variables, layout, suffix):
    arrays = variables if layout == "ours" else to_original(classifier, variables)
    path = tmp_path / f"vit_micro.mine{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_variables(path, arrays)
    same(load_pretrained("vit_micro", source=path, num_classes=5)[1], variables)
    _, loaded = load_pretrained("vit_micro.mine", source=tmp_path, num_classes=5)
    same(loaded, variables)
    assert list_pretrained(tmp_path, "vit*") == {"vit_micro.mine": path}
    assert list_pretrained(tmp_path, "resnet*") == {}


def test_position_embeddings_follow_the_image_size(tmp_path, classifier, variables):
    write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    found, loaded = load_pretrained("vit_micro.mine", source=tmp_path, image_size=16)
    assert found.input_spec.size == (16, 16)
    before, after = variables["pos_embed"], loaded["pos_embed"]
    assert after.shape == (1, 65, 48)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])  # the class token's
    grid = jax.image.resize(before[:, 1:].reshape(1, 4, 4, 48), (1, 8, 8, 48), "cubic")
    np.testing.assert_allclose(
        after[:, 1:].reshape(1, 8, 8, 48), grid, rtol=1e-4, atol=1e-5
    )


def test_token_mixers_cannot_follow_it(tmp_path):
    classifier = create_model("mixer_micro", num_classes=5)
    write_repository(
        tmp_path / "mixer_micro.mine", classifier, twins.random_variables(classifier)
    )
    with pytest.raises(ValueError, match="at 16x16 pixels") as error:
        load_pretrained("mixer_micro.mine", source=tmp_path, image_size=16)
    assert "blocks.0.mlp_tokens.fc1.weight has shape" in str(error.value)


def test_other_classes_and_other_architectures_are_named(
    tmp_path, classifier, variables
):
    path = write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    with pytest.raises(ValueError, match=r"head\.weight has shape \(5, 48\)"):
        load_pretrained("vit_micro.mine", source=tmp_path, num_classes=6)
    with pytest.raises(ValueError, match="holds weights of vit_micro"):
        load_pretrained("resnet_micro", source=path)
    (path.parent / "config.json").unlink()
    with pytest.raises(ValueError, match="not the weights of resnet_micro") as error:
        load_pretrained("resnet_micro", source=path, num_classes=5)
    assert "missing: " in str(error.value)
    assert "unknown: " in str(error.value)


def test_what_a_folder_lacks_is_said_with_what_it_holds(
    tmp_path, classifier, variables
):
    write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    with pytest.raises(FileNotFoundError, match=r"it holds vit_micro\.mine; wanted"):
        load_pretrained("vit_micro.other", source=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nowhere"):
        load_pretrained("vit_micro", source=tmp_path / "nowhere")


def test_damaged_files(tmp_path, classifier, variables):
    path = write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a readable safetensors file"):
        load_pretrained("vit_micro.mine", source=tmp_path)
    (path.parent / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        load_pretrained("vit_micro.mine", source=tmp_path)
    archive = tmp_path / "vit_micro.npz"
    archive.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"is not a readable \.npz"):
        load_pretrained("vit_micro", source=archive)
    np.savez(archive, objects=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"is not a readable \.npz"):
        load_pretrained("vit_micro", source=archive)


def test_broken_archives_and_folders(tmp_path):
    array, compressed = tmp_path / "array.npz", tmp_path / "compressed.npz"
    with array.open("wb") as file:
        np.save(file, np.ones(3))
    np.savez_compressed(compressed, a=np.arange(10_000.0))
    data = bytearray(compressed.read_bytes())
    data[200:260] = bytes(60)
    compressed.write_bytes(data)
    for path in (array, compressed):
        with pytest.raises(ValueError, match=r"is not a readable \.npz"):
            read_tensors(path)
    with pytest.raises(ValueError, match="is a folder, wanted"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".ckpt", ".tar"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"jaxbench convert .*weights\.safetensors"):
        load_pretrained("vit_micro", source=path)


def test_not_finite_weights(tmp_path, classifier, variables):
    broken = {**variables, "cls_token": np.full((1, 1, 48), np.inf, np.float32)}
    write_repository(tmp_path / "vit_micro.mine", classifier, broken)
    with pytest.raises(ValueError, match="cls_token holds 48 values that are not fin"):
        load_pretrained("vit_micro.mine", source=tmp_path)


def test_the_hub_is_asked_for_the_registrys_file(tmp_path, monkeypatch):
    classifier = create_model("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    path = write_repository(
        tmp_path / "x", classifier, classifier.init(jax.random.key(0))
    )
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found, loaded = load_pretrained("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert asked == [
        ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors")
    ]
    assert found == classifier
    assert loaded.keys() == classifier.shapes.keys()
    # A bare name means timm's default tag.
    default = find_pretrained("vit_tiny_patch16_224").checkpoint
    assert default.name == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.LocalEntryNotFoundError("no network"), "hf download timm/resnet18.a1"),
        (errors.OfflineModeIsEnabled("offline"), "give a file or folder as source"),
        (ConnectionError("refused"), "HF_HOME"),
    ],
)
def test_no_network_and_nothing_cached(monkeypatch, error, said):
    def download(repository, file):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(FileNotFoundError, match="cannot be reached") as caught:
        load_pretrained("resnet18.a1_in1k")
    assert said in str(caught.value)


def test_offline_for_real(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="not cached"):
        load_pretrained("resnet18.a1_in1k")


def test_weights_that_are_on_no_hub():
    with pytest.raises(FileNotFoundError, match="jaxbench convert"):
        load_pretrained("resnext101_32x48d.fb_wsl_ig1b_ft_in1k")


def test_a_config_that_is_a_list(tmp_path, classifier, variables):
    path = write_repository(tmp_path / "vit_micro.mine", classifier, variables)
    (path.parent / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="holds list, wanted an object"):
        load_pretrained("vit_micro.mine", source=tmp_path)


def test_a_bare_architecture_is_the_one_tag_that_a_folder_holds(tmp_path):
    classifier = create_model("resnet18.fb_ssl_yfcc100m_ft_in1k")
    (tmp_path / f"{classifier.name}.safetensors").touch()
    for name in ("resnet18", classifier.name):
        found = find_pretrained(name, source=tmp_path)
        assert found.classifier == classifier
    assert classifier.input_spec != create_model("resnet18").input_spec


def test_case_38_a_file_named_as_a_checkpoint_has_its_input(tmp_path):
    name = "resnet18.fb_ssl_yfcc100m_ft_in1k"
    checkpoint = registry.checkpoints()[name]
    file = tmp_path / f"{name}.safetensors"
    home = tmp_path / name / "model.safetensors"
    home.parent.mkdir()
    for source in (file, home):
        source.touch()
        found = find_pretrained("resnet18", source=source)
        assert found.checkpoint == checkpoint
        assert found.classifier.input_spec == checkpoint.input_spec
        # A tag that is asked for is not replaced by the file's.
        assert find_pretrained("resnet18.mine", source=source).checkpoint is None


def test_the_order_in_which_a_folder_is_searched(tmp_path):
    name = "convnext_tiny.mine"
    snapshot = tmp_path / f"models--timm--{name}" / "snapshots" / "0"
    candidates = [
        snapshot / "model.safetensors",
        tmp_path / f"{name}.npz",
        tmp_path / f"{name}.safetensors",
        tmp_path / name / "model.safetensors",
    ]
    for path in candidates:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert list_pretrained(tmp_path) == {name: path}


def test_names_that_share_a_repository(tmp_path):
    home = "models--timm--vit_base_patch16_clip_224.openai"
    path = tmp_path / home / "snapshots" / "0" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    name = "vit_base_patch16_clip_quickgelu_224.openai"
    assert find_pretrained(name, source=tmp_path).path == path


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"input_size": 7}, "says no input"),
        ({"pretrained_cfg": {"mean": 0.5}}, "says no input"),
        ({"crop_mode": "border"}, "border"),
        ({"num_classes": "10"}, "num_classes '10', wanted a whole number"),
    ],
)
def test_configurations_that_cannot_be(tmp_path, config, said):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=said) as raised:
        find_pretrained("vit_micro", source=tmp_path)
    assert "config.json beside" in str(raised.value)


def test_what_a_configuration_leaves_out_is_the_registrys(tmp_path):
    (tmp_path / "model.safetensors").touch()
    config = {"pretrained_cfg": None, "crop_pct": None, "input_size": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = find_pretrained("vit_micro", source=tmp_path)
    assert found.classifier == create_model("vit_micro")


def test_weights_without_a_default_tag(tmp_path, monkeypatch):
    entry = registry.architectures()["resnet18"]
    without = {"resnet18": dataclasses.replace(entry, default_tag=None)}
    monkeypatch.setattr(registry, "architectures", lambda: without)
    with pytest.raises(ValueError, match=r"resnet18\.TAG: it has a1_in1k"):
        load_pretrained("resnet18")
