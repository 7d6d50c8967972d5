"""CLIP models by the zoo's names: where the weights are, and how they are read."""

import dataclasses
import json
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from safetensors import safe_open

from model_zoo import registry
from model_zoo.architecture import Architecture, Settings
from model_zoo.catalog import find_architecture, find_checkpoint, make_classifier
from model_zoo.classifier import Classifier, NetworkClassifier, Variables
from model_zoo.clip.networks import Clip, ClipArchitecture, ZeroShotArchitecture
from model_zoo.clip.prompts import Prompts, load_prompts
from model_zoo.clip.tokenizer import Tokenizer, find_vocabulary
from model_zoo.clip.weights import clip_rules, text_architecture
from model_zoo.clip.zero_shot import LOGIT_SCALE, zero_shot_classifier
from model_zoo.input_spec import InputSpec
from model_zoo.weights import folders, hub
from model_zoo.weights.files import read_tensors
from model_zoo.weights.rules import convert

Source = str | os.PathLike[str]
WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipCheckpoint:
    """What the registry says of a CLIP model, beside its image tower's checkpoint.

    Attributes:
        name: "architecture.tag", the checkpoint of the image tower.
        repository: Of the Hugging Face hub, with `open_clip_model.safetensors` and
            `tokenizer.json` in it.
        open_clip: What OpenCLIP calls it: its model and its weights.
        quick_gelu: Whether it was trained with the GELU of OpenAI's code.
        zero_shot_accuracy: Top-1 on ImageNet's validation images with the 80
            templates, a fraction, as OpenCLIP publishes it; None where it does not.
    """

    name: str
    repository: str
    open_clip: tuple[str, str]
    quick_gelu: bool = False
    zero_shot_accuracy: float | None = None


@cache
def clip_checkpoints() -> dict[str, ClipCheckpoint]:
    """Every CLIP model that the registry knows by its image tower's name."""
    text = (files(registry.__name__) / "clip.toml").read_text("utf-8")
    return {
        name: ClipCheckpoint(name, **row | {"open_clip": tuple(row["open_clip"])})
        for name, row in tomllib.loads(text).items()
    }


@dataclass(frozen=True)
class ClipPretrained:
    """A CLIP model, and where its weights are.

    Attributes:
        name: The zoo's.
        image: The image tower.
        settings: Size and dtype of the image tower; its classes are the width of the
            space that images and texts share.
        input_spec: The images it wants.
        activation: Of the text tower.
        num_heads: Of the text tower; None is one for every 64 channels.
        path: A local file; None while the weights are on the hub alone.
        checkpoint: What the registry says; None of a user's own.
    """

    name: str
    image: Architecture
    settings: Settings
    input_spec: InputSpec
    activation: str
    num_heads: int | None
    path: Path | None
    checkpoint: ClipCheckpoint | None

    def classifier(self, num_classes: int) -> NetworkClassifier:
        """The zero-shot classifier of so many classes, without its weights."""
        settings = dataclasses.replace(self.settings, num_classes=num_classes)
        architecture = ZeroShotArchitecture(self.image, self.settings.num_classes)
        return make_classifier(self.name, architecture, self.input_spec, settings)

    def load(self) -> tuple[Clip, Variables]:
        """Reads both towers, fetching them first where they are not here.

        Raises:
            FileNotFoundError: If they cannot be fetched and are not cached.
            ValueError: If the file is damaged, or does not hold this model; all
                differences are named.
        """
        path = self.path or self._fetch(WEIGHTS_FILE)
        tensors = read_tensors(path)
        try:
            shapes = {name: array.shape for name, array in tensors.items()}
            text, width = text_architecture(
                shapes, activation=self.activation, num_heads=self.num_heads
            )
            settings = self.settings
            if width != settings.num_classes:
                raise ValueError(
                    f"texts are projected to {width} numbers, those of {self.name} "
                    f"have {settings.num_classes}; name the model that the weights are"
                )
            clip = make_clip(
                self.name, ClipArchitecture(self.image, text), self.input_spec, settings
            )
            rules = find_architecture(self.name.partition(".")[0]).rules()
            tower = make_classifier(self.name, self.image, self.input_spec, settings)
            return clip, convert(tensors, clip, clip_rules(rules, tower))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def tokenizer(self) -> Tokenizer:
        """The vocabulary beside the weights, or in the same repository.

        Raises:
            ImportError: If the tokenizers library is not installed.
            FileNotFoundError: If there is none.
        """
        if self.path is not None:
            beside = find_vocabulary(self.path.parent)
            if beside is not None:
                return Tokenizer.load(beside)
        if self.checkpoint is None:
            raise FileNotFoundError(
                f"no vocabulary beside {self.path}; put tokenizer.json or merges.txt "
                "there, or give one as tokenizer"
            )
        return Tokenizer.load(self._fetch("tokenizer.json"))

    def _fetch(self, file: str) -> Path:
        assert self.checkpoint is not None
        place = dataclasses.replace(
            find_checkpoint(self.name),
            repository=self.checkpoint.repository,
            file=file,
        )
        return hub.fetch(place)


