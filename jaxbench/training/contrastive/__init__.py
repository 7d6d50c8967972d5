"""Contrastive training of a backbone: two views, NT-Xent, and batches curated.

The method is SimCLR's, Chen et al. (2020), https://arxiv.org/abs/2002.05709; batch
curation is that of arXiv 2403.19579, whose open points are options here.
"""

from jaxbench.training.contrastive.curation import Curation, CurationState, decide
from jaxbench.training.contrastive.encoder import Encoder
from jaxbench.training.contrastive.losses import huber_term, nt_xent, unit_length
from jaxbench.training.contrastive.recipes import ContrastiveRecipe
from jaxbench.training.contrastive.train import (
    ContrastiveResult,
    contrastive_problems,
    train_contrastive,
)
from jaxbench.training.contrastive.views import Views, two_views

__all__ = [
    "ContrastiveRecipe",
    "ContrastiveResult",
    "Curation",
    "CurationState",
    "Encoder",
    "Views",
    "contrastive_problems",
    "decide",
    "huber_term",
    "nt_xent",
    "train_contrastive",
    "two_views",
    "unit_length",
]
