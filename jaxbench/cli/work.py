"""Commands that compute: run, evaluate, sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxbench.cli.execution import execute
from jaxbench.cli.options import (
    Execution,
    Imports,
    Inputs,
    Measuring,
    ModelList,
    OnError,
    Results,
    TestSize,
    Weights,
    WeightsDir,
    grouped,
    named_models,
    weights_source,
)
from jaxbench.config import PRETRAINED, load_config, parse_config
from jaxbench.errors import UserError


@grouped
def run(
    *,
    config: Annotated[Path, typer.Argument(help="Experiment file (TOML).")],
    results: Annotated[
        str | None, typer.Option("--results", "-o", help="Instead of the file's own.")
    ] = None,
    execution: Execution,
) -> None:
    """Run an experiment file: train, evaluate, report. Again does what is missing.

    Example: [bold]jaxbench run configs/quickstart.toml[/]
    """
    loaded = load_config(config)
    if results:
        loaded = loaded.model_copy(update={"results": results})
    execute(loaded, execution)


@grouped
def evaluate(
    *,
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Zoo names, wildcards allowed; or MODULE:NAME, your own."),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="More of them, with commas between.")
    ] = None,
    model_list: ModelList = None,
    data: Annotated[list[str], typer.Option(help="Dataset of the model's classes.")],
    weights: Weights = PRETRAINED,
    weights_dir: WeightsDir = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            "--class-map",
            help="The model's classes in order: 'imagenet', or a text file with one "
            "name a line. Not needed for folders named by WordNet ids.",
        ),
    ] = None,
    class_order: Annotated[
        str | None,
        typer.Option(
            help="How the model's folders were numbered: 'torchvision' (plainly "
            "sorted) or 'timm' (digits as numbers, case-blind)."
        ),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="Outputs of the head.")
    ] = None,
    inputs: Inputs,
    test_size: TestSize = False,
    measuring: Measuring,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images in a step.")
    ] = 64,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/evaluate",
    execution: Execution,
) -> None:
    """Evaluate models on datasets, every metric in one pass.

    Example: [bold]jaxbench evaluate resnet18 --weights random:0 --data
    folder:PATH/TO/IMAGES[/]
    """
    given = [*(model or []), *(models.split(",") if models else [])]
    names = named_models(given, model_list)
    subject = {
        "weights": weights_source(weights, weights_dir),
        "num_classes": num_classes,
        **inputs.keys(test_size=test_size),
        "classes": classes,
        "class_order": class_order,
    }
    models_table = {"models": [subject | {"name": name.strip()} for name in names]}
    table = {
        "name": f"evaluate {' '.join(names)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "evaluate": measuring.table(data, batch_size) | models_table,
    }
    execute(parse_config(table, origin="evaluate"), execution)


@dataclass(frozen=True)
class RecipeChanges:
    """The recipe of a sweep, and what is changed about it."""

    recipe: Annotated[
        str, typer.Option(help="plain, pytorch, deit, convnext or rsb_a2.")
    ] = "plain"
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the training images. Here and below: the recipe's "
            "if not given.",
        ),
    ] = None
    train_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in a training step.")
    ] = None
    warmup_epochs: Annotated[
        float | None, typer.Option(min=0, help="Linear warm-up before the cosine.")
    ] = None
    label_smoothing: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the target spread over all classes."),
    ] = None
    augment: Annotated[
        list[str] | None, typer.Option(help="Augmentations, in order.")
    ] = None
    clip_norm: Annotated[
        float | None, typer.Option(help="Clip gradients to this global norm; 0: never.")
    ] = None
    drop_rate: Annotated[
        float | None, typer.Option(help="Dropout before the head.")
    ] = None
    drop_path_rate: Annotated[float | None, typer.Option(help="Stochastic depth.")] = (
        None
    )

    def keys(self) -> dict[str, Any]:
        """The keys of a `train` table that these are."""
        keys = dict(vars(self))
        keys["batch_size"] = keys.pop("train_batch_size")
        keys["augmentations"] = keys.pop("augment") or None
        return keys


@dataclass(frozen=True)
class Distillation:
    """A network that all students of a sweep learn from."""

    teacher: Annotated[
        str | None,
        typer.Option(
            help="Network to learn from besides the labels (distillation): a zoo name, "
            "or MODULE:NAME, your own."
        ),
    ] = None
    teacher_weights: Annotated[
        str | None,
        typer.Option(
            help="The teacher's: 'pretrained' (if not given) or a file, such as "
            "RESULTS/weights/ID.safetensors of an earlier sweep."
        ),
    ] = None
    teacher_image_size: Annotated[
        int | None, typer.Option(min=1, help="The teacher's own by default.")
    ] = None
    distillation: Annotated[
        float | None, typer.Option(help="The teacher's share of the loss; 0.5.")
    ] = None
    distillation_kind: Annotated[
        str | None, typer.Option(help="'soft' probabilities (the default) or 'hard'.")
    ] = None
    distillation_temperature: Annotated[
        float | None, typer.Option(help="Of both networks' logits, for 'soft'; 1.")
    ] = None

    def table(self) -> dict[str, Any] | None:
        """The `teacher` table of a `train` table, if there is a teacher.

        Raises:
            UserError: If options say something of a teacher that is not named.
        """
        given = {key: value for key, value in vars(self).items() if value is not None}
        if given and self.teacher is None:
            options = ", ".join(f"--{key.replace('_', '-')}" for key in given)
            raise UserError(f"{options}: only with --teacher NAME")
        keys = {
            "teacher": "name",
            "teacher_weights": "weights",
            "teacher_image_size": "image_size",
            "distillation": "weight",
            "distillation_kind": "kind",
            "distillation_temperature": "temperature",
        }
        table = {keys[key]: value for key, value in given.items()}
        return {"weights": PRETRAINED} | table if given else None


@grouped
def sweep(
    *,
    model: Annotated[
        list[str] | None, typer.Argument(help="Zoo names, wildcards allowed.")
    ] = None,
    model_list: ModelList = None,
    train: Annotated[str, typer.Option(help="Dataset to train on.")],
    validation: Annotated[str, typer.Option(help="Dataset scored after each epoch.")],
    test: Annotated[list[str], typer.Option(help="Dataset to measure on at the end.")],
    optimizer: Annotated[
        list[str],
        typer.Option(help="Optimizer, one or more; or MODULE:NAME, your own."),
    ],
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="One or more; each optimizer's default if not given.",
        ),
    ] = None,
    weight_decay: Annotated[
        list[float] | None,
        typer.Option(
            "--weight-decay",
            "--wd",
            help="One or more; if not given 0, or with default rates the default.",
        ),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="One or more.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Initial weights: 'pretrained', a file, ...")
    ] = None,
    changes: RecipeChanges,
    distillation: Distillation,
    inputs: Inputs,
    strategy: Annotated[
        str, typer.Option(help="How populations run: auto, vmap, unroll or loop.")
    ] = "auto",
    measuring: Measuring,
    batch_size: Annotated[int, typer.Option(min=1, help="Evaluation batch.")] = 256,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/sweep",
    execution: Execution,
) -> None:
    """Train every model with every optimizer over a grid, and measure all of them.

    Example: [bold]jaxbench sweep resnet_micro vit_micro --train digits@train
    --validation digits@validation --test digits@test --optimizer adamw --optimizer
    sgd --lr 1e-3 --lr 1e-2[/]
    """
    names = named_models(model, model_list)
    grid = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    table = {
        "name": f"sweep {' '.join(names)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "train": {
            "models": names,
            "dataset": train,
            "validation": validation,
            "grid": {
                name: {key: values for key, values in grid.items() if values}
                for name in optimizer
            },
            "seeds": seed or [0],
            "weights": weights,
            "teacher": distillation.table(),
            "strategy": strategy,
            **changes.keys(),
            **inputs.keys(),
        },
        "evaluate": measuring.table(test, batch_size),
    }
    execute(parse_config(table, origin="sweep"), execution)
