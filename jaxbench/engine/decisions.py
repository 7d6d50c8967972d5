"""A dataset's scoring as the compiled step takes it: shapes, and values to trace."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxbench.data.batches import Batch, ImageArrays
from jaxbench.data.scoring import Scoring
from jaxbench.data.source import Source, example_ids
from jaxbench.metrics import ExampleScores, group_logits, score_examples

Rules = Mapping[str, Array | np.ndarray]


class DecisionShape(NamedTuple):
    """What of a scoring decides the program; its arrays are arguments.

    Attributes:
        masked: Whether some outputs are impossible.
        num_groups: Coarse classes; 0 for the classifier's own.
        set_width: Most right classes of an image; 0 where each has one label.
    """

    masked: bool = False
    num_groups: int = 0
    set_width: int = 0


# One label an image, of the classifier's classes.
PLAIN = DecisionShape()


def decision_shape(scoring: Scoring | None) -> DecisionShape:
    """The shape of a scoring; the plain one for None."""
    if scoring is None:
        return PLAIN
    sets = scoring.label_sets
    return DecisionShape(
        masked=scoring.class_mask is not None,
        num_groups=scoring.num_groups,
        set_width=0 if sets is None else sets.shape[1],
    )


def decision_rules(scoring: Scoring | None) -> dict[str, np.ndarray]:
    """The arrays that are the same for every step."""
    rules = {}
    if scoring is not None and scoring.class_mask is not None:
        rules["class_mask"] = scoring.class_mask
    if scoring is not None and scoring.groups is not None:
        rules["groups"] = scoring.groups.astype(np.int32)
    return rules


def decide(
    shape: DecisionShape,
    rules: Rules,
    logits: Float[Array, "n k"],
    labels: Array,
    mask: Array,
    temperature: Array | float = 1.0,
) -> ExampleScores:
    """Scores of a step's images, as the dataset asks.

    A temperature divides the classifier's own logits: groups are of the probabilities
    that it gives at that temperature.
    """
    if shape.num_groups:
        grouped = group_logits(
            logits / temperature,
            jnp.asarray(rules["groups"]),
            num_groups=shape.num_groups,
        )
        return score_examples(grouped, labels, mask=mask)
    return score_examples(
        logits,
        None if shape.set_width else labels,
        label_sets=labels if shape.set_width else None,
        mask=mask,
        class_mask=rules.get("class_mask"),
        temperature=temperature,
    )


class RowLabels:
    """The labels of a batch's rows as the step takes them.

    Args:
        dataset: What is read.
        scoring: How it is scored.
        unlabelled: Whether no image has a label.
    """

    def __init__(
        self,
        dataset: Source | ImageArrays,
        scoring: Scoring | None,
        *,
        unlabelled: bool,
    ) -> None:
        self._unlabelled = unlabelled
        self._sets = None if scoring is None else scoring.label_sets
        self._row: dict[str, int] = {}
        if self._sets is not None:
            known = isinstance(dataset, ImageArrays)
            ids = dataset.ids if known else example_ids(dataset)
            self._row = {id: row for row, id in enumerate(ids)}

    def __call__(self, batch: Batch) -> np.ndarray:
        """int32 [rows], or [rows, width] of sets."""
        if self._unlabelled:
            return np.full_like(batch.labels, -1)
        if self._sets is None:
            return batch.labels
        labels = np.full((len(batch.ids), self._sets.shape[1]), -1, np.int32)
        for place, id in enumerate(batch.ids):
            if batch.valid[place]:
                labels[place] = self._sets[self._row[id]]
        return labels
