"""CLIP models by name: registry, files, folders and prompts, and their errors."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_zoo import find_pretrained, registry
from model_zoo.clip import (
    Prompts,
    Tokenizer,
    clip_checkpoints,
    find_clip,
    load_prompts,
    load_zero_shot,
)
from model_zoo.weights.torch_files import network_tensors
from tests.model_zoo import clip_models
from tests.model_zoo.test_goldens import run

VOCABULARY = 512 + len(clip_models.MERGES) + 2
PETS = Prompts(("cat", "dog"), ("a photo of a {}.", "the {}!!"))


@pytest.fixture(autouse=True)
def micro(monkeypatch):
    """Image towers that the weights of these tests fit."""
    for name, changes in (
        ("clip_micro", {}),
        ("tiny_clip_quickgelu_8", {"activation": "quick_gelu"}),
        ("tiny_clip_8", {}),
    ):
        entry = registry.ArchitectureEntry(
            name,
            "vit",
            clip_models.MICRO | changes,
            registry.input_spec({"size": [8, 8]}),
        )
        monkeypatch.setitem(registry._registered, name, entry)


def test_every_clip_model_is_a_checkpoint_of_the_zoo():
    for name, row in clip_checkpoints().items():
        checkpoint = registry.checkpoints()[name]
        found = find_clip(name)
        assert found.path is None
        assert row.repository.count("/") == 1
        assert row.quick_gelu == ("quickgelu" in name)
        # The shared space is as wide as the image tower's head in timm.
        classifier = found.classifier(7)
        assert classifier.num_features == checkpoint.num_classes
        assert (classifier.num_classes, classifier.name) == (7, name)
        assert classifier.input_spec.crop_fraction == 1.0
        assert classifier.input_spec.interpolation == "bicubic"
        assert 0.6 < row.zero_shot_accuracy < 0.85


def test_facts_of_a_model_everybody_knows():
    name = "vit_base_patch16_clip_quickgelu_224.openai"
    row, found = clip_checkpoints()[name], find_clip(name, image_size=288)
    assert row.repository == "timm/vit_base_patch16_clip_224.openai"
    assert row.open_clip == ("ViT-B-16", "openai")
    assert row.zero_shot_accuracy == pytest.approx(0.683, abs=1e-3)
    assert found.activation == "quick_gelu"
    assert found.settings.size == (288, 288)
    assert found.input_spec.mean == (0.48145466, 0.4578275, 0.40821073)


def test_models_that_cannot_classify_zero_shot():
    with pytest.raises(ValueError, match="trained with x") as error:
        find_clip("vit_base_patch16_clip_224.openai")
    assert "name vit_base_patch16_clip_quickgelu_224.openai" in str(error.value)
    with pytest.raises(ValueError, match="the exact GELU"):
        find_clip("vit_base_patch16_clip_quickgelu_224.datacompxl")
    with pytest.raises(ValueError, match="no text tower") as error:
        find_clip("vit_base_patch16_clip_224.laion2b_ft_in1k")
    assert "vit_base_patch16_clip_224.laion400m_e31" in str(error.value)
    with pytest.raises(ValueError, match="these have one: vit_base_patch32_clip"):
        find_clip("resnet50.a1_in1k")
    with pytest.raises(ValueError, match="unknown model 'resnet51'"):
        find_clip("resnet51.a1_in1k")


def test_the_names_and_sentences_of_imagenet():
    prompts = load_prompts("imagenet")
    assert (len(prompts.class_names), len(prompts.templates)) == (1000, 80)
    assert prompts.class_names[:2] == ("tench", "goldfish")
    assert prompts.class_names[-1] == "toilet paper"
    assert prompts.texts[0] == "a bad photo of a tench."
    assert prompts.texts[79:81] == (
        "a tattoo of the tench.",
        "a bad photo of a goldfish.",
    )


def test_prompts_from_files(tmp_path):
    path = tmp_path / "pets.txt"
    path.write_text("cat\n\n dog \n")
    named = load_prompts(path)
    assert named.class_names == ("cat", "dog")
    assert named.templates == load_prompts("imagenet").templates
    # As some editors save it.
    path.write_text("cat\n\n dog \n", encoding="utf-8-sig")
    assert load_prompts(path) == named
    other = tmp_path / "pets.toml"
    other.write_text('class_names = ["cat", "dog"]\ntemplates = ["{}: one"]')
    found = load_prompts(other)
    assert found.texts == ("cat: one", "dog: one")
    assert found.digest != named.digest
    assert found.digest == Prompts(("cat", "dog"), ("{}: one",)).digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("templates = ['{}']", "class_names is missing"),
        ("class_names = 3\nnames = 1", "unknown keys names; class_names is not a list"),
        ("class_names = []\ntemplates = ['a']", r"no class names; templates without"),
        ("class_names = ['a', ' ']", "1 class names are empty"),
        ("class_names = ", r"pets\.toml: "),
    ],
)
def test_prompts_that_are_none(tmp_path, text, said):
    path = tmp_path / "pets.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        load_prompts(path)
    with pytest.raises(FileNotFoundError, match="no prompts at"):
        load_prompts(tmp_path / "cats.toml")


def test_a_folder_as_openclip_keeps_one(tmp_path):
    path = clip_models.write_repository(tmp_path / "clip_micro.mine", VOCABULARY)
    # timm's own file of the image tower beside it is not what is read.
    save_file({"head.weight": np.zeros(2)}, path.with_name("model.safetensors"))
    found = find_clip("clip_micro", source=tmp_path)
    assert (found.name, found.path, found.num_heads) == ("clip_micro.mine", path, 4)
    assert found.activation == "gelu"
    assert found.input_spec.crop_mode == "squash"
    assert found.input_spec.mean == (0.4, 0.5, 0.6)
    classifier, variables = load_zero_shot("clip_micro.mine", PETS, source=tmp_path)
    assert classifier == found.classifier(2)
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    logits = run(classifier.apply, variables, images).logits
    assert logits.shape == (3, 2)
    assert np.abs(logits).max() <= 100
    # The same names in another order are the same columns in another order.
    turned = Prompts(PETS.class_names[::-1], PETS.templates)
    tokenizer = Tokenizer.load(path.parent)
    other = load_zero_shot("clip_micro", turned, source=path, tokenizer=tokenizer)[1]
    np.testing.assert_allclose(
        other["head.kernel"][:, ::-1], variables["head.kernel"], rtol=0, atol=1e-4
    )


def test_a_plain_file_in_openais_layout(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(clip_models.tiny_weights(VOCABULARY), path)
    found = find_clip("clip_micro.mine", source=path)
    assert found.num_heads is None
    assert found.input_spec.mean == (0.48145466, 0.4578275, 0.40821073)
    clip, variables = found.load()
    assert clip.architecture.text.num_heads == 1
    assert variables["text.token_embedding"].dtype == np.float32
    with pytest.raises(FileNotFoundError, match="no vocabulary beside"):
        found.tokenizer()
    # The image tower alone is what the zoo has always read of it.
    image = find_pretrained("clip_micro", source=path, num_classes=12).load()
    for name, array in image.items():
        np.testing.assert_array_equal(variables[f"image.{name}"], array)


def test_checkpoints_of_openclips_training_keep_both_towers():
    tensors = clip_models.tiny_weights(VOCABULARY)
    stored = {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in tensors.items()}}
    assert network_tensors(stored).tensors.keys() == tensors.keys()


def test_the_weights_of_a_clip_model_of_another_width(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(clip_models.tiny_weights(VOCABULARY), path)
    found = find_clip("vit_base_patch16_clip_224.laion2b", source=path)
    with pytest.raises(ValueError, match="projected to 12 numbers, those of vit_base"):
        found.load()


def test_weights_without_a_text_tower(tmp_path):
    tensors = clip_models.tiny_weights(VOCABULARY)
    image = {k: v for k, v in tensors.items() if k.startswith("visual.")}
    for held, said in (
        (image, "the text tower lacks token_embedding.weight"),
        ({"head.weight": np.zeros(3)}, "the text tower is missing"),
        ({"text_model.embeddings": np.zeros(3)}, "Hugging Face's transformers"),
    ):
        path = tmp_path / "weights.safetensors"
        save_file(held, path)
        with pytest.raises(ValueError, match=f"cannot classify zero-shot: .*{said}"):
            find_clip("clip_micro", source=path)


def test_activations_must_agree_with_the_configuration(tmp_path):
    for name, quick in (("tiny_clip_quickgelu_8", True), ("tiny_clip_8", False)):
        folder = tmp_path / f"{name}.mine"
        clip_models.write_repository(folder, VOCABULARY, quick_gelu=quick)
        found = find_clip(name, source=folder)
        assert found.activation == ("quick_gelu" if quick else "gelu")
        clip_models.write_repository(folder / "b", VOCABULARY, quick_gelu=not quick)
        with pytest.raises(ValueError, match="zero-shot logits would be wrong; name "):
            find_clip(name, source=folder / "b")
    for text in ("{", '{"model_cfg": 3}', '{"model_cfg": {"text_cfg": 3}}'):
        (folder / "open_clip_config.json").write_text(text)
        with pytest.raises(ValueError, match="not a configuration of OpenCLIP"):
            find_clip(name, source=folder)
    text = '{"model_cfg": {"text_cfg": {}}, "preprocess_cfg": {"resize_mode": "x"}}'
    (folder / "open_clip_config.json").write_text(text)
    with pytest.raises(ValueError, match="says no input: resize_mode 'x'"):
        find_clip(name, source=folder)


def test_the_hubs_repository_is_the_clip_models(monkeypatch, tmp_path):
    asked = []

    def fetch(checkpoint):
        asked.append((checkpoint.repository, checkpoint.file))
        return clip_models.write_vocabulary(tmp_path)

    monkeypatch.setattr("model_zoo.weights.hub.fetch", fetch)
    found = find_clip("convnext_base.clip_laion2b")
    found.tokenizer()
    with pytest.raises(ValueError, match="merges"):
        found.load()
    repository = "laion/CLIP-convnext_base_w-laion2B-s13B-b82K"
    assert asked == [
        (repository, "tokenizer.json"),
        (repository, "open_clip_model.safetensors"),
    ]