def make_clip(
    name: str, architecture: ClipArchitecture, spec: InputSpec, settings: Settings
) -> Clip:
    """Makes a CLIP model, also of dimensions that no table lists."""
    spec = dataclasses.replace(spec, size=settings.size)
    return Clip(name, settings.num_classes, spec, architecture, settings)


def load_zero_shot(
    name: str,
    prompts: Prompts | Source = "imagenet",
    *,
    source: Source | None = None,
    tokenizer: Tokenizer | Source | None = None,
    image_size: int | None = None,
    dtype: DTypeLike = jnp.float32,
    logit_scale: float | None = LOGIT_SCALE,
) -> tuple[Classifier, Variables]:
    """Makes a zero-shot classifier of a CLIP model.

    Args:
        name: A checkpoint of the image tower, such as
            "vit_base_patch16_clip_quickgelu_224.openai".
        prompts: Class names and templates, or what `load_prompts` reads.
        source: None fetches from the Hugging Face hub. Else a file in OpenAI's or
            OpenCLIP's layout, or a folder, searched as `find_pretrained` does.
        tokenizer: None takes the vocabulary beside the weights. Else one, or a file or
            folder as `Tokenizer.load` reads it.
        image_size: Height and width in pixels; None is the weights' own.
        dtype: Computation's dtype, float32 or bfloat16.
        logit_scale: Factor of the cosines; None takes the checkpoint's own.

    Raises:
        ImportError: If the tokenizers library is not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If the name is no CLIP model's, or a file does not hold what it
            should.
    """
    found = find_clip(name, source=source, image_size=image_size, dtype=dtype)
    # Before the weights, which take long to fetch and to read.
    if not isinstance(prompts, Prompts):
        prompts = load_prompts(prompts)
    if tokenizer is None:
        tokenizer = found.tokenizer()
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer)
    clip, variables = found.load()
    return zero_shot_classifier(
        clip, variables, prompts, tokenizer, logit_scale=logit_scale
    )


