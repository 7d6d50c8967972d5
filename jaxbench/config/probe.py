"""`[probe]`: backbones whose frozen features are classified, and how."""

from typing import Annotated, Literal

from pydantic import Field

from jaxbench.config.base import (
    BatchSize,
    Count,
    Epochs,
    Fraction,
    Name,
    NotNegative,
    Rate,
    Seed,
    Table,
    Within,
)
from jaxbench.config.evaluate import SubjectConfig

Protocol = Literal["linear_probe", "logistic_regression", "knn"]


class ProbeConfig(Table):
    """Backbones to probe, on the clean, shifted and ood datasets of `[evaluate]`.

    Attributes:
        models: Backbones with weights, as in `[[evaluate.models]]`; whatever head the
            weights have is not looked at.
        train: Address of the images that probes are fitted on, and that neighbours are
            looked for among.
        validation: Address of the images that learning rate, weight decay and penalty
            are chosen by; a part of `train` when None.
        validation_share: That part, the same share of every class.
        protocols: "linear_probe", "logistic_regression" (full batch, to the optimum)
            and "knn".
        learning_rates: Of the linear probe; every pair with a weight decay is a member.
        weight_decays: Of the linear probe.
        penalties: L2 penalties of the logistic regression, on the mean NLL.
        epochs: Of the linear probe.
        batch_size: Of the linear probe.
        warmup_epochs: Of the linear probe.
        optimizer: Of the linear probe: "sgd" or "lars".
        momentum: Of the linear probe.
        feature_norm: What is done to features before a linear layer: "none", "l2",
            "standardize" or "batch_norm"; a logistic regression takes "standardize"
            for the last.
        neighbors: Numbers of neighbours; one result each.
        votes: "weighted" by exp(similarity / vote_temperature), or "uniform".
        vote_temperature: Of weighted votes.
        prior_votes: Evenly spread votes beside those of the neighbours, so that no
            class has probability zero.
        seed: Of the probe's initial weights and order, and of the part of `train`.
        keep_features: Whether features are kept in the results folder, so that another
            probe of the same model on the same images needs no pass.
    """

    models: Annotated[tuple[SubjectConfig, ...], Field(min_length=1, strict=False)]
    train: Name
    validation: Name | None = None
    validation_share: Annotated[
        float, Within(0.0, 1.0, open_low=True, open_high=True)
    ] = 0.1
    protocols: Annotated[tuple[Protocol, ...], Field(min_length=1, strict=False)] = (
        "linear_probe",
        "knn",
    )
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1, strict=False)] = (
        0.001,
        0.003,
        0.01,
        0.03,
        0.1,
        0.3,
        1.0,
        3.0,
    )
    weight_decays: Annotated[
        tuple[NotNegative, ...], Field(min_length=1, strict=False)
    ] = (0.0,)
    penalties: Annotated[tuple[Rate, ...], Field(min_length=1, strict=False)] = (
        1e-6,
        1e-5,
        1e-4,
        1e-3,
        1e-2,
    )
    epochs: Epochs = 100
    batch_size: BatchSize = 1024
    warmup_epochs: NotNegative = 0.0
    optimizer: Literal["sgd", "lars"] = "sgd"
    momentum: Fraction = 0.9
    feature_norm: Literal["none", "l2", "standardize", "batch_norm"] = "standardize"
    neighbors: Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] = (
        10,
        20,
        100,
        200,
    )
    votes: Literal["weighted", "uniform"] = "weighted"
    vote_temperature: Rate = 0.07
    prior_votes: Rate = 1.0
    seed: Seed = 0
    keep_features: bool = False
