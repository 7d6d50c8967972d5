"""From an original's tensors to a classifier's variables: a bijection, or an error.

A family's rules say what its leaves are called in the original's files. Every leaf is
looked up by that name and written once, every tensor of the file is used once or listed
as ignored, and shapes agree; all violations are reported at once.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from model_zoo.classifier import NetworkClassifier, Variables

Tensors = dict[str, np.ndarray]
Resize = Callable[[np.ndarray, tuple[int, ...], NetworkClassifier], np.ndarray]

# What torch calls the leaves of layers that are everywhere.
_TORCH_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
# Counters of batches and of averaged models: they matter to training alone.
ALWAYS_IGNORED = r"(.*\.)?(num_batches_tracked|n_averaged)"
# Problems of one kind that an error lists; a wrong file has hundreds alike.
_SHOWN = 20


class Unsupported(ValueError):
    """An original whose options this family does not have."""


@dataclass(frozen=True)
class Rules:
    """How a family's originals are read.

    Attributes:
        renames: Pairs (pattern, replacement) for `re.sub`, applied in turn to a leaf's
            name here, after its last part was put in torch's words (kernel and scale
            are weight, mean and var are running_mean and running_var). The result is
            the tensor's name in the original.
        ignored: Patterns of whole names of tensors that are not needed: buffers that
            are computed here, heads of pre-training.
        legacy: Brings files of older or other layouts to timm's present names and
            shapes; gets and gives tensors by name, and leaves present files alone.
        resized: Patterns of leaves here whose shape follows the image size, and what
            resizes them: `resize(array, shape, classifier)`, layout as here.
        as_is: Whether tensors carry the names and layouts of this zoo already.
    """

    renames: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    legacy: Callable[[Tensors, NetworkClassifier], Tensors] | None = None
    resized: tuple[tuple[str, Resize], ...] = ()
    as_is: bool = False

    def source_name(self, leaf: str) -> str:
        """The original's name of a leaf."""
        if self.as_is:
            return leaf
        module, dot, last = leaf.rpartition(".")
        name = module + dot + _TORCH_NAMES.get(last, last)
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


def convert(
    tensors: Mapping[str, np.ndarray], classifier: NetworkClassifier, rules: Rules
) -> Variables:
    """Reads an original's tensors as a classifier's variables.

    Args:
        tensors: Arrays by the original's names, of any float dtype.
        classifier: What they are for.
        rules: Those of its family.

    Returns:
        Float32 variables, every leaf of `classifier.shapes`.

    Raises:
        ValueError: If tensors are missing, left over, of another shape or not finite;
            everything that is wrong is named.
    """
    found = dict(tensors)
    if rules.legacy is not None and not rules.as_is:
        found = rules.legacy(found, classifier)
    shapes = classifier.shapes
    # A head of no classes has no tensor to come from.
    names = {leaf: rules.source_name(leaf) for leaf in shapes}
    wanted = {leaf: name for leaf, name in names.items() if 0 not in shapes[leaf].shape}
    problems = _matching_problems(found, wanted, set(names.values()), rules)
    variables: Variables = {
        leaf: np.zeros(shapes[leaf].shape, np.float32)
        for leaf in shapes.keys() - wanted
    }
    for leaf, name in wanted.items():
        if name not in found:
            continue
        dtype = shapes[leaf].dtype if rules.as_is else np.float32
        array = np.asarray(found[name], dtype)
        shape = shapes[leaf].shape
        arranged = array if rules.as_is else _arrange(array, leaf, shape)
        for pattern, resize in rules.resized:
            if arranged.shape != shape and re.fullmatch(pattern, leaf):
                arranged = resize(arranged, shape, classifier)
        if arranged.shape != shape:
            problems.append(f"{name} has shape {array.shape}; {leaf} wants {shape}")
        elif not np.isfinite(arranged).all():
            bad = int(arranged.size - np.isfinite(arranged).sum())
            problems.append(f"{name} holds {bad} values that are not finite")
        variables[leaf] = np.ascontiguousarray(arranged)
    if problems:
        raise ValueError(_report(classifier, problems))
    return variables


def _matching_problems(
    found: Mapping[str, object],
    wanted: Mapping[str, str],
    named: set[str],
    rules: Rules,
) -> list[str]:
    """Tensors that are missing, left over, or wanted by two leaves."""
    problems = []
    claims: dict[str, list[str]] = {}
    for leaf, name in wanted.items():
        claims.setdefault(name, []).append(leaf)
    for name, leaves in claims.items():
        if len(leaves) > 1:
            problems.append(f"{name} is claimed by {' and '.join(leaves)}")
    missing = sorted(claims.keys() - found.keys())
    if missing:
        problems.append(f"missing: {_some(missing)}")
    ignored = (ALWAYS_IGNORED, *rules.ignored)
    extra = sorted(
        name
        for name in found.keys() - named
        if not any(re.fullmatch(pattern, name) for pattern in ignored)
    )
    if extra:
        problems.append(f"unknown: {_some(extra)}")
    return problems


def _arrange(array: np.ndarray, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    """Torch's layout to the one here: convolutions OIHW to HWIO, matrices transposed.

    A 1x1 convolution and a linear layer read each other's weights. Elsewhere axes of
    length one may come and go.
    """
    if leaf.rpartition(".")[2] == "kernel":
        if array.ndim > 2 and len(shape) == 2 and set(array.shape[2:]) == {1}:
            array = array.reshape(array.shape[:2])
        if array.ndim == 2 and len(shape) > 2 and set(shape[:-2]) == {1}:
            array = array.reshape(*array.shape, *shape[:-2])
        if array.ndim == len(shape) > 1:
            return array.transpose(*range(2, array.ndim), 1, 0)
    if array.shape != shape and _long(array.shape) == _long(shape):
        return array.reshape(shape)
    return array


def _long(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _report(classifier: NetworkClassifier, problems: list[str]) -> str:
    height, width = classifier.input_spec.size
    shown = problems[:_SHOWN]
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more problems")
    listing = "\n  ".join(shown)
    return (
        f"these are not the weights of {classifier.name} with {classifier.num_classes} "
        f"classes at {height}x{width} pixels:\n  {listing}\n"
        "Name the model, num_classes and image_size that the weights were made with."
    )
