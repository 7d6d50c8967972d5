"""Logits and labels that every metric must get right."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

# One shape for most cases: a shape costs a compilation.
ROWS, CLASSES = 160, 10


class Case(NamedTuple):
    logits: np.ndarray
    labels: np.ndarray


def _draw(seed, rows, classes, scale, accuracy):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(rows, classes)) * scale).astype(np.float32)
    guess = rng.integers(0, classes, rows)
    right = rng.random(rows) < accuracy
    return Case(logits, np.where(right, logits.argmax(1), guess).astype(np.int32))


def _tied():
    # Rounded logits tie within a row (argmax, top 5), and every row occurs four times.
    # Rows are scaled apart: rows that are permutations of each other would tie in
    # mathematics, but not in floating point, whose sums depend on order.
    case = _draw(1, ROWS // 4, CLASSES, 1.2, 0.6)
    apart = 1 + np.arange(ROWS // 4, dtype=np.float32)[:, None] / 100
    rounded = np.repeat(np.round(case.logits) * apart, 4, axis=0)
    rng = np.random.default_rng(7)
    labels = np.where(rng.random(ROWS) < 0.7, rounded.argmax(1), 3).astype(np.int32)
    return Case(rounded, labels)


def _saturated():
    # Gaps of 30 to 100 between the first logit and the rest: float32 softmax is 1.0.
    rng = np.random.default_rng(2)
    logits = _draw(2, ROWS, CLASSES, 1.0, 0.0).logits
    top = rng.integers(0, CLASSES, ROWS)
    logits[np.arange(ROWS), top] += rng.uniform(30, 100, ROWS).astype(np.float32)
    labels = np.where(rng.random(ROWS) < 0.8, top, (top + 1) % CLASSES)
    labels = labels.astype(np.int32)
    return Case(logits, labels)


def _all_right():
    case = _draw(3, ROWS, CLASSES, 2.0, 1.0)
    return Case(case.logits, case.logits.argmax(1).astype(np.int32))


def _all_wrong():
    case = _draw(4, ROWS, CLASSES, 2.0, 0.0)
    return Case(case.logits, case.logits.argmin(1).astype(np.int32))


CASES = {
    "random": lambda: _draw(0, ROWS, CLASSES, 3.0, 0.75),
    "skilled": lambda: _draw(5, ROWS, CLASSES, 5.0, 0.97),
    "tied": _tied,
    "saturated": _saturated,
    "all right": _all_right,
    "all wrong": _all_wrong,
    "one row": lambda: _draw(6, 1, CLASSES, 3.0, 1.0),
    "equal logits": lambda: Case(
        np.zeros((ROWS, CLASSES), np.float32), np.arange(ROWS, dtype=np.int32) % 7
    ),
    "two classes": lambda: _draw(8, ROWS, 2, 2.0, 0.8),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]()


@pytest.fixture(scope="session")
def cases():
    return {name: make() for name, make in CASES.items()}


@pytest.fixture(scope="session")
def ood_logits():
    rng = np.random.default_rng(11)
    return (rng.normal(size=(90, 10)) * 2).astype(np.float32)


@pytest.fixture(scope="session")
def mesh():
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((8,), ("data",), axis_types=auto)


@pytest.fixture(scope="session")
def pad():
    """Appends rows of garbage, NaN included, that do not count."""

    def padded(case, rows):
        rng = np.random.default_rng(13)
        junk = rng.normal(size=(rows, case.logits.shape[1])).astype(np.float32) * 50
        junk[::2] = np.nan
        logits = np.concatenate([case.logits, junk])
        labels = np.concatenate([case.labels, np.zeros(rows, np.int32)])
        mask = jnp.arange(len(labels)) < len(case.labels)
        return Case(logits, labels), mask

    return padded


@pytest.fixture
def users_types():
    """Runs as a user does: without the checks of annotations that the tests add."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
