"""Experiment files: one frozen and validated value each."""

from jaxbench.config.evaluate import PRETRAINED, EvaluateConfig, SubjectConfig
from jaxbench.config.experiment import (
    ExperimentConfig,
    config_digest,
    load_config,
    parse_config,
)
from jaxbench.config.pretrain import (
    CurationConfig,
    PretrainConfig,
    PretrainProbeConfig,
    ViewsConfig,
)
from jaxbench.config.probe import ProbeConfig
from jaxbench.config.train import (
    BEST_TRIAL,
    GridConfig,
    HalvingConfig,
    TeacherConfig,
    TrainConfig,
)

__all__ = [
    "BEST_TRIAL",
    "PRETRAINED",
    "CurationConfig",
    "EvaluateConfig",
    "ExperimentConfig",
    "GridConfig",
    "HalvingConfig",
    "PretrainConfig",
    "PretrainProbeConfig",
    "ProbeConfig",
    "SubjectConfig",
    "TeacherConfig",
    "TrainConfig",
    "ViewsConfig",
    "config_digest",
    "load_config",
    "parse_config",
]
