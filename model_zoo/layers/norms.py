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
        self,
        num_features: int,
        *,
        epsilon: float = 1e-6,
        use_bias: bool = True,
        dtype: DTypeLike,
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = nnx.data(parameter(num_features) if use_bias else None)
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Normalises every row."""
        x = x.astype(jnp.float32)
        mean, variance = _moments(x, (-1,))
        y = _normalize(x, mean, variance, self.epsilon, self.scale, self.bias)
        return y.astype(self.dtype)


class RmsNorm(nnx.Module):
    """Root-mean-square normalisation over the last axis: arXiv 1910.07467."""

    def __init__(
        self, num_features: int, *, epsilon: float = 1e-6, dtype: DTypeLike
    ) -> None:
        self.scale = parameter(num_features)
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Divides every row by its root mean square."""
        x = x.astype(jnp.float32)
        power = jnp.square(x).mean(-1, keepdims=True)
        scale = self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))
        y = x * jax.lax.rsqrt(power + self.epsilon) * scale
        return y.astype(self.dtype)


class GroupNorm(nnx.Module):
    """Group normalisation of feature maps: https://arxiv.org/abs/1803.08494.

    Args:
        num_groups: Groups of neighbouring channels; 1 normalises a whole image.
        num_features: Channels, a multiple of `num_groups`.
        epsilon: Added to the variance.
        use_bias: Whether a bias is added.
        dtype: The result's dtype; statistics are float32.
    """

    def __init__(
        self,
        num_groups: int,
        num_features: int,
        *,
        epsilon: float = 1e-5,
        use_bias: bool = True,
        dtype: DTypeLike,
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = nnx.data(parameter(num_features) if use_bias else None)
        self.num_groups = num_groups
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Normalises every group of every image."""
        grouped = x.astype(jnp.float32).reshape(*x.shape[:3], self.num_groups, -1)
        mean, variance = _moments(grouped, (1, 2, 4))
        channels = (1, 1, 1, self.num_groups, -1)
        factor = jax.lax.rsqrt(variance + self.epsilon)
        y = (grouped - mean) * factor * self.scale[...].reshape(channels)
        if self.bias is not None:
            y = y + self.bias[...].reshape(channels)
        return y.reshape(x.shape).astype(self.dtype)


class ResponseNorm(nnx.Module):
    """Global response normalisation of feature maps: arXiv 2301.00808, section 3.

    Every channel is weighed by its L2 norm over the image relative to the mean of all
    channels, and the result is scaled, shifted and added; in float32.

    Args:
        num_features: Channels.
        use_bias: Whether a bias is added.
        dtype: The result's dtype.
    """

    def __init__(
        self, num_features: int, *, use_bias: bool = True, dtype: DTypeLike
    ) -> None:
        self.scale = parameter(num_features)
        self.bias = nnx.data(parameter(num_features) if use_bias else None)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """Weighs every channel of every image."""
        x = x.astype(jnp.float32)
        power = jnp.square(x).sum((1, 2), keepdims=True)
        # A channel that is zero everywhere has no gradient to give through its root.
        silent = power == 0
        norm = jnp.where(silent, 0.0, jnp.sqrt(jnp.where(silent, 1.0, power)))
        weights = norm / (norm.mean(-1, keepdims=True) + 1e-6)
        y = x + self.scale[...].reshape(1, 1, 1, -1) * (x * weights)
        if self.bias is not None:
            y = y + self.bias[...].reshape(1, 1, 1, -1)
        return y.astype(self.dtype)


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
    bias: nnx.Param | None,
) -> Array:
    last = (1,) * (x.ndim - 1) + (-1,)
    factor = jax.lax.rsqrt(variance + epsilon) * scale[...].reshape(last)
    y = (x - mean) * factor
    return y if bias is None else y + bias[...].reshape(last)
