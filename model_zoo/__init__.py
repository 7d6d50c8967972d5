"""Image classifiers in Flax NNX as pure functions of a flat dictionary of arrays.

    >>> import jax, model_zoo
    >>> classifier = model_zoo.create_model("resnet_micro", num_classes=8)
    >>> variables = classifier.init(jax.random.key(0))

The package stands alone: jax, flax, numpy and safetensors, nothing of an evaluation.
Public names load on first use, so that `from model_zoo.input_spec import InputSpec`
costs a data worker no Flax import.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model_zoo.catalog import create_model, list_models
    from model_zoo.classifier import (
        Classifier,
        Outputs,
        Variables,
        check_variables,
        classifier_from_function,
    )
    from model_zoo.counting import count_macs
    from model_zoo.input_spec import InputSpec
    from model_zoo.own import register_model
    from model_zoo.reparametrisation import fuse
    from model_zoo.weights.files import load_variables, save_variables
    from model_zoo.weights.pretrained import (
        Pretrained,
        find_pretrained,
        list_pretrained,
        load_pretrained,
    )

_HOMES = {
    "Classifier": "model_zoo.classifier",
    "InputSpec": "model_zoo.input_spec",
    "Outputs": "model_zoo.classifier",
    "Pretrained": "model_zoo.weights.pretrained",
    "Variables": "model_zoo.classifier",
    "check_variables": "model_zoo.classifier",
    "classifier_from_function": "model_zoo.classifier",
    "count_macs": "model_zoo.counting",
    "create_model": "model_zoo.catalog",
    "find_pretrained": "model_zoo.weights.pretrained",
    "fuse": "model_zoo.reparametrisation",
    "list_models": "model_zoo.catalog",
    "list_pretrained": "model_zoo.weights.pretrained",
    "load_pretrained": "model_zoo.weights.pretrained",
    "load_variables": "model_zoo.weights.files",
    "register_model": "model_zoo.own",
    "save_variables": "model_zoo.weights.files",
}

__all__ = [
    "Classifier",
    "InputSpec",
    "Outputs",
    "Pretrained",
    "Variables",
    "check_variables",
    "classifier_from_function",
    "count_macs",
    "create_model",
    "find_pretrained",
    "fuse",
    "list_models",
    "list_pretrained",
    "load_pretrained",
    "load_variables",
    "register_model",
    "save_variables",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'model_zoo' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"model_zoo.{name} needs the package {error.name!r}, which is not "
            "installed: pip install 'jaxbench[zoo]'",
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
