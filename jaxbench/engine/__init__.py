"""The only code that runs a model to evaluate it."""

from jaxbench.engine.compilation import enable_persistent_cache
from jaxbench.engine.evaluate import (
    calibrate,
    compile_evaluation,
    evaluate,
)
from jaxbench.engine.evaluation import Evaluation
from jaxbench.engine.mesh import make_data_mesh
from jaxbench.engine.passes import Role
from jaxbench.engine.provenance import provenance, weights_digest
from jaxbench.engine.timing import Timing

__all__ = [
    "Evaluation",
    "Role",
    "Timing",
    "calibrate",
    "compile_evaluation",
    "enable_persistent_cache",
    "evaluate",
    "make_data_mesh",
    "provenance",
    "weights_digest",
]
