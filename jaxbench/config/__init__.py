"""Experiment files: one frozen and validated value each."""

from jaxbench.config.evaluate import PRETRAINED, EvaluateConfig, SubjectConfig
from jaxbench.config.experiment import (
    ExperimentConfig,
    config_digest,
    load_config,
    parse_config,
)
from jaxbench.config.train import (
    GridConfig,
    HalvingConfig,
    TeacherConfig,
    TrainConfig,
)

__all__ = [
    "PRETRAINED",
    "EvaluateConfig",
    "ExperimentConfig",
    "GridConfig",
    "HalvingConfig",
    "SubjectConfig",
    "TeacherConfig",
    "TrainConfig",
    "config_digest",
    "load_config",
    "parse_config",
]
