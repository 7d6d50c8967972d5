"""Vector scaling and bias-corrected temperature scaling, fitted to convergence.

Both problems are convex, and both may lack a minimum: the bias of a class that no image
belongs to falls without bound, and so grows the scale of a class that is separated
without error. A ridge that a hundredth of an image outweighs gives each problem one
solution.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from jaxbench.metrics.meshes import compiled
from jaxbench.metrics.minimise import Point, dot, has_converged, minimise
from jaxbench.metrics.ranked import as_float
from jaxbench.metrics.records import record
from jaxbench.metrics.temperature import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    FitRows,
    UsableRows,
    as_fit_rows,
    least_nll_temperature,
    usable_rows,
)
from jaxbench.metrics.types import ClassMask, Flags, Labels, Logits, Scalar

# Weight of the ridge against the NLL summed over images.
RIDGE = 0.01


@record
class VectorScaling(NamedTuple):
    """softmax(scale * logits + bias): a factor and an offset for each class.

    Attributes:
        scale: The factors; 1 / T of `fit_temperature` for classes left out.
        bias: The offsets, of mean 0 over the allowed classes; 0 for the others.
        nll: Mean NLL of the fitted images, without the ridge.
        converged: Whether the fit ended at its minimum. Do not use one that did not.
    """

    scale: Float[jax.Array, " k"]
    bias: Float[jax.Array, " k"]
    nll: Scalar
    converged: Bool[jax.Array, ""]

    def apply(self, logits: Logits) -> Float[jax.Array, "n k"]:
        """Calibrated logits, float32, for `score_examples`."""
        scaled = jnp.asarray(logits, jnp.float32) * self.scale[None, :]
        return scaled + self.bias[None, :]


@record
class BiasCorrectedTemperature(NamedTuple):
    """softmax(logits / temperature + bias): one temperature, an offset for each class.

    Attributes:
        temperature: In [0.01, 100].
        bias: As in `VectorScaling`.
        nll: As in `VectorScaling`.
        converged: As in `VectorScaling`.
    """

    temperature: Scalar
    bias: Float[jax.Array, " k"]
    nll: Scalar
    converged: Bool[jax.Array, ""]

    def apply(self, logits: Logits) -> Float[jax.Array, "n k"]:
        """Calibrated logits, float32, for `score_examples`."""
        return jnp.asarray(logits, jnp.float32) / self.temperature + self.bias[None, :]


class _Problem(NamedTuple):
    """Rows to fit on, as centred logits: scores are features * theta_0 + theta_1.

    Attributes:
        features: Logits less the class's mean, over `unit`; 0 in rows left out.
        centre: The classes' means.
        unit: Root mean square of the centred logits.
        label: Classes in [0, k).
        keep: Rows that count.
        allowed: Classes that count.
        num_rows: How many rows count, at least 1.
        temperature: The best T without a bias.
    """

    features: Float[jax.Array, "n k"]
    centre: Float[jax.Array, " k"]
    unit: Scalar
    label: Int[jax.Array, " n"]
    keep: Bool[jax.Array, " n"]
    allowed: Bool[jax.Array, " k"]
    num_rows: Scalar
    temperature: Scalar


def fit_vector_scaling(
    logits: Logits,
    labels: Labels,
    *,
    mask: Flags | None = None,
    class_mask: ClassMask | None = None,
) -> VectorScaling:
    """The scale and bias for which softmax(scale * logits + bias) has the least NLL.

    Guo et al. (2017), section 4.2 (matrix scaling with a diagonal matrix):
    https://arxiv.org/abs/1706.04599. It can change predictions, and with few images
    a class it overfits: it has 2 k parameters. A negative scale is possible, and says
    that a class's logit misleads. A number added to all logits of an image changes
    the result (it is scaled apart for each class), as in the definition.

    The problem is convex. Let T be that of `fit_temperature`, m the mean logit of each
    class, r the root mean square of the logits about m, and d = scale - 1 / T. Then

        mean NLL + 0.01 / (2 n) (r^2 |d|^2 + |bias + m d|^2)

    is minimised, where the last vector (how far the mean scores move) is taken about
    its own mean. It has exactly one minimum, also where the NLL alone has none: there
    the ridge bounds what would grow without bound, as the bounds on T do in
    `fit_temperature`. Elsewhere it hardly matters (2e-6 of NLL for 160 images of ten
    classes). At the scores of temperature scaling it is 0, so the NLL is at most
    theirs, to float32 rounding.

    L-BFGS, with the curvature of each class as its first matrix. It ends when no entry
    of the gradient is above 1e-5, each parameter in the unit in which its own second
    derivative is 1, or after 1000 evaluations of the objective; 5 to 30 are usual.
    Jitted; works under vmap (one fit a model) and inside shard_map.

    Args:
        logits: Any float dtype; raised to float32.
        labels: Classes in [0, k).
        mask: Rows that count; None counts all.
        class_mask: As in `score_examples`.

    Returns:
        Scale, bias, NLL and whether the fit converged. All NaN, and not converged, if
        a row that counts has a non-finite logit or a label outside [0, k) or
        `class_mask`, or, under jit, if no row counts.

    Raises:
        ValueError: If an array has a wrong shape or dtype (labels are integers, masks
            booleans), or no row counts (outside jit).
    """
    rows = as_fit_rows("fit_vector_scaling", logits, labels, mask, class_mask)
    return _fit_vector(rows)


def fit_bias_corrected_temperature(
    logits: Logits,
    labels: Labels,
    *,
    mask: Flags | None = None,
    class_mask: ClassMask | None = None,
) -> BiasCorrectedTemperature:
    """The T and bias for which softmax(logits / T + bias) has the least mean NLL.

    Alexandari, Kundaje and Shrikumar (2020), "Maximum likelihood with bias-corrected
    calibration is hard-to-beat at label shift adaptation":
    https://arxiv.org/abs/1901.06852. It mends a systematic preference for some
    classes, which a temperature cannot, with k + 1 parameters.

    The problem is convex in 1 / T and the bias. Objective, method, accuracy,
    arguments and errors are those of `fit_vector_scaling`, with one scale for all
    classes, and m and r of the logits about each image's mean. If 1 / scale leaves
    [0.01, 100], it is held at the bound and the bias is fitted again.

    Returns:
        T, bias, NLL and whether the fit converged. All NaN, and not converged, where
        `fit_vector_scaling` is.

    Raises:
        ValueError: As `fit_vector_scaling`.
    """
    name = "fit_bias_corrected_temperature"
    return _fit_bias_corrected(as_fit_rows(name, logits, labels, mask, class_mask))


@compiled
def _fit_vector(rows: FitRows) -> VectorScaling:
    usable = usable_rows(rows)
    problem = _problem(rows, usable, rows.logits)
    scale = jnp.full_like(problem.centre, problem.unit)
    start = jnp.stack([scale, _about_mean(problem.centre, rows.allowed)])
    start /= problem.temperature
    found = minimise(partial(_vector_point, problem, start), start)
    theta = jnp.where(usable.sound, found.theta, jnp.nan)
    scale = theta[0] / problem.unit
    return VectorScaling(
        scale=scale,
        bias=_about_mean(theta[1] - scale * problem.centre, rows.allowed),
        nll=jnp.where(usable.sound, found.point.nll, jnp.nan),
        converged=usable.sound & has_converged(found.point),
    )


@compiled
def _fit_bias_corrected(rows: FitRows) -> BiasCorrectedTemperature:
    usable = usable_rows(rows)
    # The logits' common level in a row means nothing here, and rounds.
    level = jax.vmap(_about_mean, in_axes=(0, None))(rows.logits, rows.allowed)
    problem = _problem(rows, usable, level)
    bias = _about_mean(problem.centre, rows.allowed)
    origin = jnp.concatenate([problem.unit[None], bias]) / problem.temperature
    bounds = problem.unit / MAX_TEMPERATURE, problem.unit / MIN_TEMPERATURE
    origin = origin.at[0].set(jnp.clip(origin[0], *bounds))

    def fit_within(theta, _):
        start = theta.at[0].set(jnp.clip(theta[0], *bounds))
        held = start[0] != theta[0]
        found = minimise(partial(_temperature_point, problem, origin, held), start)
        return found.theta, (found.point.nll, has_converged(found.point))

    # First free, then at the bound that it passed: the least NLL over the bias is a
    # convex function of the scale. Where it passed none, the second ends at once.
    theta, (nlls, converged) = jax.lax.scan(fit_within, origin, length=2)
    theta = jnp.where(usable.sound, theta, jnp.nan)
    temperature = problem.unit / theta[0]
    return BiasCorrectedTemperature(
        temperature=temperature,
        bias=_about_mean(theta[1:] - problem.centre / temperature, rows.allowed),
        nll=jnp.where(usable.sound, nlls[-1], jnp.nan),
        converged=usable.sound & converged[-1],
    )


def _problem(
    rows: FitRows, usable: UsableRows, logits: Float[jax.Array, "n k"]
) -> _Problem:
    counts = usable.keep[:, None] & rows.allowed[None, :]
    num_rows = as_float(jnp.maximum(jnp.sum(usable.keep, dtype=jnp.int32), 1))
    number = as_float(jnp.maximum(jnp.sum(counts, dtype=jnp.int32), 1))
    logits = jnp.where(counts, logits, 0.0)
    centre = jnp.sum(logits, axis=0) / num_rows
    centred = jnp.where(counts, logits - centre[None, :], 0.0)
    root = jnp.sqrt(jnp.sum(jnp.square(centred)) / number)
    unit = jnp.where(root == 0, 1.0, root)
    return _Problem(
        features=centred / unit,
        centre=centre,
        unit=unit,
        label=usable.label,
        keep=usable.keep,
        allowed=rows.allowed,
        num_rows=num_rows,
        temperature=least_nll_temperature(rows),
    )


def _vector_point(
    problem: _Problem, origin: Float[jax.Array, "2 k"], theta: Float[jax.Array, "2 k"]
) -> Point:
    features = problem.features
    scores = features * theta[0][None, :] + theta[1][None, :]
    nll, p, error = _softmax_errors(problem, scores)
    spread = p * (1.0 - p)
    gradient = jnp.stack([_mean(problem, error * features), _mean(problem, error)])
    along_scale = _mean(problem, spread * features * features)
    curvature = jnp.stack([along_scale, _mean(problem, spread)])
    cross = _mean(problem, spread * features)
    point = Point(nll, nll, gradient, curvature, cross)
    return _with_ridge(problem, theta - origin, point)


def _temperature_point(
    problem: _Problem,
    origin: Float[jax.Array, " p"],
    held: Bool[jax.Array, ""],
    theta: Float[jax.Array, " p"],
) -> Point:
    """With the scale first in theta, kept as it is where it is `held`."""
    features = problem.features
    scores = features * theta[0] + theta[1:][None, :]
    nll, p, error = _softmax_errors(problem, scores)
    middle = jnp.sum(p * features, axis=1, keepdims=True)
    slopes = jnp.sum(error * features, axis=1, keepdims=True)
    bends = jnp.sum(p * jnp.square(features - middle), axis=1, keepdims=True)
    slope, bend = _mean(problem, slopes), _mean(problem, bends)
    gradient = jnp.concatenate([slope, _mean(problem, error)])
    curvature = jnp.concatenate([bend, _mean(problem, p * (1.0 - p))])
    point = Point(nll, nll, gradient, curvature, None)
    point = _with_ridge(problem, theta - origin, point)
    slope = jnp.where(held, 0.0, point.gradient[0])
    return point._replace(gradient=point.gradient.at[0].set(slope))


def _with_ridge(
    problem: _Problem, away: Float[jax.Array, "..."], point: Point
) -> Point:
    ridge = RIDGE / problem.num_rows
    return point._replace(
        value=point.nll + ridge / 2 * dot(away, away),
        gradient=point.gradient + ridge * away,
        curvature=point.curvature + ridge,
    )


def _softmax_errors(
    problem: _Problem, scores: Float[jax.Array, "n k"]
) -> tuple[Scalar, Float[jax.Array, "n k"], Float[jax.Array, "n k"]]:
    """The mean NLL, the probabilities, and these less the one-hot labels."""
    classes = jnp.arange(scores.shape[1], dtype=jnp.int32)
    is_label = classes[None, :] == problem.label[:, None]
    own = jnp.take_along_axis(scores, problem.label[:, None], axis=1)
    above = jnp.where(problem.allowed[None, :], scores - own, -jnp.inf)
    # Exactly 0: compilers round a product and a sum as one, or not, as it suits them.
    above = jnp.where(is_label, 0.0, above)
    p = jax.nn.softmax(above, axis=1)
    nll = _mean(problem, jax.nn.logsumexp(above, axis=1, keepdims=True))
    return nll[0], p, p - is_label.astype(jnp.float32)


def _mean(problem: _Problem, values: Float[jax.Array, "n c"]) -> Float[jax.Array, " c"]:
    """The mean over the rows that count."""
    total = jnp.sum(jnp.where(problem.keep[:, None], values, 0.0), axis=0)
    return total / problem.num_rows


def _about_mean(
    values: Float[jax.Array, " k"], allowed: Bool[jax.Array, " k"]
) -> Float[jax.Array, " k"]:
    """Values less the mean of the allowed ones; 0 for the others."""
    number = as_float(jnp.maximum(jnp.sum(allowed, dtype=jnp.int32), 1))
    mean = jnp.sum(jnp.where(allowed, values, 0.0)) / number
    return jnp.where(allowed, values - mean, 0.0)
