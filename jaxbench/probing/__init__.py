"""What frozen features know: linear probes and nearest neighbours."""

from jaxbench.probing.choice import ProbeFit, ProbeMember
from jaxbench.probing.features import (
    FeatureCache,
    Features,
    extract_features,
    features_key,
)
from jaxbench.probing.heads import FEATURE_NORMS, LinearHead, validation_rows
from jaxbench.probing.linear import ProbeSettings, fit_linear_probe
from jaxbench.probing.logistic import fit_logistic_regression
from jaxbench.probing.neighbors import (
    NeighborClassifier,
    Neighbors,
    find_neighbors,
    vote,
)
from jaxbench.probing.scoring import fit_probe_temperature, score_columns

__all__ = [
    "FEATURE_NORMS",
    "FeatureCache",
    "Features",
    "LinearHead",
    "NeighborClassifier",
    "Neighbors",
    "ProbeFit",
    "ProbeMember",
    "ProbeSettings",
    "extract_features",
    "features_key",
    "find_neighbors",
    "fit_linear_probe",
    "fit_logistic_regression",
    "fit_probe_temperature",
    "score_columns",
    "validation_rows",
    "vote",
]
