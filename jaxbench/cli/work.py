"""Commands that compute: run, evaluate, sweep."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxbench.cli.execution import execute
from jaxbench.cli.inputs import (
    Classes,
    ClassOrder,
    CropFraction,
    ImageSize,
    Interpolation,
    TestSize,
    input_keys,
)
from jaxbench.config import PRETRAINED, load_config, parse_config
from jaxbench.errors import UserError

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and its size, do nothing.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Use at most N images of every dataset, the same ones each time, for a "
        "trial run. Results go to RESULTS-limitN.",
    ),
]
Results = Annotated[str, typer.Option("--results", "-o", help="Folder of the results.")]
OnError = Annotated[
    str,
    typer.Option(help="What an unreadable image does: 'raise' or 'skip' (counted)."),
]
Shifted = Annotated[
    list[str] | None, typer.Option(help="Dataset of the same classes under a shift.")
]
Ood = Annotated[list[str] | None, typer.Option(help="Dataset of other classes.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", "--metrics", help="Metric; all if not given. Repeatable."),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        help="Fit a temperature on this dataset, or on N images held out of the first "
        "clean one (--data, or --test), and report every metric before and after."
    ),
]
Resamples = Annotated[
    int,
    typer.Option(
        min=0, max=1_000_000, help="Bootstrap resamples behind the intervals."
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="'pretrained' (from the hub), a file, or random:SEED for an untrained net."
    ),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of weights, searched by name: NAME/model.safetensors or "
        "NAME.safetensors.",
        file_okay=False,
        exists=True,
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", help="Module to import first: it registers own models."),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        help="Also log to tensorboard:DIR, wandb:PROJECT or mlflow:URI. Repeatable."
    ),
]
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16 activations.")]


def run(
    config: Annotated[Path, typer.Argument(help="Experiment file (TOML).")],
    results: Annotated[
        str | None, typer.Option("--results", "-o", help="Instead of the file's own.")
    ] = None,
    limit: Limit = None,
    log: Log = None,
    dry_run: DryRun = False,
) -> None:
    """Run an experiment file: train, evaluate, report. Again does what is missing.

    Example: [bold]jaxbench run configs/quickstart.toml[/]
    """
    loaded = load_config(config)
    if results:
        loaded = loaded.model_copy(update={"results": results})
    execute(loaded, limit=limit, log=log, dry_run=dry_run)


def evaluate(
    data: Annotated[list[str], typer.Option(help="Dataset of the model's classes.")],
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Zoo names, wildcards allowed; or MODULE:NAME, your own."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="More of them, with commas between.")
    ] = None,
    weights: Weights = PRETRAINED,
    weights_dir: WeightsDir = None,
    shifted: Shifted = None,
    ood: Ood = None,
    calibration: Calibration = None,
    metrics: Metrics = None,
    classes: Classes = None,
    class_order: ClassOrder = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the head.")
    ] = None,
    image_size: ImageSize = None,
    test_size: TestSize = False,
    crop_fraction: CropFraction = None,
    interpolation: Interpolation = None,
    dtype: Dtype = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 64,
    resamples: Resamples = 1000,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/evaluate",
    limit: Limit = None,
    log: Log = None,
    dry_run: DryRun = False,
) -> None:
    """Evaluate models on datasets, every metric in one pass.

    Example: [bold]jaxbench evaluate resnet18 --weights random:0 --data
    folder:PATH/TO/IMAGES[/]
    """
    names = [*(model or []), *(models.split(",") if models else [])]
    if not names:
        raise UserError("no model is named; try `jaxbench models` for what there is")
    if weights_dir is not None and weights != PRETRAINED:
        raise UserError("--weights and --weights-dir both say where weights are")
    subject = {
        "weights": str(weights_dir) if weights_dir else weights,
        "num_classes": num_classes,
        **input_keys(image_size, test_size, crop_fraction, interpolation),
        "dtype": dtype,
        "classes": classes,
        "class_order": class_order,
    }
    table = {
        "name": f"evaluate {' '.join(names)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "evaluate": {
            "clean": data,
            "shifted": shifted or [],
            "ood": ood or [],
            "calibration": _calibration(calibration),
            "metrics": metrics or None,
            "batch_size": batch_size,
            "num_resamples": resamples,
            "models": [subject | {"name": name.strip()} for name in names],
        },
    }
    execute(
        parse_config(table, origin="evaluate"),
        limit=limit,
        log=log,
        dry_run=dry_run,
    )


def sweep(
    model: Annotated[list[str], typer.Argument(help="Zoo names, wildcards allowed.")],
    train: Annotated[str, typer.Option(help="Dataset to train on.")],
    validation: Annotated[str, typer.Option(help="Dataset scored after each epoch.")],
    test: Annotated[list[str], typer.Option(help="Dataset to measure on at the end.")],
    optimizer: Annotated[list[str], typer.Option(help="Optimizer, one or more.")],
    learning_rate: Annotated[
        list[float], typer.Option("--learning-rate", "--lr", help="One or more.")
    ],
    weight_decay: Annotated[
        list[float] | None, typer.Option("--weight-decay", "--wd", help="One or more.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="One or more.")] = None,
    recipe: Annotated[
        str, typer.Option(help="plain, pytorch, deit, convnext or rsb_a2.")
    ] = "plain",
    epochs: Annotated[int | None, typer.Option(min=1, help="The recipe's.")] = None,
    train_batch_size: Annotated[
        int | None, typer.Option(min=1, help="The recipe's.")
    ] = None,
    warmup_epochs: Annotated[
        float | None, typer.Option(min=0, help="The recipe's.")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(min=0, max=1, help="The recipe's.")
    ] = None,
    augment: Annotated[
        list[str] | None, typer.Option(help="Augmentations, in order.")
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Clip gradients to this global norm.")
    ] = None,
    drop_rate: Annotated[
        float | None, typer.Option(help="Dropout before the head.")
    ] = None,
    drop_path_rate: Annotated[
        float | None, typer.Option(help="Stochastic depth.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Initial weights: 'pretrained', a file, ...")
    ] = None,
    image_size: ImageSize = None,
    crop_fraction: CropFraction = None,
    interpolation: Interpolation = None,
    dtype: Dtype = "float32",
    strategy: Annotated[
        str, typer.Option(help="How populations run: auto, vmap, unroll or loop.")
    ] = "auto",
    shifted: Shifted = None,
    ood: Ood = None,
    calibration: Calibration = None,
    metrics: Metrics = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Evaluation batch.")] = 256,
    resamples: Resamples = 1000,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/sweep",
    limit: Limit = None,
    log: Log = None,
    dry_run: DryRun = False,
) -> None:
    """Train every model with every optimizer over a grid, and measure all of them.

    Example: [bold]jaxbench sweep resnet_micro vit_micro --train digits@train
    --validation digits@validation --test digits@test --optimizer adamw --optimizer
    sgd --lr 1e-3 --lr 1e-2[/]
    """
    grid = {"learning_rate": learning_rate, "weight_decay": weight_decay or [0.0]}
    table = {
        "name": f"sweep {' '.join(model)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "train": {
            "models": model,
            "dataset": train,
            "validation": validation,
            "grid": dict.fromkeys(optimizer, grid),
            "seeds": seed or [0],
            "image_size": image_size,
            "crop_fraction": crop_fraction,
            "interpolation": interpolation,
            "recipe": recipe,
            "weights": weights,
            "epochs": epochs,
            "batch_size": train_batch_size,
            "warmup_epochs": warmup_epochs,
            "label_smoothing": label_smoothing,
            "augmentations": augment or None,
            "clip_norm": clip_norm,
            "drop_rate": drop_rate,
            "drop_path_rate": drop_path_rate,
            "dtype": dtype,
            "strategy": strategy,
        },
        "evaluate": {
            "clean": test,
            "shifted": shifted or [],
            "ood": ood or [],
            "calibration": _calibration(calibration),
            "metrics": metrics or None,
            "batch_size": batch_size,
            "num_resamples": resamples,
        },
    }
    execute(
        parse_config(table, origin="sweep"),
        limit=limit,
        log=log,
        dry_run=dry_run,
    )


def _calibration(text: str | None) -> Any:
    return int(text) if text and text.isdecimal() else text
