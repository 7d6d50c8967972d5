"""The members of a probe's grid, and which of them is the best."""

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence

import numpy as np

from jaxbench.errors import UserError
from jaxbench.probing.features import Features
from jaxbench.probing.heads import LinearHead


@dataclasses.dataclass(frozen=True)
class ProbeMember:
    """One point of a probe's grid, measured on the validation features.

    Attributes:
        learning_rate: Of SGD or LARS; None of a logistic regression.
        weight_decay: The L2 penalty.
        accuracy: On the validation features; an example whose logits are not finite
            counts as wrong.
        nll: On the same, nats; NaN if a logit is not finite.
    """

    learning_rate: float | None
    weight_decay: float
    accuracy: float
    nll: float


@dataclasses.dataclass(frozen=True)
class ProbeFit:
    """A fitted probe: the best member, and what all of them did.

    Attributes:
        head: The best member's linear map.
        best: Its position among the members: the highest validation accuracy, among
            equals the lowest NLL, then the first.
        members: In the grid's order.
        seconds: What the fit took, compilation included.
    """

    head: LinearHead
    best: int
    members: tuple[ProbeMember, ...]
    seconds: float

    @property
    def chosen(self) -> ProbeMember:
        """The best member."""
        return self.members[self.best]


def best_fit(
    heads: Sequence[LinearHead],
    points: Iterable[tuple[float | None, float]],
    validation: Features,
    started: float,
) -> ProbeFit:
    """Measures every member on the validation features and chooses the best.

    Args:
        heads: One of each member.
        points: Learning rate and weight decay of each.
        validation: None of the training features.
        started: `time.perf_counter()` when the fit began.

    Raises:
        UserError: If no member has a finite NLL.
    """
    pairs = zip(heads, points, strict=True)
    members = tuple(ProbeMember(*point, *_scores(h, validation)) for h, point in pairs)
    best = choose(members)
    return ProbeFit(heads[best], best, members, time.perf_counter() - started)


def choose(members: Sequence[ProbeMember]) -> int:
    """The position of the best member; UserError if none has a finite NLL."""
    if not any(math.isfinite(member.nll) for member in members):
        raise UserError(
            f"all {len(members)} members of the probe diverged: their validation "
            "logits are not finite; give smaller learning rates"
        )

    def merit(position: int) -> tuple[float, float, int]:
        member = members[position]
        nll = member.nll if math.isfinite(member.nll) else math.inf
        return (member.accuracy, -nll, -position)

    return max(range(len(members)), key=merit)


def _scores(head: LinearHead, validation: Features) -> tuple[float, float]:
    """Accuracy and NLL of a linear map on features, in float64 from its logits."""
    logits = head.logits(validation).astype(np.float64)
    finite = np.isfinite(logits).all(axis=1)
    nll = math.nan
    if finite.all():
        top = logits.max(axis=1)
        total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        nll = float(np.mean(total - logits[np.arange(len(top)), validation.labels]))
    right = finite & (np.argmax(logits, axis=1) == validation.labels)
    return float(right.mean()), nll
