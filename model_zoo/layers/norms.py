"""Normalisation with float32 statistics whatever the computation's dtype.

Flax's layers round running statistics to bfloat16 and keep the biased variance; these
follow torch, so that ported weights and continued training give torch's numbers.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.linear import parameter


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis: https://arxiv.org/abs/1607.06450."""

    def __init__(
        self, num_features: int, *, epsilon: float = 1e-6, dtype: DTypeLike
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = parameter(num_features)
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Normalises every row."""
        x = x.astype(jnp.float32)
        mean, variance = _moments(x, (-1,))
        y = _normalize(x, mean, variance, self.epsilon, self.scale, self.bias)
        return y.astype(self.dtype)


class GroupNorm(nnx.Module):
    """Group normalisation of feature maps: https://arxiv.org/abs/1803.08494.

    Args:
        num_groups: Groups of neighbouring channels; 1 normalises a whole image.
        num_features: Channels, a multiple of `num_groups`.
        epsilon: Added to the variance.
        dtype: The result's dtype; statistics are float32.
    """

    def __init__(
        self,
        num_groups: int,
        num_features: int,
        *,
        epsilon: float = 1e-5,
        dtype: DTypeLike,
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = parameter(num_features)
        self.num_groups = num_groups
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises every group of every image."""
        grouped = x.astype(jnp.float32).reshape(*x.shape[:3], self.num_groups, -1)
        mean, variance = _moments(grouped, (1, 2, 4))
        scale, bias = (
            p[...].reshape(1, 1, 1, self.num_groups, -1)
            for p in (self.scale, self.bias)
        )
        factor = jax.lax.rsqrt(variance + self.epsilon)
        y = (grouped - mean) * factor * scale + bias
        return y.reshape(x.shape).astype(self.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation per channel: https://arxiv.org/abs/1502.03167.

    Training normalises with the batch's biased variance and moves the running
    statistics a tenth of the way to the batch's mean and *unbiased* variance, as torch
    does (`momentum=0.1` there, 0.9 here); evaluation uses the running statistics. The
    variance is the mean of squared deviations, not a difference of moments, which
    would cancel in float32.
    """

    def __init__(
        self,
        num_features: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        dtype: DTypeLike,
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = parameter(num_features)
        self.mean = nnx.BatchStat(jax.ShapeDtypeStruct((num_features,), jnp.float32))
        self.var = nnx.BatchStat(jax.ShapeDtypeStruct((num_features,), jnp.float32))
        self.momentum = momentum
        self.epsilon = epsilon
        self.dtype = dtype
        self.use_running_average = True

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Sets the mode; called by `nnx.view`."""
        if use_running_average is not None:
            self.use_running_average = use_running_average

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises every channel, and in training updates its statistics."""
        x = x.astype(jnp.float32)
        if self.use_running_average:
            mean, variance = (
                s[...].reshape(1, 1, 1, -1) for s in (self.mean, self.var)
            )
        else:
            mean, variance = _moments(x, (0, 1, 2))
            self._update(mean, variance, count=x.size // x.shape[-1])
        y = _normalize(x, mean, variance, self.epsilon, self.scale, self.bias)
        return y.astype(self.dtype)

    def _update(self, mean: Array, variance: Array, count: int) -> None:
        if count < 2:
            raise ValueError(
                "BatchNorm in training mode got one value per channel, which has no "
                "variance; wanted two or more: train with a larger batch or image"
            )
        unbiased = variance * (count / (count - 1))
        for running, batch in ((self.mean, mean), (self.var, unbiased)):
            running[...] = jax.lax.stop_gradient(
                self.momentum * running[...] + (1 - self.momentum) * batch.reshape(-1)
            )


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


def _normalize(
    x: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    scale: nnx.Param,
    bias: nnx.Param,
) -> Array:
    last = (1,) * (x.ndim - 1) + (-1,)
    factor = jax.lax.rsqrt(variance + epsilon) * scale[...].reshape(last)
    return (x - mean) * factor + bias[...].reshape(last)
