"""Convolutions in the form that each backend computes fastest.

Accelerators have kernels for every kind. XLA for CPUs has one for dense convolutions
alone: it computes depthwise ones number by number and the weight gradient of grouped
ones a hundred times slower than it need be. There, a depthwise convolution becomes the
multiply-adds that it is, one array a tap of the kernel, which XLA fuses into one
vectorised loop; a grouped one becomes dense ones of a few groups each. All forms are
the same sums. Which of them runs is decided when a program is lowered for its backend,
so one trace serves all of them, and `grad`, `vmap` and `shard_map` see ordinary
operations.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[int, int] | Literal["SAME"]


class _Window(NamedTuple):
    """How the kernel moves, and which channels it sees."""

    stride: int
    borders: tuple[tuple[int, int], ...]
    dilation: int
    groups: int


def convolve(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "r s g o"],
    bias: Float[Array, " o"] | None = None,
    *,
    stride: int = 1,
    padding: Padding = (0, 0),
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "n p q o"]:
    """Convolves feature maps.

    Args:
        x: Feature maps, channels last.
        kernel: Height, width, input channels of a group, output channels.
        bias: Added to the result.
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
    window = _Window(stride, tuple(borders), dilation, groups)
    if bias is None:
        bias = jnp.zeros(kernel.shape[3], x.dtype)
    if groups == 1:
        return _plain(window, x, kernel, bias)
    on_cpus = _by_taps if kernel.shape[2] == 1 else _by_groups
    forms = {"cpu": partial(on_cpus, window), "default": partial(_plain, window)}
    return jax.lax.platform_dependent(x, kernel, bias, **forms)


def _plain(window: _Window, x: Array, kernel: Array, bias: Array) -> Array:
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(window.stride,) * 2,
        padding=window.borders,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=window.groups,
    )
    return y + bias.reshape(1, 1, 1, -1)


def _by_taps(window: _Window, x: Array, kernel: Array, bias: Array) -> Array:
    """Depthwise: the sum of shifted maps, each times a tap, in float32 or better."""
    dtype = x.dtype if x.dtype.itemsize >= 4 else jnp.dtype(jnp.float32)
    y = _sum_of_taps(window, *(array.astype(dtype) for array in (x, kernel, bias)))
    return y.astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sum_of_taps(window: _Window, x: Array, kernel: Array, bias: Array) -> Array:
    maps, shape = _bordered(window, x, kernel)
    # Borders that XLA fuses into the sum are tested for at every tap.
    maps = jax.lax.optimization_barrier(maps)
    # The bias comes first: added to the sum, XLA computes the sum once for each use.
    total = bias.reshape(1, 1, 1, -1)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            start = row * window.dilation, column * window.dilation
            tap = kernel[row, column].reshape(1, 1, 1, -1)
            total = total + _shifted(window, maps, start, shape) * tap
    return total


