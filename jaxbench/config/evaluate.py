"""`[evaluate]`: what every model is measured on, and models that come as they are."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from jaxbench.config.base import (
    BatchSize,
    Classes,
    Count,
    ImageSize,
    Interpolation,
    Name,
    PositiveShare,
    Resamples,
    Table,
)

# Weights that are to be fetched from the hub by the model's name.
PRETRAINED = "pretrained"


class SubjectConfig(Table):
    """A model that is evaluated without being trained here.

    Attributes:
        name: Zoo name, wildcards allowed; or `module:attribute`, a user's own
            classifier made with `classifier_from_function`.
        weights: "pretrained" for those on the hub; a file of weights, or a folder of
            them that is searched by name; or "random:SEED" for an untrained network.
        num_classes: Outputs of the head; the number of the clean dataset's classes
            when None.
        image_size: Height and width in pixels; "test" for those that published results
            of the weights were measured at, with their crop, as timm's validation
            script does; the model's own when None.
        crop_fraction: Share of the resized image that the crop keeps; the model's own
            when None.
        interpolation: The resize filter; the model's own when None.
        dtype: What activations are computed in.
        zero_shot: Makes a CLIP model a classifier by the names of the classes:
            "imagenet" for those of its authors, or a file of class names (`.toml` with
            `class_names` and `templates`, or text, one name a line) in the order of
            the labels. None takes the model's own head.
        classes: Which class each output means: "imagenet" for its thousand, or a text
            file with one name a line in the order of the outputs.
        class_order: Instead of a list, for networks trained on folders: "torchvision"
            sorts their names plainly, "timm" with digits as numbers and case-blind.
    """

    name: Name
    weights: Name = PRETRAINED
    num_classes: Classes | None = None
    image_size: ImageSize | Literal["test"] | None = None
    crop_fraction: PositiveShare | None = None
    interpolation: Interpolation | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    zero_shot: Name | None = None
    classes: Name | None = None
    class_order: Literal["torchvision", "timm"] | None = None


class EvaluateConfig(Table):
    """What every trained and every named model is measured on.

    Attributes:
        clean: Addresses of in-distribution images; the first one is what
            out-of-distribution images are compared with.
        shifted: Addresses of images of the same classes under a shift.
        ood: Addresses of images of other classes.
        calibration: Where the temperature is fitted: an address, or how many images
            of the first clean dataset to set apart, the same number of every class
            as near as can be; they are left out of every clean or shifted dataset
            that has them. No temperature scaling when None.
        metrics: Names of the metrics on clean and shifted images; all when None.
        models: Models to evaluate beside those that are trained.
        batch_size: Images in a step, rounded up to a multiple of the devices.
        num_resamples: Bootstrap resamples behind every interval; none when 0.
    """

    clean: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
    shifted: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    ood: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    calibration: Name | Count | None = None
    metrics: Annotated[tuple[Name, ...], Field(min_length=1, strict=False)] | None = (
        None
    )
    models: Annotated[tuple[SubjectConfig, ...], Field(strict=False)] = ()
    batch_size: BatchSize = 256
    num_resamples: Resamples = 1000

    @pydantic.field_validator("calibration", mode="before")
    @classmethod
    def _address_or_count(cls, value: Any) -> Any:
        count = isinstance(value, int) and not isinstance(value, bool)
        if (
            value is None
            or (count and 1 <= value < 2**31)
            or (isinstance(value, str) and value)
        ):
            return value
        raise ValueError("wanted an address, or a number of images, 1 to 2,147,483,647")
