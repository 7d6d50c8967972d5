"""How a classifier's outputs become a dataset's decisions.

Most datasets have one label an image, of the classes that the classifier has. Some have
fewer classes than it (ImageNet-A, -R), several right ones an image (ReaL, Hard), or
coarser ones (cue-conflict). A source says so with an attribute `scoring`.
"""

import dataclasses
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
            has one or more, each once. None where the source's labels say all.
        groups: The coarse class of each output, or -1 for none. An image's score for a
            coarse class is the mean of its probabilities over the outputs of the class
            (Geirhos et al. 2019: https://arxiv.org/abs/1811.12231); the source's
            labels are coarse classes then. None for no grouping.
        output_names: Names of the outputs, with `groups`: a classifier with another
            order of them gets its own groups.

    Raises:
        ValueError: If shapes do not fit, a set is empty or holds a label twice, or
            groups stand together with one of the others.
    """

    num_outputs: int
    class_mask: Bool[np.ndarray, " k"] | None = None
    label_sets: Int[np.ndarray, "n m"] | None = None
    groups: Int[np.ndarray, " k"] | None = None
    output_names: tuple[str, ...] = ()

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
        if self.label_sets is not None:
            problems += _set_problems(self.label_sets, self.num_outputs)
        if self.groups is not None and not _without_gaps(self.groups):
            problems.append("groups must be numbered 0, 1, ... without a gap")
        if self.output_names and len(self.output_names) != self.num_outputs:
            problems.append(f"output_names has {len(self.output_names)} names")
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
        return dataclasses.replace(self, label_sets=self.label_sets[indices])

    def without_sets(self) -> "Scoring":
        """The same for images whose labels are not looked at."""
        return dataclasses.replace(self, label_sets=None)

    def relabelled(self, numbers: np.ndarray, num_outputs: int) -> "Scoring":
        """The same for a classifier with other numbers for the classes.

        Args:
            numbers: New number of each output, int [num_outputs of this one].
            num_outputs: Classes of the other classifier.
        """
        mask, sets, groups = self.class_mask, self.label_sets, self.groups
        if groups is not None:
            moved = np.full(num_outputs, -1, np.int32)
            moved[numbers] = groups
            groups = moved
        if mask is not None:
            moved = np.zeros(num_outputs, bool)
            moved[numbers[mask]] = True
            mask = moved
        if sets is not None:
            sets = np.where(sets < 0, -1, numbers[sets]).astype(np.int32)
        return Scoring(num_outputs, mask, sets, groups)

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


def _set_problems(sets: np.ndarray, num_outputs: int) -> list[str]:
    if sets.ndim != 2 or sets.dtype.kind not in "iu":
        return [
            f"label_sets is {sets.dtype} of shape {sets.shape}, wanted integers [N, m]"
        ]
    problems = []
    ordered = np.sort(sets, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    twice = again.any(axis=1)
    if twice.any():
        row = twice.argmax()
        problems.append(
            f"label_sets has a label twice in {twice.sum()} rows, the first row {row}: "
            f"{sets[row]}; wanted each right label once, filled up with -1"
        )
    if (sets < 0).all(axis=1).any():
        problems.append("label_sets has an empty set; leave such images out")
    if sets.max(initial=-1) >= num_outputs:
        problems.append(
            f"label_sets has the label {sets.max()} of {num_outputs} outputs"
        )
    return problems


def _without_gaps(groups: np.ndarray) -> bool:
    found = np.unique(groups[groups >= 0])
    return len(found) > 0 and bool((found == np.arange(len(found))).all())


def scoring_of(source: object) -> Scoring | None:
    """How a source is scored; None where its labels are the classifier's classes."""
    return getattr(source, "scoring", None)


def num_outputs(source: Source) -> int:
    """Classes that a classifier must have for a source."""
    scoring = scoring_of(source)
    return len(source.class_names) if scoring is None else scoring.num_outputs
