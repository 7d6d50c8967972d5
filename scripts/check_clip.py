"""Checks CLIP models at full size against OpenCLIP's, with random weights.

    python scripts/check_clip.py                        names and shapes of every model
    python scripts/check_clip.py ViT-B-32 --parity      features and logits too

Run where torch, timm and open_clip_torch are installed beside the project. A model of
the registry is built by OpenCLIP, without memory unless `--parity` is asked for, and
its state dict is read by the zoo's rules: every tensor must be used once, every leaf
written once. `--parity` compares features of two images and of four texts.
"""

# torch, timm and open_clip are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import time
from typing import Any

import jax
import numpy as np
import open_clip
import originals
import torch

from model_zoo.catalog import find_architecture, make_classifier
from model_zoo.clip import Clip, ClipArchitecture, clip_checkpoints, find_clip
from model_zoo.clip.pretrained import make_clip
from model_zoo.clip.weights import clip_rules, text_architecture
from model_zoo.weights.rules import convert

_TEXTS = ("a photo of a cat.", "the plastic tench.", "itap of my 12 dogs!", "a")
# Float32 through a dozen blocks and more, beside the largest feature.
_TOLERANCE = 1e-4


def models() -> dict[str, str]:
    """OpenCLIP's models, and a checkpoint of the zoo that has each."""
    found: dict[str, str] = {}
    for name, row in clip_checkpoints().items():
        model = row.open_clip[0]
        if row.quick_gelu and not model.endswith("quickgelu"):
            model += "-quickgelu"
        found.setdefault(model, name)
    return found


def read(name: str, tensors: dict[str, np.ndarray]) -> tuple[Clip, Any]:
    """The zoo's model of a state dict."""
    found = find_clip(name)
    shapes = {key: array.shape for key, array in tensors.items()}
    text, width = text_architecture(shapes, activation=found.activation)
    if width != found.settings.num_classes:
        raise ValueError(f"{name}: width {width}, not {found.settings.num_classes}")
    architecture = ClipArchitecture(found.image, text)
    clip = make_clip(name, architecture, found.input_spec, found.settings)
    rules = find_architecture(name.partition(".")[0]).rules()
    tower = make_classifier(name, found.image, found.input_spec, found.settings)
    return clip, convert(tensors, clip, clip_rules(rules, tower))


def check(model: str, name: str, parity: bool) -> bool:
    """Checks one model and prints what was found."""
    start = time.perf_counter()
    with torch.device("cpu" if parity else "meta"):
        config = open_clip.get_model_config(model)
        config.pop("custom_text", None)
        timm_tower = "timm_model_name" in config["vision_cfg"]
        kind = open_clip.CustomTextCLIP if timm_tower else open_clip.CLIP
        original = kind(**config).eval()
    if parity:
        originals.randomise(original)
        tensors = {k: v.numpy() for k, v in original.state_dict().items()}
    else:
        zero = np.zeros((), np.float32)
        shapes = {k: tuple(v.shape) for k, v in original.state_dict().items()}
        tensors = {k: np.broadcast_to(zero, shape) for k, shape in shapes.items()}
    clip, variables = read(name, tensors)
    # The head's bias is the one leaf that no projection of CLIP's has.
    biases = [k for k in variables if k.endswith("head.bias") or "fc.bias" in k]
    numbers = sum(array.size for array in tensors.values())
    ours = sum(np.size(array) for array in variables.values())
    print(
        f"{model} as {name}: {len(tensors)} tensors, {len(variables)} leaves, "
        f"{numbers} numbers, {ours - numbers} more here ({len(biases)} bias of zeros), "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return not parity or compare(original, clip, variables)


def compare(original: torch.nn.Module, clip: Clip, variables: Any) -> bool:
    """Compares features of random images and of four texts."""
    size = clip.input_spec.size
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    tokens = open_clip.tokenize(list(_TEXTS))
    with torch.inference_mode():
        batch = torch.as_tensor(images).permute(0, 3, 1, 2).contiguous()
        wanted = original.encode_image(batch).numpy()
        texts = original.encode_text(tokens).numpy()
    got = jax.jit(clip.apply)(variables, images).logits
    encoded = jax.jit(clip.encode_text)(variables, tokens.numpy().astype(np.int32))
    gaps = {
        "images": np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max(),
        "texts": np.abs(np.asarray(encoded) - texts).max() / np.abs(texts).max(),
    }
    print("  " + ", ".join(f"{what} {gap:.1e}" for what, gap in gaps.items()))
    return max(gaps.values()) < _TOLERANCE


def main() -> None:
    """Reads the arguments and checks models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "models", nargs="*", help="all of the registry if none is named"
    )
    parser.add_argument("--parity", action="store_true", help="compare features too")
    options = parser.parse_args()
    known = models()
    failed = [
        model
        for model in options.models or known
        if not check(model, known[model], options.parity)
    ]
    if failed:
        raise SystemExit(f"features differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
