"""Pooling with torch's integer padding and rounding, and with TensorFlow's "SAME"."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from model_zoo.layers.convolution import convolve

Padding = int | Literal["SAME"]
Image = Float[Array, "n h w c"]


def max_pool(
    x: Image, size: int, stride: int, *, padding: Padding = 0, ceil_mode: bool = False
) -> Float[Array, "n p q c"]:
    """Largest value of each window; the border is -inf, so it never wins.

    Args:
        x: Feature maps.
        size: Side of the window in pixels.
        stride: Step in pixels.
        padding: Border on each side in pixels, or "SAME" as in TensorFlow.
        ceil_mode: Whether a last, incomplete window counts, as in torch.
    """
    borders = _borders(x, size, stride, padding, ceil_mode)
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), borders
    )


def avg_pool(
    x: Image,
    size: int,
    stride: int,
    *,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "n p q c"]:
    """Mean of each window, in float32.

    Args:
        x: Feature maps.
        size: Side of the window in pixels.
        stride: Step in pixels.
        padding: Zeros on each side in pixels, or "SAME" as in TensorFlow.
        ceil_mode: Whether a last, incomplete window counts, as in torch; what lies
            beyond the padding is never counted.
        count_include_pad: Whether padding's zeros count in the divisor, as in torch.
    """
    borders = _borders(x, size, stride, padding, ceil_mode)
    window, strides = (1, size, size, 1), (1, stride, stride, 1)
    total = jax.lax.reduce_window(
        x.astype(jnp.float32), 0.0, jax.lax.add, window, strides, borders
    )
    counts = [
        _counts(length, size, stride, border, padding, count_include_pad)
        for length, border in zip(x.shape[1:3], borders[1:3], strict=True)
    ]
    area = counts[0][None, :, None, None] * counts[1][None, None, :, None]
    return (total / jnp.asarray(area, jnp.float32)).astype(x.dtype)


def blur_pool(
    x: Image, stride: int = 2, *, border: Literal["mirror", "zeros"] = "mirror"
) -> Float[Array, "n p q c"]:
    """The binomial filter [1, 2, 1] / 4 both ways, then a stride.

    Zhang (2019), https://arxiv.org/abs/1904.11486.

    Args:
        x: Feature maps.
        stride: Step in pixels.
        border: What lies beyond the image.
    """
    mode = "reflect" if border == "mirror" else "constant"
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
    channels = x.shape[-1]
    taps = np.outer((1, 2, 1), (1, 2, 1)) / 16
    kernel = jnp.asarray(taps, x.dtype).reshape(3, 3, 1, 1)
    kernel = jnp.broadcast_to(kernel, (3, 3, 1, channels))
    return convolve(x, kernel, stride=stride, groups=channels)


def adaptive_avg_pool(x: Image, size: tuple[int, int]) -> Float[Array, "n p q c"]:
    """Mean of windows that cover the image in `size` rows and columns, in float32.

    As in torch, windows overlap where sides do not divide, and repeat pixels where
    `size` is the larger.
    """
    y = x.astype(jnp.float32)
    for axis, wanted in zip("hw", size, strict=True):
        length = y.shape["nhwc".index(axis)]
        if length != wanted:
            weights = jnp.asarray(_window_means(length, wanted))
            result = "nhwc".replace(axis, "o")
            y = jnp.einsum(f"o{axis},nhwc->{result}", weights, y, precision="highest")
    return y.astype(x.dtype)


def global_average(x: Image) -> Float[Array, "n c"]:
    """Mean over rows and columns, in float32."""
    return x.astype(jnp.float32).mean((1, 2))


def _borders(
    x: Array, size: int, stride: int, padding: Padding, ceil_mode: bool
) -> list[tuple[int, int]]:
    if padding == "SAME":
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return list(jax.lax.padtype_to_pads(x.shape, window, strides, "SAME"))
    sides = [
        _border(length, size, stride, padding, ceil_mode) for length in x.shape[1:3]
    ]
    return [(0, 0), *sides, (0, 0)]


def _border(
    length: int, size: int, stride: int, padding: int, ceil_mode: bool
) -> tuple[int, int]:
    """Zeros before and after; torch drops a last window that starts in the padding."""
    if not ceil_mode:
        return padding, padding
    count = -(-(length + 2 * padding - size) // stride) + 1
    if (count - 1) * stride >= length + padding:
        count -= 1
    return padding, max((count - 1) * stride + size - length - padding, 0)


def _counts(
    length: int,
    size: int,
    stride: int,
    border: tuple[int, int],
    padding: Padding,
    count_include_pad: bool,
) -> np.ndarray:
    """Pixels of each window along one axis that count in the divisor."""
    if padding == "SAME" or not count_include_pad:
        low, high = 0, length
    else:
        low, high = -padding, length + padding
    starts = np.arange((length + sum(border) - size) // stride + 1) * stride - border[0]
    return np.minimum(starts + size, high) - np.maximum(starts, low)


def _window_means(length: int, count: int) -> np.ndarray:
    """The matrix [count, length] of means over windows of nearly equal length."""
    weights = np.zeros((count, length), np.float32)
    for i in range(count):
        start, stop = i * length // count, -(-(i + 1) * length // count)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
