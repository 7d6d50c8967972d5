"""Training: optimizers, recipes and populations."""

from jaxbench.training.losses import cross_entropy
from jaxbench.training.members import HyperParameters
from jaxbench.training.optimizers import OPTIMIZERS, Hyper, Optimizer, get_optimizer
from jaxbench.training.population import (
    PopulationResult,
    compile_population,
    train_population,
)
from jaxbench.training.recipes import Recipe
from jaxbench.training.schedules import warmup_cosine

__all__ = [
    "OPTIMIZERS",
    "Hyper",
    "HyperParameters",
    "Optimizer",
    "PopulationResult",
    "Recipe",
    "compile_population",
    "cross_entropy",
    "get_optimizer",
    "train_population",
    "warmup_cosine",
]
