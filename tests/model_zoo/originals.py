"""Weights as their originals store them, made without torch."""

import json
import zlib

import numpy as np
from safetensors.numpy import save_file

from model_zoo.catalog import find_architecture


def to_original(classifier, variables):
    """A classifier's variables under timm's names and in torch's layout."""
    rules = find_architecture(classifier.name.partition(".")[0]).rules()
    tensors = {}
    for leaf, array in variables.items():
        array = np.asarray(array)
        if leaf.endswith("kernel") and array.ndim > 1:
            array = array.transpose(-1, -2, *range(array.ndim - 2))
        tensors[rules.source_name(leaf)] = np.ascontiguousarray(array)
    return tensors


def write_repository(folder, classifier, variables, **config):
    """Writes a folder as timm keeps one on the hub; returns the file of weights."""
    folder.mkdir(parents=True)
    architecture, _, tag = classifier.name.partition(".")
    height, width = classifier.input_spec.size
    values = {
        "architecture": architecture,
        "num_classes": classifier.num_classes,
        "num_features": classifier.num_features,
        "pretrained_cfg": {
            "tag": tag,
            "input_size": [3, height, width],
            "interpolation": "bilinear",
            "crop_pct": 0.9,
            "crop_mode": "center",
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.25, 0.3],
        },
    } | config
    (folder / "config.json").write_text(json.dumps(values))
    path = folder / "model.safetensors"
    save_file(to_original(classifier, variables), path, metadata={"format": "pt"})
    return path


def seeded_tensor(name, shape):
    """A tensor of an original that follows from its name, of a size that is useful."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    last = name.rpartition(".")[2]
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        values = generator.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        values = generator.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    else:
        values = generator.normal(0, 0.2, shape)
    return values.astype(np.float32)


def seeded_images(side):
    """Two normalised images."""
    return np.random.default_rng(1).normal(size=(2, side, side, 3)).astype(np.float32)


def seeded_original(classifier):
    """Tensors of `seeded_tensor` under timm's names, in torch's layout."""
    empty = {k: np.empty(v.shape, np.bool_) for k, v in classifier.shapes.items()}
    return {
        name: seeded_tensor(name, array.shape)
        for name, array in to_original(classifier, empty).items()
    }
