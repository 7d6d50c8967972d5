"""Multiply-accumulates of a forward pass, counted in the program that is traced.

The convention is that of published tables (and of torch's `FlopCounterMode`, halved):
convolutions, linear layers and the products of attention count; whatever works element
by element (norms, activations, biases, pooling) does not.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from model_zoo.classifier import Classifier


def count_macs(classifier: Classifier) -> int:
    """Counts the multiply-accumulates of one image's forward pass.

    Nothing is computed or compiled. A convolution counts as one in whichever form a
    backend computes it.

    Args:
        classifier: Of the zoo; its image size is `input_spec.size`.

    Raises:
        ValueError: If the classifier is a user's function, whose variables are
            unknown, or if it holds a loop of unknown length.
    """
    height, width = classifier.input_spec.size
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    return _count(jax.make_jaxpr(classifier.apply)(classifier.shapes, images).jaxpr)


def _count(program: Jaxpr) -> int:
    return sum(_count_step(step) for step in program.eqns)


def _count_step(step: JaxprEqn) -> int:
    match step.primitive.name:
        case "dot_general":
            (contracted, _), _ = step.params["dimension_numbers"]
            left, size = _shape(step.invars[0]), prod(_shape(step.outvars[0]))
            return size * prod(left[axis] for axis in contracted)
        case "conv_general_dilated":
            kernel, size = _shape(step.invars[1]), prod(_shape(step.outvars[0]))
            num_out = kernel[step.params["dimension_numbers"].rhs_spec[0]]
            return size * prod(kernel) // num_out
        case "scan":
            return step.params["length"] * _count(step.params["jaxpr"].jaxpr)
        case "while":
            if any(_count(inner) for inner in _inner(step)):
                raise ValueError("a loop of unknown length multiplies matrices")
            return 0
        case "cond":
            # Of the forms of one computation (`jax.lax.platform_dependent`) the last
            # is the plain one; of true alternatives the dearest counts.
            forms = [_count(inner) for inner in _inner(step)]
            return forms[-1] if step.params.get("branches_platforms") else max(forms)
        case _:
            return sum(_count(inner) for inner in _inner(step))


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _inner(step: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs within a step: of a call, of branches, of a custom derivative."""
    for value in step.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part
