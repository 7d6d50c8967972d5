"""Linear probes: a whole grid of learning rates and weight decays in one program."""

import dataclasses
import functools
import itertools
import time
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbench.errors import misfits
from jaxbench.probing.choice import ProbeFit, best_fit
from jaxbench.probing.features import Features
from jaxbench.probing.heads import (
    FEATURE_NORMS,
    FeatureNorm,
    LinearHead,
    check_features,
    scaling,
    to_unit_length,
)

ProbeOptimizer = Literal["sgd", "lars"]

# MoCo, SwAV and DINO draw the layer's weights so.
_INIT_STD = 0.01
# torch.nn.BatchNorm1d in the linear probes of MoCo v3 and MAE.
_NORM_EPSILON, _NORM_MOMENTUM = 1e-6, 0.1
# LARS in the linear probe of MAE: https://github.com/facebookresearch/mae util/lars.py
_TRUST = 0.001


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """How linear probes are trained.

    Protocols differ (a step or a cosine schedule, SGD or LARS, features as they are or
    through a batch normalisation without affine parameters); these are the options.

    Attributes:
        learning_rates: Peak rates, as they are: not multiplied by batch size / 256.
        weight_decays: L2 penalties added to the kernel's gradient, as torch's SGD does;
            the bias is not decayed. Every pair with a learning rate is one member.
        epochs: Passes over the training features.
        batch_size: Examples of a step; what does not fill a batch at the end of an
            epoch is left out of that epoch.
        optimizer: "sgd", or "lars" (You et al. 2017, arXiv 1708.03888) with a trust
            coefficient of 0.001 on the kernel.
        momentum: Of both.
        warmup_epochs: Linear warm-up before the cosine that falls to zero.
        feature_norm: "none"; "l2", each feature vector at unit length; "standardize",
            mean 0 and variance 1 on the training set; or "batch_norm", the statistics
            of each batch while training and running averages afterwards, without
            affine parameters.
        seed: Of the initial weights and the order of the examples, which are the same
            for all members.
    """

    learning_rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    weight_decays: tuple[float, ...] = (0.0,)
    epochs: int = 100
    batch_size: int = 1024
    optimizer: ProbeOptimizer = "sgd"
    momentum: float = 0.9
    warmup_epochs: float = 0.0
    feature_norm: FeatureNorm = "standardize"
    seed: int = 0

    def __post_init__(self) -> None:
        rates, decays = self.learning_rates, self.weight_decays
        below, warmup = f"0 to less than {self.epochs} epochs", self.warmup_epochs
        wanted = {
            "learning_rates": (bool(rates) and min(rates) > 0, "some, all above 0"),
            "weight_decays": (bool(decays) and min(decays) >= 0, "some, all 0 or more"),
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "momentum": (0 <= self.momentum < 1, "0 to less than 1"),
            "warmup_epochs": (0 <= warmup < self.epochs, below),
        }
        for name, known in {
            "optimizer": get_args(ProbeOptimizer),
            "feature_norm": FEATURE_NORMS,
        }.items():
            wanted[name] = (getattr(self, name) in known, f"one of {known}")
        problems = misfits(self, wanted)
        if problems:
            raise ValueError(f"ProbeSettings: {'; '.join(problems)}")

    @property
    def members(self) -> tuple[tuple[float, float], ...]:
        """Every pair of a learning rate and a weight decay."""
        return tuple(itertools.product(self.learning_rates, self.weight_decays))


class _State(NamedTuple):
    """What steps update: [members, ...] weights and momenta, shared running norms."""

    kernel: Float[Array, "m w c"]
    bias: Float[Array, "m c"]
    kernel_trace: Float[Array, "m w c"]
    bias_trace: Float[Array, "m c"]
    mean: Float[Array, " w"]
    var: Float[Array, " w"]


class _Hyper(NamedTuple):
    """Traced numbers: a change of them compiles nothing anew."""

    learning_rate: Float[np.ndarray, " m"]
    weight_decay: Float[np.ndarray, " m"]
    momentum: Float[np.ndarray, ""]
    warmup_steps: Float[np.ndarray, ""]
    total_steps: Float[np.ndarray, ""]
    mean: Float[np.ndarray, " w"]
    scale: Float[np.ndarray, " w"]


