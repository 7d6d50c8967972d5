"""Kinds of jobs: one file each, and a line here."""

from jaxbench.sweeps.jobs.contrastive import CONTRASTIVE
from jaxbench.sweeps.jobs.evaluation import EVALUATION
from jaxbench.sweeps.jobs.populations import TRAINING
from jaxbench.sweeps.jobs.probing import PROBING
from jaxbench.sweeps.jobs.protocol import Kind

# In the order of work.
KINDS: dict[str, Kind] = {
    "contrastive": CONTRASTIVE,
    "training": TRAINING,
    "evaluation": EVALUATION,
    "probing": PROBING,
}
