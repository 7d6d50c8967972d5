"""Versions of the numbers: a part of the name of every run, and of its row."""

from jaxbench.config import ExperimentConfig, config_digest
from jaxbench.engine import provenance

# A change that moves numbers raises the version of what it moves: those runs are done
# again, and reports leave out the earlier ones of the same model.
NUMBERS_VERSION = {"trial": 3, "pretraining": 2, "probe": 1, "evaluation": 4}


def run_provenance(config: ExperimentConfig, version: int) -> dict[str, str]:
    """Where a row comes from: code, machine, experiment and version of the numbers."""
    return provenance() | {
        "config_digest": config_digest(config),
        "numbers_version": str(version),
    }
