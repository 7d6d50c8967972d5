"""Logistic regression on frozen features: the optimum itself, by full-batch L-BFGS."""

import functools
import logging
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxbench.errors import UserError
from jaxbench.probing.choice import ProbeFit, best_fit
from jaxbench.probing.features import Features
from jaxbench.probing.heads import (
    FeatureNorm,
    LinearHead,
    check_features,
    scaling,
    to_unit_length,
)

# Rows whose logits of all members exist at a time.
_ROWS = 4096
# Pairs of steps and gradients that L-BFGS remembers, as in scipy and scikit-learn.
_MEMORY = 10

_log = logging.getLogger(__name__)

Weights = tuple[Float[Array, "w c"], Float[Array, " c"]]


def fit_logistic_regression(
    train: Features,
    validation: Features,
    num_classes: int,
    *,
    penalties: Sequence[float] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
    feature_norm: FeatureNorm = "standardize",
    max_iterations: int = 500,
    tolerance: float = 1e-5,
    max_device_bytes: int = 8 * 2**30,
) -> ProbeFit:
    """Minimises the mean NLL plus penalty / 2 times the kernel's squared length.

    The bias is not penalised. With n training examples a penalty is 1 / (n C) in the
    words of scikit-learn's `LogisticRegression(C=C)`, whose optimum this is. The
    objective is convex, so it depends on no learning rate, order or seed. All penalties
    are solved together, by L-BFGS with a zoom line search (Nocedal and Wright 2006,
    algorithms 7.5 and 3.6) in one compiled program.

    Args:
        train: What is fitted on; on the device whole.
        validation: What the penalty is chosen by; none of `train`.
        num_classes: Classes; labels are 0 to one less.
        penalties: The grid, each above 0: without one the optimum of separable
            features is at infinity.
        feature_norm: As in `ProbeSettings`, without "batch_norm".
        max_iterations: Most steps of L-BFGS.
        tolerance: The largest part of the gradient at which a member is done; one
            that is not after `max_iterations` is logged as a warning, and kept.
        max_device_bytes: What training features may take on the device.

    Returns:
        The best member, and how all of them did; `weight_decay` is the penalty.

    Raises:
        UserError: If features and labels do not fit, or features are too large.
        ValueError: If an option is out of range.
    """
    started = time.perf_counter()
    problems = []
    if not penalties or min(penalties) <= 0:
        problems.append(f"penalties {tuple(penalties)}, wanted some, all above 0")
    if feature_norm == "batch_norm":
        problems.append("a full batch has one statistic: give feature_norm standardize")
    if max_iterations < 1 or tolerance <= 0:
        problems.append("max_iterations and tolerance must be above 0")
    if problems:
        raise ValueError(f"fit_logistic_regression: {'; '.join(problems)}")
    check_features(train, (validation,), num_classes)
    if train.values.nbytes > max_device_bytes:
        raise UserError(
            f"{train.values.nbytes / 2**30:.1f} GiB of training features are more than "
            f"the {max_device_bytes / 2**30:.1f} GiB that a logistic regression may "
            'hold at once; take the protocol "linear_probe", which needs a batch'
        )
    mean, scale = scaling(feature_norm, train.values)
    rows, labels, mask = _padded(train)
    strengths = jnp.asarray(penalties, jnp.float32)
    (kernels, biases), largest = _solve(
        *(rows, labels, mask, mean, scale, strengths),
        np.int32(max_iterations),
        np.float32(tolerance),
        num_classes=num_classes,
        unit_length=feature_norm == "l2",
    )
    for penalty, part in zip(penalties, np.asarray(largest).tolist(), strict=True):
        if not part <= tolerance:
            _log.warning(
                "logistic regression with penalty %g: the gradient is still %.1e after "
                "%d steps, %.1e was asked for",
                *(penalty, part, max_iterations, tolerance),
            )
    heads = [
        LinearHead(kernel, bias, mean, scale, unit_length=feature_norm == "l2")
        for kernel, bias in zip(*jax.device_get((kernels, biases)), strict=True)
    ]
    points = [(None, float(penalty)) for penalty in penalties]
    return best_fit(heads, points, validation, started)


