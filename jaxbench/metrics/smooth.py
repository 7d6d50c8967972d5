"""The smooth calibration error of residuals that are summed on a mesh.

Blasiok and Nakkiran (2023): https://arxiv.org/abs/2309.12236.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxbench.metrics.sums import scatter_sum
from jaxbench.metrics.types import Scalar

# Cells of [0, 1]. A residual is shared between the two nearest middles in proportion,
# which keeps its place: the result moves by some (bandwidth x 1024)^-2 / 8 of itself.
MESH_SIZE = 1024

# Cosines that make up the smoothed residual, and points at which it is taken: smoothing
# leaves nothing of faster ones at bandwidths above 0.007. Against 4,096 of both the
# error is 1e-5 for a result above 0.002, and 2e-4 for one of 0.0006.
_WAVES = 256

# Steps of regula falsi: to 1e-6 of the bandwidth.
_STEPS = 8

_FREQUENCIES = np.pi * np.arange(_WAVES)


def _middles(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


# Residuals to cosines, and cosines to the points' shares of the integral.
_ANALYSIS = (
    np.cos(_middles(MESH_SIZE)[:, None] * _FREQUENCIES) * np.where(_FREQUENCIES, 2, 1)
).astype(np.float32)
_SYNTHESIS = (np.cos(_FREQUENCIES[:, None] * _middles(_WAVES)) / _WAVES).astype(
    np.float32
)


def place_on_mesh(
    confidence: Float[jax.Array, " n"],
) -> tuple[Int[jax.Array, " n"], Float[jax.Array, " n"]]:
    """The cell whose middle lies below, -1 for none, and the share of the one above."""
    x = jnp.clip(confidence * MESH_SIZE - 0.5, 0.0, MESH_SIZE - 1.0)
    cell = jnp.ceil(x).astype(jnp.int32) - 1
    return cell, x - cell.astype(jnp.float32)


def spread_on_mesh(
    confidence: Float[jax.Array, " n"], residual: Float[jax.Array, " n"]
) -> Float[jax.Array, " cells"]:
    """Sums residuals on the mesh, each shared between the two nearest middles."""
    cell, share = place_on_mesh(confidence)
    # The lower part is what the upper one leaves, sum by sum: two products of each row
    # would round apart, and equal rows all in the same direction.
    upper = scatter_sum(cell + 1, share * residual, MESH_SIZE)
    lower = scatter_sum(cell + 1, residual, MESH_SIZE) - upper
    below = jnp.concatenate([lower[1:], jnp.zeros_like(lower[:1])])
    return (upper + below).at[0].add(lower[0])


def smooth_error_at(residuals: Float[jax.Array, " cells"], bandwidth: Scalar) -> Scalar:
    """Smooth ECE at a bandwidth: the mean absolute residual after smoothing.

    Smoothing with a Gaussian that is reflected at 0 and 1 is a product in the basis
    of cosines, whose even continuation is that reflection.

    Args:
        residuals: Sum of confidence - correct of each cell, over N.
        bandwidth: Standard deviation of the Gaussian, > 0.
    """
    return _smoothed(_analyse(residuals), bandwidth)


def smooth_error(residuals: Float[jax.Array, " cells"]) -> Scalar:
    """Smooth ECE: at the bandwidth that equals the error, which is unique.

    The error falls as the bandwidth rises, from the sum of absolute residuals towards
    the absolute sum: between the two it equals the bandwidth, and the Illinois
    variant of regula falsi finds where.

    Args:
        residuals: Sum of confidence - correct of each cell, over N.
    """
    waves = _analyse(residuals)

    def excess(bandwidth):
        return _smoothed(waves, bandwidth) - bandwidth

    def narrow(_, bracket):
        low, high, above, below, _, was_up = bracket
        width = above - below
        share = jnp.where(width > 0.0, above / jnp.where(width > 0.0, width, 1.0), 0.5)
        middle = low + (high - low) * share
        value = excess(middle)
        up = value > 0.0
        # An end that stays for the second time counts half, or it would never move.
        stale = jnp.where(up == was_up, 0.5, 1.0)
        return (
            jnp.where(up, middle, low),
            jnp.where(up, high, middle),
            jnp.where(up, value, above * stale),
            jnp.where(up, below * stale, value),
            middle,
            up,
        )

    # A hair outside on either side, for rounding.
    low = jnp.abs(jnp.sum(residuals)) * (1.0 - 1e-6)
    high = jnp.sum(jnp.abs(residuals)) * (1.0 + 1e-6) + 1e-9
    bracket = (low, high, excess(low), excess(high), low, low > high)
    # The last point, not the bracket's middle: its far end may never have moved.
    *_, bandwidth, _ = jax.lax.fori_loop(0, _STEPS, narrow, bracket)
    return _smoothed(waves, jax.lax.stop_gradient(bandwidth))


def _analyse(residuals: Float[jax.Array, " cells"]) -> Float[jax.Array, " waves"]:
    # HIGHEST: accelerators would multiply in bfloat16 or TF32 otherwise.
    return jnp.matmul(residuals, _ANALYSIS, precision=jax.lax.Precision.HIGHEST)


def _smoothed(waves: Float[jax.Array, " waves"], bandwidth: Scalar) -> Scalar:
    squares = jnp.asarray(_FREQUENCIES**2, jnp.float32)
    damped = waves * jnp.exp(-bandwidth * bandwidth * squares / 2.0)
    density = jnp.matmul(damped, _SYNTHESIS, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(jnp.abs(density))
