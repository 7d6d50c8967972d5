"""CLIP: two towers, and classifiers that need no training but the names of classes.

    >>> from model_zoo.clip import load_zero_shot
    >>> name = "vit_base_patch16_clip_quickgelu_224.openai"
    >>> classifier, variables = load_zero_shot(name, "imagenet")  # doctest: +SKIP

What comes back is a classifier as any other of the zoo. Tokens need the tokenizers
library: `pip install 'jaxbench[clip]'`.
"""

from model_zoo.clip.networks import Clip, ClipArchitecture, ZeroShotArchitecture
from model_zoo.clip.pretrained import (
    ClipCheckpoint,
    ClipPretrained,
    clip_checkpoints,
    find_clip,
    load_zero_shot,
    make_clip,
)
from model_zoo.clip.prompts import Prompts, load_prompts
from model_zoo.clip.text import TextArchitecture
from model_zoo.clip.tokenizer import Tokenizer
from model_zoo.clip.zero_shot import (
    LOGIT_SCALE,
    class_vectors,
    encode_texts,
    zero_shot_classifier,
)

__all__ = [
    "LOGIT_SCALE",
    "Clip",
    "ClipArchitecture",
    "ClipCheckpoint",
    "ClipPretrained",
    "Prompts",
    "TextArchitecture",
    "Tokenizer",
    "ZeroShotArchitecture",
    "class_vectors",
    "clip_checkpoints",
    "encode_texts",
    "find_clip",
    "load_prompts",
    "load_zero_shot",
    "make_clip",
    "zero_shot_classifier",
]
