"""The two-layer perceptron and the classification head of several families."""

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
        dtype: DTypeLike,
    ) -> None:
        def layer(num_in: int, num_out: int) -> Linear | Conv:
            if use_conv:
                return Conv(num_in, num_out, 1, use_bias=use_bias, dtype=dtype)
            return Linear(num_in, num_out, use_bias=use_bias, dtype=dtype)

        self.fc1 = layer(num_features, num_hidden)
        self.fc2 = layer(num_hidden, num_features)
        self.activation = activation

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Maps the last axis."""
        return self.fc2(ACTIVATIONS[self.activation](self.fc1(x)))


def head(num_features: int, num_classes: int, *, use_bias: bool = True) -> Linear:
    """The last layer, always in float32: bfloat16 logits would tie."""
    return Linear(num_features, num_classes, use_bias=use_bias, dtype=jnp.float32)
