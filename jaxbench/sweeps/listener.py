"""Callbacks that report a sweep's progress."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxbench.results import Run

# The id of a trial, its settings, and its curves so far with the steps of their points.
CurvesCallback = Callable[[str, Mapping[str, Any], Mapping[str, np.ndarray]], None]


@dataclasses.dataclass(frozen=True)
class Listener:
    """Callbacks of a display or a logger; each does nothing by default.

    Attributes:
        stage: Called with the title of the stage that begins.
        progress: Called with (images done, images in all) of the current stage.
        curves: Called for every trial that trains, at each point of its curves: with
            its id, its settings, and its curves so far by name, float64 [points],
            `step` among them. A trial that goes on from a checkpoint starts with the
            curves of before.
        finished: Called with every run that was kept, failed ones included.
        at_hand: Called with the number of runs that earlier sessions had finished.
    """

    stage: Callable[[str], None] = lambda title: None
    progress: Callable[[int, int], None] = lambda done, total: None
    curves: CurvesCallback = lambda trial_id, settings, curves: None
    finished: Callable[[Run], None] = lambda run: None
    at_hand: Callable[[int], None] = lambda count: None


def combined(listeners: Sequence[Listener]) -> Listener:
    """One listener that calls several, in their order."""

    def calling(name: str) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            for listener in listeners:
                getattr(listener, name)(*arguments)

        return call

    fields = dataclasses.fields(Listener)
    return Listener(**{field.name: calling(field.name) for field in fields})
