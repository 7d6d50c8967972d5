"""Gates that weigh channels by their global average."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.norms import LayerNorm


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


class GlobalContext(nnx.Module):
    """A gate whose average over pixels is weighted by a softmax.

    Cao et al. (2019), https://arxiv.org/abs/1904.11492, with the gate scaling the
    channels as timm has it.

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
        self.conv_attn = Linear(num_features, 1, dtype=dtype)
        self.mlp_scale = NormMlp(
            num_features, num_squeezed, activation=activation, dtype=dtype
        )
        self.gate = gate

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Scales every channel of every image."""
        pixels = x.reshape(x.shape[0], -1, x.shape[-1])
        weights = jax.nn.softmax(self.conv_attn(pixels).astype(jnp.float32), axis=1)
        context = jnp.einsum("npo,npc->nc", weights.astype(x.dtype), pixels)
        gates = ACTIVATIONS[self.gate](self.mlp_scale(context))
        return x * gates[:, None, None, :]


class NormMlp(nnx.Module):
    """Linear, layer norm, activation, Linear; the last axis keeps its length."""

    def __init__(
        self,
        num_features: int,
        num_hidden: int,
        *,
        activation: str,
        dtype: DTypeLike,
    ) -> None:
        self.fc1 = Linear(num_features, num_hidden, dtype=dtype)
        self.norm = LayerNorm(num_hidden, dtype=dtype)
        self.fc2 = Linear(num_hidden, num_features, dtype=dtype)
        self.activation = activation

    def __call__(self, x: Float[Array, "n c"]) -> Float[Array, "n c"]:
        """Maps the last axis."""
        return self.fc2(ACTIVATIONS[self.activation](self.norm(self.fc1(x))))


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


def efficient_kernel_size(num_features: int) -> int:
    """Neighbours that an efficient gate sees, as that paper sets them."""
    size = int((math.log2(num_features) + 1) / 2)
    return max(size if size % 2 else size + 1, 3)
