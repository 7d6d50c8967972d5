"""Experiment trackers that follow a sweep: TensorBoard, Weights & Biases, MLflow."""

from jaxbench.loggers.logger import Logger, Loggers, make_loggers
from jaxbench.loggers.tracker import Status, Subject, TrackedRun, Tracker

__all__ = [
    "Logger",
    "Loggers",
    "Status",
    "Subject",
    "TrackedRun",
    "Tracker",
    "make_loggers",
]
