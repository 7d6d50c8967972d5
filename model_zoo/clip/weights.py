"""How CLIP models are read: OpenAI's layout and OpenCLIP's, with all their towers.

OpenAI's state dict holds the image tower under "visual." and the text tower at its top;
OpenCLIP's `CLIP` is the same, its `CustomTextCLIP` puts the text tower under "text.",
and towers of timm's lie under "visual.trunk.". Image towers are read by the rules of
their own family.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from model_zoo.classifier import NetworkClassifier
from model_zoo.clip.text import TextArchitecture
from model_zoo.weights.rules import Rules, Tensors

# Everything of the text tower, where a file has it at its top.
_TEXT = (
    "text_projection",
    "positional_embedding",
    "token_embedding.",
    "transformer.",
    "ln_final.",
    "attn_mask",
)
_RENAMES = (
    (r"^text\.blocks\.", "text.transformer.resblocks."),
    (r"^(text\..*)\.norm(\d)\.", r"\1.ln_\2."),
    (r"^(text\..*\.attn)\.qkv\.", r"\1.in_proj_"),
    (r"^(text\..*\.attn)\.proj\.", r"\1.out_proj."),
    (r"^(text\..*\.mlp)\.fc1\.", r"\1.c_fc."),
    (r"^(text\..*\.mlp)\.fc2\.", r"\1.c_proj."),
    (r"^text\.norm\.", "text.ln_final."),
    (r"^text\.token_embedding$", "text.token_embedding.weight"),
    (r"^text\.projection$", "text.text_projection"),
)
# Sizes that OpenAI's files repeat, and the causal mask.
_IGNORED = ("input_resolution", "context_length", "vocab_size", r"text\.attn_mask")
# OpenAI's heads, and OpenCLIP's where its configuration says nothing else.
_HEAD_WIDTH = 64


@dataclass(frozen=True)
class ClipRules(Rules):
    """Rules of a model of two towers.

    Attributes:
        image: Rules of the image tower's family.
    """

    image: Rules = field(default_factory=Rules)

    def source_name(self, leaf: str) -> str:
        """The name of a leaf's tensor once a prefix marks the tower."""
        tower, _, rest = leaf.partition(".")
        if tower == "image":
            return f"image.{self.image.source_name(rest)}"
        return super().source_name(leaf)


def clip_rules(family: Rules, image: NetworkClassifier) -> ClipRules:
    """The rules of a CLIP model.

    Args:
        family: Rules of the image tower's family.
        image: The image tower alone, its classes the shared space's width.
    """

    def resized(array, shape, _):
        for pattern, resize in family.resized:
            if re.fullmatch(pattern, "pos_embed"):
                return resize(array, shape, image)
        return array

    return ClipRules(
        renames=_RENAMES,
        ignored=(*_IGNORED, *(rf"image\.(?:{name})" for name in family.ignored)),
        legacy=functools.partial(_towers, family=family, image=image),
        resized=((r"image\.pos_embed", resized),),
        image=family,
    )


def _towers(
    tensors: Tensors,
    _: NetworkClassifier,
    *,
    family: Rules,
    image: NetworkClassifier,
) -> Tensors:
    """Puts towers under "image." and "text.", the first as its family names it."""
    tensors = unwrapped(tensors)
    tower = {k: v for k, v in tensors.items() if k.startswith("visual.")}
    rest = {k: v for k, v in tensors.items() if k not in tower}
    positions = "visual.positional_embedding"
    if positions in tower and tower[positions].ndim == 2:
        # As timm has them, which is what resizing wants.
        tower[positions] = tower[positions][None]
    if family.legacy is not None:
        tower = family.legacy(tower, image)
    return {f"image.{name}": array for name, array in tower.items()} | rest


def unwrapped(tensors: Mapping[str, np.ndarray]) -> Tensors:
    """A file's tensors without a wrapper's prefix, the text tower under "text."."""
    prefix = "module."
    if tensors and all(name.startswith(prefix) for name in tensors):
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
    return {
        f"text.{name}" if name.startswith(_TEXT) else name: array
        for name, array in tensors.items()
    }


def text_architecture(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    activation: str,
    num_heads: int | None = None,
) -> tuple[TextArchitecture, int]:
    """The text tower that a file holds, and the width of the shared space.

    Args:
        shapes: Shapes of the file's tensors by name.
        activation: Name of the MLPs' activation, which no tensor shows.
        num_heads: Attention heads, which no tensor shows either; None is one for every
            64 channels.

    Raises:
        ValueError: If the file holds no text tower that is read here.
    """
    held = {name: np.empty(shape, bool) for name, shape in shapes.items()}
    found = {name: array.shape for name, array in unwrapped(held).items()}
    first = "text.transformer.resblocks.0.mlp.c_fc.weight"
    wanted = (
        "text.token_embedding.weight",
        "text.positional_embedding",
        "text.text_projection",
        first,
    )
    missing = [name.removeprefix("text.") for name in wanted if name not in found]
    if missing:
        raise ValueError(_no_text_tower(found, missing))
    vocabulary_size, width = found["text.token_embedding.weight"]
    block = r"text\.transformer\.resblocks\.(\d+)\."
    depth = len({m[1] for name in found if (m := re.match(block, name))})
    architecture = TextArchitecture(
        width,
        depth,
        num_heads or max(width // _HEAD_WIDTH, 1),
        hidden_width=found[first][0],
        activation=activation,
        vocabulary_size=vocabulary_size,
        context_length=found["text.positional_embedding"][0],
    )
    return architecture, found["text.text_projection"][1]


def _no_text_tower(found: Mapping[str, object], missing: list[str]) -> str:
    if any(name.startswith("text_model.") for name in found):
        what = (
            "they are named as Hugging Face's transformers names them; wanted OpenAI's "
            "or OpenCLIP's names, as open_clip_model.safetensors has them"
        )
    elif any(name.startswith(("text.", "visual.")) for name in found):
        what = f"the text tower lacks {', '.join(missing)}, or is of another kind"
    else:
        what = (
            "the text tower is missing, so class names cannot be encoded; wanted the "
            "whole CLIP model (open_clip_model.safetensors), not its image tower alone"
        )
    return f"these weights cannot classify zero-shot: {what}"
