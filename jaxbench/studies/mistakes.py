"""Which classes are taken for others, and of which images most models are wrong.

From the per-example columns of several models on the same images. Pure numpy.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int

from jaxbench.studies.shape_bias import Share

# What `Answers.add` reads.
COLUMNS = ("id", "label", "prediction", "confidence", "correct")


class Answers:
    """The answers of several models to the same images, added one model at a time.

    The first model says which images and labels; one with others is left out.

    Attributes:
        models: Labels of the models, as added.
        left_out: Models whose images or labels are others.
        ids: Names of the images, sorted.
        label: True class of each.
    """

    def __init__(self) -> None:
        self.models: list[str] = []
        self.left_out: list[str] = []
        self.ids = np.array([], dtype=str)
        self.label = np.array([], dtype=np.int32)
        self._wrong: list[Bool[np.ndarray, " images"]] = []
        self._prediction: list[Int[np.ndarray, " images"]] = []
        self._confidence: list[Float32[np.ndarray, " images"]] = []

    def add(self, model: str, columns: Mapping[str, np.ndarray]) -> None:
        """Takes the columns `COLUMNS` of a model; rows may be in any order."""
        ids = np.asarray(columns["id"], str)
        order = np.argsort(ids)
        label = np.asarray(columns["label"], np.int32)[order]
        ids = ids[order]
        if not self.models:
            self.ids, self.label = ids, label
        elif not (np.array_equal(ids, self.ids) and np.array_equal(label, self.label)):
            self.left_out.append(model)
            return
        confidence = np.asarray(columns["confidence"], np.float32)[order]
        # Logits that are not finite are an error, but no answer.
        answered = np.isfinite(confidence)
        self.models.append(model)
        self._wrong.append(~np.asarray(columns["correct"], bool)[order] & answered)
        self._prediction.append(np.asarray(columns["prediction"], np.int32)[order])
        self._confidence.append(confidence)

    def of(self, models: Sequence[str]) -> "Answers":
        """The answers of some of the models."""
        found = Answers()
        found.ids, found.label = self.ids, self.label
        for model in models:
            place = self.models.index(model)
            found.models.append(model)
            found._wrong.append(self._wrong[place])
            found._prediction.append(self._prediction[place])
            found._confidence.append(self._confidence[place])
        return found

    def num_wrong(self) -> int:
        """Wrong answers of all models."""
        return sum(int(wrong.sum()) for wrong in self._wrong)

    def confusions(self) -> dict[tuple[int, int], int]:
        """(true class, predicted class) to how many answers mistake one for the other.

        The most frequent first; ties in the order of the classes.
        """
        counts: Counter[tuple[int, int]] = Counter()
        for wrong, prediction in zip(self._wrong, self._prediction, strict=True):
            pairs = np.stack([self.label[wrong], prediction[wrong]])
            unique, count = np.unique(pairs, axis=1, return_counts=True)
            names = map(tuple, unique.T.tolist())
            counts.update(dict(zip(names, count.tolist(), strict=True)))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class Confusion(NamedTuple):
    """A class that is taken for another.

    Attributes:
        label: The true class.
        prediction: The predicted one.
        num_answers: Answers that name the other class, over all models.
        num_images: Images of the true class.
        share: Of the answers to these images, with its Wilson interval: that of
            num_images trials, however many models answered.
    """

    label: int
    prediction: int
    num_answers: int
    num_images: int
    share: Share


class Mistake(NamedTuple):
    """An image that models are wrong of.

    Attributes:
        id: Its name.
        label: Its class.
        predictions: Predicted class to how many models named it, most first; the right
            ones are not counted.
        num_wrong: Models that are wrong.
        confidence: Mean confidence of these.
    """

    id: str
    label: int
    predictions: dict[int, int]
    num_wrong: int
    confidence: float


def confused_pairs(
    answers: Answers, *, most: int | None = None, level: float = 0.95
) -> list[Confusion]:
    """The pairs of classes that are confused most often, by the number of answers.

    Args:
        answers: Of one model or several. An image that counts as right (any of several
            labels) is no confusion.
        most: How many pairs at most; all when None.
        level: Coverage of the intervals, in (0, 1). They are about other images, not
            about other models.
    """
    sizes = np.bincount(answers.label[answers.label >= 0])
    found = []
    for (label, prediction), count in answers.confusions().items():
        if len(found) == most:
            break
        # An image of no known class is mistaken for none.
        if label < 0:
            continue
        images = int(sizes[label])
        share = wilson_share(count / len(answers.models), images, level)
        found.append(Confusion(label, prediction, count, images, share))
    return found


def confident_mistakes(answers: Answers, *, most: int = 24) -> list[Mistake]:
    """The images that the most models are wrong of, and the most confidently.

    By the sum over models of the confidence in a wrong answer: a model that is wrong
    and sure counts 1, one that is right 0. Ties in the order of the names.

    Args:
        answers: Of one model or several.
        most: How many images at most; those that no model is wrong of are left out.
    """
    total = np.zeros(len(answers.ids))
    for wrong, confidence in zip(answers._wrong, answers._confidence, strict=True):
        total += np.where(wrong, confidence, 0.0)
    order = np.argsort(-total, kind="stable")[:most]
    found = []
    for place in order[total[order] > 0].tolist():
        wrong = [bool(one[place]) for one in answers._wrong]
        named = [
            int(one[place])
            for one, is_wrong in zip(answers._prediction, wrong, strict=True)
            if is_wrong
        ]
        counts = sorted(Counter(named).items(), key=lambda item: (-item[1], item[0]))
        label, count = int(answers.label[place]), len(named)
        mean = float(total[place]) / count
        found.append(Mistake(str(answers.ids[place]), label, dict(counts), count, mean))
    return found


def wilson_share(successes: float, trials: int, level: float = 0.95) -> Share:
    """A share with Wilson's interval, where successes may be a mean over models.

    The variance of a mean over models of an image's outcomes is at most that of one
    model's, so the interval is rather too wide than too narrow.
    """
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    share = successes / trials
    middle = (successes + z2 / 2) / (trials + z2)
    half = (z2 * share * (1 - share) / trials + z2**2 / (4 * trials**2)) ** 0.5
    half /= 1 + z2 / trials
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))
