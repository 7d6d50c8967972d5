"""The optimizers that a population can be trained with."""

from jaxbench.training.optimizers.catalog import (
    OPTIMIZERS,
    Hyper,
    Optimizer,
    get_optimizer,
)

__all__ = ["OPTIMIZERS", "Hyper", "Optimizer", "get_optimizer"]
