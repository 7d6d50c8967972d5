"""The smooth calibration error of residuals that are summed on a mesh.

Blasiok and Nakkiran (2023): https://arxiv.org/abs/2309.12236.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxbench.metrics.types import Scalar

# Cells of [0, 1]. A residual is shared between the two nearest middles in proportion,
# which keeps its place: the result moves by some (bandwidth x 1024)^-2 / 8 of itself.
MESH_SIZE = 1024

# Halvings of (0, 1] in the search for the bandwidth: to 1e-6.
_HALVINGS = 20


def _cosines() -> np.ndarray:
    """Squared angular frequency of each cosine on [0, 1]."""
    return (np.pi * np.arange(MESH_SIZE)).astype(np.float32) ** 2


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
    mesh = jnp.zeros(MESH_SIZE, jnp.float32).at[cell + 1].add(share * residual)
    return mesh.at[jnp.maximum(cell, 0)].add((1.0 - share) * residual)


def smooth_error_at(residuals: Float[jax.Array, " cells"], bandwidth: Scalar) -> Scalar:
    """SmECE at a bandwidth: the mean absolute residual after smoothing.

    Smoothing with a Gaussian that is reflected at 0 and 1 is a product in the basis
    of cosines, whose even continuation is that reflection.

    Args:
        residuals: Sum of confidence - correct of each cell, over N.
        bandwidth: Standard deviation of the Gaussian, > 0.
    """
    return _smoothed(jax.scipy.fft.dct(residuals, norm="ortho"), bandwidth)


def smooth_error(residuals: Float[jax.Array, " cells"]) -> Scalar:
    """smECE: at the bandwidth that equals the error, which is unique.

    The error falls as the bandwidth rises, so bisection finds where they meet.

    Args:
        residuals: Sum of confidence - correct of each cell, over N.
    """
    waves = jax.scipy.fft.dct(residuals, norm="ortho")

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2.0
        above = _smoothed(waves, middle) > middle
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    zero = waves[0] * 0.0  # of the residuals' kind inside shard_map, and NaN with them
    low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (zero, zero + 1.0))
    return _smoothed(waves, jax.lax.stop_gradient((low + high) / 2.0))


def _smoothed(waves: Float[jax.Array, " cells"], bandwidth: Scalar) -> Scalar:
    damped = waves * jnp.exp(-bandwidth * bandwidth * _cosines() / 2.0)
    return jnp.sum(jnp.abs(jax.scipy.fft.idct(damped, norm="ortho")))
