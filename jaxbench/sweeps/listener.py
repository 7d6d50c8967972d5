"""What a display is told while a sweep runs."""

import dataclasses
from collections.abc import Callable

from jaxbench.results import Run


@dataclasses.dataclass(frozen=True)
class Listener:
    """What a display wants to know while a sweep runs.

    Attributes:
        stage: Called with what begins now, in words.
        progress: Called with (done, in all) of the current stage.
        finished: Called with every run that was kept, failed ones included.
        at_hand: Called with the number of runs that earlier sessions had finished.
    """

    stage: Callable[[str], None] = lambda title: None
    progress: Callable[[int, int], None] = lambda done, total: None
    finished: Callable[[Run], None] = lambda run: None
    at_hand: Callable[[int], None] = lambda count: None
