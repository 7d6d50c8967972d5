"""A grid of scores, one for each pair of optimizer and backbone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxbench.errors import unknown_name

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Accuracies of optimizers on backbones.

    Attributes:
        optimizers: Names of the rows.
        backbones: Names of the columns.
        values: Fractions in [0, 1]; NaN where a pair has no score.
        diverged: Pairs (optimizer, backbone) that were trained and have no score,
            because the loss of every candidate stopped being finite. All other NaN
            are pairs that nobody has trained.

    Raises:
        ValueError: If rows or columns are missing, a name occurs twice, the shape
            does not fit, a value is outside [0, 1], or a diverged pair is unknown or
            has a score.
    """

    optimizers: tuple[str, ...]
    backbones: tuple[str, ...]
    values: Float[np.ndarray, "optimizers backbones"]
    diverged: frozenset[Pair] = frozenset()

    def __post_init__(self):
        check_grid(self.optimizers, self.backbones, {"values": self.values})
        values = np.array(self.values, np.float64)
        outside = ~np.isnan(values) & ~((values >= 0) & (values <= 1))
        if outside.any():
            raise ValueError(
                f"ScoreTable: {outside.sum()} values are outside [0, 1], the first is "
                f"{values[outside][0]}; give fractions, not percent"
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        for optimizer, backbone in sorted(self.diverged):
            if not math.isnan(self.value(optimizer, backbone)):
                raise ValueError(
                    f"ScoreTable: {optimizer} on {backbone} is marked as diverged and "
                    "has a score; a diverged pair is NaN"
                )

    def value(self, optimizer: str, backbone: str) -> float:
        """One score.

        Raises:
            ValueError: If a name is unknown.
        """
        row = _position("optimizer", optimizer, self.optimizers)
        return float(self.values[row, _position("backbone", backbone, self.backbones)])

    def select(
        self,
        *,
        optimizers: Sequence[str] | None = None,
        backbones: Sequence[str] | None = None,
    ) -> "ScoreTable":
        """The table of some rows and columns, in the order given.

        Args:
            optimizers: Rows to keep; None keeps all.
            backbones: Columns to keep; None keeps all.

        Raises:
            ValueError: If a name is unknown.
        """
        rows = tuple(self.optimizers if optimizers is None else optimizers)
        columns = tuple(self.backbones if backbones is None else backbones)
        row_index = [_position("optimizer", name, self.optimizers) for name in rows]
        column_index = [_position("backbone", name, self.backbones) for name in columns]
        return ScoreTable(
            rows,
            columns,
            self.values[row_index][:, column_index],
            frozenset((o, b) for o, b in self.diverged if o in rows and b in columns),
        )

    def renamed(
        self, *, optimizers: Mapping[str, str], backbones: Mapping[str, str]
    ) -> "ScoreTable":
        """The same numbers under other names.

        Args:
            optimizers: Old name to new; a name that it lacks stays.
            backbones: Likewise.

        Raises:
            ValueError: If two rows or two columns would have one name.
        """
        return ScoreTable(
            tuple(optimizers.get(name, name) for name in self.optimizers),
            tuple(backbones.get(name, name) for name in self.backbones),
            self.values,
            frozenset(
                (optimizers.get(o, o), backbones.get(b, b)) for o, b in self.diverged
            ),
        )


class SideBySide(NamedTuple):
    """One pair's score in two tables.

    Attributes:
        optimizer: Name of the optimizer.
        backbone: Name of the backbone.
        own: Score in the first table, a fraction.
        published: Score in the second.
        difference: own - published.
    """

    optimizer: str
    backbone: str
    own: float
    published: float
    difference: float


def side_by_side(own: ScoreTable, published: ScoreTable) -> tuple[SideBySide, ...]:
    """Two tables' scores of the pairs that both have.

    Args:
        own: Decides the order of the rows.
        published: The other, under the same names: see `ScoreTable.renamed`.

    Returns:
        One row a pair with a score in both.

    Raises:
        ValueError: If no pair has a score in both.
    """
    rows = []
    for optimizer in own.optimizers:
        for backbone in own.backbones:
            if optimizer in published.optimizers and backbone in published.backbones:
                one = own.value(optimizer, backbone)
                other = published.value(optimizer, backbone)
                if not math.isnan(one - other):
                    rows.append(
                        SideBySide(optimizer, backbone, one, other, one - other)
                    )
    if not rows:
        raise ValueError(
            "no pair of optimizer and backbone has a score in both tables: the first "
            f"has {_some(own)}, the second {_some(published)}; give both the same names"
        )
    return tuple(rows)


def check_grid(
    optimizers: Sequence[str],
    backbones: Sequence[str],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Refuses an empty grid, repeated names and arrays of another shape.

    Raises:
        ValueError: If one of these is the case.
    """
    for kind, names in (("optimizers", optimizers), ("backbones", backbones)):
        if not names:
            raise ValueError(f"the table has no {kind}; nothing can be said")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{kind} {', '.join(twice)} occur more than once")
    shape = (len(optimizers), len(backbones))
    for name, array in arrays.items():
        if np.shape(array) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(array)}; {shape[0]} optimizers on "
                f"{shape[1]} backbones need {shape}"
            )


def _position(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise ValueError(unknown_name(kind, name, names))
    return names.index(name)


def _some(table: ScoreTable) -> str:
    return f"{', '.join(table.optimizers[:3])} on {', '.join(table.backbones[:3])}"
