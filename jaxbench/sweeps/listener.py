"""Callbacks that report a sweep's progress."""

import dataclasses
from collections.abc import Callable

from jaxbench.results import Run


@dataclasses.dataclass(frozen=True)
class Listener:
    """Callbacks of a display; each does nothing by default.

    Attributes:
        stage: Called with the title of the stage that begins.
        progress: Called with (images done, images in all) of the current stage.
        finished: Called with every run that was kept, failed ones included.
        at_hand: Called with the number of runs that earlier sessions had finished.
    """

    stage: Callable[[str], None] = lambda title: None
    progress: Callable[[int, int], None] = lambda done, total: None
    finished: Callable[[Run], None] = lambda run: None
    at_hand: Callable[[int], None] = lambda count: None
