"""Dense and convolutional layers with torch's integer padding."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def parameter(*shape: int) -> nnx.Param:
    """Declares a float32 parameter of this shape; see the package docstring."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32))


class Linear(nnx.Module):
    """`x @ kernel + bias` over the last axis, computed in `dtype`."""

    def __init__(self, num_in: int, num_out: int, *, dtype: DTypeLike) -> None:
        self.kernel = parameter(num_in, num_out)
        self.bias = parameter(num_out)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows i"]) -> Float[Array, "*rows o"]:
        """Maps the last axis."""
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...]
        return _add_bias(x.astype(self.dtype) @ kernel, bias)


class Conv(nnx.Module):
    """Two-dimensional convolution, channels last, kernel in HWIO order.

    `padding` rows and columns of zeros are added on every side, as in torch: "SAME"
    differs from that at stride 2. A 1x1 kernel and a kernel as wide as its stride are
    computed as a matrix product, which is the same sum: on CPUs it is faster, vmapped
    over weights it stays a batched product where a convolution becomes a grouped one,
    and XLA's partitioner (jax 0.10 to 0.12) gets vmapped and sharded 1x1 convolutions
    wrong without a word.

    Args:
        num_in: Input channels.
        num_out: Output channels.
        kernel_size: Side of the square kernel, in pixels.
        stride: Step in pixels.
        padding: Zeros on each side, in pixels.
        groups: 1, or `num_in` for a depthwise convolution.
        use_bias: Whether a bias is added.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        use_bias: bool = True,
        dtype: DTypeLike,
    ) -> None:
        self.kernel = parameter(kernel_size, kernel_size, num_in // groups, num_out)
        self.bias = nnx.data(parameter(num_out) if use_bias else None)
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Convolves."""
        kernel = self.kernel[...].astype(self.dtype)
        y = self._convolve(x.astype(self.dtype), kernel)
        return y if self.bias is None else _add_bias(y, self.bias[...])

    def _convolve(self, x: Array, kernel: Array) -> Array:
        if self.groups == 1 and self.padding == 0:
            if self.kernel_size == 1:
                return x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
            if self.kernel_size == self.stride:
                return _patches(x, self.stride) @ kernel.reshape(-1, kernel.shape[-1])
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(self.stride, self.stride),
            padding=[(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )


def _patches(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n p q k"]:
    """Cuts into non-overlapping patches; leftover rows and columns are dropped."""
    n, height, width, channels = x.shape
    rows, columns = height // side, width // side
    x = x[:, : rows * side, : columns * side]
    x = x.reshape(n, rows, side, columns, side, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, -1)


def _add_bias(y: Array, bias: Array) -> Array:
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