def fit_linear_probe(
    train: Features,
    validation: Features,
    num_classes: int,
    settings: ProbeSettings | None = None,
    *,
    max_device_bytes: int = 4 * 2**30,
) -> ProbeFit:
    """Trains a linear layer on frozen features for every point of a grid at once.

    All members see the same batches in the same order from the same initial weights, so
    that a step is one matrix product for all of them, and one compiled program serves
    every grid of a size. Softmax cross-entropy, float32.

    Args:
        train: What is fitted on.
        validation: What the best member is chosen by; none of `train`.
        num_classes: Classes; labels are 0 to one less.
        settings: The protocol.
        max_device_bytes: Training features up to this size go to the device whole;
            larger ones go a part of an epoch at a time. The numbers are the same.

    Returns:
        The best member, and how all of them did.

    Raises:
        UserError: If features and labels do not fit, or every member diverged.
    """
    started = time.perf_counter()
    settings = settings or ProbeSettings()
    check_features(train, (validation,), num_classes)
    batch = min(settings.batch_size, len(train))
    steps = len(train) // batch
    rates, decays = (
        np.array(v, np.float32) for v in zip(*settings.members, strict=True)
    )
    mean, scale = scaling(settings.feature_norm, train.values)
    hyper = _Hyper(
        rates,
        decays,
        np.asarray(settings.momentum, np.float32),
        np.asarray(settings.warmup_epochs * steps, np.float32),
        np.asarray(settings.epochs * steps, np.float32),
        mean,
        scale,
    )
    state = _begin(settings, len(rates), train.values.shape[1], num_classes)
    run = functools.partial(
        _train, optimizer=settings.optimizer, norm=settings.feature_norm
    )
    for number, rows, labels, order in _epochs(
        train, settings, batch, max_device_bytes
    ):
        state = run(state, rows, labels, order, np.float32(number), hyper)
    heads = _finish(state, settings.feature_norm, mean, scale)
    return best_fit(heads, settings.members, validation, started)


def _begin(
    settings: ProbeSettings, members: int, width: int, num_classes: int
) -> _State:
    key = jax.random.key(settings.seed)
    drawn = _INIT_STD * jax.random.normal(key, (width, num_classes), jnp.float32)
    kernel = jnp.broadcast_to(drawn, (members, width, num_classes))
    bias = jnp.zeros((members, num_classes), jnp.float32)
    return _State(
        kernel,
        bias,
        jnp.zeros_like(kernel),
        jnp.zeros_like(bias),
        jnp.zeros(width, jnp.float32),
        jnp.ones(width, jnp.float32),
    )


