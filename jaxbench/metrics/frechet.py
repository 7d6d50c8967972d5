"""Frechet distance of two sets of features, each seen as a Gaussian.

As a difference of traces with a matrix square root the distance cancels: in float32
it drowns below a millionth of the features' variance, and the root breaks on singular
covariances (fewer rows than features). Here it is the residual of an orthogonal
Procrustes problem: a sum of squares, which is never negative and has a sound gradient.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.moments import (
    Deviations,
    FeatureMoments,
    centre,
    mean_of,
    product,
    require_features,
    require_two,
    require_width,
)
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.records import require_single
from jaxbench.metrics.types import AnyArray, Flags, Scalar

# Eigenvalues below this share of the largest are float32 rounding. Their roots, 1e-3 of
# the largest deviation each, would add up over the null space of a singular covariance.
_NOISE = 4 * float(np.finfo(np.float32).eps)


def frechet_distance(
    features_a: Float[AnyArray, "n d"],
    features_b: Float[AnyArray, "m d"],
    *,
    mask_a: Flags | None = None,
    mask_b: Bool[AnyArray, " m"] | None = None,
) -> Scalar:
    """Squared Frechet (2-Wasserstein) distance of Gaussians fitted to two sets.

        |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    with means mu and unbiased covariances S. Let the rows of A and B be the deviations
    from the means over sqrt(rows - 1), so that S_a = A^T A. Then Tr (S_a S_b)^(1/2) is
    the nuclear norm of A B^T, and the whole trace is |A - W B|^2 (Frobenius) for the
    W = U V^T of the singular value decomposition A B^T = U s V^T. That residual is
    what is computed. A set of more rows than features goes in by its QR factors: the
    matrix to decompose is min(n, d) x min(m, d), chosen when tracing.

    Heusel et al. (2017), there on Inception features (FID):
    https://arxiv.org/abs/1706.08500. Between the two augmented views of a batch it is
    a score for batch curation: https://arxiv.org/abs/2403.19579.

    Works under jit, vmap and grad. W is held constant in the gradient, which is exact
    (envelope theorem), also for fewer rows than features and for equal singular
    values. The distance has a kink where a set lacks variance in a direction in which
    it could have some and the other does (n > d, and a feature that is constant in one
    set alone; a collapsed set): there the gradient is one of the subgradients.

    Args:
        features_a: Any float dtype; raised to float32.
        features_b: As many columns; the number of rows may differ.
        mask_a: Rows of `features_a` that count; None counts all. A masked row may
            hold anything.
        mask_b: The same for `features_b`.

    Returns:
        At least 0, in squared units of the features: features times c give c^2 times
        the distance. Rounding is below about 4e-6 Tr(S_a + S_b), and far below where
        variance is spread evenly (1e-12 for a set and itself). A mean that both sets
        share is taken off first. NaN if a row that counts is not finite, or, under
        jit, if fewer than two rows of a set count.

    Raises:
        ValueError: If an array has a wrong shape, the columns differ in number, or
            fewer than two rows of a set count (known outside jit).
    """
    require_features("features_a", features_a, "mask_a", mask_a)
    require_features("features_b", features_b, "mask_b", mask_b)
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(
            f"features_a has shape {features_a.shape} and features_b "
            f"{features_b.shape}; wanted the same number of columns"
        )
    return _distance_of_features(features_a, features_b, mask_a, mask_b)


def frechet_distance_of_moments(a: FeatureMoments, b: FeatureMoments) -> Scalar:
    """`frechet_distance` of two streams, from their means and covariances.

    Covariances are factored by their eigenvalues; those below 5e-7 of the largest are
    rounding and count as 0. Take `frechet_distance` where the rows are available: it
    sees smaller deviations, and its gradient is sound, where this one passes through
    the eigenvectors and is not finite for a singular covariance.

    Returns:
        At least 0. Rounding is below about 4e-6 Tr(S_a + S_b). NaN if a row was not
        finite or, under jit, if fewer than two rows of a state count.

    Raises:
        ValueError: If the states have different numbers of features or are stacked,
            or fewer than two rows of either count (the last known outside jit).
    """
    for name, state in (("a", a), ("b", b)):
        if not isinstance(state, FeatureMoments):
            raise ValueError(
                f"{name} is of type {type(state).__name__}; wanted FeatureMoments"
            )
        require_single("frechet_distance_of_moments", state.num_examples)
        require_two(f"frechet_distance_of_moments: {name}", state.num_examples)
    require_width(a, "the other state", b.mean.shape[-1])
    return _distance_of_moments(a, b)


@compiled
def _distance_of_features(
    features_a: Float[AnyArray, "n d"],
    features_b: Float[AnyArray, "m d"],
    mask_a: Flags | None,
    mask_b: Bool[AnyArray, " m"] | None,
) -> Scalar:
    valid_a, valid_b = valid_rows(features_a, mask_a), valid_rows(features_b, mask_b)
    features_a = jnp.asarray(features_a, jnp.float32)
    features_b = jnp.asarray(features_b, jnp.float32)
    # A shift of both sets changes nothing, and the difference of two means near 1000
    # would carry the rounding of 1000.
    origin = jax.lax.stop_gradient(mean_of(features_a, valid_a))[None, :]
    a = centre(features_a - origin, valid_a)
    b = centre(features_b - origin, valid_b)
    return _distance(a, b, _factor(a), _factor(b))


@compiled
def _distance_of_moments(a: FeatureMoments, b: FeatureMoments) -> Scalar:
    def factor(state: FeatureMoments) -> Float[jax.Array, "d d"]:
        covariance, sound = _finite_or_zero(state.covariance())
        variances, directions = jnp.linalg.eigh(covariance)
        noise = _NOISE * jnp.maximum(variances[-1], 0.0)
        deviations = jnp.sqrt(jnp.where(variances > noise, variances, 0.0))
        return jnp.where(sound, deviations[:, None] * directions.T, jnp.nan)

    return _distance(a, b, factor(a), factor(b))


def _distance(
    a: Deviations | FeatureMoments,
    b: Deviations | FeatureMoments,
    factor_a: Float[jax.Array, "n d"],
    factor_b: Float[jax.Array, "m d"],
) -> Scalar:
    """The distance from the means and from F with F^T F = S."""
    gap = (a.mean - b.mean) + (a.mean_rest - b.mean_rest)
    factor_a, sound_a = _finite_or_zero(factor_a)
    factor_b, sound_b = _finite_or_zero(factor_b)
    distance = jnp.sum(jnp.square(gap)) + _procrustes_residual(factor_a, factor_b)
    enough = (a.num_examples >= 2) & (b.num_examples >= 2)
    return jnp.where(sound_a & sound_b & enough, distance, jnp.nan)


def _procrustes_residual(
    a: Float[jax.Array, "n d"], b: Float[jax.Array, "m d"]
) -> Scalar:
    """Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) for S_a = a^T a, S_b = b^T b."""
    basis_a, core_a = _reduced(jax.lax.stop_gradient(a))
    basis_b, core_b = _reduced(jax.lax.stop_gradient(b))
    if core_a.shape[0] < core_b.shape[0]:
        return _procrustes_residual(b, a)
    u, _, v = jnp.linalg.svd(product(core_a, core_b.T), full_matrices=False)
    turned = b if basis_b is None else product(basis_b.T, b)
    turned = product(u, product(v, turned))
    turned = turned if basis_a is None else product(basis_a, turned)
    return jnp.sum(jnp.square(a - turned))


def _reduced(
    rows: Float[jax.Array, "n d"],
) -> tuple[Float[jax.Array, "n d"] | None, Float[jax.Array, "r d"]]:
    """An orthonormal basis and coordinates in it, of at most d rows."""
    if rows.shape[0] <= rows.shape[1]:
        return None, rows
    basis, core = jnp.linalg.qr(rows)
    return basis, core


def _factor(deviations: Deviations) -> Float[jax.Array, "n d"]:
    """Rows whose outer products sum to the unbiased covariance."""
    others = as_float(jnp.maximum(deviations.num_examples - 1, 1))
    return deviations.rows / jnp.sqrt(others)


def _finite_or_zero(
    values: Float[jax.Array, "n d"],
) -> tuple[Float[jax.Array, "n d"], Bool[jax.Array, ""]]:
    """Zeros in place of an array with a NaN, on which a decomposition may not end."""
    sound = jnp.all(jnp.isfinite(values))
    return jnp.where(sound, values, 0.0), sound
