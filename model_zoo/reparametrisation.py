"""Networks that train with several branches and run with one.

A convolution and an evaluation-mode batch norm are one convolution with a bias, and
parallel convolutions of one input are one convolution with the sum of their kernels:
Ding et al. (2021), https://arxiv.org/abs/2101.03697.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from model_zoo.architecture import Architecture
from model_zoo.classifier import (
    Classifier,
    NetworkClassifier,
    Variables,
    check_variables,
)

Arrays = dict[str, np.ndarray]


@runtime_checkable
class Reparametrisable(Architecture, Protocol):
    """An architecture with branches that can be merged after training."""

    @property
    def reparametrised(self) -> bool:
        """Whether the branches are merged already."""
        ...

    def fuse(self, arrays: Arrays) -> tuple[Architecture, Arrays]:
        """Merges branches: this architecture with one branch, and its leaves."""
        ...


def fuse(classifier: Classifier, variables: Variables) -> tuple[Classifier, Variables]:
    """Merges a trained classifier's branches for faster evaluation.

    Evaluation mode gives the same logits up to rounding (computed in float64, kept in
    float32). Training mode does not: the batch norms are gone.

    Args:
        classifier: One whose architecture trains with several branches: RepVGG,
            UniRepLKNet.
        variables: Its variables.

    Returns:
        The classifier with `architecture.reparametrised` set, and its variables.

    Raises:
        ValueError: If the classifier has no branches to merge, or these are not its
            variables.
    """
    architecture = getattr(classifier, "architecture", None)
    if not isinstance(classifier, NetworkClassifier) or not isinstance(
        architecture, Reparametrisable
    ):
        raise ValueError(
            f"{classifier.name} has no branches to merge; wanted RepVGG or UniRepLKNet"
        )
    if architecture.reparametrised:
        raise ValueError(f"{classifier.name} has been fused already")
    check_variables(classifier, variables)
    arrays = {name: np.asarray(leaf, np.float64) for name, leaf in variables.items()}
    fused, merged = architecture.fuse(arrays)
    leaves: Variables = {
        name: np.ascontiguousarray(array, np.float32) for name, array in merged.items()
    }
    return replace(classifier, architecture=fused), leaves


def fold_norm(
    arrays: Mapping[str, np.ndarray],
    norm: str,
    kernel: np.ndarray,
    bias: np.ndarray | float = 0.0,
    *,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Folds an evaluation-mode batch norm into the layer before it.

    Args:
        arrays: Leaves by dotted name.
        norm: Dotted name of the batch norm.
        kernel: That of the layer, output channels last.
        bias: That of the layer.
        epsilon: That of the batch norm.

    Returns:
        The kernel and the bias of the two layers in one.
    """
    scale, shift, mean, var = (
        arrays[f"{norm}.{leaf}"] for leaf in ("scale", "bias", "mean", "var")
    )
    factor = scale / np.sqrt(var + epsilon)
    return kernel * factor, shift + (bias - mean) * factor
