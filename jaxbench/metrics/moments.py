"""Mean and covariance of a stream of features, in constant size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.checks import check_count, is_known, require_arrays
from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.ranked import as_float, valid_rows
from jaxbench.metrics.records import from_zero, record, require_single, varying_over
from jaxbench.metrics.types import AnyArray, Flags


class Deviations(NamedTuple):
    """A set of features as a mean, in two parts, and deviations from it."""

    num_examples: Int[jax.Array, ""]
    mean: Float[jax.Array, " d"]
    mean_rest: Float[jax.Array, " d"]
    rows: Float[jax.Array, "n d"]


@record
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
    def empty(
        cls, num_features: int, *, varying: str | tuple[str, ...] = ()
    ) -> "FeatureMoments":
        """The state of no rows.

        Args:
            num_features: Features of a row.
            varying: Inside `jax.shard_map`, the mesh axes over which the rows to come
                differ, so that the state may be the carry of a `scan` there.

        Raises:
            ValueError: If num_features < 1.
        """
        check_count("num_features", num_features)
        state = cls(
            num_examples=jnp.zeros((), jnp.int32),
            mean=jnp.zeros(num_features, jnp.float32),
            mean_rest=jnp.zeros(num_features, jnp.float32),
            comoment=jnp.zeros((num_features, num_features), jnp.float32),
        )
        return varying_over(state, varying)

    def update(
        self, features: Float[AnyArray, "n d"], mask: Flags | None = None
    ) -> "FeatureMoments":
        """The state after a further batch; its masked rows change nothing.

        Raises:
            ValueError: If the array or its mask has a wrong shape, or states are
                stacked.
        """
        require_single("FeatureMoments.update", self.num_examples)
        require_features("features", features, "mask", mask, least=0)
        require_width(self, "features", features.shape[1])
        return self.merge(_moments_of(features, mask))

    def merge(self, other: "FeatureMoments") -> "FeatureMoments":
        """The state of both sets of rows: associative and commutative to rounding.

        The pairwise update of Chan, Golub and LeVeque (1979), "Updating formulae and a
        pairwise algorithm for computing sample variances", STAN-CS-79-773.

        Raises:
            ValueError: If the two have different numbers of features, or states are
                stacked.
        """
        for state in (self, other):
            require_single("FeatureMoments.merge", state.num_examples)
        require_width(self, "the other state", other.mean.shape[-1])
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

    def __add__(self, other: object) -> "FeatureMoments":  # pyright: ignore[reportIncompatibleMethodOverride]
        """`merge`."""
        return (
            self.merge(other) if isinstance(other, FeatureMoments) else NotImplemented
        )

    def __radd__(self, other: object) -> "FeatureMoments":
        """`sum` of states, which starts from 0."""
        return from_zero(self, other)

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
            ValueError: If fewer than two rows count (outside jit), or states are
                stacked.
        """
        require_single("FeatureMoments.covariance", self.num_examples)
        require_two("FeatureMoments.covariance", self.num_examples)
        rows = jnp.where(
            self.num_examples < 2, jnp.nan, as_float(self.num_examples - 1)
        )
        return self.comoment / rows


def require_width(state: FeatureMoments, name: str, width: int) -> None:
    """Refuses another number of features than the state's.

    Raises:
        ValueError: If it is another.
    """
    own = state.mean.shape[-1]
    if width != own:
        raise ValueError(
            f"{name} has {width} features and this FeatureMoments {own}; "
            f"make it with FeatureMoments.empty({width})"
        )


@compiled
def _moments_of(
    features: Float[AnyArray, "n d"], mask: Flags | None
) -> "FeatureMoments":
    """The state of one batch alone."""
    batch = centre(jnp.asarray(features, jnp.float32), valid_rows(features, mask))
    comoment = product(batch.rows.T, batch.rows)
    return FeatureMoments(*batch[:-1], comoment)


def mean_of(
    features: Float[jax.Array, "n d"], valid: Bool[jax.Array, " n"]
) -> Float[jax.Array, " d"]:
    """The mean over the rows that count; 0 if none does."""
    total = jnp.sum(jnp.where(valid[:, None], features, 0.0), axis=0)
    return total / as_float(jnp.maximum(jnp.sum(valid, dtype=jnp.int32), 1))


def centre(
    features: Float[jax.Array, "n d"], valid: Bool[jax.Array, " n"]
) -> Deviations:
    """Deviations from the mean; rows that do not count become zeros."""
    # Twice: the first mean of large numbers is off by its rounding.
    rough = mean_of(features, valid)
    deviations = features - rough[None, :]
    rest = mean_of(deviations, valid)
    return Deviations(
        num_examples=jnp.sum(valid, dtype=jnp.int32),
        mean=rough,
        mean_rest=rest,
        rows=jnp.where(valid[:, None], deviations - rest[None, :], 0.0),
    )


def _split_sum(
    large: Float[jax.Array, " d"], small: Float[jax.Array, " d"]
) -> tuple[Float[jax.Array, " d"], Float[jax.Array, " d"]]:
    """A float32 sum and what it rounds off."""
    total = large + small
    return total, small - (total - large)


def product(
    left: Float[jax.Array, "n k"], right: Float[jax.Array, "k m"]
) -> Float[jax.Array, "n m"]:
    """A float32 product: by default accelerators multiply in fewer bits."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def require_features(
    name: str, features: AnyArray, mask_name: str, mask: AnyArray | None, least: int = 2
) -> None:
    """Refuses what is not a matrix of floats, or has too few rows that count.

    Raises:
        ValueError: If it is so.
    """
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
            f"rows of {name} that count: {rows}, a covariance needs {least}; "
            "check the batch, or which rows were marked valid"
        )


def require_two(name: str, count: Int[AnyArray, ""]) -> None:
    """Refuses a state of fewer than two rows; silent while tracing.

    Raises:
        ValueError: If it is one.
    """
    if is_known(count) and int(count) < 2:
        raise ValueError(
            f"rows of {name} that count: {int(count)}, a covariance needs 2; "
            "update the state with more"
        )
