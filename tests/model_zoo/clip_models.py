"""Tiny CLIP models for tests: the goldens of OpenCLIP, and a vocabulary to go along."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from model_zoo.architecture import Settings
from model_zoo.backbones.convnext import ConvNeXtArchitecture
from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.classifier import NetworkClassifier
from model_zoo.clip import ClipArchitecture, TextArchitecture, Tokenizer, make_clip
from model_zoo.clip.weights import clip_rules
from model_zoo.input_spec import InputSpec
from model_zoo.weights import convnext, vit
from model_zoo.weights.rules import convert

FOLDER = Path(__file__).parent / "goldens" / "clip"
EMBEDDING, CLASSES, TEMPLATES = 24, 5, 3
VIT = {
    "width": 48,
    "depth": 2,
    "num_heads": 3,
    "patch_size": 4,
    "pre_norm": True,
    "epsilon": 1e-5,
}
CONVNEXT = {"depths": (1, 1, 1, 1), "widths": (8, 12, 16, 20), "conv_mlp": True}
# An image tower, its rules, its image size, and whether GELU is OpenAI's.
CASES = {
    "openai": (ViTArchitecture(**VIT, activation="quick_gelu"), vit, (12, 20), True),
    "openclip": (ViTArchitecture(**VIT), vit, (12, 20), False),
    "custom_text": (
        ViTArchitecture(**VIT, activation="quick_gelu"),
        vit,
        (12, 20),
        True,
    ),
    "convnext": (ConvNeXtArchitecture(**CONVNEXT), convnext, (37, 44), False),
    "convnext_mlp": (
        ConvNeXtArchitecture(**CONVNEXT, head_width=2 * EMBEDDING),
        convnext,
        (37, 44),
        False,
    ),
}


def load(case):
    """A golden's arrays, with those of its weights apart."""
    with np.load(FOLDER / f"{case}.npz") as file:
        arrays = dict(file)
    weights = {
        name.removeprefix("weights/"): array
        for name, array in arrays.items()
        if name.startswith("weights/")
    }
    return arrays, weights


def make(case, dtype="float32"):
    """A golden's CLIP model, without variables."""
    image, _, size, quick = CASES[case]
    text = TextArchitecture(
        32,
        2,
        2,
        hidden_width=128,
        activation="quick_gelu" if quick else "gelu",
        vocabulary_size=64,
        context_length=10,
    )
    settings = Settings(EMBEDDING, size, np.dtype(dtype))
    return make_clip(
        "tiny.golden", ClipArchitecture(image, text), InputSpec(size=size), settings
    )


def rules(case):
    """How a golden's tensors are read."""
    image, family, size, _ = CASES[case]
    settings = Settings(EMBEDDING, size, np.dtype("float32"))
    tower = NetworkClassifier("tower", EMBEDDING, InputSpec(size=size), image, settings)
    return clip_rules(family.RULES, tower)


def variables(case):
    """A golden's variables."""
    return convert(load(case)[1], make(case), rules(case))


# Letters of English that make words of the tests, in the order of their merging.
MERGES = (
    ("a", "t</w>"),
    ("c", "at</w>"),
    ("p", "h"),
    ("t", "o</w>"),
    ("ph", "o"),
    ("pho", "to</w>"),
    ("o", "f</w>"),
    ("'", "s</w>"),
    ("d", "o"),
    ("do", "g</w>"),
    ("Ã", "©</w>"),
    ("!", "!</w>"),
)


def write_vocabulary(folder):
    """Writes MERGES as Hugging Face's libraries do; returns the file."""
    path = folder / "merges.txt"
    lines = [" ".join(pair) for pair in MERGES]
    path.write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")
    return path


class FixedTokens(Tokenizer):
    """Gives a golden's rows of tokens, whatever the texts."""

    def __init__(self, rows, size=64):
        self.rows = rows
        self.vocabulary = {str(number): number for number in range(size)}

    def __call__(self, texts, context_length=77):
        assert (len(texts), context_length) == self.rows.shape
        return self.rows


def tiny_weights(vocabulary_size, *, seed=0, quick_gelu=False):
    """OpenAI's layout of a model whose image tower is the test's "clip_micro"."""
    rng = np.random.default_rng(seed)
    width, text = 16, 32

    def block(prefix, channels):
        return {
            f"{prefix}.ln_1.weight": (channels,),
            f"{prefix}.ln_1.bias": (channels,),
            f"{prefix}.attn.in_proj_weight": (3 * channels, channels),
            f"{prefix}.attn.in_proj_bias": (3 * channels,),
            f"{prefix}.attn.out_proj.weight": (channels, channels),
            f"{prefix}.attn.out_proj.bias": (channels,),
            f"{prefix}.ln_2.weight": (channels,),
            f"{prefix}.ln_2.bias": (channels,),
            f"{prefix}.mlp.c_fc.weight": (2 * channels, channels),
            f"{prefix}.mlp.c_fc.bias": (2 * channels,),
            f"{prefix}.mlp.c_proj.weight": (channels, 2 * channels),
            f"{prefix}.mlp.c_proj.bias": (channels,),
        }

    shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (5, width),
        "visual.conv1.weight": (width, 3, 4, 4),
        "visual.ln_pre.weight": (width,),
        "visual.ln_pre.bias": (width,),
        **block("visual.transformer.resblocks.0", width),
        "visual.ln_post.weight": (width,),
        "visual.ln_post.bias": (width,),
        "visual.proj": (width, 12),
        "token_embedding.weight": (vocabulary_size, text),
        "positional_embedding": (16, text),
        **block("transformer.resblocks.0", text),
        "ln_final.weight": (text,),
        "ln_final.bias": (text,),
        "text_projection": (text, 12),
        "logit_scale": (),
    }
    return {
        name: np.asarray(rng.normal(0, 0.3, shape), np.float16)
        for name, shape in shapes.items()
    }


MICRO = {
    "width": 16,
    "depth": 1,
    "num_heads": 2,
    "patch_size": 4,
    "mlp_ratio": 2,
    "pre_norm": True,
    "epsilon": 1e-5,
}


def write_repository(folder, vocabulary_size, **config):
    """Writes a folder as OpenCLIP keeps one on the hub; returns the weights."""
    folder.mkdir(parents=True)
    tensors = tiny_weights(vocabulary_size)
    save_file(tensors, folder / "open_clip_model.safetensors")
    write_vocabulary(folder)
    stored = {
        "model_cfg": {
            "embed_dim": 12,
            "vision_cfg": {"image_size": 8},
            "text_cfg": {"heads": 4},
            **config,
        },
        "preprocess_cfg": {
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.4],
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(stored))
    return folder / "open_clip_model.safetensors"
