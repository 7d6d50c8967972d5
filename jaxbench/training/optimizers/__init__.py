"""The optimizers that a population can be trained with."""

from jaxbench.training.optimizers.base import Hyper, Leaves, Optimizer
from jaxbench.training.optimizers.catalog import OPTIMIZERS, get_optimizer, hyper_for
from jaxbench.training.optimizers.own import register_optimizer

__all__ = [
    "OPTIMIZERS",
    "Hyper",
    "Leaves",
    "Optimizer",
    "get_optimizer",
    "hyper_for",
    "register_optimizer",
]
