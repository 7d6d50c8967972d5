"""The keywords of a config.json that change a network, against timm's own logits."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_zoo import create_model, find_pretrained, registry
from model_zoo.weights.model_args import _read, build_architecture
from tests.model_zoo.originals import seeded_images, seeded_original
from tests.model_zoo.test_goldens import FOLDER, run

GOLDENS = json.loads((FOLDER / "configs.json").read_text())


def write(folder, config):
    """A folder as timm writes it, without tensors."""
    (folder / "model.safetensors").touch()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("case", GOLDENS)
def test_case_02_logits_are_those_of_the_network_that_timm_builds(tmp_path, case):
    golden = GOLDENS[case]
    architecture = golden["config"]["architecture"]
    folder = write(tmp_path, golden["config"])
    found = find_pretrained(architecture, source=folder)
    save_file(seeded_original(found.classifier), folder / "model.safetensors")
    images = seeded_images(golden["size"])
    logits = run(found.classifier.apply, found.load(), images).logits
    wanted = np.asarray(golden["logits"])
    assert wanted.std() > 1e-2  # the comparison has something to see
    np.testing.assert_allclose(logits, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "model_args",
    [
        {"drop_rate": 0.3, "drop_path_rate": 0.1, "weight_init": "jax"},
        {"global_pool": "avg", "act_layer": "ReLU", "output_stride": 32},
        {"in_chans": 3, "norm_layer": "batchnorm2d", "block_args": None},
        {},
        None,
    ],
)
def test_case_02_keywords_without_effect_are_accepted(tmp_path, model_args):
    config = {"architecture": "resnet18.a1_in1k", "model_args": model_args}
    found = find_pretrained("resnet18", source=write(tmp_path, config))
    assert found.classifier == create_model("resnet18")
    assert found.changes == {}


@pytest.mark.parametrize(
    ("name", "model_args", "said"),
    [
        ("resnet18", {"global_pool": "avgmax"}, "global_pool='avgmax'"),
        ("resnet18", {"act_layer": "silu"}, "act_layer='silu'"),
        ("resnet18", {"output_stride": 8}, "output_stride=8"),
        ("resnet18", {"in_chans": 1}, "in_chans=1: networks here take images of 3"),
        ("resnet18", {"features_only": True}, "features_only=True"),
        ("vit_tiny_patch16_224", {"pos_embed": "none"}, "pos_embed='none'"),
        ("vit_tiny_patch16_224", {"global_pool": "max"}, "global_pool='max'"),
        ("vit_tiny_patch16_224", {"class_token": False}, "class_token=False"),
        ("vit_tiny_patch16_224", {"act_layer": "mish"}, "act_layer='mish'"),
        ("vit_tiny_patch16_224", {"dynamic_img_pad": True}, "dynamic_img_pad=True"),
        ("swin_tiny_patch4_window7_224", {"always_partition": True}, "always_part"),
        ("lcnet_050", {"pad_type": "valid"}, "pad_type='valid'"),
        ("regnetx_002", {"act_layer": "mish"}, "activation 'mish' is none of"),
        ("convnext_atto", {"conv_bias": False}, "conv_bias=False"),
        ("vit_micro", {"global_pool": "avg"}, "vit_micro is not timm's"),
        ("resnet18", {"new": {"a": [1]}}, r"new=\{'a': \[1\]\}"),
        ("resnet18", [1], "wanted an object"),
    ],
)
def test_case_02_what_no_architecture_here_can_be_is_refused_by_name(
    tmp_path, name, model_args, said
):
    folder = write(tmp_path, {"architecture": name, "model_args": model_args})
    with pytest.raises(ValueError, match=said) as raised:
        find_pretrained(name, source=folder)
    assert "config.json beside" in str(raised.value)


def test_case_02_the_registry_and_timms_keywords_say_the_same():
    for name, entry in registry.architectures().items():
        keywords = registry.timm_keywords(name)
        if keywords is None:
            assert name not in registry._timm()["architectures"]
            continue
        arguments = {k: v for k, v in entry.arguments.items() if k != "stages"}
        read = json.loads(json.dumps(_read(entry, keywords)))
        read.pop("stages", None)
        if entry.family != "efficientnet":  # pruning left other widths there
            assert read == arguments, name
        default = registry.timm_defaults(keywords["model_class"])
        pool = keywords.get("global_pool", default.get("global_pool", "avg"))
        assert build_architecture(entry, {"global_pool": pool}) == (entry.build(), {})


@pytest.mark.parametrize(
    ("model_args", "size"),
    [
        ({"img_size": 96}, (96, 96)),
        ({"img_size": [96, 64]}, (96, 64)),
        ({"img_size": 96, "dynamic_img_size": True}, (224, 224)),
        ({"img_size": 96, "strict_img_size": False}, (224, 224)),
        ({"img_size": None}, (224, 224)),
    ],
)
def test_case_03_the_network_is_built_at_the_size_of_model_args(
    tmp_path, model_args, size
):
    config = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": model_args,
        "pretrained_cfg": {"input_size": [3, 224, 224], "fixed_input_size": True},
    }
    found = find_pretrained("vit_tiny_patch16_224", source=write(tmp_path, config))
    assert found.classifier.input_spec.size == size
    tokens = found.classifier.shapes["pos_embed"].shape[1]
    assert tokens == 1 + size[0] * size[1] // 16**2


@pytest.mark.parametrize(
    ("config", "classes"),
    [
        ({"num_classes": 7, "pretrained_cfg": {"num_classes": 9}}, 7),
        ({"pretrained_cfg": {"num_classes": 9}}, 9),
        ({"model_args": {"num_classes": 5}}, 5),
        ({"num_classes": 5, "model_args": {"num_classes": 5}}, 5),
    ],
)
def test_case_02_classes_are_those_that_timm_reads(tmp_path, config, classes):
    found = find_pretrained("resnet18", source=write(tmp_path, config))
    assert found.declared_classes == found.classifier.num_classes == classes


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_classes": 7, "model_args": {"num_classes": 9}}, "7, and 9 in its model"),
        ({"model_args": {"img_size": "96"}}, "says no input"),
        ({"pretrained_cfg": {"input_size": [1, 28, 28]}}, "images of 1 channels"),
    ],
)
def test_case_02_contradictions_are_named(tmp_path, config, said):
    with pytest.raises(ValueError, match=said):
        find_pretrained("resnet18", source=write(tmp_path, config))


def test_case_02_beside_a_pretrained_cfg_the_top_level_says_no_input(tmp_path):
    config = {"mean": [0, 0, 0], "pretrained_cfg": {"std": [1, 1, 1]}}
    spec = find_pretrained("resnet18", source=write(tmp_path, config)).classifier
    assert spec.input_spec.mean == create_model("resnet18").input_spec.mean
    assert spec.input_spec.std == (1, 1, 1)


def test_case_02_an_architecture_with_changes_can_be_a_static_argument():
    entry = registry.architectures()["convnext_atto"]
    given = {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    built, changes = build_architecture(entry, given)
    assert changes == {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    assert hash(built) == hash(build_architecture(entry, given)[0])
