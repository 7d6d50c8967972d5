"""Initial values drawn with NumPy: a compiled initialiser costs minutes, this none.

A family lists `Rule`s, the first whose pattern matches a leaf's whole dotted name
gives its values. Every leaf has its own generator, seeded by the key and by its name,
so that values depend neither on the order of the leaves nor on which others exist.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class Rule(NamedTuple):
    """Names that match `pattern` entirely are drawn by `initializer`."""

    pattern: str
    initializer: Initializer


def draw(
    rules: Sequence[Rule],
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    seed: Sequence[int],
) -> dict[str, np.ndarray]:
    """Draws float32 values for every leaf.

    Args:
        rules: Searched in order.
        shapes: Dotted names and the shapes wanted.
        seed: Non-negative integers below 2**32.

    Raises:
        ValueError: If leaves match no rule; all are named.
    """
    orphans = [
        name
        for name in shapes
        if not any(re.fullmatch(rule.pattern, name) for rule in rules)
    ]
    if orphans:
        raise ValueError(f"no initialisation rule matches {', '.join(orphans)}")
    return {
        name: _draw_leaf(rules, name, leaf.shape, seed) for name, leaf in shapes.items()
    }


def _draw_leaf(
    rules: Sequence[Rule], name: str, shape: tuple[int, ...], seed: Sequence[int]
) -> np.ndarray:
    rule = next(rule for rule in rules if re.fullmatch(rule.pattern, name))
    # A digest, as Python's own hash of a string differs from process to process.
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    words = np.frombuffer(digest, np.dtype("<u4")).tolist()
    bits = np.random.SFC64(np.random.SeedSequence([*seed, *words]))
    return rule.initializer(np.random.Generator(bits), shape)


def constant(value: float) -> Initializer:
    """Every entry is `value`."""
    return lambda _, shape: np.full(shape, value, np.float32)


zeros = constant(0.0)
ones = constant(1.0)


def normal(std: float) -> Initializer:
    """Normal with mean 0.

    Also stands for timm's `trunc_normal_`, which cuts at -2 and 2: a hundred standard
    deviations away at its usual 0.02.
    """

    def initializer(generator: np.random.Generator, shape: tuple[int, ...]):
        values = generator.standard_normal(shape, np.float32)
        values *= np.float32(std)
        return values

    return initializer


def he_normal_fan_in(generator: np.random.Generator, shape: tuple[int, ...]):
    """Normal with variance 2 / fan-in: https://arxiv.org/abs/1502.01852."""
    return normal((2 / _fans(shape)[0]) ** 0.5)(generator, shape)


def he_normal_fan_out(generator: np.random.Generator, shape: tuple[int, ...]):
    """Normal with variance 2 / fan-out: https://arxiv.org/abs/1502.01852."""
    return normal((2 / _fans(shape)[1]) ** 0.5)(generator, shape)


def lecun_normal(generator: np.random.Generator, shape: tuple[int, ...]):
    """Normal cut at two standard deviations, variance 1 / fan-in after the cut."""
    values = _cut_normal(generator, shape)
    # 0.8796 is the standard deviation of a standard normal cut at -2 and 2.
    values *= np.float32(_fans(shape)[0] ** -0.5 / 0.87962566103423978)
    return values


def truncated_normal(std: float) -> Initializer:
    """Normal with mean 0, cut at two standard deviations and not widened after."""
    return lambda generator, shape: _cut_normal(generator, shape) * np.float32(std)


def halves(first: Initializer, second: Initializer) -> Initializer:
    """The last axis's first half from one initializer, the rest from another.

    Both draw the whole shape, so that fans are those of the whole.
    """

    def initializer(generator: np.random.Generator, shape: tuple[int, ...]):
        values = first(generator, shape)
        half = shape[-1] // 2
        values[..., half:] = second(generator, shape)[..., half:]
        return values

    return initializer


def xavier_uniform(generator: np.random.Generator, shape: tuple[int, ...]):
    """Uniform with variance 2 / (fan-in + fan-out); Glorot and Bengio (2010)."""
    return _uniform(generator, shape, (6 / sum(_fans(shape))) ** 0.5)


def uniform(limit: float) -> Initializer:
    """Uniform in [-limit, limit]; torch's default for a layer is fan-in**-0.5."""
    return lambda generator, shape: _uniform(generator, shape, limit)


def _cut_normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal, drawn again where outside [-2, 2]."""
    values = generator.standard_normal(shape, np.float32)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(int(outside.sum()), np.float32)
    return values


def _uniform(
    generator: np.random.Generator, shape: tuple[int, ...], limit: float
) -> np.ndarray:
    return (2 * generator.random(shape, np.float32) - 1) * np.float32(limit)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a kernel [..., in, out]."""
    receptive = int(np.prod(shape[:-2]))
    return receptive * shape[-2], receptive * shape[-1]
