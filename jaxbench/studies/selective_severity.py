"""Detection of out-of-distribution classes, from the easiest for a model on.

Galil, Dabbah and El-Yaniv (2023), "A framework for benchmarking class-out-of-
distribution detection and its application to ImageNet",
https://arxiv.org/abs/2302.11893.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbench.data import open_dataset
from jaxbench.data.source import example_ids
from jaxbench.errors import UserError
from jaxbench.metrics import class_severity, severity_auroc, severity_groups
from jaxbench.results import ResultStore
from jaxbench.studies.models import Model

Columns = Mapping[str, np.ndarray]

# Of each out-of-distribution class: the share of images that estimate its severity.
ESTIMATE_SHARE = 0.75
_ORDER = "log_one_minus_confidence"


class SeverityCurve(NamedTuple):
    """Detection at rising severity.

    Attributes:
        auroc: Of in- against out-of-distribution images, one a level, the easiest
            classes first.
        severity: Mean confidence on the classes of each level.
        num_classes: Foreign classes that took part.
        num_left_out: Foreign classes with a single image, which cannot be split.
        group_size: Classes of a level.
    """

    auroc: Float[np.ndarray, " levels"]
    severity: Float[np.ndarray, " levels"]
    num_classes: int
    num_left_out: int
    group_size: int


class SeverityOptions(NamedTuple):
    """How out-of-distribution classes are grouped.

    Attributes:
        seed: Splits the images of each class.
        group_size: Classes of a level; as many as known ones where None.
        num_levels: Levels.
    """

    seed: int
    group_size: int | None
    num_levels: int


def classes_by_id(address: str) -> dict[str, int]:
    """The class of every image of a dataset, by its id, which rows do not hold.

    Raises:
        UserError: If the dataset is not available.
    """
    source = open_dataset(address)
    labels = np.asarray(source.labels).tolist()
    return dict(zip(example_ids(source), labels, strict=True))


def model_severity(
    store: ResultStore,
    model: Model,
    address: str,
    classes: Mapping[str, int],
    options: SeverityOptions,
) -> SeverityCurve:
    """`severity_curve` of a model's stored rows on an out-of-distribution dataset.

    Args:
        store: Has the scores of single images.
        model: Was evaluated on the dataset.
        address: Of the dataset.
        classes: As `classes_by_id` returns them.
        options: How they are grouped.

    Raises:
        UserError: If the model was evaluated on images of unknown class.
    """
    names = ("confidence", _ORDER)
    known = store.examples(model.clean["run_id"], ("label", *names))
    unknown = store.examples(model.ood[address]["run_id"], ("id", *names))
    missing = [name for name in unknown["id"] if name not in classes]
    if missing:
        raise UserError(
            f"{model.label} was evaluated on {len(missing)} images that are not "
            f"there now, such as {missing[0]}"
        )
    return severity_curve(
        known,
        unknown,
        np.array([classes[name] for name in unknown["id"]], np.int64),
        key=jax.random.key(options.seed),
        group_size=options.group_size,
        num_levels=options.num_levels,
    )


def severity_curve(
    known: Columns,
    unknown: Columns,
    classes: Int[np.ndarray, " m"],
    *,
    key: Key[Array, ""],
    group_size: int | None = None,
    num_levels: int = 11,
    suffix: str = "",
) -> SeverityCurve:
    """AUROC of in-distribution images against classes of rising severity.

    The model ranks the out-of-distribution classes by its mean confidence on three
    quarters of their images; windows of `group_size` classes at evenly spaced
    percentiles are the levels; the other quarter is compared with the in-distribution
    images. All of it by the largest softmax probability.

    Args:
        known: Per-example columns of the in-distribution images.
        unknown: Likewise of the out-of-distribution images.
        classes: The class of each of the latter; any integers.
        key: Splits each class, and orders tied classes. The same key splits the same
            images alike for every model.
        group_size: Classes of a level; as many as known classes where None, as in the
            paper.
        num_levels: Levels, 2 or more.
        suffix: "_ts" for scores after temperature scaling.

    Raises:
        UserError: If there are fewer than two levels, or fewer out-of-distribution
            classes than a level needs.
    """
    if num_levels < 2:
        raise UserError(f"severity levels: got {num_levels}, wanted 2 or more")
    kept, estimates, numbers, left_out = _split(classes, key)
    num_classes = int(numbers.max()) + 1 if len(numbers) else 0
    if group_size is None:
        group_size = len(np.unique(known["label"]))
    if not 1 <= group_size <= num_classes:
        raise UserError(
            f"severity levels: {num_classes} out-of-distribution classes have two "
            f"images or more, a level needs {group_size}; give severity_group_size, "
            "a smaller number "
            "of classes a level"
        )
    confidence = unknown["confidence" + suffix][kept]
    severity = class_severity(
        confidence, numbers, num_classes=num_classes, mask=estimates
    )
    groups = severity_groups(
        severity, group_size=group_size, key=key, num_levels=num_levels
    )
    auroc = severity_auroc(
        -known[_ORDER + suffix],
        -unknown[_ORDER + suffix][kept],
        numbers,
        groups,
        ood_mask=~estimates,
    )
    return SeverityCurve(
        np.asarray(auroc, np.float64),
        np.asarray(groups.severity, np.float64),
        num_classes,
        left_out,
        group_size,
    )


def _split(
    classes: Int[np.ndarray, " m"], key: Key[Array, ""]
) -> tuple[
    Int[np.ndarray, " kept"], Bool[np.ndarray, " kept"], Int[np.ndarray, " kept"], int
]:
    """Rows of classes with two images or more, which of them estimate, class numbers.

    Of m images floor(3 m / 4) estimate, at least one, and at least one does not.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    # Places within each class, in random order.
    order = np.lexsort((rng.random(len(classes)), inverse))
    place = np.empty(len(classes), np.int64)
    place[order] = (
        np.arange(len(classes)) - (np.cumsum(counts) - counts)[inverse[order]]
    )
    sizes = np.maximum(1, (ESTIMATE_SHARE * counts).astype(np.int64))
    estimates = place < sizes[inverse]
    numbers = (np.cumsum(counts > 1) - 1).astype(np.int32)
    kept = np.flatnonzero(counts[inverse] > 1)
    return kept, estimates[kept], numbers[inverse][kept], int((counts == 1).sum())
