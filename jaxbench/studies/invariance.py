"""Invariance: what becomes of a classifier when the images are larger, moved, finer."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from jaxbench.data.modifiers import split_modifiers
from jaxbench.data.transformations import TRANSFORMATIONS
from jaxbench.errors import UserError
from jaxbench.metrics import paired_bootstrap
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Row
from jaxbench.studies.models import Model
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.shape_bias import Share, share

# Evaluations at several sizes of the network's input are a curve too.
RESOLUTION = "resolution"
KINDS = ("scale", "shift", RESOLUTION)
# Where images are as they are; a resolution has the model's usual size instead.
_UNCHANGED = {"scale": 1.0, "shift": 0.0}


class ViewOf(NamedTuple):
    """An address such as `imagenet+scale_1.5`, taken apart.

    Attributes:
        base: Address of the images as they are.
        kind: "scale" or "shift".
        value: How much.
    """

    base: str
    kind: str
    value: float


class Level(NamedTuple):
    """A classifier at one place of a curve.

    Attributes:
        value: Scale, shift in pixels, or side of the input in pixels.
        num_images: Images.
        accuracy: With its Wilson interval.
        probability: Mean probability of the true class, with the normal interval of a
            mean.
    """

    value: float
    num_images: int
    accuracy: Share
    probability: Share


class Curve(NamedTuple):
    """One model under one kind of change.

    Attributes:
        levels: By rising value.
        worst: The value of the lowest accuracy; the unchanged one if none is lower.
        change: Accuracy there less that on unchanged images; None without these.
    """

    levels: tuple[Level, ...]
    worst: float
    change: Share | None


def view_of(address: str) -> ViewOf | None:
    """The parts of an address whose last modifier is a transformation; else None."""
    _, modifiers = split_modifiers(address)
    if not modifiers:
        return None
    kind, _, value = modifiers[-1].rpartition("_")
    if kind not in TRANSFORMATIONS:
        return None
    base = address.removesuffix(f"+{modifiers[-1]}")
    return ViewOf(base, kind, float(value))


def invariance_level(
    value: float,
    correct: Bool[np.ndarray, " n"],
    nll: Float[np.ndarray, " n"],
    *,
    level: float = 0.95,
) -> Level:
    """Accuracy and mean true-class probability, as arXiv 2311.09215 reports both.

    Args:
        value: The place on the curve.
        correct: Whether each prediction is right.
        nll: Negative log-likelihood of each label, in nats.
        level: Coverage of the intervals, in (0, 1).

    Raises:
        UserError: If the columns are empty.
    """
    if not len(correct):
        raise UserError(f"no images at {value:g}")
    # Logits that are not finite give the true class nothing.
    probability = np.nan_to_num(np.exp(-np.asarray(nll, np.float64)), nan=0.0)
    mean = float(probability.mean())
    spread = float(probability.std(ddof=1)) if len(probability) > 1 else float("nan")
    half = NormalDist().inv_cdf((1 + level) / 2) * spread / len(probability) ** 0.5
    right = int(np.asarray(correct, bool).sum())
    return Level(
        value,
        len(correct),
        share(right, len(correct), level=level),
        Share(mean, max(0.0, mean - half), min(1.0, mean + half)),
    )


def paired_change(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    *,
    key: Key[Array, ""],
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Share:
    """Accuracy after less before, on the images that both have.

    Args:
        before: Ids, each once, and whether each is right.
        after: Likewise.
        key: Chooses the resamples.
        num_resamples: Resamples of the images, 1 or more.
        level: Coverage of the interval, in (0, 1).

    Raises:
        UserError: If they have no image in common.
    """
    ids, first, second = np.intersect1d(
        before[0], after[0], assume_unique=True, return_indices=True
    )
    if not len(ids):
        raise UserError("two evaluations of one model have no image in common")
    found = paired_bootstrap(
        jnp.asarray(after[1][second], jnp.float32),
        jnp.asarray(before[1][first], jnp.float32),
        key=key,
        num_resamples=num_resamples,
        level=level,
    )
    return Share(float(found.difference), float(found.low), float(found.high))


def view_rows(
    models: Sequence[Model],
) -> dict[tuple[str, str], dict[str, dict[float, Row]]]:
    """(kind, base) to label to value to row; curves of two places and more."""
    found: dict[tuple[str, str], dict[str, dict[float, Row]]] = defaultdict(dict)
    for model in models:
        curves: dict[tuple[str, str], dict[float, Row]] = defaultdict(dict)
        for address, row in model.rows.items():
            view = view_of(address)
            if view is not None:
                curves[view.kind, view.base][view.value] = row
        for (kind, base), rows in curves.items():
            # Scale 1 is the image as it is; a shift by 0 resizes in another order.
            if kind == "scale" and base in model.rows:
                rows.setdefault(1.0, model.rows[base])
        for address, sizes in model.sizes.items():
            known = {float(size): row for size, row in sizes.items() if size}
            if len(known) > 1 and view_of(address) is None:
                curves[RESOLUTION, address] = known
        for place, rows in curves.items():
            if len(rows) > 1:
                found[place][model.label] = dict(sorted(rows.items()))
    places = sorted(found, key=lambda place: (KINDS.index(place[0]), place[1]))
    return {place: found[place] for place in places}


def view_curve(
    store: ResultStore,
    kind: str,
    rows: Mapping[float, Row],
    usual_size: int | None,
    resampling: Resampling,
) -> Curve:
    """Accuracy and probability of a model along one kind of change.

    Args:
        store: Has the scores of single images.
        kind: Of `KINDS`.
        rows: Value to row, by rising value.
        usual_size: Side of the model's input in pixels, where resolution is unchanged.
        resampling: Of the images, for the interval of the change.
    """
    unchanged = _UNCHANGED.get(kind, usual_size)
    columns = {
        value: store.examples(row["run_id"], ("id", "correct", "nll"))
        for value, row in rows.items()
    }
    levels = tuple(
        invariance_level(value, found["correct"], found["nll"])
        for value, found in columns.items()
    )
    if unchanged not in columns:
        worst = min(levels, key=lambda level: level.accuracy.value)
        return Curve(levels, worst.value, None)
    # Of equal accuracies the unchanged one is not a loss.
    worst = min(
        levels, key=lambda level: (level.accuracy.value, level.value != unchanged)
    )
    before, after = columns[unchanged], columns[worst.value]
    change = paired_change(
        (before["id"], before["correct"]),
        (after["id"], after["correct"]),
        key=resampling.key("views", kind),
        num_resamples=resampling.num_resamples,
    )
    return Curve(levels, worst.value, change)
