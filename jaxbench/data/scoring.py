"""How a classifier's outputs become a dataset's decisions.

Most datasets have one label an image, of the classes that the classifier has. Some have
fewer classes than it (ImageNet-A, -R), several right ones an image (ReaL, Hard), or
coarser ones (cue-conflict). A source says so with an attribute `scoring`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from jaxbench.data.source import Source, digest


@dataclass(frozen=True, eq=False)
class Scoring:
    """What a dataset asks of a classifier with `num_outputs` classes.

    Attributes:
        num_outputs: Classes that the classifier must have.
        class_mask: Outputs that the images may belong to; the others get probability
            zero before the softmax. None allows all.
        label_sets: Right outputs of each image of the source, filled up with -1; each
            has one or more. None where the source's labels say all.
        groups: The coarse class of each output, or -1 for none. An image's score for a
            coarse class is the mean of its probabilities over the outputs of the class
            (Geirhos et al. 2019: https://arxiv.org/abs/1811.12231); the source's
            labels are coarse classes then. None for no grouping.

    Raises:
        ValueError: If shapes do not fit, a set is empty, or groups stand together with
            one of the others.
    """

    num_outputs: int
    class_mask: Bool[np.ndarray, " k"] | None = None
    label_sets: Int[np.ndarray, "n m"] | None = None
    groups: Int[np.ndarray, " k"] | None = None

    def __post_init__(self) -> None:
        problems = []
        for name in ("class_mask", "groups"):
            values = getattr(self, name)
            if values is not None and values.shape != (self.num_outputs,):
                problems.append(
                    f"{name} has shape {values.shape}, wanted ({self.num_outputs},)"
                )
        if self.class_mask is not None and not self.class_mask.any():
            problems.append("class_mask allows no class")
        if self.label_sets is not None and (self.label_sets < 0).all(axis=1).any():
            problems.append("label_sets has an empty set; leave such images out")
        if self.groups is not None and (
            self.class_mask is not None or self.label_sets is not None
        ):
            problems.append("groups stand alone, without class_mask and label_sets")
        if problems:
            raise ValueError(f"Scoring: {'; '.join(problems)}")

    @property
    def num_groups(self) -> int:
        """Coarse classes; 0 without groups."""
        return 0 if self.groups is None else int(self.groups.max()) + 1

    def rows(self, indices: np.ndarray) -> "Scoring":
        """The same of some rows of the source."""
        if self.label_sets is None:
            return self
        return Scoring(
            self.num_outputs, self.class_mask, self.label_sets[indices], self.groups
        )

    def without_sets(self) -> "Scoring":
        """The same for images whose labels are not looked at."""
        return Scoring(self.num_outputs, self.class_mask, None, self.groups)

    def relabelled(self, numbers: np.ndarray, num_outputs: int) -> "Scoring":
        """The same for a classifier with other numbers for the classes.

        Args:
            numbers: New number of each output, int [num_outputs of this one].
            num_outputs: Classes of the other classifier.
        """
        mask, sets = self.class_mask, self.label_sets
        if mask is not None:
            moved = np.zeros(num_outputs, bool)
            moved[numbers[mask]] = True
            mask = moved
        if sets is not None:
            sets = np.where(sets < 0, -1, numbers[sets]).astype(np.int32)
        return Scoring(num_outputs, mask, sets)

    @property
    def digest(self) -> str:
        """What decides numbers here, as hex."""
        parts = [str(self.num_outputs)]
        for values in (self.class_mask, self.label_sets, self.groups):
            if values is None:
                parts.append("")
            else:
                parts.append(str(values.shape) + values.astype("<i4").tobytes().hex())
        return digest(parts)


def scoring_of(source: object) -> Scoring | None:
    """How a source is scored; None where its labels are the classifier's classes."""
    return getattr(source, "scoring", None)


def num_outputs(source: Source) -> int:
    """Classes that a classifier must have for a source."""
    scoring = scoring_of(source)
    return len(source.class_names) if scoring is None else scoring.num_outputs
