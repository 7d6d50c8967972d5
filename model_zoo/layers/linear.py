"""Dense and convolutional layers with torch's integer padding."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.convolution import Padding, convolve


def parameter(*shape: int) -> nnx.Param:
    """Declares a float32 parameter of this shape; see the package docstring."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32))


class Linear(nnx.Module):
    """`x @ kernel + bias` over the last axis, computed in `dtype`."""

    def __init__(
        self, num_in: int, num_out: int, *, use_bias: bool = True, dtype: DTypeLike
    ) -> None:
        self.kernel = parameter(num_in, num_out)
        self.bias = nnx.data(parameter(num_out) if use_bias else None)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows i"]) -> Float[Array, "*rows o"]:
        """Maps the last axis."""
        y = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        return y if self.bias is None else _add_bias(y, self.bias[...])


class Conv(nnx.Module):
    """Two-dimensional convolution, channels last, kernel in HWIO order.

    `padding` rows and columns of zeros are added on every side, as in torch: "SAME"
    differs from that at stride 2. A 1x1 kernel and a kernel as wide as its stride are
    computed as a matrix product, which is the same sum: on CPUs it is faster, vmapped
    over weights it stays a batched product where a convolution becomes a grouped one,
    and XLA's partitioner (jax 0.10 to 0.12) silently computes vmapped and sharded 1x1
    convolutions wrongly.

    Args:
        num_in: Input channels.
        num_out: Output channels.
        kernel_size: Side of the kernel in pixels, or its height and width.
        stride: Step in pixels.
        padding: Zeros on each side in pixels, or above and beside; or "SAME", which is
            TensorFlow's: as many as give ceil(side / stride) outputs, the odd one
            after.
        dilation: Step between the kernel's taps in pixels.
        groups: Groups of channels that do not see each other.
        use_bias: Whether a bias is added.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | Padding = 0,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = True,
        dtype: DTypeLike,
    ) -> None:
        sides = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
        self.kernel = parameter(*sides, num_in // groups, num_out)
        self.bias = nnx.data(parameter(num_out) if use_bias else None)
        self.kernel_size = sides
        self.stride = stride
        if isinstance(padding, int):
            padding = padding, padding
        self.padding: Padding = padding
        self.dilation = dilation
        self.groups = groups
        self.dtype = dtype

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Convolves."""
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        bias = None if self.bias is None else self.bias[...].astype(self.dtype)
        return self._convolve(x, kernel, bias)

    def _convolve(self, x: Array, kernel: Array, bias: Array | None) -> Array:
        rows = self._as_rows(x)
        if rows is not None:
            y = rows @ kernel.reshape(-1, kernel.shape[-1])
            return y if bias is None else _add_bias(y, bias)
        return convolve(
            x,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def _as_rows(self, x: Array) -> Array | None:
        """The left side of a matrix product, where the convolution is one."""
        if self.groups == 1:
            unpadded = self.padding in ((0, 0), "SAME")
            if self.kernel_size == (1, 1) and unpadded:
                return x[:, :: self.stride, :: self.stride]
            whole = self.kernel_size == (self.stride,) * 2 and self.dilation == 1
            if whole and self.padding == (0, 0):
                return _patches(x, self.stride)
        return None


def _patches(x: Float[Array, "n h w c"], side: int) -> Float[Array, "n p q k"]:
    """Cuts into non-overlapping patches; leftover rows and columns are dropped."""
    n, height, width, channels = x.shape
    rows, columns = height // side, width // side
    x = x[:, : rows * side, : columns * side]
    x = x.reshape(n, rows, side, columns, side, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, -1)


def _add_bias(y: Array, bias: Array) -> Array:
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