def _epochs(train: Features, settings: ProbeSettings, batch: int, max_bytes: int):
    """Yields (first step, features, labels, order [steps, batch]) until the end."""
    steps = len(train) // batch
    whole = train.values.nbytes <= max_bytes
    row_bytes = max(1, train.values.nbytes // len(train))
    # Half of the room, so that a part can arrive while another is used.
    part = steps if whole else max(1, max_bytes // (2 * row_bytes * batch))
    resident = (
        jax.device_put((np.asarray(train.values), train.labels)) if whole else None
    )
    for epoch in range(settings.epochs):
        key = jax.random.fold_in(jax.random.key(settings.seed), epoch + 1)
        shuffled = np.asarray(jax.random.permutation(key, len(train)))
        order = shuffled[: steps * batch].reshape(steps, batch)
        for start in range(0, steps, part):
            taken = order[start : start + part]
            number = epoch * steps + start
            if resident is not None:
                yield number, *resident, taken
            else:
                rows = taken.reshape(-1)
                places = np.arange(len(rows)).reshape(taken.shape)
                yield number, train.values[rows], train.labels[rows], places


@functools.partial(jax.jit, static_argnames=("optimizer", "norm"), donate_argnums=0)
def _train(
    state: _State,
    features: Float[Array, "n w"],
    labels: Int[Array, " n"],
    order: Int[Array, "s b"],
    first: Float[Array, ""],
    hyper: _Hyper,
    *,
    optimizer: str,
    norm: str,
) -> _State:
    """Steps through batches whose rows `order` gives."""

    def step(state: _State, given):
        rows, number = given
        x, state = _normalized(features[rows], state, hyper, norm)
        return _update(state, x, labels[rows], number, hyper, optimizer), None

    numbers = first + jnp.arange(len(order), dtype=jnp.float32)
    return jax.lax.scan(step, state, (order, numbers))[0]


def _normalized(x, state: _State, hyper: _Hyper, norm: str):
    """A batch at the layer's input; under "batch_norm" with new running averages."""
    if norm == "l2":
        x = to_unit_length(x)
    if norm != "batch_norm":
        return (x - hyper.mean[None]) / hyper.scale[None], state
    mean = jnp.mean(x, axis=0)
    var = jnp.mean((x - mean[None]) ** 2, axis=0)
    # Running variances are unbiased, as torch keeps them.
    count = x.shape[0]
    unbiased = var * (count / max(count - 1, 1))
    state = state._replace(
        mean=(1 - _NORM_MOMENTUM) * state.mean + _NORM_MOMENTUM * mean,
        var=(1 - _NORM_MOMENTUM) * state.var + _NORM_MOMENTUM * unbiased,
    )
    return (x - mean[None]) / jnp.sqrt(var + _NORM_EPSILON)[None], state


def _update(state: _State, x, labels, number, hyper: _Hyper, optimizer: str) -> _State:
    """One step of every member."""
    logits = jnp.einsum("bw,mwc->mbc", x, state.kernel, precision="highest")
    logits += state.bias[:, None]
    target = jax.nn.one_hot(labels, state.bias.shape[1])
    # The gradient of the mean cross-entropy with respect to the logits.
    error = (jax.nn.softmax(logits) - target[None]) / x.shape[0]
    gradient = jnp.einsum("bw,mbc->mwc", x, error, precision="highest")
    gradient += hyper.weight_decay[:, None, None] * state.kernel
    if optimizer == "lars":
        gradient *= _trust(state.kernel, gradient)
    kernel_trace = hyper.momentum * state.kernel_trace + gradient
    bias_trace = hyper.momentum * state.bias_trace + error.sum(axis=1)
    rate = hyper.learning_rate * schedule(number, hyper.warmup_steps, hyper.total_steps)
    return state._replace(
        kernel=state.kernel - rate[:, None, None] * kernel_trace,
        bias=state.bias - rate[:, None] * bias_trace,
        kernel_trace=kernel_trace,
        bias_trace=bias_trace,
    )


def _trust(kernel, gradient):
    """LARS: how far each member's kernel may go, relative to its length."""
    lengths = [jnp.sqrt(jnp.sum(v * v, axis=(1, 2))) for v in (kernel, gradient)]
    usable = (lengths[0] > 0) & (lengths[1] > 0)
    ratio = _TRUST * lengths[0] / jnp.where(usable, lengths[1], 1.0)
    return jnp.where(usable, ratio, 1.0)[:, None, None]


def schedule(step, warmup_steps, total_steps):
    """Share of the peak rate: a linear rise from 0, then half a cosine down to 0.

    Args:
        step: 0 for the first.
        warmup_steps: Steps of the rise, below `total_steps`.
        total_steps: All steps.
    """
    rise = step / jnp.maximum(warmup_steps, 1.0)
    gone = (step - warmup_steps) / (total_steps - warmup_steps)
    return jnp.where(step < warmup_steps, rise, 0.5 * (1 + jnp.cos(jnp.pi * gone)))


def _finish(
    state: _State, norm: str, mean: np.ndarray, scale: np.ndarray
) -> list[LinearHead]:
    found = jax.device_get(state)
    if norm == "batch_norm":
        mean, scale = found.mean, np.sqrt(found.var + np.float32(_NORM_EPSILON))
    return [
        LinearHead(kernel, bias, mean, scale, unit_length=norm == "l2")
        for kernel, bias in zip(found.kernel, found.bias, strict=True)
    ]
