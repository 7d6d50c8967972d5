"""`[[pretrain]]`: backbones to train without labels, and how they are probed."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from jaxbench.config.base import (
    BatchSize,
    Count,
    Epochs,
    ImageSize,
    Name,
    NotNegative,
    Number,
    PositiveShare,
    Rate,
    Seed,
    Share,
    Table,
    Width,
    Within,
)

Range = Annotated[tuple[Rate, Rate], Field(strict=False)]
_PROBE_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class ViewsConfig(Table):
    """How the two views of an image are drawn; the defaults are SimCLR's.

    Attributes:
        crop_scale: Range of the crop's share of the area; [1, 1] for no crop.
        crop_ratio: Range of the crop's width over its height.
        flip: Whether half of the views are mirrored.
        jitter: Strength of the colour jitter; 0 for none.
        jitter_probability: That a view is jittered.
        grayscale: That a view loses its colour.
        blur: That a view is blurred.
    """

    crop_scale: Annotated[tuple[PositiveShare, PositiveShare], Field(strict=False)] = (
        0.08,
        1.0,
    )
    crop_ratio: Range = (3 / 4, 4 / 3)
    flip: bool = True
    jitter: NotNegative = 1.0
    jitter_probability: Share = 0.8
    grayscale: Share = 0.2
    blur: Share = 0.5


class CurationConfig(Table):
    """Which batches are used; see `jaxbench.training.contrastive.Curation`.

    Attributes:
        method: "none", "value" or "quantile".
        max_distance: The largest Frechet distance that passes, for "value".
        quantile: The quantile of the draws before that passes, for "quantile".
        window: How many draws before count, for "quantile".
        warmup: Draws at the beginning that are used whatever their distance.
        on_reject: "skip" goes on to the next images, "redraw" draws new views.
        max_redraws: For "redraw".
        measure: Whether the distance is measured with "none" too.
        budget: What `epochs` counts: "draws", used or not, or "updates".
    """

    method: Literal["none", "value", "quantile"] = "none"
    max_distance: Rate | None = None
    quantile: (
        Annotated[float, Within(0.0, 1.0, open_low=True, open_high=True)] | None
    ) = None
    window: Annotated[int, Within(2, 1_000_000)] = 100
    warmup: Annotated[int, Within(0, 2**31 - 1)] = 20
    on_reject: Literal["skip", "redraw"] = "skip"
    max_redraws: Count = 3
    measure: bool = True
    budget: Literal["draws", "updates"] = "draws"


class PretrainProbeConfig(Table):
    """The linear layer that judges a backbone.

    It is tested on the first address of `evaluate.clean`, of which no image may be in
    any other of the table's datasets.

    Attributes:
        dataset: Address of the labelled images that it is fitted on.
        validation: Address of those that choose among rates and decays, others than
            `dataset`'s; or how many of `dataset` to set apart for it, the same number
            of every class.
        learning_rates: Of SGD with momentum.
        weight_decays: L2 penalties; with each rate.
        epochs: Passes over the features.
        batch_size: Features of a step.
        feature_norm: "none", "l2", "standardize" or "batch_norm".
    """

    dataset: Name
    validation: Name | Count
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1, strict=False)] = (
        _PROBE_RATES
    )
    weight_decays: Annotated[
        tuple[NotNegative, ...], Field(min_length=1, strict=False)
    ] = (0.0,)
    epochs: Epochs = 100
    batch_size: BatchSize = 1024
    feature_norm: Literal["none", "l2", "standardize", "batch_norm"] = "standardize"


class PretrainConfig(Table):
    """Contrastive training: every model with every curation and seed.

    Attributes:
        models: Names of the zoo, wildcards allowed.
        dataset: Address of the images; their labels are not used.
        optimizer: Name of the optimizer.
        learning_rate: Its peak.
        weight_decay: Of kernels.
        options: The optimizer's own hyper-parameters.
        epochs: Passes over the images.
        batch_size: Images of a batch.
        warmup_epochs: Linear warm-up before the cosine.
        clip_norm: Largest global gradient norm; no clipping when None.
        temperature: Of NT-Xent.
        hidden: Width of the projection head's hidden layer; the features' when None.
        width: Length of a projection.
        huber_weight: Of the Huber term; 0 for none.
        huber_delta: Where it turns from a square into a line.
        normalized: Whether the Huber term and the Frechet distance see projections at
            unit length.
        views: How views are drawn.
        curation: One table, or several to compare.
        seeds: One run each.
        probe: How a backbone is judged.
        image_size: Height and width in pixels; the model's own when None.
        dtype: What activations are computed in.
        checkpoint_seconds: Least time between two checkpoints of a run.
    """

    models: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    dataset: Name
    optimizer: Name
    learning_rate: Rate
    weight_decay: NotNegative = 0.0
    options: dict[str, Number] = Field(default_factory=dict)
    epochs: Epochs
    batch_size: Annotated[int, Within(2, 2**30)]
    warmup_epochs: NotNegative = 0.0
    clip_norm: Rate | None = None
    temperature: Rate = 0.5
    hidden: Width | None = None
    width: Width = 128
    huber_weight: NotNegative = 0.0
    huber_delta: Rate = 1.0
    normalized: bool = True
    views: ViewsConfig = Field(default_factory=ViewsConfig)
    curation: Annotated[
        tuple[CurationConfig, ...], Field(min_length=1, strict=False)
    ] = (CurationConfig(),)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)] = (0,)
    probe: PretrainProbeConfig
    image_size: ImageSize | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpoint_seconds: NotNegative = 30.0

    @pydantic.field_validator("curation", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict) else value
