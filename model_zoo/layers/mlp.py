"""Two-layer perceptrons, plain and gated, and the head of several families."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.linear import Conv, Linear


class Mlp(nnx.Module):
    """Linear, activation, Linear.

    Args:
        num_features: Channels in and out.
        num_hidden: Channels between.
        activation: Name of the activation between; "gelu" is the exact (erf) one.
        use_bias: Whether the layers have biases.
        use_conv: 1x1 convolutions in place of Linear layers, where timm's weights are
            stored so; the numbers are the same.
        norm: Layer after the activation, or None.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        num_features: int,
        num_hidden: int,
        *,
        activation: str = "gelu",
        use_bias: bool = True,
        use_conv: bool = False,
        norm: Callable[[Array], Array] | None = None,
        dtype: DTypeLike,
    ) -> None:
        def layer(num_in: int, num_out: int) -> Linear | Conv:
            if use_conv:
                return Conv(num_in, num_out, 1, use_bias=use_bias, dtype=dtype)
            return Linear(num_in, num_out, use_bias=use_bias, dtype=dtype)

        self.fc1 = layer(num_features, num_hidden)
        self.norm = norm
        self.fc2 = layer(num_hidden, num_features)
        self.activation = activation

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Maps the last axis."""
        x = ACTIVATIONS[self.activation](self.fc1(x))
        return self.fc2(x if self.norm is None else self.norm(x))


class GluMlp(nnx.Module):
    """A gated linear unit: https://arxiv.org/abs/2002.05202.

    Two linear maps side by side, one activated, multiplied, and a last linear map.

    Args:
        num_features: Channels in and out.
        num_hidden: Channels of each of the two maps.
        activation: Name of the gate's activation; "silu" makes it SwiGLU.
        packed: Whether one layer `fc1` holds both maps, or `fc1_g` the gate and
            `fc1_x` the other.
        gate_last: Whether the gate is the second half of a packed layer.
        use_bias: Whether the layers have biases.
        norm: Layer after the product, or None.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        num_features: int,
        num_hidden: int,
        *,
        activation: str = "silu",
        packed: bool = True,
        gate_last: bool = False,
        use_bias: bool = True,
        norm: Callable[[Array], Array] | None = None,
        dtype: DTypeLike,
    ) -> None:
        def layer(num_in: int, num_out: int) -> Linear:
            return Linear(num_in, num_out, use_bias=use_bias, dtype=dtype)

        if packed:
            self.fc1 = layer(num_features, 2 * num_hidden)
        else:
            self.fc1_g = layer(num_features, num_hidden)
            self.fc1_x = layer(num_features, num_hidden)
        self.norm = norm
        self.fc2 = layer(num_hidden, num_features)
        self.activation = activation
        self.packed = packed
        self.gate_last = gate_last

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Maps the last axis."""
        if self.packed:
            gate, x = jnp.split(self.fc1(x), 2, axis=-1)
            if self.gate_last:
                gate, x = x, gate
        else:
            gate, x = self.fc1_g(x), self.fc1_x(x)
        x = ACTIVATIONS[self.activation](gate) * x
        return self.fc2(x if self.norm is None else self.norm(x))


def head(num_features: int, num_classes: int, *, use_bias: bool = True) -> Linear:
    """The last layer, always in float32: bfloat16 logits would tie."""
    return Linear(num_features, num_classes, use_bias=use_bias, dtype=jnp.float32)
