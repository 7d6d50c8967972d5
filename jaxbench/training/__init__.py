"""Training: optimizers, recipes and populations."""

from jaxbench.training.data import ImageStream, TrainingImages
from jaxbench.training.halving import Halving
from jaxbench.training.losses import (
    LOSSES,
    binary_cross_entropy,
    cross_entropy,
    distillation,
)
from jaxbench.training.members import SHARED_OPTIONS, HyperParameters
from jaxbench.training.optimizers import (
    OPTIMIZERS,
    Hyper,
    Leaves,
    Optimizer,
    get_optimizer,
    register_optimizer,
)
from jaxbench.training.planning import plan_problems
from jaxbench.training.population import (
    PopulationResult,
    compile_population,
    train_population,
)
from jaxbench.training.recipes import RECIPES, Recipe, get_recipe
from jaxbench.training.schedules import warmup_cosine
from jaxbench.training.starts import Start
from jaxbench.training.teachers import Teacher

__all__ = [
    "LOSSES",
    "OPTIMIZERS",
    "RECIPES",
    "SHARED_OPTIONS",
    "Halving",
    "Hyper",
    "HyperParameters",
    "ImageStream",
    "Leaves",
    "Optimizer",
    "PopulationResult",
    "Recipe",
    "Start",
    "Teacher",
    "TrainingImages",
    "binary_cross_entropy",
    "compile_population",
    "cross_entropy",
    "distillation",
    "get_optimizer",
    "get_recipe",
    "plan_problems",
    "register_optimizer",
    "train_population",
    "warmup_cosine",
]
