"""Successive halving: members that fall behind are stopped early."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxbench.errors import UserError


@dataclass(frozen=True)
class Halving:
    """Stops all but the best at rungs that grow by a factor.

    At the end of epochs `first_epoch`, `factor * first_epoch`, `factor^2 *
    first_epoch`, ... the best `1 / factor` of the members that are still trained go on.
    Jamieson & Talwalkar (2016), https://arxiv.org/abs/1502.07943; the schedule of the
    learning rate is that of the full length for all.

    Attributes:
        first_epoch: The first rung, at least 1.
        factor: An integer of at least 2.
        metric: The validation metric that decides; what is better is `maximize`.
        maximize: Whether larger is better.

    Raises:
        UserError: If a value is outside its range; all such values are named.
    """

    first_epoch: int = 1
    factor: int = 2
    metric: str = "accuracy"
    maximize: bool = True

    def __post_init__(self) -> None:
        problems = []
        if self.first_epoch < 1:
            problems.append(f"first_epoch is {self.first_epoch}, wanted 1 or more")
        if self.factor < 2:
            problems.append(f"factor is {self.factor}, wanted 2 or more")
        if problems:
            raise UserError(f"Halving: {'; '.join(problems)}")

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Epochs after which members are stopped, all before the last."""
        found, rung = [], self.first_epoch
        while rung < epochs:
            found.append(rung)
            rung *= self.factor
        return tuple(found)

    def survivors(self, members: Sequence[int], values: np.ndarray) -> list[int]:
        """Who goes on, in the order of `members`: at least one.

        Args:
            members: Those that are still trained.
            values: The metric of each; NaN is worst. Of equals the first go on.
        """
        kept = max(1, math.floor(len(members) / self.factor))
        costs = -values if self.maximize else values
        costs = np.where(np.isnan(values), np.inf, costs)
        best = np.argsort(costs, kind="stable")[:kept]
        return [members[at] for at in sorted(best)]
