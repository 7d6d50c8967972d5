"""The command `pretrain`: contrastive training, judged by a linear probe."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from jaxbench.cli.execution import execute
from jaxbench.cli.options import (
    Dtype,
    Execution,
    ImageSize,
    Imports,
    ModelList,
    OnError,
    Results,
    grouped,
    named_models,
)
from jaxbench.config import parse_config
from jaxbench.errors import UserError


@dataclass(frozen=True)
class Contrast:
    """The contrastive loss and its head; what is not given is the table's default."""

    temperature: Annotated[
        float | None, typer.Option(help="Of NT-Xent; 0.5 if not given.")
    ] = None
    hidden: Annotated[
        int | None,
        typer.Option(
            min=1, help="Hidden width of the projection head; the features' by default."
        ),
    ] = None
    width: Annotated[
        int | None, typer.Option(min=1, help="Length of a projection; 128.")
    ] = None
    huber_weight: Annotated[
        float | None, typer.Option(min=0, help="Of the Huber term; 0.")
    ] = None
    huber_delta: Annotated[
        float | None, typer.Option(help="Where it turns from a square into a line; 1.")
    ] = None


@dataclass(frozen=True)
class Views:
    """How the two views of an image are drawn; SimCLR's where nothing is given."""

    crop_scale: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Smallest and largest share of the area that a crop keeps."),
    ] = None
    flip: Annotated[
        bool | None, typer.Option(help="Whether half of the views are mirrored.")
    ] = None
    jitter: Annotated[
        float | None, typer.Option(help="Strength of the colour jitter; 0 for none.")
    ] = None
    grayscale: Annotated[
        float | None, typer.Option(help="Probability that a view loses its colour.")
    ] = None
    blur: Annotated[
        float | None, typer.Option(help="Probability that a view is blurred.")
    ] = None


@dataclass(frozen=True)
class Curations:
    """Which batches are used, one run for each method and seed."""

    curation: Annotated[
        list[str] | None,
        typer.Option(help="none, value or quantile, one or more; none if not given."),
    ] = None
    max_distance: Annotated[
        float | None,
        typer.Option(help="Largest Frechet distance that passes, for 'value'."),
    ] = None
    quantile: Annotated[
        float | None,
        typer.Option(help="Quantile of the draws before that passes, for 'quantile'."),
    ] = None
    on_reject: Annotated[
        str | None,
        typer.Option(
            help="'skip' goes on to the next images (the default), 'redraw' draws new "
            "views of the same ones."
        ),
    ] = None

    def tables(self) -> list[dict[str, Any]]:
        """The `curation` tables, each with the options that its method has.

        Raises:
            UserError: If an option belongs to no method that is asked for.
        """
        methods = list(dict.fromkeys(self.curation or ["none"]))
        owners = {
            "max_distance": {"value"},
            "quantile": {"quantile"},
            "on_reject": {"value", "quantile"},
        }
        given = {key: value for key, value in _given(self).items() if key in owners}
        if idle := [key for key in given if not owners[key] & set(methods)]:
            wanted = "; ".join(
                f"--{key.replace('_', '-')} with --curation "
                f"{' or '.join(sorted(owners[key]))}"
                for key in idle
            )
            raise UserError(f"options without their method: give {wanted}")
        return [
            {"method": method}
            | {key: value for key, value in given.items() if method in owners[key]}
            for method in methods
        ]


@grouped
def pretrain(
    *,
    model: Annotated[
        list[str] | None, typer.Argument(help="Zoo names, wildcards allowed.")
    ] = None,
    model_list: ModelList = None,
    train: Annotated[
        str, typer.Option(help="Dataset to train on; its labels are not used.")
    ],
    probe_train: Annotated[
        str | None,
        typer.Option(
            help="Labelled dataset that the probe is fitted on; --train if not given."
        ),
    ] = None,
    test: Annotated[str, typer.Option(help="Dataset that the probe is measured on.")],
    validation: Annotated[
        str,
        typer.Option(
            help="Dataset that chooses the probe's rate; or N images held out of "
            "--probe-train."
        ),
    ],
    optimizer: Annotated[str, typer.Option(help="Optimizer of the backbone.")],
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", help="Its peak.")
    ],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the images.")],
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", "--wd", min=0, help="Of kernels.")
    ] = 0.0,
    seed: Annotated[
        list[int] | None, typer.Option(help="One run each; 0 if not given.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=2, help="Images in a batch.")
    ] = 256,
    warmup_epochs: Annotated[
        float, typer.Option(min=0, help="Linear warm-up before the cosine.")
    ] = 0.0,
    clip_norm: Annotated[
        float | None, typer.Option(help="Clip gradients to this global norm.")
    ] = None,
    contrast: Contrast,
    views: Views,
    curations: Curations,
    image_size: ImageSize = None,
    dtype: Dtype = "float32",
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/pretrain",
    execution: Execution,
) -> None:
    """Train backbones without labels, on pairs of views, and probe them.

    Example: [bold]jaxbench pretrain resnet_micro --train digits@train --validation
    digits@validation --test digits@test --optimizer adamw --lr 3e-3 --epochs 20[/]
    """
    names = named_models(model, model_list)
    labelled = {
        "dataset": probe_train or train,
        "validation": int(validation) if validation.isdecimal() else validation,
    }
    table = {
        "name": f"pretrain {' '.join(names)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "pretrain": {
            "models": names,
            "dataset": train,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "epochs": epochs,
            "batch_size": batch_size,
            "warmup_epochs": warmup_epochs,
            "clip_norm": clip_norm,
            **_given(contrast),
            "views": _given(views),
            "curation": curations.tables(),
            "seeds": seed or [0],
            "probe": labelled,
            "image_size": image_size,
            "dtype": dtype,
        },
        "evaluate": {"clean": [test]},
    }
    execute(parse_config(table, origin="pretrain"), execution)


def _given(options: Contrast | Views | Curations) -> dict[str, Any]:
    return {key: value for key, value in vars(options).items() if value is not None}
