"""What a contrastive run of a plan is."""

import dataclasses

import numpy as np

from jaxbench.config import PretrainConfig
from jaxbench.results import run_digest
from jaxbench.training import HyperParameters
from jaxbench.training.contrastive import ContrastiveRecipe, Encoder
from model_zoo import Classifier, create_model

OBJECTIVE = "nt_xent"


@dataclasses.dataclass(frozen=True)
class PretrainTrial:
    """One contrastive run."""

    member: HyperParameters
    trial_id: str


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Contrastive runs of one backbone under one curation, which differ in seed."""

    table: PretrainConfig
    model: str
    recipe: ContrastiveRecipe
    tested_on: str
    trials: tuple[PretrainTrial, ...]

    @property
    def title(self) -> str:
        """How it is called on the screen."""
        return f"{self.model} + {self.recipe.curation.method} curation"

    @property
    def digest(self) -> str:
        """Of all of its runs."""
        return run_digest({"pretraining": [trial.trial_id for trial in self.trials]})

    def classifier(self) -> Classifier:
        """The backbone."""
        return create_model(
            self.model,
            num_classes=0,
            image_size=self.table.image_size,
            dtype=np.dtype(self.table.dtype),
        )

    def encoder(self) -> Encoder:
        """The backbone with its projection head."""
        return Encoder(self.classifier(), self.recipe.hidden, self.recipe.width)