def _padded(train: Features):
    """Rows in blocks: [blocks, rows, width], labels, and which of them count."""
    size = min(_ROWS, len(train))
    missing = -len(train) % size
    values = np.pad(np.asarray(train.values), ((0, missing), (0, 0)))
    labels = np.pad(train.labels, (0, missing))
    mask = np.arange(len(labels)) < len(train)
    return (
        values.reshape(-1, size, values.shape[1]),
        labels.reshape(-1, size),
        mask.reshape(-1, size).astype(np.float32),
    )


@functools.partial(jax.jit, static_argnames=("num_classes", "unit_length"))
def _solve(
    rows: Float[Array, "k b w"],
    labels: Int[Array, "k b"],
    mask: Float[Array, "k b"],
    mean: Float[Array, " w"],
    scale: Float[Array, " w"],
    penalties: Float[Array, " m"],
    max_iterations: Int[Array, ""],
    tolerance: Float[Array, ""],
    *,
    num_classes: int,
    unit_length: bool,
) -> tuple[tuple[Float[Array, "m w c"], Float[Array, "m c"]], Float[Array, " m"]]:
    count = mask.sum()
    if unit_length:
        rows = jax.vmap(to_unit_length)(rows)
    scaled = (rows - mean[None, None]) / scale[None, None]
    blocks = (scaled * mask[..., None], labels, mask)

    def block_nll(weights: Weights, block) -> tuple[Array, Weights]:
        """Summed NLL of some rows and its gradient, by hand: one pass for both."""
        (kernel, bias), (x, label, keep) = weights, block
        logits = jnp.matmul(x, kernel, precision="highest") + bias[None]
        target = jax.nn.one_hot(label, num_classes)
        log_p = jax.nn.log_softmax(logits)
        error = (jnp.exp(log_p) - target) * keep[:, None]
        value = -jnp.sum(keep * jnp.sum(log_p * target, axis=1))
        return value, (jnp.matmul(x.T, error, precision="highest"), error.sum(axis=0))

    def both(weights: Weights, penalty) -> tuple[Array, Weights]:
        def add(total, block):
            found = block_nll(weights, block)
            return jax.tree.map(jnp.add, total, found), None

        start = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, weights))
        (value, gradient), _ = jax.lax.scan(add, start, blocks)
        kernel = weights[0]
        value = value / count + 0.5 * penalty * jnp.sum(kernel * kernel)
        return value, (gradient[0] / count + penalty * kernel, gradient[1] / count)

    def minimise(penalty) -> tuple[Weights, Array]:
        # The line search differentiates what it is given: hand it the gradient.
        @jax.custom_vjp
        def objective(weights: Weights):
            return both(weights, penalty)[0]

        objective.defvjp(
            lambda weights: both(weights, penalty),
            lambda gradient, g: (jax.tree.map(lambda leaf: g * leaf, gradient),),
        )
        width = rows.shape[-1]
        start = (jnp.zeros((width, num_classes)), jnp.zeros(num_classes))
        return _lbfgs(objective, start, max_iterations, tolerance)

    return jax.vmap(minimise)(penalties)


def _lbfgs(
    objective, weights: Weights, max_iterations, tolerance
) -> tuple[Weights, Array]:
    """The minimum, and the largest part of the gradient there."""
    optimizer = optax.lbfgs(memory_size=_MEMORY)
    evaluate = optax.value_and_grad_from_state(objective)

    def more(carry) -> Array:
        _, _, largest, number = carry
        return (largest > tolerance) & (number < max_iterations)

    def step(carry):
        weights, state, _, number = carry
        value, gradient = evaluate(weights, state=state)
        updates, state = optimizer.update(
            gradient, state, weights, value=value, grad=gradient, value_fn=objective
        )
        weights = jax.tree.map(jnp.add, weights, updates)
        # The line search ends with the gradient at the new point.
        found = optax.tree.get(state, "grad")
        return weights, state, _largest(found), number + 1

    begin = (weights, optimizer.init(weights), jnp.asarray(jnp.inf), jnp.int32(0))
    weights, _, largest, _ = jax.lax.while_loop(more, step, begin)
    return weights, largest


def _largest(tree) -> Array:
    return jnp.max(
        jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)])
    )
