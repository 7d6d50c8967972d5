"""Four numbers of every weight matrix: spectrum tail, entropy, norm and PCA energy.

The layer-wise measures of arXiv 2410.06373, which released no code for them. A kernel
of a convolution [h, w, in, out] is the matrix [h w in, out], a dense kernel [in, out]
is itself. Layers of one shape are measured by one program, the tails of all spectra by
another.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbench.metrics.types import AnyArray, Scalar

Values = Float[AnyArray, " n"]
Matrix = Float[AnyArray, "rows columns"]
_SUFFIX = "kernel"
# Candidates for the start of a tail that are tried at once: bounds memory to this
# many rows of eigenvalues.
_CANDIDATES = 64
# Singular values below this share of the largest, times the longer side, are rounding
# of a singular matrix, as in matrix_rank.
_EPSILON = float(np.finfo(np.float32).eps)


class PowerLaw(NamedTuple):
    """A power law fitted to the upper end of a sample.

    Attributes:
        alpha: Exponent of the density x ** -alpha, above 1.
        xmin: Smallest value that belongs to the tail.
        distance: Largest gap between the empirical and the fitted distribution of
            the tail (Kolmogorov-Smirnov), in [0, 1].
        num_tail: Values from xmin on.
    """

    alpha: Scalar
    xmin: Scalar
    distance: Scalar
    num_tail: Int[Array, ""]


class LayerStatistics(NamedTuple):
    """One layer's weights in four numbers; NaN where one is not defined.

    Attributes:
        alpha: Exponent of the power law in the tail of the spectrum of W^T W.
        entropy: Of the histogram of the weights, nats, in [0, log(num_bins)].
        norm: L2 norm of all weights.
        pca_energy: Share of the variance of the rows in the first top_k principal
            components, in [0, 1].
    """

    alpha: float
    entropy: float
    norm: float
    pca_energy: float


def weight_statistics(
    params: Mapping[str, AnyArray], *, top_k: int, num_bins: int = 256
) -> dict[str, LayerStatistics]:
    """Measures every kernel of a network.

    Kernels are the arrays of at least two axes whose name ends in `kernel`; biases,
    scales, embeddings and tokens are left out. Layers are stacked by shape, so a
    network compiles one program for each distinct matrix shape, and one for the power
    laws of all layers.

    Args:
        params: Dotted name to array, as `Classifier.init` gives them. Computed in
            float32 whatever their type.
        top_k: Principal components of `pca_energy`; the study does not say how many.
        num_bins: Bins of `entropy`; the study does not say either.

    Returns:
        Layer, its name without `.kernel`, to its statistics, in the order of params. A
        layer with a NaN or infinite weight has four NaN. See `power_law_fit`,
        `value_entropy` and `pca_energy` for what else is NaN.

    Raises:
        ValueError: If kernels are missing, or top_k or num_bins is below 1.
    """
    _check_at_least_one(top_k=top_k, num_bins=num_bins)
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    kernels = [name for name, value in params.items() if _is_kernel(name, value)]
    for name in kernels:
        shape = params[name].shape
        groups[int(np.prod(shape[:-1])), shape[-1]].append(name)
    if not kernels:
        raise ValueError(
            f"none of the {len(params)} parameters is a kernel: an array of two axes "
            f"or more whose name ends in {_SUFFIX!r}"
        )
    # Zeros take no part in a fit, so all spectra fit the longest one's program.
    longest = max(min(shape) for shape in groups)
    spectra: dict[str, np.ndarray] = {}
    others: dict[str, list[float]] = {}
    for shape, names in groups.items():
        # On the host: stacking on the device is one more program for each group.
        stack = np.stack(
            [np.asarray(params[name], np.float32).reshape(shape) for name in names]
        )
        eigenvalues, numbers = jax.device_get(
            _measure_stack(stack, top_k=top_k, num_bins=num_bins)
        )
        padding = ((0, 0), (0, longest - min(shape)))
        spectra |= dict(zip(names, np.pad(eigenvalues, padding), strict=True))
        others |= dict(zip(names, numbers.tolist(), strict=True))
    alphas = _tail_exponents(np.stack([spectra[name] for name in kernels])).tolist()
    return {
        _layer(name): LayerStatistics(alpha, *others[name])
        for name, alpha in zip(kernels, alphas, strict=True)
    }


@jax.jit
def power_law_fit(values: Values) -> PowerLaw:
    """Fits a power law to the tail of a sample.

    For every distinct value x_min but the largest, the n values from it on have the
    maximum-likelihood exponent

        alpha = 1 + n / sum_i log(x_i / x_min),

    and the distance max_i |i / n - (1 - (x_i / x_min) ** (1 - alpha))|, i = 0..n - 1.
    The x_min with the smallest distance is taken, the smaller among equals. Clauset et
    al. (2009), continuous case: https://arxiv.org/abs/0706.1062; of spectra: Martin et
    al. (2021), https://arxiv.org/abs/2002.06716.

    Args:
        values: In any order. What is not above 0 takes no part.

    Returns:
        The fit. Alpha, xmin and distance are NaN and num_tail is 0 if fewer than two
        distinct values are above 0 or a value is not finite. A fit always comes out:
        with some tens of values, or a distance above 0.1, it says little.
    """
    given = jnp.asarray(values, jnp.float32)
    # Zeros, which take no part, up to whole batches of candidates: a ragged last batch
    # would be compiled on its own.
    padding = -given.shape[0] % _CANDIDATES or _CANDIDATES * (given.shape[0] == 0)
    sample = jnp.sort(jnp.pad(given, (0, padding)))
    n = sample.shape[0]
    is_positive = sample > 0.0
    logs = jnp.log(jnp.where(is_positive, sample, 1.0))
    index = jnp.arange(n)
    is_first = jnp.concatenate([jnp.ones(1, bool), sample[1:] > sample[:-1]])
    is_candidate = is_positive & is_first & (sample < sample[-1])

    def fit_from(start: Int[Array, ""]) -> tuple[Array, Array]:
        in_tail = index >= start
        excess = jnp.where(in_tail, logs - logs[start], 0.0)
        size = jnp.asarray(n - start, jnp.float32)
        # alpha - 1. The sum is 0 only where no start is possible.
        rate = size / jnp.maximum(jnp.sum(excess), jnp.finfo(jnp.float32).tiny)
        below = jnp.asarray(index - start, jnp.float32) / size
        gaps = jnp.abs(below + jnp.expm1(-rate * excess))
        return rate, jnp.max(jnp.where(in_tail, gaps, 0.0))

    rates, distances = jax.lax.map(fit_from, index, batch_size=_CANDIDATES)
    best = jnp.argmin(jnp.where(is_candidate, distances, jnp.inf))
    is_defined = jnp.any(is_candidate) & jnp.all(jnp.isfinite(sample))
    return PowerLaw(
        alpha=jnp.where(is_defined, 1.0 + rates[best], jnp.nan),
        xmin=jnp.where(is_defined, sample[best], jnp.nan),
        distance=jnp.where(is_defined, distances[best], jnp.nan),
        num_tail=jnp.where(is_defined, n - best, 0).astype(jnp.int32),
    )


@partial(jax.jit, static_argnames="num_bins")
def value_entropy(values: Values, *, num_bins: int = 256) -> Scalar:
    """Entropy of the histogram of a sample: -sum_b p_b log p_b.

    Bins are equally wide from the smallest to the largest value, so the number does
    not change when all weights are scaled. The largest value belongs to the last bin.

    Args:
        values: In any order.
        num_bins: Bins.

    Returns:
        Nats, in [0, log(num_bins)]; 0 if all values are equal, NaN if there are none
        or one is not finite.

    Raises:
        ValueError: If num_bins is below 1.
    """
    _check_at_least_one(num_bins=num_bins)
    sample = jnp.asarray(values, jnp.float32)
    if sample.shape[0] == 0:
        return jnp.array(jnp.nan, jnp.float32)
    low, high = jnp.min(sample), jnp.max(sample)
    width = jnp.where(high > low, high - low, 1.0)
    place = jnp.floor((sample - low) / width * num_bins)
    bins = jnp.clip(place, 0, num_bins - 1).astype(jnp.int32)
    counts = jnp.bincount(bins, length=num_bins)
    shares = counts.astype(jnp.float32) / sample.shape[0]
    entropy = -jnp.sum(jax.scipy.special.xlogy(shares, shares))
    # No -0 for a constant sample.
    return jnp.where(jnp.all(jnp.isfinite(sample)), jnp.maximum(entropy, 0.0), jnp.nan)


@partial(jax.jit, static_argnames="top_k")
def pca_energy(matrix: Matrix, *, top_k: int) -> Scalar:
    """Share of the rows' variance in the first principal components.

    With l_1 >= l_2 >= ... the eigenvalues of the covariance of the rows [columns,
    columns], it is sum_{i <= k} l_i / sum_i l_i.

    Args:
        matrix: Rows are observations; their mean is taken off.
        top_k: Components; more than there are give 1.

    Returns:
        In [0, 1]; NaN if the rows are all equal or a value is not finite.

    Raises:
        ValueError: If top_k is below 1.
    """
    _check_at_least_one(top_k=top_k)
    rows = jnp.asarray(matrix, jnp.float32)
    centred = rows - jnp.mean(rows, axis=0, keepdims=True)
    # The smaller of two Gram matrices has all eigenvalues that are not 0.
    tall = centred if rows.shape[0] >= rows.shape[1] else centred.T
    gram = jnp.matmul(tall.T, tall, precision="highest")
    variances = jnp.maximum(jnp.linalg.eigvalsh(gram)[::-1], 0.0)
    total = jnp.sum(variances)
    # Equal rows leave rounding of the mean, not variance.
    floor = rows.size * jnp.square(_EPSILON * jnp.max(jnp.abs(rows)))
    share = jnp.sum(variances[:top_k]) / jnp.where(total > floor, total, 1.0)
    return jnp.where(total > floor, jnp.minimum(share, 1.0), jnp.nan)


@jax.jit
def spectrum(matrix: Matrix) -> Float[Array, " smaller_side"]:
    """Eigenvalues of W^T W that are not 0 by the shape of W, largest first.

    Args:
        matrix: W [rows, columns].

    Returns:
        As many as the smaller side of W; those that are rounding of 0 are 0. NaN if a
        value is not finite.
    """
    singular = jnp.linalg.svd(jnp.asarray(matrix, jnp.float32), compute_uv=False)
    floor = _EPSILON * max(matrix.shape) * jnp.max(singular)
    # Written so that NaN stays.
    return jnp.where(singular <= floor, 0.0, jnp.square(singular))


@partial(jax.jit, static_argnames=("top_k", "num_bins"))
def _measure_stack(
    stack: Float[AnyArray, "layers rows columns"], *, top_k: int, num_bins: int
) -> tuple[Float[Array, "layers smaller_side"], Float[Array, "layers 3"]]:
    """Spectra, and entropy, norm and PCA energy, of matrices of one shape."""

    def measure(matrix: Float[Array, "rows columns"]) -> tuple[Array, Array]:
        numbers = (
            value_entropy(matrix.ravel(), num_bins=num_bins),
            jnp.sqrt(jnp.sum(jnp.square(matrix))),
            pca_energy(matrix, top_k=top_k),
        )
        is_finite = jnp.all(jnp.isfinite(matrix))
        return (
            jnp.where(is_finite, spectrum(matrix), jnp.nan),
            jnp.where(is_finite, jnp.stack(numbers), jnp.nan),
        )

    return jax.lax.map(measure, jnp.asarray(stack))


@jax.jit
def _tail_exponents(
    spectra: Float[AnyArray, "layers eigenvalues"],
) -> Float[Array, " layers"]:
    return jax.lax.map(lambda row: power_law_fit(row).alpha, jnp.asarray(spectra))


def _is_kernel(name: str, value: AnyArray) -> bool:
    return name.rsplit(".", 1)[-1] == _SUFFIX and value.ndim >= 2 and value.size > 0


def _layer(name: str) -> str:
    return name.removesuffix(_SUFFIX).removesuffix(".") or name


def _check_at_least_one(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it is at least 1")
