"""Frechet distance of two sets of features, each seen as a Gaussian.

As a difference of traces with a matrix square root the distance cancels: in float32
it drowns below a millionth of the features' variance, and the root breaks on singular
covariances (fewer rows than features). Here it is the residual of an orthogonal
Procrustes problem: a sum of squares, which is never negative and has a sound gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.checks import check_count, is_known, require_arrays
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.types import AnyArray, Flags, Scalar

# Eigenvalues below this share of the largest are float32 rounding. Their roots, 1e-3 of
# the largest deviation each, would add up over the null space of a singular covariance.
_NOISE = 4 * float(np.finfo(np.float32).eps)


class _Deviations(NamedTuple):
    """A set of features as a mean, in two parts, and deviations from it."""

    num_examples: Int[jax.Array, ""]
    mean: Float[jax.Array, " d"]
    mean_rest: Float[jax.Array, " d"]
    rows: Float[jax.Array, "n d"]


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
    _require_rows("features_a", features_a, "mask_a", mask_a)
    _require_rows("features_b", features_b, "mask_b", mask_b)
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(
            f"features_a has shape {features_a.shape} and features_b "
            f"{features_b.shape}; wanted the same number of columns"
        )
    return _distance_of_features(features_a, features_b, mask_a, mask_b)


class FeatureMoments(NamedTuple):
    """Number, mean and covariance of a stream of features, in constant size.

        state = FeatureMoments.empty(512)
        state = state.update(features, mask)      # once a batch
        total = state.all_reduce("data")          # inside shard_map
        frechet_distance_of_moments(total, other)

    Deviations from the mean are kept, not raw second moments: in float32 the
    difference E[x x^T] - mean mean^T of features with mean 1000 and deviation 1 has
    errors of the size of the variance itself, and can be negative. Here the
    covariance is good to 1e-6 of the variance there. The mean, whose own float32
    steps are 6e-5 at 1000, carries along what these round off, so that a thousand
    updates do not add a thousand roundings.

    Attributes:
        num_examples: Rows that count, exact up to 2^31 - 1.
        mean: Their mean; zeros while there are none.
        mean_rest: What float32 rounds off the mean.
        comoment: Sum over the rows of the outer product of their deviation from the
            mean with itself.
    """

    num_examples: Int[jax.Array, ""]
    mean: Float[jax.Array, " d"]
    mean_rest: Float[jax.Array, " d"]
    comoment: Float[jax.Array, "d d"]

    @classmethod
    def empty(cls, num_features: int) -> "FeatureMoments":
        """The state of no rows.

        Raises:
            ValueError: If num_features < 1.
        """
        check_count("num_features", num_features)
        return cls(
            num_examples=jnp.zeros((), jnp.int32),
            mean=jnp.zeros(num_features, jnp.float32),
            mean_rest=jnp.zeros(num_features, jnp.float32),
            comoment=jnp.zeros((num_features, num_features), jnp.float32),
        )

    def update(
        self, features: Float[AnyArray, "n d"], mask: Flags | None = None
    ) -> "FeatureMoments":
        """The state after a further batch; its masked rows change nothing.

        Raises:
            ValueError: If the array or its mask has a wrong shape.
        """
        _require_rows("features", features, "mask", mask, least=0)
        self._require_width("features", features.shape[1])
        valid = valid_rows(features, mask)
        batch = _centre(jnp.asarray(features, jnp.float32), valid)
        comoment = _product(batch.rows.T, batch.rows)
        return self.merge(FeatureMoments(*batch[:-1], comoment))

    def merge(self, other: "FeatureMoments") -> "FeatureMoments":
        """The state of both sets of rows: associative and commutative to rounding.

        The pairwise update of Chan, Golub and LeVeque (1979), "Updating formulae and a
        pairwise algorithm for computing sample variances", STAN-CS-79-773.

        Raises:
            ValueError: If the two have different numbers of features.
        """
        self._require_width("the other state", other.mean.shape[-1])
        count = self.num_examples + other.num_examples
        share = as_float(other.num_examples) / as_float(jnp.maximum(count, 1))
        # An empty state has no mean to step from: 0 may be far from the other's.
        start = jnp.where(self.num_examples > 0, self.mean, other.mean)
        rest = jnp.where(self.num_examples > 0, self.mean_rest, other.mean_rest)
        step = (other.mean - start) + (other.mean_rest - rest)
        between = step[:, None] * step[None, :] * (as_float(self.num_examples) * share)
        mean, rest = _split_sum(start, rest + step * share)
        comoment = self.comoment + other.comoment + between
        return FeatureMoments(count, mean, rest, comoment)

    def all_reduce(self, axis_name: str | tuple[str, ...]) -> "FeatureMoments":
        """The state of all devices along a mesh axis, for use inside shard_map.

        The leaves do not add up as they are (deviations are from each device's own
        mean); this is the merge of all of them, by sums.
        """
        count = jax.lax.psum(self.num_examples, axis_name)
        total = as_float(jnp.maximum(count, 1))
        weight = as_float(self.num_examples)

        def mean_over_devices(values):
            return jax.lax.psum(values * weight, axis_name) / total

        # Twice: the second sum, of small numbers, has what the first rounds off.
        rough = mean_over_devices(self.mean)
        rest = mean_over_devices((self.mean - rough) + self.mean_rest)
        step = (self.mean - rough) + (self.mean_rest - rest)
        between = step[:, None] * step[None, :] * weight
        comoment = jax.lax.psum(self.comoment + between, axis_name)
        return FeatureMoments(count, *_split_sum(rough, rest), comoment)

    def covariance(self) -> Float[jax.Array, "d d"]:
        """The unbiased covariance (over num_examples - 1).

        Returns:
            NaN under jit if fewer than two rows count.

        Raises:
            ValueError: If fewer than two rows count (outside jit).
        """
        _require_count("FeatureMoments.covariance", self.num_examples)
        rows = jnp.where(
            self.num_examples < 2, jnp.nan, as_float(self.num_examples - 1)
        )
        return self.comoment / rows

    def _require_width(self, name: str, width: int) -> None:
        own = self.mean.shape[-1]
        if width != own:
            raise ValueError(
                f"{name} has {width} features and this FeatureMoments {own}; "
                f"make it with FeatureMoments.empty({width})"
            )


def frechet_distance_of_moments(a: FeatureMoments, b: FeatureMoments) -> Scalar:
    """`frechet_distance` of two streams, from their means and covariances.

    Covariances are factored by their eigenvalues; those below 5e-7 of the largest are
    rounding and count as 0. Take `frechet_distance` where the rows are at hand: it
    sees smaller deviations, and its gradient is sound, where this one passes through
    the eigenvectors and is not finite for a singular covariance.

    Returns:
        At least 0. Rounding is below about 4e-6 Tr(S_a + S_b). NaN if a row was not
        finite or, under jit, if fewer than two rows of a state count.

    Raises:
        ValueError: If the states have different numbers of features, or fewer than
            two rows of either count (known outside jit).
    """
    for name, state in (("a", a), ("b", b)):
        if not isinstance(state, FeatureMoments):
            raise ValueError(
                f"{name} is of type {type(state).__name__}; wanted FeatureMoments"
            )
        _require_count(f"frechet_distance_of_moments: {name}", state.num_examples)
    a._require_width("the other state", b.mean.shape[-1])
    return _distance_of_moments(a, b)


@jax.jit
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
    origin = jax.lax.stop_gradient(_mean(features_a, valid_a))[None, :]
    a = _centre(features_a - origin, valid_a)
    b = _centre(features_b - origin, valid_b)
    return _distance(a, b, _factor(a), _factor(b))


@jax.jit
def _distance_of_moments(a: FeatureMoments, b: FeatureMoments) -> Scalar:
    def factor(state: FeatureMoments) -> Float[jax.Array, "d d"]:
        covariance, sound = _finite_or_zero(state.covariance())
        variances, directions = jnp.linalg.eigh(covariance)
        noise = _NOISE * jnp.maximum(variances[-1], 0.0)
        deviations = jnp.sqrt(jnp.where(variances > noise, variances, 0.0))
        return jnp.where(sound, deviations[:, None] * directions.T, jnp.nan)

    return _distance(a, b, factor(a), factor(b))


def _distance(
    a: _Deviations | FeatureMoments,
    b: _Deviations | FeatureMoments,
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
    u, _, v = jnp.linalg.svd(_product(core_a, core_b.T), full_matrices=False)
    turned = b if basis_b is None else _product(basis_b.T, b)
    turned = _product(u, _product(v, turned))
    turned = turned if basis_a is None else _product(basis_a, turned)
    return jnp.sum(jnp.square(a - turned))


def _reduced(
    rows: Float[jax.Array, "n d"],
) -> tuple[Float[jax.Array, "n d"] | None, Float[jax.Array, "r d"]]:
    """An orthonormal basis and coordinates in it, of at most d rows."""
    if rows.shape[0] <= rows.shape[1]:
        return None, rows
    basis, core = jnp.linalg.qr(rows)
    return basis, core


def _mean(
    features: Float[jax.Array, "n d"], valid: Bool[jax.Array, " n"]
) -> Float[jax.Array, " d"]:
    total = jnp.sum(jnp.where(valid[:, None], features, 0.0), axis=0)
    return total / as_float(jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1))


def _centre(
    features: Float[jax.Array, "n d"], valid: Bool[jax.Array, " n"]
) -> _Deviations:
    """Deviations from the mean; rows that do not count become zeros."""
    # Twice: the first mean of large numbers is off by its rounding.
    rough = _mean(features, valid)
    deviations = features - rough[None, :]
    rest = _mean(deviations, valid)
    return _Deviations(
        num_examples=jnp.sum(valid, dtype=jnp.int32),
        mean=rough,
        mean_rest=rest,
        rows=jnp.where(valid[:, None], deviations - rest[None, :], 0.0),
    )


def _factor(deviations: _Deviations) -> Float[jax.Array, "n d"]:
    """Rows whose outer products sum to the unbiased covariance."""
    others = as_float(jnp.maximum(deviations.num_examples - 1, 1))
    return deviations.rows / jnp.sqrt(others)


def _split_sum(
    large: Float[jax.Array, " d"], small: Float[jax.Array, " d"]
) -> tuple[Float[jax.Array, " d"], Float[jax.Array, " d"]]:
    """A float32 sum and what it rounds off."""
    total = large + small
    return total, small - (total - large)


def _finite_or_zero(
    values: Float[jax.Array, "n d"],
) -> tuple[Float[jax.Array, "n d"], Bool[jax.Array, ""]]:
    """Zeros in place of an array with a NaN, on which a decomposition may not end."""
    sound = jnp.all(jnp.isfinite(values))
    return jnp.where(sound, values, 0.0), sound


def _product(
    left: Float[jax.Array, "n k"], right: Float[jax.Array, "k m"]
) -> Float[jax.Array, "n m"]:
    """A float32 product: by default accelerators multiply in fewer bits."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _require_rows(
    name: str, features: AnyArray, mask_name: str, mask: AnyArray | None, least: int = 2
) -> None:
    require_arrays(**{name: features, mask_name: mask})
    shape = features.shape
    if len(shape) != 2 or not shape[1]:
        raise ValueError(f"{name} has shape {shape}; wanted [n, d] with d >= 1")
    if not jnp.issubdtype(features.dtype, jnp.floating):
        raise ValueError(f"{name} is {features.dtype}; wanted a float dtype")
    if mask is not None and (mask.dtype != bool or mask.shape != shape[:1]):
        raise ValueError(
            f"{mask_name} is {mask.dtype} of shape {mask.shape}; "
            f"wanted bool of shape {shape[:1]}, one flag a row of {name}"
        )
    rows = shape[0]
    if mask is not None and is_known(mask):
        rows = int(np.count_nonzero(np.asarray(mask)))
    if rows < least:
        raise ValueError(
            f"{name} has {rows} rows that count and a covariance needs {least}; "
            "check the batch, or which rows were marked valid"
        )


def _require_count(name: str, count: Int[AnyArray, ""]) -> None:
    if is_known(count) and int(count) < 2:
        raise ValueError(
            f"{name} has {int(count)} rows that count and a covariance needs 2; "
            "update the state with more"
        )