def find_clip(
    name: str,
    *,
    source: Source | None = None,
    image_size: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> ClipPretrained:
    """Finds a CLIP model's weights without reading a tensor.

    Args:
        name: As `load_zero_shot`.
        source: As `load_zero_shot`. `open_clip_config.json` beside the weights says
            size, normalisation, activation and heads of your own tags.
        image_size: As `load_zero_shot`.
        dtype: As `load_zero_shot`.

    Raises:
        FileNotFoundError: If the source does not exist or holds no such weights.
        ValueError: If the name is no CLIP model's.
    """
    entry = find_architecture(name.partition(".")[0])
    path, stored = None, {}
    if source is not None:
        path, name = _locate(Path(source), name)
        stored = _config(path)
    row = clip_checkpoints().get(name)
    other = clip_checkpoints().get(_sibling(name))
    if row is None and other is not None:
        raise ValueError(_other_activation(name, other.quick_gelu))
    if row is None and source is None:
        raise ValueError(_not_clip(name))
    activation = getattr(entry.build(), "activation", "gelu")
    if row is None:
        assert path is not None
        spec, width = _own_spec(stored, entry.input_spec, path), _stored_width(path)
        usual = activation == "quick_gelu"
        quick = stored["model_cfg"].get("quick_gelu", False) if stored else usual
    else:
        known = find_checkpoint(name)
        # As CLIP's authors cut images, whatever timm's row says.
        spec = dataclasses.replace(known.input_spec, crop_fraction=1.0)
        width, quick = known.num_classes, row.quick_gelu
    if entry.family == "vit" and quick != (activation == "quick_gelu"):
        raise ValueError(_other_activation(name, quick))
    return ClipPretrained(
        name,
        entry.build(),
        Settings(
            width,
            spec.size if image_size is None else (image_size, image_size),
            np.dtype(dtype),
        ),
        spec,
        "quick_gelu" if quick else "gelu",
        stored["model_cfg"].get("text_cfg", {}).get("heads") if stored else None,
        path,
        row,
    )


def _locate(source: Path, name: str) -> tuple[Path, str]:
    """The file with both towers, and the name with the tag that it is stored under."""
    row = clip_checkpoints().get(name)
    path = folders.locate(source, name, row.repository if row else "")
    name = folders.stored_name(source, path, name)
    # The image tower alone may lie beside it.
    whole = path.with_name(WEIGHTS_FILE)
    return (whole if source.is_dir() and whole.is_file() else path), name


def _config(path: Path) -> dict[str, Any]:
    """OpenCLIP's configuration beside a file; empty where there is none."""
    beside = path.with_name(CONFIG_FILE)
    if path.name != WEIGHTS_FILE or not beside.is_file():
        return {}
    try:
        stored = json.loads(beside.read_text("utf-8"))
        models = stored["model_cfg"], stored["model_cfg"]["text_cfg"]
        if not all(isinstance(part, dict) for part in models):
            raise ValueError("model_cfg or its text_cfg is not an object")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{beside} is not a configuration of OpenCLIP ({error!r}); correct it, or "
            "move it away to use the defaults"
        ) from error
    return stored


def _own_spec(stored: dict[str, Any], default: InputSpec, path: Path) -> InputSpec:
    """What a configuration says of the images; CLIP's own where it is silent."""
    cut = stored.get("preprocess_cfg") or {}
    vision = (stored.get("model_cfg") or {}).get("vision_cfg") or {}
    size = cut.get("size", vision.get("image_size", default.size))
    modes = {"shortest": "center", "squash": "squash"}
    mode = cut.get("resize_mode", "shortest")
    try:
        if mode not in modes:
            raise ValueError(f"resize_mode {mode!r}, wanted one of {sorted(modes)}")
        return InputSpec(
            size=(size, size) if isinstance(size, int) else tuple(size),
            crop_fraction=1.0,
            crop_mode="squash" if modes[mode] == "squash" else "center",
            interpolation=cut.get("interpolation", "bicubic"),
            mean=tuple(cut.get("mean", CLIP_MEAN)),
            std=tuple(cut.get("std", CLIP_STD)),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the {CONFIG_FILE} beside {path} says no input: {error}; correct it, or "
            "move it away to use CLIP's"
        ) from error


def _stored_width(path: Path) -> int:
    """The shared space's width as a file of weights has it."""
    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    else:
        shapes = {name: array.shape for name, array in read_tensors(path).items()}
    try:
        return text_architecture(shapes, activation="gelu", num_heads=1)[1]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _not_clip(name: str) -> str:
    homes = {_bare(known): [] for known in clip_checkpoints()}
    for known in clip_checkpoints():
        homes[_bare(known)].append(known)
    near = [*homes.get(_bare(name), []), *homes.get(_bare(_sibling(name)), [])]
    listed = f"{', '.join(near)} can" if near else f"these have one: {', '.join(homes)}"
    return (
        f"{name!r} has no text tower that is known, so it cannot classify zero-shot; "
        f"{listed}; or give a file or folder of a CLIP model's weights as source"
    )


def _other_activation(name: str, quick: bool) -> str:
    trained = "x * sigmoid(1.702 x)" if quick else "the exact GELU"
    return (
        f"{name}: this CLIP model was trained with {trained}, the architecture has the "
        f"other activation, and zero-shot logits would be wrong; name {_sibling(name)}"
    )


def _sibling(name: str) -> str:
    """The same checkpoint under the architecture with the other activation."""
    if "_clip_quickgelu_" in name:
        return name.replace("_clip_quickgelu_", "_clip_")
    return name.replace("_clip_", "_clip_quickgelu_")


def _bare(name: str) -> str:
    return name.partition(".")[0]
