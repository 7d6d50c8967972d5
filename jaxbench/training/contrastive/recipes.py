"""How a contrastive training goes, apart from rate, decay and seed."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from jaxbench.errors import UserError, misfits, unknown_name
from jaxbench.training.contrastive.curation import Curation
from jaxbench.training.contrastive.views import Views

Budget = Literal["draws", "updates"]


@dataclass(frozen=True)
class ContrastiveRecipe:
    """Everything that runs which are compared have in common.

    Attributes:
        epochs: Passes over the images that the budget is counted in.
        batch_size: Images of a batch, each of which has two views.
        warmup_epochs: Length of the linear warm-up before the cosine.
        temperature: Of NT-Xent.
        hidden: Width of the projection head's hidden layer; the features' when None.
        width: Length of a projection.
        huber_weight: Of the Huber term, beside NT-Xent with weight 1; 0 turns it off.
        huber_delta: Where the Huber term turns from a square into a line.
        normalized: Whether the Huber term and the Frechet distance see projections at
            unit length, as NT-Xent does, or as the head gives them. As the head gives
            them the distance grows with the projections' scale, which NT-Xent does not
            see.
        views: How the two views are drawn.
        curation: Which batches are used.
        budget: What ends the training, and what the schedule counts: with s steps in an
            epoch, `epochs * s` "draws", used or not, or `epochs * s` "updates", however
            many draws that takes. Without curation the two are the same.
        clip_norm: Largest global norm of the gradient; None for no clipping.

    Raises:
        UserError: If a value is out of its range; all such are named.
    """

    epochs: int = 100
    batch_size: int = 256
    warmup_epochs: float = 10.0
    temperature: float = 0.5
    hidden: int | None = None
    width: int = 128
    huber_weight: float = 0.0
    huber_delta: float = 1.0
    normalized: bool = True
    views: Views = field(default_factory=Views)
    curation: Curation = field(default_factory=Curation)
    budget: Budget = "draws"
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        positive, count = "a positive number", "a whole number of at least"
        wanted = {
            "epochs": (self.epochs >= 1, f"{count} 1"),
            "batch_size": (
                self.batch_size >= 2,
                f"{count} 2: the other images are the negatives",
            ),
            "warmup_epochs": (
                0 <= self.warmup_epochs <= self.epochs,
                "a number from 0 to `epochs`",
            ),
            "temperature": (0 < self.temperature < np.inf, positive),
            "hidden": (self.hidden is None or self.hidden >= 1, f"{count} 1"),
            "width": (self.width >= 1, f"{count} 1"),
            "huber_weight": (0 <= self.huber_weight < np.inf, "a number, 0 or more"),
            "huber_delta": (0 < self.huber_delta < np.inf, positive),
            "clip_norm": (self.clip_norm is None or self.clip_norm > 0, positive),
        }
        problems = misfits(self, wanted)
        if self.budget not in get_args(Budget):
            problems.append(unknown_name("budget", self.budget, get_args(Budget)))
        if problems:
            raise UserError(f"contrastive training: {'; '.join(problems)}")
