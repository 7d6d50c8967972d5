"""Activations by the names that variants are written with."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array

Activation = Callable[[Array], Array]


def hard_sigmoid(x: Array) -> Array:
    """Piecewise linear: clip(x + 3, 0, 6) / 6."""
    return jnp.clip(x + 3, 0, 6) / 6


def hard_swish(x: Array) -> Array:
    """The product of x and its hard sigmoid: https://arxiv.org/abs/1905.02244."""
    return x * hard_sigmoid(x)


def quick_gelu(x: Array) -> Array:
    """The product of x and sigmoid(1.702 x), the GELU of OpenAI's CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


# "gelu" is the exact one (erf), torch's default; jax.nn.gelu's default is "gelu_tanh".
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "gelu": partial(jax.nn.gelu, approximate=False),
        "gelu_tanh": partial(jax.nn.gelu, approximate=True),
        "hard_sigmoid": hard_sigmoid,
        "hard_swish": hard_swish,
        "identity": lambda x: x,
        "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.01),
        "quick_gelu": quick_gelu,
        "relu": jax.nn.relu,
        "relu6": jax.nn.relu6,
        "sigmoid": jax.nn.sigmoid,
        "silu": jax.nn.silu,
        "tanh": jnp.tanh,
    }
)