@_sum_of_taps.defjvp
def _sum_of_taps_jvp(
    window: _Window, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    x, kernel, _ = primals
    of_x, of_kernel, of_bias = tangents
    tangent = _sum_of_taps.fun(window, of_x, kernel, of_bias)
    # Transposed, the barrier keeps XLA from computing what comes back once a tap.
    tangent = jax.lax.optimization_barrier(tangent)
    tangent = tangent + _tap_after_tap(window, x, of_kernel)
    return _sum_of_taps(window, *primals), tangent


def _tap_after_tap(window: _Window, x: Array, kernel: Array) -> Array:
    """The same sum as a loop whose transpose is a fast gradient of the kernel.

    There every tap is a sum over pixels, a product with a vector of ones: XLA's own sum
    over leading axes is several times slower.
    """
    maps, shape = _bordered(window, x, kernel)
    rows, columns, _, num_out = kernel.shape
    ones = jnp.ones((shape[0] * shape[1] * shape[2], 1), x.dtype)

    @jax.checkpoint
    def add(total: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        i, tap = step
        start = i // columns * window.dilation, i % columns * window.dilation
        term = _shifted(window, maps, start, shape) * (ones @ tap).reshape(shape)
        return total + term, None

    taps = kernel.reshape(rows * columns, 1, num_out)
    # A term's own zeros: inside shard_map they vary over devices as the sum does.
    first = _shifted(window, maps, (0, 0), shape) * taps[0].reshape(1, 1, 1, -1)
    total = jnp.zeros_like(first)
    return jax.lax.scan(add, total, (jnp.arange(rows * columns), taps))[0]


def _bordered(
    window: _Window, x: Array, kernel: Array
) -> tuple[Array, tuple[int, ...]]:
    """Maps with borders, one for each output channel; and the result's shape."""
    maps = jnp.pad(x, ((0, 0), *window.borders, (0, 0)))
    maps = jnp.repeat(maps, kernel.shape[3] // window.groups, axis=3)
    sides = (
        -(-(length - (taps - 1) * window.dilation) // window.stride)
        for length, taps in zip(maps.shape[1:3], kernel.shape[:2], strict=True)
    )
    return maps, (maps.shape[0], *sides, maps.shape[3])


def _shifted(
    window: _Window, maps: Array, start: tuple, shape: tuple[int, ...]
) -> Array:
    """What one tap sees: every `stride`-th pixel from `start` on."""
    reach = [(side - 1) * window.stride + 1 for side in shape[1:3]]
    start, size = (0, *start, 0), (shape[0], *reach, shape[3])
    if all(isinstance(i, int) for i in start):
        ends = [i + length for i, length in zip(start, size, strict=True)]
        return jax.lax.slice(maps, start, ends, (1, window.stride, window.stride, 1))
    part = jax.lax.dynamic_slice(maps, start, size)
    return part[:, :: window.stride, :: window.stride]


# Channels that a dense convolution of several groups may see. Zeros between the groups
# cost less than XLA loses on narrower ones: with 4 channels a group, forward and
# gradient take 0.3 and 0.5 of the time of a convolution a group, with 8 channels 0.7,
# with 16 as long; each compiles in a third to a half of the time. At 48 channels the
# zeros cost a third more.
_BLOCK = 32


def _by_groups(window: _Window, x: Array, kernel: Array, bias: Array) -> Array:
    """Grouped: a dense convolution for each block of groups.

    A loop over the blocks compiles in two thirds of the time, but runs one after the
    other, 8 % slower in the whole of a RegNet, and has slow weight gradients.
    """
    groups = window.groups
    num_together = max(
        number
        for number in range(1, groups + 1)
        if groups % number == 0
        and number * kernel.shape[2] <= max(_BLOCK, kernel.shape[2])
    )
    dense = window._replace(groups=1)
    parts = (
        jnp.split(array, groups // num_together, -1) for array in (x, kernel, bias)
    )
    blocks = [
        _plain(dense, maps, _block_diagonal(part, num_together), offset)
        for maps, part, offset in zip(*parts, strict=True)
    ]
    return jnp.concatenate(blocks, axis=3)


def _block_diagonal(kernel: Array, num_groups: int) -> Array:
    """The kernel of a dense convolution that computes what a grouped one does.

    NaN or infinity in the maps of one group gives NaN in those of its block, which
    multiplies them by zero: nothing that is broken is lost.
    """
    if num_groups == 1:
        return kernel
    rows, columns, num_in, num_out = kernel.shape
    one = kernel.reshape(rows, columns, 1, num_in, num_groups, num_out // num_groups)
    same = jnp.eye(num_groups, dtype=bool).reshape(1, 1, num_groups, 1, num_groups, 1)
    # `where`, since a product with zeros would spread what is not finite in a kernel.
    whole = jnp.where(same, one, jnp.zeros((), kernel.dtype))
    return whole.reshape(rows, columns, num_groups * num_in, num_out)
