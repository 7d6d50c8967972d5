"""Weights as their originals store them, made without torch."""

import json

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
