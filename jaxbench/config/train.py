"""`[train]`: populations to train."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from jaxbench.config.base import (
    BatchSize,
    Count,
    Epochs,
    Fraction,
    ImageSize,
    Interpolation,
    Name,
    NotNegative,
    Number,
    PositiveShare,
    Rate,
    Seed,
    Share,
    Table,
    Within,
)

Values = Annotated[tuple[Number, ...], Field(min_length=1, strict=False)]
# Weights of a teacher that an earlier table of the same experiment trains.
BEST_TRIAL = "best-trial"


class GridConfig(Table):
    """The hyper-parameters to try for one optimizer; their product is the grid.

    Other keys are the optimizer's own hyper-parameters (`beta1 = [0.9, 0.95]`), or
    `label_smoothing` and `ema_decay`; each is a list of values.

    Attributes:
        learning_rate: Rates to try; the optimizer's default rate when None.
        weight_decay: Decays to try with each rate; when None 0, or the optimizer's
            default decay where the rate is the default one too.
    """

    model_config = pydantic.ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Values]  # pyright: ignore[reportIncompatibleVariableOverride]

    learning_rate: (
        Annotated[tuple[Rate, ...], Field(min_length=1, strict=False)] | None
    ) = None
    weight_decay: (
        Annotated[tuple[NotNegative, ...], Field(min_length=1, strict=False)] | None
    ) = None

    @property
    def options(self) -> dict[str, tuple[float, ...]]:
        """The other keys, in alphabetical order."""
        return dict(sorted((self.__pydantic_extra__ or {}).items()))


class HalvingConfig(Table):
    """Stops the trials of a population that fall behind: successive halving.

    Attributes:
        first_epoch: The first rung; the others are `factor` times the one before.
        factor: At each rung, one in so many goes on.
        metric: The validation metric that decides.
    """

    first_epoch: Epochs = 1
    factor: Annotated[int, Within(2, 1_000_000)] = 2
    metric: Literal["accuracy", "nll", "ece", "aurc"] = "accuracy"


class TeacherConfig(Table):
    """A trained network to learn from besides the labels.

    Attributes:
        name: Zoo name, or `module:attribute`.
        weights: As for a model that is evaluated; or "best-trial", the trial of this
            model with the best validation accuracy among those of the `[[train]]`
            tables before this one.
        weight: Its part of the loss.
        kind: "soft" probabilities at `temperature`, or "hard" decisions.
        temperature: Of the kind "soft".
        image_size: Height and width in pixels; the model's own when None.
    """

    name: Name
    weights: Name
    weight: PositiveShare = 0.5
    kind: Literal["soft", "hard"] = "soft"
    temperature: Rate = 1.0
    image_size: ImageSize | None = None


class TrainConfig(Table):
    """Populations to train: every model with every optimizer of `grid`.

    Attributes:
        models: Names of the zoo, wildcards allowed.
        dataset: Address of the training images.
        validation: Address of the images that are scored at every point of a curve.
        grid: Optimizer name to its hyper-parameters.
        seeds: One member for each seed and point of the grid.
        recipe: Name of the recipe that the keys from `epochs` to `ema_decay` change.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        warmup_epochs: Linear warm-up before the cosine.
        loss: Name of the loss.
        label_smoothing: Share of the target spread over all classes.
        augmentations: Names from the augmentation table, applied in this order.
        rand_augment: Magnitude of RandAugment; 0 for none.
        random_erasing: Chance that a part of an image is erased.
        mixup: Parameter of mixup; 0 for none.
        cutmix: Parameter of CutMix; 0 for none.
        clip_norm: Largest global gradient norm; 0 for no clipping.
        drop_rate: Dropout before the head.
        drop_path_rate: Stochastic depth of the last block.
        ema_decay: Of the averaged weights; 0 for none.
        teacher: A network to learn from, if any.
        weights: Trained weights to start from: "pretrained" for those on the hub by the
            model's name, a file, or a folder; from scratch when None.
        layer_decay: Learning rates fall by this factor from layer to layer.
        frozen: Patterns of names of parts that are not trained.
        image_size: Height and width in pixels; the model's own when None.
        crop_fraction: Share of a resized image that is kept; the model's own when None.
        interpolation: The resize filter; the model's own when None.
        dtype: What activations are computed in.
        strategy: How a population is compiled; "auto" chooses by backend.
        max_members: Most trials in one population; a larger grid becomes several of
            them. All of a grid's trials when None; their states and activations must
            fit on the devices together, unless the strategy is "loop".
        images: "resident" on the device whole, "stream"ed; "auto" decides by size.
        validate_every: Steps between two points of a curve; an epoch's when None.
        halving: Stops what falls behind, if given.
        checkpoint_seconds: Least time between two checkpoints of a population.
    """

    models: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    dataset: Name
    validation: Name
    grid: Annotated[dict[str, GridConfig], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)] = (0,)
    recipe: Name = "plain"
    epochs: Epochs | None = None
    batch_size: BatchSize | None = None
    warmup_epochs: NotNegative | None = None
    loss: Name | None = None
    label_smoothing: Fraction | None = None
    augmentations: Annotated[tuple[Name, ...], Field(strict=False)] | None = None
    rand_augment: Annotated[float, Within(0.0, 10.0)] | None = None
    random_erasing: Share | None = None
    mixup: NotNegative | None = None
    cutmix: NotNegative | None = None
    clip_norm: NotNegative | None = None
    drop_rate: Fraction | None = None
    drop_path_rate: Fraction | None = None
    ema_decay: Fraction | None = None
    teacher: TeacherConfig | None = None
    weights: Name | None = None
    layer_decay: PositiveShare = 1.0
    frozen: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    image_size: ImageSize | None = None
    crop_fraction: PositiveShare | None = None
    interpolation: Interpolation | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    strategy: Literal["auto", "vmap", "unroll", "loop"] = "auto"
    max_members: Count | None = None
    images: Literal["auto", "resident", "stream"] = "auto"
    validate_every: Count | None = None
    halving: HalvingConfig | None = None
    checkpoint_seconds: NotNegative = 10.0
