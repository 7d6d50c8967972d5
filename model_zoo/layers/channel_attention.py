"""Gates that weigh channels by their global average."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.linear import Linear, parameter


class SqueezeExcite(nnx.Module):
    """Average, Linear, activation, Linear, gate: https://arxiv.org/abs/1709.01507.

    timm stores both layers as 1x1 convolutions; the numbers are the same.

    Args:
        num_features: Channels in and out.
        num_squeezed: Channels between.
        activation: Name of the activation between.
        gate: Name of the activation at the end.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        num_features: int,
        num_squeezed: int,
        *,
        activation: str = "relu",
        gate: str = "sigmoid",
        dtype: DTypeLike,
    ) -> None:
        self.fc1 = Linear(num_features, num_squeezed, dtype=dtype)
        self.fc2 = Linear(num_squeezed, num_features, dtype=dtype)
        self.activation = activation
        self.gate = gate

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Scales every channel of every image."""
        weights = x.astype(jnp.float32).mean((1, 2)).astype(x.dtype)
        weights = self.fc2(ACTIVATIONS[self.activation](self.fc1(weights)))
        return x * ACTIVATIONS[self.gate](weights)[:, None, None, :]


class EfficientChannelAttention(nnx.Module):
    """A short convolution across neighbouring channels: arXiv 1910.03151.

    Args:
        kernel_size: Channels that each gate sees, odd.
    """

    def __init__(self, kernel_size: int) -> None:
        self.kernel = parameter(kernel_size)
        self.kernel_size = kernel_size

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Scales every channel of every image."""
        means = x.astype(jnp.float32).mean((1, 2))
        reach = self.kernel_size // 2
        padded = jnp.pad(means, ((0, 0), (reach, reach)))
        kernel = self.kernel[...]
        mixed = sum(
            kernel[i] * padded[:, i : i + means.shape[1]]
            for i in range(self.kernel_size)
        )
        return x * jax.nn.sigmoid(mixed).astype(x.dtype)[:, None, None, :]
