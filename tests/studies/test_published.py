"""The shipped tables: their shape, spelling and the names they translate to."""

import numpy as np
import pytest

from jaxbench.studies.published import (
    load_published_backbones,
    load_published_failures,
    load_published_hyperparameters,
    load_published_optimizers,
    load_published_places,
    load_published_ranking,
    load_published_scores,
    load_published_statistics,
)
from jaxbench.training import OPTIMIZERS
from model_zoo import list_models


def test_tables_have_their_printed_size():
    cifar, imagenet = (load_published_scores(d) for d in ("cifar100", "imagenet1k"))
    assert cifar.values.shape == (20, 20)
    assert imagenet.values.shape == (20, 2)
    assert not np.isnan(cifar.values).any()
    assert not np.isnan(imagenet.values).any()
    tuned = load_published_hyperparameters()
    assert tuned.learning_rate.shape == (20, 16)
    assert not np.isnan(tuned.learning_rate).any()
    assert load_published_failures().shape == (20, 20)


@pytest.mark.parametrize(
    ("dataset", "optimizer", "backbone", "value"),
    [
        ("cifar100", "SGD-M", "CNX-T", 0.6009),
        ("cifar100", "Adan", "CNX-T", 0.8465),
        ("cifar100", "RMSProp", "CAF-12", 0.8183),
        ("imagenet1k", "AdamW", "DeiT-S", 0.8038),
        ("imagenet1k", "LAMB", "R-50", 0.7984),
    ],
)
def test_scores_are_the_printed_ones(dataset, optimizer, backbone, value):
    scores = load_published_scores(dataset)
    assert scores.value(optimizer, backbone) == pytest.approx(value, abs=1e-12)


def test_the_better_of_two_optimizers_depends_on_the_backbone():
    """SGD wins on ResNet-50 by 3 points, AdamW on ConvNeXt-T by 23: the bias itself."""
    scores = load_published_scores("cifar100")
    sgd, adamw = (scores.optimizers.index(name) for name in ("SGD-M", "AdamW"))
    leads = scores.values[sgd] - scores.values[adamw]
    resnet, convnext = (scores.backbones.index(name) for name in ("R-50", "CNX-T"))
    assert leads[resnet] == pytest.approx(0.0320)
    assert leads[convnext] == pytest.approx(-0.2343)


def test_every_title_is_spelt_one_way():
    names = load_published_optimizers()
    cifar = load_published_scores("cifar100")
    assert tuple(names) == cifar.optimizers
    assert load_published_scores("imagenet1k").optimizers == cifar.optimizers
    assert set(load_published_hyperparameters().optimizers) == set(names)
    assert tuple(load_published_ranking()) == tuple(names)
    assert sorted(load_published_places().values()) == list(range(1, 21))
    assert tuple(load_published_statistics()) == cifar.backbones


def test_every_optimizer_of_the_project_is_spelt_as_there():
    names = load_published_optimizers()
    assert len(set(names.values())) == 20
    assert set(names.values()) <= set(OPTIMIZERS)


@pytest.mark.parametrize("dataset", ["cifar100", "imagenet1k"])
def test_every_backbone_is_in_the_zoo(dataset):
    backbones = load_published_backbones(dataset)
    assert {row.model for row in backbones.values()} <= set(list_models())
    assert set(load_published_scores(dataset).backbones) <= set(backbones)
    assert {row.recipe for row in backbones.values()} <= {
        *("PyTorch", "DeiT", "ConvNeXt", "RSB A2")
    }


def test_tuned_backbones_are_known():
    tuned = load_published_hyperparameters()
    assert set(tuned.backbones) <= set(load_published_backbones("cifar100"))


@pytest.mark.parametrize("dataset", ["cifar100", "imagenet1k"])
def test_scores_under_the_names_of_the_project(dataset):
    backbones = load_published_backbones(dataset)
    scores = load_published_scores(dataset).renamed(
        optimizers=load_published_optimizers(),
        backbones={title: row.model for title, row in backbones.items()},
    )
    model = "resnet50_cifar" if dataset == "cifar100" else "resnet50"
    assert scores.value("adamw", model) > 0.75
