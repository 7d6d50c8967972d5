"""Image classifiers and their training choices, measured at accelerator speed.

The names below load what they need at first use, so that `import jaxbench.metrics`
stays as light as it is meant to be.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbench.config import ExperimentConfig, load_config
    from jaxbench.data import open_dataset, register_corruption, register_dataset
    from jaxbench.engine import Evaluation, evaluate
    from jaxbench.metrics import register_metric
    from jaxbench.results import ResultStore
    from jaxbench.sweeps import sweep
    from jaxbench.training import register_optimizer

_HOMES = {
    "Evaluation": "jaxbench.engine",
    "ExperimentConfig": "jaxbench.config",
    "ResultStore": "jaxbench.results",
    "evaluate": "jaxbench.engine",
    "load_config": "jaxbench.config",
    "open_dataset": "jaxbench.data",
    "register_corruption": "jaxbench.data",
    "register_dataset": "jaxbench.data",
    "register_metric": "jaxbench.metrics",
    "register_optimizer": "jaxbench.training",
    "sweep": "jaxbench.sweeps",
}

__all__ = [
    "Evaluation",
    "ExperimentConfig",
    "ResultStore",
    "evaluate",
    "load_config",
    "open_dataset",
    "register_corruption",
    "register_dataset",
    "register_metric",
    "register_optimizer",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxbench' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        # The metrics are installed alone: one of the other packages is missing.
        raise ModuleNotFoundError(
            f"jaxbench.{name} needs the package {error.name!r}, which is not "
            "installed: pip install 'jaxbench[run]'",
            name=error.name,
        ) from error
