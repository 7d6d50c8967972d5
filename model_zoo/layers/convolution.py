"""Convolutions in the form that each backend computes fastest.

Accelerators have kernels for every kind. XLA for CPUs has one for dense convolutions
alone: it computes depthwise ones number by number and the weight gradient of grouped
ones a hundred times slower than it need be. There, a depthwise convolution becomes the
multiply-adds that it is, one array a tap of the kernel, which XLA fuses into one
vectorised loop; a grouped one becomes a dense one a group. All forms are the same sums.
Which of them runs is decided when a program is lowered for its backend, so one trace
serves all of them, and `grad`, `vmap` and `shard_map` see ordinary operations.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "n h w i"]
Kernel = Float[Array, "r s g o"]
Maps = Float[Array, "n p q o"]
Padding = tuple[int, int] | Literal["SAME"]


class _Window(NamedTuple):
    """How the kernel moves."""

    stride: int
    borders: tuple[tuple[int, int], ...]
    dilation: int


def convolve(
    x: Images,
    kernel: Kernel,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Maps:
    """Convolves feature maps.

    Args:
        x: Feature maps, channels last.
        kernel: Height, width, input channels of a group, output channels.
        stride: Step in pixels.
        padding: Zeros above and below, and beside; or "SAME" as in TensorFlow.
        dilation: Step between the kernel's taps in pixels.
        groups: Groups of channels that do not see each other.
    """
    if padding == "SAME":
        sides = tuple((taps - 1) * dilation + 1 for taps in kernel.shape[:2])
        borders = jax.lax.padtype_to_pads(x.shape[1:3], sides, (stride,) * 2, "SAME")
    else:
        borders = [(side, side) for side in padding]
    window = _Window(stride, tuple(borders), dilation)
    if groups == 1:
        return _plain(x, kernel, window, groups)
    on_cpus = _by_taps if kernel.shape[2] == 1 else _by_groups
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(on_cpus, window=window, groups=groups),
        default=partial(_plain, window=window, groups=groups),
    )


def _plain(x: Images, kernel: Kernel, window: _Window, groups: int) -> Maps:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride,) * 2,
        padding=window.borders,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _by_taps(x: Images, kernel: Kernel, window: _Window, groups: int) -> Maps:
    """Depthwise: the sum of shifted maps, each times one tap, in float32 or better."""
    rows, columns, _, num_out = kernel.shape
    dtype = x.dtype if x.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
    maps = jnp.pad(x, ((0, 0), *window.borders, (0, 0))).astype(dtype)
    maps = jnp.repeat(maps, num_out // groups, axis=-1)
    # Padding that is fused into the sum is tested for at every tap.
    maps = jax.lax.optimization_barrier(maps)
    reach = (
        maps.shape[1] - (rows - 1) * window.dilation,
        maps.shape[2] - (columns - 1) * window.dilation,
    )

    def shifted(row: int, column: int) -> Array:
        top, left = row * window.dilation, column * window.dilation
        return maps[
            :,
            top : top + reach[0] : window.stride,
            left : left + reach[1] : window.stride,
        ]

    taps = kernel.astype(dtype).reshape(rows, columns, 1, 1, 1, num_out)
    total = shifted(0, 0) * taps[0, 0]
    for row in range(rows):
        for column in range(columns):
            if row or column:
                total = total + shifted(row, column) * taps[row, column]
    return total.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _by_groups(x: Images, kernel: Kernel, window: _Window, groups: int) -> Maps:
    """Grouped: one group after the other, in a loop, which is small to compile."""

    def group(array: Array, i: int | Array) -> Array:
        length = array.shape[3] // groups
        return jax.lax.dynamic_slice_in_dim(array, i * length, length, axis=3)

    def convolve_group(i: int | Array) -> Array:
        return _plain(group(x, i), group(kernel, i), window, 1)

    # The loop starts from the first group, not from zeros, so that inside shard_map it
    # varies over the devices as its results do.
    first = convolve_group(0)
    width = first.shape[3]
    empty = ((0, 0), (0, 0), (0, 0), (0, (groups - 1) * width))
    return jax.lax.fori_loop(
        1,
        groups,
        lambda i, maps: jax.lax.dynamic_update_slice_in_dim(
            maps, convolve_group(i), i * width, axis=3
        ),
        jnp.pad(first, empty),
    )


@_by_groups.defjvp
def _by_groups_differentiated(
    window: _Window,
    groups: int,
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    """The same without a loop, in which XLA computes weight gradients slowly."""

    def unrolled(x: Images, kernel: Kernel) -> Maps:
        parts = [
            _plain(*pair, window, 1)
            for pair in zip(
                jnp.split(x, groups, axis=-1),
                jnp.split(kernel, groups, axis=-1),
                strict=True,
            )
        ]
        return jnp.concatenate(parts, axis=-1)

    return jax.jvp(unrolled, primals, tangents)
