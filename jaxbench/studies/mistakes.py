"""Which classes are taken for others, and of which images most models are wrong.

From the per-example columns of several models on the same images. Pure numpy.
"""

from collections import Counter
from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from jaxbench.studies.shape_bias import Share

# What `Answers.add` reads.
COLUMNS = ("id", "label", "prediction", "confidence", "correct")


class Answers:
    """The answers of several models to the same images, added one model at a time.

    The first model says which images and labels; one with others is left out.

    Attributes:
        ids: Names of the images, sorted.
        label: True class of each.
        left_out: Models whose images or labels are others.
    """

    def __init__(self) -> None:
        self.ids = np.array([], str)
        self.label = np.array([], np.int32)
        self.left_out: list[str] = []
        # Model to where it is wrong, its predictions and their confidence.
        self._given: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    @property
    def models(self) -> list[str]:
        """The models whose answers these are, as added."""
        return list(self._given)

    def add(self, model: str, columns: Mapping[str, np.ndarray]) -> None:
        """Takes the columns `COLUMNS` of a model; rows may be in any order."""
        order = np.argsort(np.asarray(columns["id"], str))
        ids, label, prediction, confidence, correct = (
            np.asarray(columns[name])[order] for name in COLUMNS
        )
        if not self._given:
            self.ids, self.label = ids.astype(str), label.astype(np.int32)
        elif not (np.array_equal(ids, self.ids) and np.array_equal(label, self.label)):
            self.left_out.append(model)
            return
        # Logits that are not finite are an error, but no answer.
        wrong = ~correct & np.isfinite(confidence)
        kept = prediction.astype(np.int32), confidence.astype(np.float32)
        self._given[model] = (wrong, *kept)

    def of(self, model: str) -> "Answers":
        """The answers of one model."""
        found = Answers()
        found.ids, found.label = self.ids, self.label
        found._given = {model: self._given[model]}
        return found

    def num_wrong(self) -> int:
        """Wrong answers of all models."""
        return sum(int(wrong.sum()) for wrong, _, _ in self._given.values())

    def wrong_pairs(self) -> Counter[tuple[int, int]]:
        """(true class, predicted class) to the number of answers that confuse them."""
        counts: Counter[tuple[int, int]] = Counter()
        for wrong, prediction, _ in self._given.values():
            pairs = np.stack([self.label[wrong], prediction[wrong]], axis=1)
            unique, number = np.unique(pairs, axis=0, return_counts=True)
            names = map(tuple, unique.tolist())
            counts.update(dict(zip(names, number.tolist(), strict=True)))
        return counts

    def wrong_confidence(self) -> Float64[np.ndarray, " images"]:
        """Sum over models of the confidence in a wrong answer, image by image."""
        total = np.zeros(len(self.ids))
        for wrong, _, confidence in self._given.values():
            total += np.where(wrong, confidence, 0.0)
        return total

    def taken_for(self, place: int) -> dict[int, int]:
        """Wrong class to the number of models that named it, of one image."""
        named = Counter(int(p[place]) for w, p, _ in self._given.values() if w[place])
        return dict(sorted(named.items(), key=lambda item: (-item[1], item[0])))


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
            labels) is not a confusion.
        most: How many pairs at most; all when None.
        level: Coverage of the intervals, in (0, 1). They are about other images, not
            about other models.
    """
    # An image of no known class is mistaken for none.
    pairs = {pair: n for pair, n in answers.wrong_pairs().items() if pair[0] >= 0}
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    sizes = np.bincount(answers.label[answers.label >= 0])
    found = []
    for pair, count in ordered[:most]:
        images = int(sizes[pair[0]])
        share = wilson_share(count / len(answers.models), images, level)
        found.append(Confusion(*pair, count, images, share))
    return found


def confident_mistakes(answers: Answers, *, most: int = 24) -> list[Mistake]:
    """The images that the most models are wrong of, and the most confidently.

    By the sum over models of the confidence in a wrong answer: a model that is wrong
    and sure counts 1, one that is right 0. Ties in the order of the names.

    Args:
        answers: Of one model or several.
        most: How many images at most; those that no model is wrong of are left out.
    """
    total = answers.wrong_confidence()
    order = np.argsort(-total, kind="stable")[:most]
    found = []
    for place in order[total[order] > 0].tolist():
        named = answers.taken_for(place)
        count = sum(named.values())
        label, mean = int(answers.label[place]), float(total[place]) / count
        found.append(Mistake(str(answers.ids[place]), label, named, count, mean))
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
